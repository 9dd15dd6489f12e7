//! `nettrace list`: probes that there are, and the kernel's types.
//!
//! A pattern is `PROVIDER:WORDS`, with `*` for anything in both, or WORDS alone, of all providers of the kernel, or a
//! type: `struct sock`. Several are separated by commas.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::lang::ast::AttachPoint;
use crate::lang::dwarf::Cache;
use crate::lang::ktypes::KernelTypes;
use crate::lang::probe::{PROVIDERS, Probe};
use crate::lang::wildcard::{has_wildcard, is_match};

mod c;
mod files;
mod kernel;

/// What is said of probes beside their names.
#[derive(Debug)]
pub struct Lists {
    types: KernelTypes,
    pid: Option<u32>,
    is_verbose: bool,
    debug: Cache,
}

/// Providers that a pattern without one means.
const OF_KERNEL: &[&str] =
    &["fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint"];
/// The same where there is a file or a process.
const OF_FILES: &[&str] = &["uprobe", "usdt"];

/// A probe as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    /// Behind the provider.
    words: String,
    /// Only if somebody wants to know.
    arguments: Vec<String>,
}

impl Lists {
    /// Files of the process are looked at too; arguments of probes and fields of types are said if it is verbose.
    pub fn new(pid: Option<u32>, is_verbose: bool) -> Self {
        Self { types: KernelTypes::new(), pid, is_verbose, debug: Cache::default() }
    }

    /// Looks in these folders too for what was stripped off files.
    pub fn with_debug_folders(self, folders: Vec<PathBuf>) -> Self {
        Self { debug: Cache::new(folders), ..self }
    }

    /// What fits the patterns, a line each; patterns that nothing fits.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn patterns<'p>(&self, patterns: &'p str, to: &mut dyn Write) -> io::Result<Vec<&'p str>> {
        let mut without = Vec::new();
        for pattern in patterns.split(',').map(str::trim) {
            let listed = if is_type(pattern) {
                self.types(pattern, to)?
            } else {
                self.pattern(pattern, to)?
            };
            if listed == 0 {
                without.push(pattern);
            }
        }
        Ok(without)
    }

    fn pattern(&self, pattern: &str, to: &mut dyn Write) -> io::Result<usize> {
        let (provider, words) = match pattern.split_once(':') {
            Some(parts) => parts,
            None => ("*", if pattern.is_empty() { "*" } else { pattern }),
        };
        let mut listed = 0;
        for provider in self.providers(provider, words) {
            listed += self.listed(provider, words, to)?;
        }
        Ok(listed)
    }

    /// Providers that a word means.
    fn providers(&self, word: &str, words: &str) -> BTreeSet<&'static str> {
        let has_file = || {
            let file = words.split(':').next().unwrap_or_default();
            !has_wildcard(file) && Path::new(file).exists()
        };
        if has_wildcard(word) || word.is_empty() {
            let files = if self.pid.is_some() || has_file() { OF_FILES } else { &[] };
            let all = OF_KERNEL.iter().chain(files);
            return all.copied().filter(|name| word.is_empty() || is_match(word, name)).collect();
        }
        let lower = word.to_ascii_lowercase();
        let known = PROVIDERS.iter().find(|(name, short)| *name == lower || *short == word);
        known.map(|(name, _)| *name).into_iter().collect()
    }

    fn listed(&self, provider: &str, words: &str, to: &mut dyn Write) -> io::Result<usize> {
        let parts = words.split(':').count();
        // What has a module or a category has it also where the pattern doesn't say one.
        let with_first = match provider {
            "fentry" | "fexit" | "rawtracepoint" | "tracepoint" if parts < 2 => {
                format!("*:{words}")
            }
            _ => words.to_owned(),
        };
        let words = if with_first.is_empty() { "*" } else { &with_first };
        let found = match provider {
            "uprobe" | "uretprobe" => {
                files::functions(words, self.pid, Some(&self.debug).filter(|_| self.is_verbose))
            }
            "usdt" => files::usdt(words, self.pid),
            _ => kernel::probes(provider, words, &self.types, self.is_verbose),
        };
        let listed = found.len();
        for Listed { words, arguments } in found {
            writeln!(to, "{provider}:{words}")?;
            for argument in arguments.iter().filter(|_| self.is_verbose) {
                writeln!(to, "    {argument}")?;
            }
        }
        Ok(listed)
    }

    /// Types whose name fits; with their fields if somebody wants to know.
    fn types(&self, pattern: &str, to: &mut dyn Write) -> io::Result<usize> {
        let Some(btf) = self.types.btf() else { return Ok(0) };
        let mut listed = 0;
        for (name, id) in c::types(btf) {
            let is_it =
                if has_wildcard(pattern) { is_match(pattern, &name) } else { name == pattern };
            match is_it {
                true if self.is_verbose => writeln!(to, "vmlinux: {};\n", c::definition(btf, id))?,
                true => writeln!(to, "{name}")?,
                false => continue,
            }
            listed += 1;
        }
        Ok(listed)
    }

    /// The places where a program attaches, as if they had been asked for.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn attach_points(&self, points: &[AttachPoint], to: &mut dyn Write) -> io::Result<()> {
        for point in points {
            let Some(probe) = &point.probe else { continue };
            match probe {
                Probe::Begin | Probe::End | Probe::SelfSignal(_) => {}
                Probe::Test(name) | Probe::Bench(name) => {
                    writeln!(to, "{}:{name}:", probe.provider())?;
                }
                // How often isn't a part of the name.
                Probe::Interval(period) | Probe::Profile(period) => {
                    let written = point.name.split(':').nth(1).filter(|unit| !unit.is_empty());
                    let unit = written.unwrap_or_else(|| period.words().0);
                    writeln!(to, "{}:{unit}:", probe.provider())?;
                }
                Probe::Software { event, .. } | Probe::Hardware { event, .. } => {
                    writeln!(to, "{}:{event}:", probe.provider())?;
                }
                Probe::Fentry { module, function, .. } => {
                    let module = module.as_deref().unwrap_or("vmlinux");
                    self.listed(probe.provider(), &format!("{module}:{function}"), to)?;
                }
                Probe::RawTracepoint { module, event } => {
                    let module = module.as_deref().unwrap_or("vmlinux");
                    self.listed(probe.provider(), &format!("{module}:{event}"), to)?;
                }
                Probe::Uprobe { .. } | Probe::Usdt { .. } => {
                    let (provider, words) = point.name.split_once(':').unwrap_or(("", &point.name));
                    self.listed(provider, words, to)?;
                }
                _ => writeln!(to, "{}", point.name)?,
            }
        }
        Ok(())
    }
}

