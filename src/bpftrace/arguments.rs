//! bpftrace's command line, taken apart as getopt_long(3) does it: options before and behind the program, clusters
//! of short ones, long ones cut as short as they are unambiguous.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::cli::{Buffering, Stage};
use crate::lang::cdecl::Headers;
use crate::lang::output::Format;
use crate::lang::runtime::Without;
use crate::script::{Invocation, Text};

/// The greatest process id that any kernel gives.
const GREATEST_PID: u64 = 0x0040_0000;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Wanted {
    Help,
    Version,
    /// What this kernel can do.
    Info,
    /// Probes that fit a pattern.
    List {
        pattern: String,
        pid: Option<u32>,
        is_verbose: bool,
        debug_folders: Vec<PathBuf>,
    },
    /// Probes of a program.
    ListOf {
        program: Box<Invocation>,
        is_verbose: bool,
    },
    /// A program is to be run, or only compiled.
    Run {
        program: Box<Invocation>,
        only_compile: bool,
    },
}

/// Why nothing is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// With these words.
    Because(String),
    /// With these words, and those of the help.
    Usage(Option<String>),
}

use Refused::{Because, Usage};

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Aot,
    Bench,
    Buffering,
    Command,
    Debug,
    DryRun,
    Execute,
    Format,
    Functions,
    Help,
    /// Has no effect here.
    Ignored,
    Include,
    IncludeFolder,
    Info,
    List,
    Mode,
    NoFeature,
    NoWarnings,
    Output,
    Pid,
    ProbeFilter,
    DebugInfo,
    Quiet,
    Test,
    /// Known to bpftrace and not to us.
    Unknown,
    UnknownValue,
    Unsafe,
    Verbose,
    Version,
    Warnings,
}

/// Short and long names.
const FLAGS: &[(Option<char>, &str, Flag)] = &[
    (None, "aot", Flag::Aot),
    (None, "bench", Flag::Bench),
    (Some('b'), "btf", Flag::Ignored),
    (Some('B'), "", Flag::Buffering),
    (Some('c'), "cmd", Flag::Command),
    (Some('d'), "debug", Flag::Debug),
    (None, "debuginfo", Flag::DebugInfo),
    (None, "dry-run", Flag::DryRun),
    (None, "dwarf-pid", Flag::UnknownValue),
    (Some('e'), "", Flag::Execute),
    (None, "emit-elf", Flag::UnknownValue),
    (None, "emit-llvm", Flag::UnknownValue),
    (Some('f'), "", Flag::Format),
    (None, "fmt", Flag::Unknown),
    (Some('h'), "help", Flag::Help),
    (Some('I'), "", Flag::IncludeFolder),
    (None, "include", Flag::Include),
    (None, "info", Flag::Info),
    (Some('k'), "warnings", Flag::Warnings),
    (Some('l'), "list", Flag::List),
    (None, "mode", Flag::Mode),
    (None, "no-feature", Flag::NoFeature),
    (None, "no-warnings", Flag::NoWarnings),
    (Some('o'), "output", Flag::Output),
    (Some('p'), "pid", Flag::Pid),
    (None, "probe-filter", Flag::ProbeFilter),
    (Some('q'), "quiet", Flag::Quiet),
    (None, "test", Flag::Test),
    (None, "traceable-functions", Flag::Functions),
    (None, "unsafe", Flag::Unsafe),
    (None, "usdt-file-activation", Flag::Ignored),
    (Some('v'), "verbose", Flag::Verbose),
    (None, "verify-llvm-ir", Flag::Ignored),
    (Some('V'), "version", Flag::Version),
];

impl Flag {
    fn takes_value(self) -> bool {
        matches!(
            self,
            Flag::Aot
                | Flag::Buffering
                | Flag::Command
                | Flag::Debug
                | Flag::Execute
                | Flag::Format
                | Flag::Functions
                | Flag::Include
                | Flag::IncludeFolder
                | Flag::Mode
                | Flag::NoFeature
                | Flag::Output
                | Flag::Pid
                | Flag::ProbeFilter
                | Flag::DebugInfo
                | Flag::UnknownValue
        )
    }
}

