//! `nettrace run`: a program of the bpftrace language, from its text to its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, LineWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use caps::Capability;
use regex::Regex;

use crate::cli::{Buffering, RunFormat, RunProgramArgs, Stage};
use crate::kernel::{Reason, Unsupported};
use crate::lang::ast::AttachPoint;
use crate::lang::cdecl::Headers;
use crate::lang::codegen;
use crate::lang::config::Config;
use crate::lang::diagnostics::Diagnostics;
use crate::lang::ktypes::KernelTypes;
use crate::lang::output::{Format, Output, OutputOptions};
use crate::lang::passes;
use crate::lang::probe::Probe;
use crate::lang::program::Program;
use crate::lang::runtime::{self, LoadOptions, RunError, Without};
use crate::lang::source::Sources;
use crate::lang::typed::Typed;
use crate::privileges;
use crate::run::{Usage, is_closed_pipe};

mod stages;

/// Bytes of the ring, unless the program or the environment says how many pages.
const RING_SIZE: u32 = 2 << 20;
const PAGE: u64 = 4096;
const MOST_PAGES: u64 = 1 << 18;
/// Whoever started us wants to be told when all is attached, by this line.
const NOTICE: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";
/// What the inode of the first PID namespace is (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Where a program is had from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// The command line.
    Here(String),
    /// A file; `-` is stdin.
    File(PathBuf),
}

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program.
    pub text: Text,
    /// `$1` and so on.
    pub parameters: Vec<String>,
    /// `--name=value` behind `--`, with their dashes.
    pub named: Vec<String>,
    /// The process of `-p`.
    pub pid: Option<u32>,
    /// The command of `-c`.
    pub command: Option<String>,
    /// Into a file in place of stdout.
    pub out: Option<PathBuf>,
    /// The form.
    pub format: Format,
    /// When it is written.
    pub buffering: Buffering,
    /// JSON has percentiles of histograms, which bpftrace's doesn't.
    pub with_percentiles: bool,
    /// How many probes were attached isn't told.
    pub is_quiet: bool,
    /// Reads of memory that fail are told.
    pub tells_failed_reads: bool,
    /// No warnings.
    pub without_warnings: bool,
    /// Functions that change the system are allowed.
    pub is_unsafe: bool,
    /// It ends once everything is attached.
    pub is_dry: bool,
    /// What is shown of the way.
    pub stages: Vec<Stage>,
    /// Folders to look for stripped-off debug information in.
    pub debug_folders: Vec<PathBuf>,
    /// `test` probes alone are run.
    pub is_test: bool,
    /// `bench` probes alone are run.
    pub is_bench: bool,
    /// Only probes of such names are attached, and begin and end.
    pub filter: Option<Regex>,
    /// Headers of `-I` and `--include`.
    pub headers: Headers,
    /// A list of what kprobes can be put on, in place of the kernel's.
    pub functions: Option<PathBuf>,
    /// What the kernel may offer and isn't made use of.
    pub without: Without,
}

impl Invocation {
    /// A program with everything as it is unless somebody says something else.
    pub fn new(text: Text) -> Self {
        Self {
            text,
            parameters: Vec::new(),
            named: Vec::new(),
            pid: None,
            command: None,
            out: None,
            format: Format::Text,
            buffering: Buffering::Full,
            with_percentiles: true,
            is_quiet: false,
            tells_failed_reads: false,
            without_warnings: false,
            is_unsafe: false,
            is_dry: false,
            stages: Vec::new(),
            debug_folders: Vec::new(),
            is_test: false,
            is_bench: false,
            filter: None,
            functions: None,
            without: Without::default(),
            headers: Headers::default(),
        }
    }
}

impl TryFrom<&RunProgramArgs> for Invocation {
    type Error = Usage;

    fn try_from(args: &RunProgramArgs) -> Result<Self, Usage> {
        let mut words = args.words.clone();
        let text = match &args.execute {
            Some(program) => Text::Here(program.clone()),
            None if words.is_empty() => {
                return Err(Usage("which program? A file, or -e PROGRAM".to_owned()));
            }
            None => Text::File(words.remove(0).into()),
        };
        let format = match args.format {
            RunFormat::Text => Format::Text,
            RunFormat::Json => Format::Json,
        };
        Ok(Self {
            parameters: words,
            named: args.named.clone(),
            pid: args.pid,
            command: args.command.clone(),
            out: args.out.clone(),
            format,
            buffering: args.buffering,
            is_quiet: args.quiet,
            tells_failed_reads: args.warnings,
            without_warnings: args.no_warnings,
            is_unsafe: args.is_unsafe,
            is_dry: args.dry_run,
            stages: args.debug.clone(),
            headers: Headers { folders: args.include_folders.clone(), first: args.include.clone() },
            ..Self::new(text)
        })
    }
}