/// Whether a pattern is of types.
fn is_type(pattern: &str) -> bool {
    ["struct ", "union ", "enum "].iter().any(|kind| pattern.starts_with(kind))
}

/// `nettrace list`; the exit status, 1 if nothing fits a pattern.
///
/// # Errors
/// If it can't be written.
pub fn run(args: &crate::cli::ListArgs) -> anyhow::Result<i32> {
    let lists = Lists::new(args.pid, args.arguments);
    let mut to = io::BufWriter::new(io::stdout().lock());
    let patterns = if args.patterns.is_empty() { "*".to_owned() } else { args.patterns.join(",") };
    let mut without = Vec::new();
    let written = lists.patterns(&patterns, &mut to).map(|patterns| without = patterns);
    let status = finish(written.and_then(|()| to.flush()))?;
    for pattern in &without {
        eprintln!("nettrace: nothing fits {pattern}");
    }
    Ok(if without.is_empty() { status } else { 1 })
}

/// A reader that has seen enough is no failure.
pub(crate) fn finish(written: io::Result<()>) -> anyhow::Result<i32> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &str, is_verbose: bool) -> String {
        let lists = Lists::new(None, is_verbose);
        let mut to = Vec::new();
        let without = lists.patterns(patterns, &mut to).unwrap();
        assert_eq!(without.is_empty(), !to.is_empty(), "{patterns}");
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn times_counters_and_signals() {
        assert_eq!(
            list("interval:*", false),
            "interval:hz:\ninterval:ms:\ninterval:s:\ninterval:us:\n"
        );
        assert_eq!(list("self:*", true), "self:signal:SIGUSR1\n");
        let counters = list("*ware:*", false);
        assert!(counters.starts_with("hardware:backend-stalls:\n"), "{counters}");
        assert!(counters.contains("software:cpu:\n"), "{counters}");
        assert_eq!(list("s:page-faults:", false), "software:page-faults:\n");
        assert_eq!(list("nope:*", false), "");
    }

    #[test]
    fn providers_by_words() {
        let of = |word, words, pid| {
            let lists = Lists::new(pid, false);
            lists.providers(word, words).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("*", "*", None), OF_KERNEL.join(" "));
        assert_eq!(of("t", "*", None), "tracepoint");
        assert_eq!(of("kretfunc", "*", None), "fexit");
        assert_eq!(of("*probe", "*", Some(1)), "kprobe uprobe");
        assert_eq!(of("u*", "/proc/self/exe:*", None), "uprobe usdt");
    }
}