/// What all options together say.
#[derive(Debug, Default)]
struct Said {
    execute: Option<String>,
    words: Vec<String>,
    pid: Option<String>,
    debug_folders: Vec<PathBuf>,
    command: Option<String>,
    out: Option<PathBuf>,
    format: Option<String>,
    functions: Option<PathBuf>,
    headers: Headers,
    buffering: Option<Buffering>,
    stages: Vec<Stage>,
    filter: Option<Regex>,
    mode: Option<Mode>,
    is_list: bool,
    is_quiet: bool,
    is_verbose: bool,
    is_unsafe: bool,
    is_dry: bool,
    without: Without,
    warnings: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Codegen,
    Bench,
    Test,
}

/// All arguments but the name by which we were called.
pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Wanted, Refused> {
    let arguments = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut arguments = arguments.collect::<Vec<String>>().into_iter();
    if arguments.len() == 0 {
        return Err(Usage(None));
    }
    let mut said = Said::default();
    while let Some(word) = arguments.next() {
        if word == "--" {
            said.words.extend(arguments.by_ref());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let flag = long_flag(name)?;
            if value.is_some() && !flag.takes_value() {
                let why = format!("bpftrace: option '--{name}' doesn't allow an argument");
                return Err(Usage(Some(why)));
            }
            let value = value.or_else(|| flag.takes_value().then(|| arguments.next()).flatten());
            let missing = format!("bpftrace: option '--{name}' requires an argument");
            if let Some(wanted) = said.take(flag, value, &missing)? {
                return Ok(wanted);
            }
        } else if word.len() > 1 && word.starts_with('-') {
            if let Some(wanted) = said.cluster(&word[1..], &mut arguments)? {
                return Ok(wanted);
            }
        } else {
            said.words.push(word);
        }
    }
    said.wanted()
}

fn long_flag(name: &str) -> Result<Flag, Refused> {
    let all = || FLAGS.iter().filter(|(_, long, _)| !long.is_empty() && long.starts_with(name));
    if let Some((.., flag)) = all().find(|(_, long, _)| *long == name) {
        return Ok(*flag);
    }
    match (all().next(), all().count()) {
        (Some((.., flag)), 1) if !name.is_empty() => Ok(*flag),
        (None, _) => Err(Usage(Some(format!("bpftrace: unrecognized option '--{name}'")))),
        _ => Err(Usage(Some(format!("bpftrace: option '--{name}' is ambiguous")))),
    }
}