/// Runs `run` and returns the exit status.
///
/// # Errors
/// [`Usage`], [`Unsupported`], or what failed on the way. What is wrong with the program is written to stderr with its
/// places, and the status is 1.
pub fn run_args(args: &RunProgramArgs) -> Result<i32> {
    run(&Invocation::try_from(args)?)
}

/// Runs a program and returns its exit status; see [`run_args`].
///
/// # Errors
/// The same.
pub fn run(invocation: &Invocation) -> Result<i32> {
    let kernel = KernelTypes::with_functions(invocation.functions.clone());
    let Some(typed) = checked(invocation, &kernel)? else { return Ok(1) };
    let Some(program) = generated(&typed, &kernel, invocation) else { return Ok(1) };
    execute(&program, &typed, &typed.sources, &kernel, invocation)
}

/// Makes a program's instructions and leaves it at that; the exit status.
///
/// # Errors
/// If the program can't be read.
pub fn compile(invocation: &Invocation) -> Result<i32> {
    let kernel = KernelTypes::with_functions(invocation.functions.clone());
    let Some(typed) = checked(invocation, &kernel)? else { return Ok(1) };
    Ok(if generated(&typed, &kernel, invocation).is_some() { 0 } else { 1 })
}

/// Where a program attaches, wildcards expanded; nothing if something is wrong with it, which is told.
///
/// # Errors
/// If the program can't be read.
pub fn attach_points(invocation: &Invocation) -> Result<Option<Vec<AttachPoint>>> {
    let typed = checked(invocation, &KernelTypes::with_functions(invocation.functions.clone()))?;
    let probes = typed.map(|typed| typed.script.probes);
    Ok(probes.map(|probes| probes.into_iter().flat_map(|probe| probe.attach_points).collect()))
}

fn checked(invocation: &Invocation, kernel: &KernelTypes) -> Result<Option<Typed>> {
    let (name, text) = read(&invocation.text)?;
    let options = passes::Options {
        parameters: invocation.parameters.clone(),
        named: invocation.named.iter().map(|word| named(word)).collect(),
        environment: environment(),
        pid: invocation.pid,
        is_unsafe: invocation.is_unsafe,
        debug_folders: invocation.debug_folders.clone(),
        headers: invocation.headers.clone(),
        test: invocation.is_test,
        bench: invocation.is_bench,
    };
    let passes::Checked { typed, diagnostics, sources } =
        passes::check(&name, &text, &options, kernel);
    tell(diagnostics, &sources, invocation);
    let Some(mut typed) = typed else { return Ok(None) };
    if let Some(filter) = &invocation.filter {
        let probes = &mut typed.script.probes;
        for probe in probes.iter_mut() {
            let is_wanted = |point: &AttachPoint| {
                matches!(point.probe, Some(Probe::Begin | Probe::End | Probe::SelfSignal(_)))
                    || filter.is_match(&point.name)
            };
            probe.attach_points.retain(is_wanted);
        }
        probes.retain(|probe| !probe.attach_points.is_empty());
    }
    if typed.script.probes.is_empty() {
        if !invocation.is_quiet {
            eprintln!("No probes to attach");
        }
        return Ok(None);
    }
    stages::show(&typed, &invocation.stages);
    Ok(Some(typed))
}

fn generated(typed: &Typed, kernel: &KernelTypes, invocation: &Invocation) -> Option<Program> {
    let options = codegen::Options {
        tells_failed_reads: invocation.tells_failed_reads,
        pid_namespace: pid_namespace(),
        series_clock: std::env::var("BPFTRACE_DUMMY_TS_MAP").ok().map(Into::into),
    };
    match codegen::generate(typed, kernel, &options) {
        Ok(program) => {
            stages::show_code(&program, &typed.sources, &invocation.stages);
            Some(program)
        }
        Err(diagnostics) => {
            tell(diagnostics, &typed.sources, invocation);
            None
        }
    }
}

/// The program's name in messages, and its text.
fn read(text: &Text) -> Result<(String, String)> {
    match text {
        Text::Here(text) => Ok(("stdin".to_owned(), text.clone())),
        Text::File(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("read the program from stdin")?;
            Ok(("stdin".to_owned(), text))
        }
        Text::File(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path)
                .with_context(|| format!("failed to open file '{name}'"))?;
            Ok((name, text))
        }
    }
}

/// `--name=value`, or a switch.
fn named(word: &str) -> (String, Option<String>) {
    let word = word.trim_start_matches("--");
    match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word.to_owned(), None),
    }
}

fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("BPFTRACE_")).collect()
}

/// The device and inode of the PID namespace, if it isn't the first one, in which the kernel counts.
fn pid_namespace() -> Option<(u64, u64)> {
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?;
    (namespace.ino() != FIRST_PID_NAMESPACE).then_some((namespace.dev(), namespace.ino()))
}

fn tell(diagnostics: Diagnostics, sources: &Sources, invocation: &Invocation) {
    let shown =
        if invocation.without_warnings { diagnostics.without_warnings() } else { diagnostics };
    eprint!("{}", shown.render(sources));
}

