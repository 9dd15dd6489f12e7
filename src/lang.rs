//! The bpftrace language: from a program's text to instructions, and from what they report to text again.
//!
//! The way through it: [`source`] → [`lexer`] → [`parser`] → [`ast`] → [`passes`] → [`typed`] → code.

pub mod source;

pub mod diagnostics;

pub mod ast;
pub mod cdecl;
pub mod functions;
pub mod ktypes;
pub mod lexer;
pub mod parser;
pub mod probe;
pub mod types;

pub mod config;
pub mod passes;
pub mod typed;
pub mod walk;
pub mod wildcard;

pub mod codegen;
pub mod dwarf;
pub mod elf;
pub mod output;
pub mod program;
pub mod programs;
pub mod runtime;
