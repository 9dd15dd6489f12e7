//! How the program behaves: exits, pipes, signals, files, privileges, names.
