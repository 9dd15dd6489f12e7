//! Arguments in, library called, exit status out.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nettrace::cli::{Cli, Command, DashboardArgs, TopArgs};
use nettrace::filter::nearest;
use nettrace::kernel::{self, Unsupported};
use nettrace::model::View;
use nettrace::run::{NotExecuted, Usage};
use nettrace::{
    bpftrace, capture, doctor, drops, events, list, output, path, script, syscalls, top, tui,
};

const FAILED: i32 = 1;
const WRONG_USAGE: i32 = 2;
const NOT_POSSIBLE: i32 = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "bpftrace") {
        return exit_code(bpftrace::run(arguments));
    }
    let cli = Cli::parse();
    let is_dashboard = cli.command.is_none() && io::stdout().is_terminal();
    // It would write into the screen.
    kernel::catch_libbpf(cli.verbose && !is_dashboard);
    let result = match cli.command {
        None => bare(&cli.dashboard, is_dashboard),
        Some(_) if cli.dashboard != DashboardArgs::default() => {
            Err(Usage("write a command's flags after it".to_owned()).into())
        }
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Syscalls(args)) => syscalls::run(&args),
        Some(Command::Drops(args)) => drops::run(&args),
        Some(Command::Events(args)) => events::run(&args),
        Some(Command::Capture(args)) => capture::run(&args),
        Some(Command::Path(args)) => path::run(&args),
        Some(Command::Run(args)) => script::run_args(&args),
        Some(Command::List(mut args)) => {
            args.arguments |= cli.verbose;
            list::run(&args)
        }
        Some(Command::Doctor(args)) => doctor::run(args.format),
        Some(Command::Schema) => output::print_schema(),
    };
    let status = result.unwrap_or_else(|error| {
        eprintln!("nettrace: {error:#}");
        status_of(&error)
    });
    exit_code(status)
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Without a command.
fn bare(args: &DashboardArgs, is_dashboard: bool) -> anyhow::Result<i32> {
    check_command(args).map_err(Usage)?;
    if is_dashboard { tui::run(args) } else { top::run(&TopArgs::from(args)) }
}

/// What isn't a view may have been meant as a command.
fn check_command(args: &DashboardArgs) -> Result<(), String> {
    let views = View::ALL.map(View::name);
    let Some(word) = args.words.first().filter(|word| !views.contains(&word.as_str())) else {
        return Ok(());
    };
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    match nearest(word, commands.iter().copied().chain(views)) {
        Some(near) if word.chars().all(char::is_alphabetic) => {
            Err(format!("no command or view {word}; did you mean {near}?"))
        }
        None if word.chars().all(char::is_alphabetic) => Err(format!(
            "no command or view {word}; there are the commands {} and the views {}",
            commands.join(" "),
            views.join(" ")
        )),
        _ => Ok(()),
    }
}

fn status_of(error: &anyhow::Error) -> i32 {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return WRONG_USAGE;
        }
        if cause.is::<Unsupported>() {
            return NOT_POSSIBLE;
        }
        if let Some(not_executed) = cause.downcast_ref::<NotExecuted>() {
            return not_executed.status;
        }
    }
    FAILED
}