impl Said {
    /// Short options in one word; the rest of it, or the next word, is the value of one that takes one.
    fn cluster(
        &mut self,
        word: &str,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<Option<Wanted>, Refused> {
        for (at, letter) in word.char_indices() {
            let known = FLAGS.iter().find(|(short, ..)| *short == Some(letter));
            let Some((.., flag)) = known else {
                return Err(Usage(Some(format!("bpftrace: invalid option -- '{letter}'"))));
            };
            let behind = &word[at + letter.len_utf8()..];
            let value = match flag.takes_value() {
                true if behind.is_empty() => rest.next(),
                true => Some(behind.to_owned()),
                false => None,
            };
            let missing = format!("bpftrace: option requires an argument -- '{letter}'");
            if let Some(wanted) = self.take(*flag, value, &missing)? {
                return Ok(Some(wanted));
            }
            if flag.takes_value() {
                break;
            }
        }
        Ok(None)
    }

    /// One option. Some are all that is to be done, whatever comes behind.
    fn take(
        &mut self,
        flag: Flag,
        value: Option<String>,
        missing: &str,
    ) -> Result<Option<Wanted>, Refused> {
        let value = match value {
            Some(value) => value,
            None if flag.takes_value() => return Err(Usage(Some(missing.to_owned()))),
            None => String::new(),
        };
        match flag {
            Flag::Help => return Ok(Some(Wanted::Help)),
            Flag::Version => return Ok(Some(Wanted::Version)),
            Flag::Info => return Ok(Some(Wanted::Info)),
            Flag::Ignored => {}
            Flag::Include => self.headers.first.push(value.into()),
            Flag::IncludeFolder => self.headers.folders.push(value.into()),
            Flag::Aot | Flag::Unknown | Flag::UnknownValue => {
                return Err(Because("this option isn't supported by nettrace".to_owned()));
            }
            Flag::Buffering => self.buffering = Some(buffering(&value)?),
            Flag::Command => self.command = Some(value),
            Flag::Debug => self.stages.extend(stages(&value)?),
            Flag::DryRun => self.is_dry = true,
            Flag::Execute => self.execute = Some(value),
            Flag::Format => self.format = Some(value),
            Flag::Functions => self.functions = Some(value.into()),
            Flag::List => self.is_list = true,
            Flag::Mode => self.mode = Some(mode(&value)?),
            Flag::Test => self.set_mode(Mode::Test, "--test")?,
            Flag::Bench => self.set_mode(Mode::Bench, "--bench")?,
            Flag::NoFeature => self.without = without(&value)?,
            Flag::Warnings if self.warnings == Some(true) => {
                return Err(Because(
                    "USAGE: -kk has been deprecated. Use a single -k for runtime warnings for \
                     errors in map lookups and probe reads."
                        .to_owned(),
                ));
            }
            Flag::Warnings | Flag::NoWarnings
                if self.warnings.is_some_and(|on| on != (flag == Flag::Warnings)) =>
            {
                return Err(Because(
                    "USAGE: -k, --warnings conflicts with --no-warnings".to_owned(),
                ));
            }
            Flag::Warnings => self.warnings = Some(true),
            Flag::NoWarnings => self.warnings = Some(false),
            Flag::Output => self.out = Some(value.into()),
            Flag::Pid => self.pid = Some(value),
            Flag::DebugInfo => self.debug_folders.extend(value.split(':').map(PathBuf::from)),
            Flag::ProbeFilter => {
                let filter = Regex::new(&value);
                let why = |error| Because(format!("Invalid --probe-filter regex: {error}"));
                self.filter = Some(filter.map_err(why)?);
            }
            Flag::Quiet => self.is_quiet = true,
            Flag::Unsafe => self.is_unsafe = true,
            Flag::Verbose => self.is_verbose = true,
        }
        Ok(None)
    }

    fn set_mode(&mut self, mode: Mode, option: &str) -> Result<(), Refused> {
        if self.mode.is_some() {
            return Err(Because(format!("USAGE: {option} conflicts with existing --mode")));
        }
        self.mode = Some(mode);
        Ok(())
    }

    fn wanted(mut self) -> Result<Wanted, Refused> {
        if self.command.is_some() && self.pid.is_some() {
            return Err(Usage(Some("ERROR: USAGE: Cannot use both -c and -p.".to_owned())));
        }
        let pid = self.pid.as_deref().map(pid).transpose()?;
        let is_verbose = self.is_verbose;
        if self.is_list && self.execute.is_none() {
            if self.words.len() > 1 {
                return Err(Usage(None));
            }
            let word = self.words.first().map_or("*", String::as_str);
            if !Path::new(word).exists() {
                let (pattern, debug_folders) = (word.to_owned(), self.debug_folders);
                return Ok(Wanted::List { pattern, pid, is_verbose, debug_folders });
            }
        }
        let is_list = self.is_list;
        let only_compile = self.mode == Some(Mode::Codegen);
        let text = match self.execute.take() {
            Some(text) => Text::Here(text),
            None if self.words.is_empty() => {
                return Err(Because("USAGE: filename or -e 'program' required.".to_owned()));
            }
            None => Text::File(self.words.remove(0).into()),
        };
        let program = Box::new(self.invocation(text, pid)?);
        Ok(if is_list {
            Wanted::ListOf { program, is_verbose }
        } else {
            Wanted::Run { program, only_compile }
        })
    }

    fn invocation(self, text: Text, pid: Option<u32>) -> Result<Invocation, Refused> {
        let format = match self.format.as_deref() {
            None | Some("" | "text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => {
                return Err(Because(format!(
                    "Invalid output format \"{other}\"\nValid formats: 'text', 'json'"
                )));
            }
        };
        let (named, parameters) = self.words.into_iter().partition(|word| word.starts_with("--"));
        Ok(Invocation {
            parameters,
            named,
            pid,
            command: self.command,
            out: self.out,
            format,
            buffering: self.buffering.unwrap_or_default(),
            is_quiet: self.is_quiet,
            tells_failed_reads: self.warnings == Some(true),
            without_warnings: self.warnings == Some(false),
            is_unsafe: self.is_unsafe,
            is_dry: self.is_dry,
            without: self.without,
            stages: self.stages,
            debug_folders: self.debug_folders,
            is_test: self.mode == Some(Mode::Test),
            is_bench: self.mode == Some(Mode::Bench),
            with_percentiles: false,
            filter: self.filter,
            functions: self.functions,
            headers: self.headers,
            ..Invocation::new(text)
        })
    }
}

fn buffering(word: &str) -> Result<Buffering, Refused> {
    match word {
        "line" => Ok(Buffering::Line),
        "full" => Ok(Buffering::Full),
        "none" => Ok(Buffering::None),
        _ => Err(Because("USAGE: -B must be either 'line', 'full', or 'none'.".to_owned())),
    }
}

fn mode(word: &str) -> Result<Mode, Refused> {
    match word {
        "codegen" => Ok(Mode::Codegen),
        "bench" => Ok(Mode::Bench),
        "test" => Ok(Mode::Test),
        "compiler-bench" | "format" => {
            Err(Because(format!("--mode {word} isn't supported by nettrace")))
        }
        _ => Err(Because(
            "USAGE: --mode can only be 'codegen', 'compiler-bench', 'bench', 'test' or 'format'."
                .to_owned(),
        )),
    }
}

fn stages(words: &str) -> Result<Vec<Stage>, Refused> {
    let mut stages = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        stages.push(match word {
            "ast" | "parse" => Stage::Ast,
            "types" => Stage::Types,
            "codegen" | "codegen-opt" | "dis" => Stage::Codegen,
            "verifier" => Stage::Verifier,
            "all" => Stage::All,
            // There is no libbpf on the way.
            "libbpf" => continue,
            _ => return Err(Because(format!("USAGE: invalid option for -d: {word}"))),
        });
    }
    Ok(stages)
}

