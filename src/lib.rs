//! nettrace: who talks to whom on a Linux server, counted in the kernel.
//!
//! The modules, in the order that data flows through them.

// What tests of other crates are made of says `nettrace::`, here too.
#[cfg(test)]
extern crate self as nettrace;

pub mod btf;
pub mod bytecode;
pub mod caret;
pub mod histogram;
pub mod kernel;
pub mod lang;
pub mod netns;
pub mod packet;
pub mod privileges;
pub mod probes;
pub mod sample;
pub mod session;
pub mod tracefs;

pub mod filter;
pub mod model;
pub mod names;
pub mod symbols;

pub mod columns;
pub mod losses;
pub mod output;

pub mod bpftrace;
pub mod capture;
pub mod cli;
pub mod doctor;
pub mod drops;
pub mod events;
pub mod list;
pub mod path;
pub mod run;
pub mod script;
pub mod syscalls;
pub mod top;
pub mod tui;
