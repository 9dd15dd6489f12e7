//! What the parser made → a tree that is known to make sense, pass by pass.
//!
//! Each pass takes some kinds of nodes away or fills something in, so that those behind it have less to know:
//!
//! | pass | afterwards |
//! | --- | --- |
//! | imports | all files' probes, macros and maps are in one script |
//! | declarations | what C says is in tables: constants, structs, enums, typedefs |
//! | settings | the config block is set |
//! | names | words are what they stand for: macros' bodies, functions, constants, parameters of the command line |
//! | fold | operations on literals are done |
//! | probes | attach points are taken apart, wildcards written out |
//! | scopes | variables have numbers, `unroll` is written out, jumps are where they may be |
//! | types | every expression has its type; what the language converts by itself is a cast |

use std::path::PathBuf;

use super::ast::Script;
use super::cdecl::{Declarations, Headers};
use super::config::Config;
use super::diagnostics::Diagnostics;
use super::dwarf;
use super::ktypes::KernelTypes;
use super::parser;
use super::source::Sources;
use super::typed::{Map, Typed};
use super::types::Structs;
use probes::Places;

pub mod fold;
mod imports;
mod names;
mod probes;
mod scopes;
mod settings;
mod types;

#[cfg(test)]
mod tests;

/// What the command line says about a program.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `$1` and so on.
    pub parameters: Vec<String>,
    /// `--name=value` behind `--`, for `getopt`. Without a value it is a switch.
    pub named: Vec<(String, Option<String>)>,
    /// Settings of the environment, which win: `BPFTRACE_MAX_STRLEN` and its value.
    pub environment: Vec<(String, String)>,
    /// The process of `-p`.
    pub pid: Option<u32>,
    /// Functions that change the system are allowed.
    pub is_unsafe: bool,
    /// Folders to look for stripped-off debug information in.
    pub debug_folders: Vec<PathBuf>,
    /// Headers of `-I` and `--include`.
    pub headers: Headers,
    /// `test` probes are wanted, and no others.
    pub test: bool,
    /// `bench` probes are wanted, and no others.
    pub bench: bool,
}

/// What passes know beside the script.
pub struct Context<'a> {
    /// The command line.
    pub options: &'a Options,
    /// This kernel's types.
    pub kernel: &'a KernelTypes,
    /// All texts.
    pub sources: Sources,
    /// What was found wrong.
    pub diagnostics: Diagnostics,
    /// Structs and enums.
    pub structs: Structs,
    /// Settings.
    pub config: Config,
    /// What C says.
    pub c: Declarations,
    /// Types of programs and libraries that are probed.
    pub debug: dwarf::Cache,
}

/// What became of a program.
#[derive(Debug, Default)]
pub struct Checked {
    /// The tree, unless there are errors.
    pub typed: Option<Typed>,
    /// All errors and warnings.
    pub diagnostics: Diagnostics,
    /// The texts that they are about.
    pub sources: Sources,
}

/// Reads a program and makes sure that it makes sense.
pub fn check(name: &str, text: &str, options: &Options, kernel: &KernelTypes) -> Checked {
    let mut context = Context {
        options,
        kernel,
        sources: Sources::default(),
        diagnostics: Diagnostics::default(),
        structs: Structs::default(),
        config: Config::default(),
        c: Declarations::default(),
        debug: dwarf::Cache::new(options.debug_folders.clone()),
    };
    let span = context.sources.add(name, text);
    let mut script = Script::default();
    if let Some(source) = context.sources.of(span) {
        script = parser::parse(source, &mut context.diagnostics);
    }
    let maps = passes(&mut script, &mut context);
    let Context { sources, diagnostics, structs, config, .. } = context;
    let typed = maps.map(|maps| Typed { script, maps, structs, config, sources: sources.clone() });
    Checked { typed, diagnostics, sources }
}

/// All passes. What couldn't be parsed or declared makes no sense to look at; later errors are told together.
fn passes(script: &mut Script, context: &mut Context<'_>) -> Option<Vec<Map>> {
    imports::run(script, context);
    let (c, diagnostics) = (std::mem::take(&mut script.c), &mut context.diagnostics);
    let (headers, structs) = (&context.options.headers, &mut context.structs);
    context.c =
        Declarations::read(&c, headers, &mut context.sources, structs, context.kernel, diagnostics);
    settings::run(script, context);
    if context.diagnostics.errors() > 0 {
        return None;
    }
    names::run(script, context);
    fold::run(script, &mut context.diagnostics);
    if probes::run(script, context) == Places::Missing && context.diagnostics.errors() > 0 {
        return None;
    }
    scopes::run(script, context);
    let maps = types::run(script, context);
    (context.diagnostics.errors() == 0).then_some(maps)
}