fn execute(
    program: &Program,
    typed: &Typed,
    sources: &Sources,
    kernel: &KernelTypes,
    invocation: &Invocation,
) -> Result<i32> {
    let needed = [Capability::CAP_BPF, Capability::CAP_PERFMON];
    let missing = privileges::missing(&needed);
    if !missing.is_empty() {
        return Err(Unsupported::new("run a program", Reason::Capabilities(missing)).into());
    }
    let config = &typed.config;
    let to = writer(invocation)?;
    let options = OutputOptions {
        format: invocation.format,
        is_quiet: invocation.is_quiet,
        without_warnings: invocation.without_warnings,
        is_unsafe: invocation.is_unsafe,
        with_percentiles: invocation.with_percentiles,
    };
    let mut output = Output::new(program, config, sources, options, to);
    let options = run_options(config, invocation);
    match runtime::run(program, config, sources, kernel, &options, &mut output) {
        Ok(status) => Ok(status),
        Err(RunError::Refused(diagnostics)) => {
            tell(diagnostics, sources, invocation);
            Ok(1)
        }
        Err(RunError::NotAttached(text)) => {
            eprint!("{text}");
            Ok(1)
        }
        Err(RunError::Child(error)) => Err(error.into()),
        Err(RunError::Other(error)) if is_closed_pipe(&error) => Ok(0),
        Err(RunError::Other(error)) => Err(error),
        Err(error) => Err(error.into()),
    }
}

fn run_options(config: &Config, invocation: &Invocation) -> runtime::Options {
    let command = invocation.command.as_deref().unwrap_or_default();
    let shows = |stage| invocation.stages.contains(&stage);
    runtime::Options {
        pid: invocation.pid,
        command: command.split_whitespace().map(OsString::from).collect(),
        is_unsafe: invocation.is_unsafe,
        debug_folders: invocation.debug_folders.clone(),
        mode: match (invocation.is_test, invocation.is_bench) {
            (true, _) => runtime::Mode::Test,
            (_, true) => runtime::Mode::Bench,
            _ => runtime::Mode::Run,
        },
        format: invocation.format,
        is_dry: invocation.is_dry,
        load: LoadOptions {
            log_size: config.log_size,
            with_logs: shows(Stage::Verifier) || shows(Stage::All),
            has_pid: invocation.pid.is_some() || invocation.command.is_some(),
            without: invocation.without,
        },
        ring_size: Some(ring_size(config)),
        with_warnings: !invocation.without_warnings,
        notice: std::env::var_os(NOTICE).map(|_| NOTICE),
        to_stdout: invocation.out.is_none(),
    }
}

/// Bytes of the ring: a power of two.
fn ring_size(config: &Config) -> u32 {
    match config.perf_rb_pages {
        0 => RING_SIZE,
        pages => (pages.min(MOST_PAGES) * PAGE).next_power_of_two() as u32,
    }
}

fn writer(invocation: &Invocation) -> Result<Box<dyn Write>> {
    let to: Box<dyn Write> = match &invocation.out {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.with_context(|| format!("write to {}", path.display()))?)
        }
        // Not std's, which looks for lines in all that is written.
        None => {
            let stdout = io::stdout();
            let own = std::os::fd::AsFd::as_fd(&stdout).try_clone_to_owned();
            Box::new(File::from(own.context("write to stdout")?))
        }
    };
    Ok(match invocation.buffering {
        Buffering::Full => Box::new(io::BufWriter::with_capacity(64 << 10, to)),
        Buffering::Line => Box::new(LineWriter::new(to)),
        Buffering::None => to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_parameters() {
        assert_eq!(named("--name=a=b"), ("name".to_owned(), Some("a=b".to_owned())));
        assert_eq!(named("--switch"), ("switch".to_owned(), None));
    }

    #[test]
    fn rings_are_powers_of_two() {
        let of = |perf_rb_pages| ring_size(&Config { perf_rb_pages, ..Config::default() });
        assert_eq!([of(0), of(1), of(3), of(64)], [RING_SIZE, 4096, 16384, 64 * 4096]);
        assert_eq!(of(u64::MAX), 1 << 30);
    }

    #[test]
    fn a_program_is_a_file_or_in_the_line() {
        let args = RunProgramArgs { words: vec!["a.bt".into(), "1".into()], ..Default::default() };
        let of_file = Invocation::try_from(&args).map(|made| (made.text, made.parameters));
        assert_eq!(of_file.ok(), Some((Text::File("a.bt".into()), vec!["1".to_owned()])));
        let args = RunProgramArgs { execute: Some("end {}".into()), ..args };
        let here = Invocation::try_from(&args).map(|made| (made.text, made.parameters.len()));
        assert_eq!(here.ok(), Some((Text::Here("end {}".into()), 2)));
        assert!(Invocation::try_from(&RunProgramArgs::default()).is_err());
    }
}