fn without(words: &str) -> Result<Without, Refused> {
    let mut without = Without::default();
    for word in words.split(',') {
        match word {
            "kprobe_multi" => without.kprobe_multi = true,
            "kprobe_session" => without.kprobe_session = true,
            "uprobe_multi" => without.uprobe_multi = true,
            _ => {
                return Err(Because(
                    "USAGE: --no-feature can only have values \
                     'kprobe_multi,kprobe_session,uprobe_multi'."
                        .to_owned(),
                ));
            }
        }
    }
    Ok(without)
}

fn pid(word: &str) -> Result<u32, Refused> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let why = if digits == 0 {
        "invalid integer"
    } else if digits < word.len() {
        "invalid trailing bytes"
    } else {
        let number = word.parse().unwrap_or(u64::MAX);
        return match u32::try_from(number) {
            Ok(pid) if number <= GREATEST_PID => Ok(pid),
            _ => Err(Because(format!("Pid out of range: {word}"))),
        };
    };
    Err(Because(format!("Failed to parse pid: {why}: {word}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(words: &[&str]) -> Result<Wanted, Refused> {
        read(words.iter().map(OsString::from))
    }

    fn program(words: &[&str]) -> Invocation {
        match read_all(words) {
            Ok(Wanted::Run { program, .. }) => *program,
            other => panic!("{other:?}"),
        }
    }

    fn refused(words: &[&str]) -> Refused {
        read_all(words).unwrap_err()
    }

    #[test]
    fn programs_and_their_parameters() {
        let of = program(&["-qe", "end {}", "--unsafe", "7", "--", "--name=x", "8", "--on"]);
        assert_eq!(of.text, Text::Here("end {}".to_owned()));
        assert_eq!((of.is_quiet, of.is_unsafe), (true, true));
        assert_eq!(
            (of.parameters, of.named),
            (vec!["7".into(), "8".into()], vec!["--name=x".into(), "--on".into()])
        );
        let of =
            program(&["a.bt", "-p", "12", "-f", "json", "-B", "none", "-dverifier", "--output=x"]);
        assert_eq!(of.text, Text::File("a.bt".into()));
        assert_eq!((of.pid, of.format, of.buffering), (Some(12), Format::Json, Buffering::None));
        assert_eq!((of.stages, of.out), (vec![Stage::Verifier], Some("x".into())));
        let of = program(&["--verify-llvm-ir", "--dry", "-k", "-", "--test", "-c", "sleep 1"]);
        assert_eq!(of.text, Text::File("-".into()));
        assert!(of.is_dry && of.is_test && of.tells_failed_reads);
        assert_eq!(of.command.as_deref(), Some("sleep 1"));
    }

    #[test]
    fn what_isn_t_a_program() {
        assert!(matches!(
            read_all(&["-lv", "kprobe:*"]),
            Ok(Wanted::List { is_verbose: true, .. })
        ));
        assert!(
            matches!(read_all(&["--list"]), Ok(Wanted::List { pattern, .. }) if pattern == "*")
        );
        assert!(matches!(read_all(&["-l", "-e", "end {}"]), Ok(Wanted::ListOf { .. })));
        assert!(matches!(read_all(&["-l", "Cargo.toml"]), Ok(Wanted::ListOf { .. })));
        assert!(matches!(read_all(&["--info", "--nope"]), Ok(Wanted::Info)));
        assert!(matches!(read_all(&["-V"]), Ok(Wanted::Version)));
        assert!(matches!(read_all(&["-h"]), Ok(Wanted::Help)));
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(refused(&[]), Usage(None));
        for (words, why) in [
            (&["--nope"][..], "bpftrace: unrecognized option '--nope'"),
            (&["-x"], "bpftrace: invalid option -- 'x'"),
            (&["-e"], "bpftrace: option requires an argument -- 'e'"),
            (&["--quiet=1"], "bpftrace: option '--quiet' doesn't allow an argument"),
            (&["--no"], "bpftrace: option '--no' is ambiguous"),
            (&["-p", "1", "-c", "x"], "ERROR: USAGE: Cannot use both -c and -p."),
        ] {
            assert_eq!(refused(words), Usage(Some(why.to_owned())));
        }
        for (words, why) in [
            (&["-q"][..], "USAGE: filename or -e 'program' required."),
            (&["-p", "a1", "x"], "Failed to parse pid: invalid integer: a1"),
            (&["-p", "1a1", "x"], "Failed to parse pid: invalid trailing bytes: 1a1"),
            (&["-p", "5000000", "x"], "Pid out of range: 5000000"),
            (&["-d", "x"], "USAGE: invalid option for -d: x"),
            (&["-k", "--no-warnings"], "USAGE: -k, --warnings conflicts with --no-warnings"),
            (&["--mode", "test", "--bench"], "USAGE: --bench conflicts with existing --mode"),
        ] {
            assert_eq!(refused(words), Because(why.to_owned()));
        }
    }
}
