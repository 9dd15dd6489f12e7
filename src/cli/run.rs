//! Arguments of `run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `run`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    override_usage = "nettrace run [OPTIONS] FILE [PARAMETER]... [-- --NAME=VALUE...]
       nettrace run [OPTIONS] -e PROGRAM [PARAMETER]... [-- --NAME=VALUE...]",
    after_help = "Programs are bpftrace's: PROBE[, PROBE]... /CONDITION/ { STATEMENTS }. They run until exit(), \
Ctrl-C, or the end of the process of -c or -p, and then show their maps. Settings are had from a \
program's config block, and from the environment (BPFTRACE_MAX_STRLEN and the like), which wins.

Examples:
  nettrace run -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'
                                          system calls by program
  nettrace run -e 'interval:s:1 { print(@); } profile:hz:99 { @[kstack(3)] = count(); }'
                                          where the kernel spends its time
  nettrace run opensnoop.bt               a program of a file
  nettrace run -c 'sleep 1' -e 'tracepoint:syscalls:sys_enter_* /pid == cpid/ { @[probe] = count(); }'
                                          what a command calls"
)]
pub struct RunProgramArgs {
    /// The program's file, - for stdin; what is behind it is $1 and so on
    #[arg(value_name = "FILE PARAMETER")]
    pub words: Vec<String>,
    /// Run this program
    #[arg(short, value_name = "PROGRAM")]
    pub execute: Option<String>,
    /// Named parameters, which getopt() asks for
    #[arg(last = true, value_name = "--NAME=VALUE", allow_hyphen_values = true)]
    pub named: Vec<String>,

    /// Only this process, and end with it
    #[arg(short, long, value_name = "PID", conflicts_with = "command", help_heading = "Scope")]
    pub pid: Option<u32>,
    /// Run CMD once all is attached, and end with it
    #[arg(short = 'c', long = "cmd", value_name = "CMD", help_heading = "Scope")]
    pub command: Option<String>,

    /// Into a file in place of stdout
    #[arg(short, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// The form
    #[arg(short, value_enum, default_value_t, value_name = "FORM", help_heading = "Output")]
    pub format: RunFormat,
    /// When it is written
    #[arg(short = 'B', value_enum, default_value_t, value_name = "WHEN", help_heading = "Output")]
    pub buffering: Buffering,
    /// Don't say how many probes are attached
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Warn of reads of memory that fail
    #[arg(short = 'k', long, conflicts_with = "no_warnings", help_heading = "Output")]
    pub warnings: bool,
    /// No warnings
    #[arg(long, help_heading = "Output")]
    pub no_warnings: bool,

    /// Allow what changes the system: system(), signal() and the like
    #[arg(long = "unsafe", help_heading = "Program")]
    pub is_unsafe: bool,
    /// End once all is attached
    #[arg(long, help_heading = "Program")]
    pub dry_run: bool,
    /// Show a stage of the way: the tree, typed, as instructions, as the verifier sees it
    #[arg(short, long = "debug", value_enum, value_name = "STAGE", help_heading = "Program")]
    pub debug: Vec<Stage>,
    /// Headers of #include are in this folder too
    #[arg(short = 'I', value_name = "DIR", help_heading = "Program")]
    pub include_folders: Vec<PathBuf>,
    /// A header that comes before all else
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub include: Vec<PathBuf>,
}

/// Forms of what programs say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// For people
    #[default]
    Text,
    /// An object a line
    Json,
}

/// When output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Buffering {
    /// When there is nothing more to say by now, at the latest
    #[default]
    Full,
    /// After each line
    Line,
    /// At once
    None,
}

/// Stages of a program's way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The tree as it is checked
    Ast,
    /// With the maps' types
    Types,
    /// Instructions
    Codegen,
    /// The verifier's log
    Verifier,
    /// All of them
    All,
}
