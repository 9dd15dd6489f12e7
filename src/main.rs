//! Arguments in, library called, exit status out.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use nettrace::cli::{Cli, Command, DashboardArgs, TopArgs};
use nettrace::kernel::{self, Unsupported};
use nettrace::run::{NotExecuted, Usage};
use nettrace::{doctor, output, syscalls, top, tui};

const FAILED: i32 = 1;
const WRONG_USAGE: i32 = 2;
const NOT_POSSIBLE: i32 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_dashboard = cli.command.is_none() && io::stdout().is_terminal();
    // It would write into the screen.
    kernel::catch_libbpf(cli.verbose && !is_dashboard);
    let result = match cli.command {
        None if is_dashboard => tui::run(&cli.dashboard),
        None => top::run(&TopArgs::default()),
        Some(_) if cli.dashboard != DashboardArgs::default() => {
            Err(Usage("write a command's flags after it".to_owned()).into())
        }
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Syscalls(args)) => syscalls::run(&args),
        Some(Command::Doctor(args)) => doctor::run(args.format),
        Some(Command::Schema) => output::print_schema(),
    };
    let status = result.unwrap_or_else(|error| {
        eprintln!("nettrace: {error:#}");
        status_of(&error)
    });
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
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
