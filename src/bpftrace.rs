//! Called by the name `bpftrace`, nettrace takes bpftrace's command line.

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Result;

use crate::list::{self, Lists};
use crate::script;
use arguments::{Refused, Wanted};

mod arguments;
mod help;
mod info;

/// The version of bpftrace whose language and command line this is.
const LIKE: &str = "v0.26.0";

/// Does what the arguments say, of which the first is the one behind the name, and returns the exit status. What
/// fails is told on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let wanted = match arguments::read(arguments) {
        Ok(wanted) => wanted,
        Err(Refused::Because(why)) => return failed(&why),
        Err(Refused::Usage(why)) => {
            let why = why.map(|why| why + "\n").unwrap_or_default();
            eprint!("{why}{}", help::TEXT);
            return 1;
        }
    };
    act(wanted).unwrap_or_else(|error| {
        let why = format!("{error:#}");
        // The number says nothing that the words don't.
        failed(why.split(" (os error").next().unwrap_or(&why))
    })
}

fn failed(why: &str) -> i32 {
    eprintln!("ERROR: {why}");
    1
}

fn act(wanted: Wanted) -> Result<i32> {
    match wanted {
        Wanted::Help => io::stdout().write_all(help::TEXT.as_bytes())?,
        Wanted::Version => {
            let own = env!("CARGO_PKG_VERSION");
            writeln!(io::stdout(), "bpftrace {LIKE} (nettrace {own})")?;
        }
        Wanted::Run { program, only_compile: true } => return script::compile(&program),
        Wanted::Run { program, only_compile: false } => return script::run(&program),
        Wanted::Info => io::stdout().write_all(info::text().as_bytes())?,
        Wanted::List { pattern, pid, is_verbose, debug_folders } => {
            warn_of_file(&pattern);
            let lists = Lists::new(pid, is_verbose).with_debug_folders(debug_folders);
            return listed(|to| lists.patterns(&pattern, to).map(|_| ()));
        }
        Wanted::ListOf { program, is_verbose } => {
            let Some(points) = script::attach_points(&program)? else { return Ok(1) };
            let folders = program.debug_folders.clone();
            let lists = Lists::new(program.pid, is_verbose).with_debug_folders(folders);
            return listed(|to| lists.attach_points(&points, to));
        }
    }
    Ok(0)
}

fn listed(list: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<i32> {
    let mut to = io::BufWriter::new(io::stdout().lock());
    list::finish(list(&mut to).and_then(|()| to.flush()))
}

/// A pattern that looks like a file that isn't there.
fn warn_of_file(pattern: &str) {
    if pattern.contains('.') && !pattern.contains([':', '*']) {
        eprintln!(
            "WARNING: It appears that '{pattern}' is a filename but the file does not exist. \
             Treating '{pattern}' as a search pattern."
        );
    }
}
