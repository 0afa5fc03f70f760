//! The binary `unfrag`: arguments in, text and an exit code out. No logic worth testing elsewhere.
//!
//! Read [`args::Cli`] first: each command is one module under `commands/`.

mod args;
mod commands;
mod connect_args;
mod exit;
mod fetch_args;
mod keys_args;
mod printer;
mod rdb_args;
mod render;
mod reshape_args;
mod restart_args;
mod watch_args;

use args::{Cli, Command};
use clap::Parser;
use clap::error::ErrorKind;
use exit::Exit;
use printer::Printer;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(cli.color);
    let exit = run(cli, &printer).unwrap_or_else(|error| {
        printer.error(&error);
        exit::of(&error)
    });
    let exit = if exit == Exit::Fine && printer.has_lost() { Exit::RolledBack } else { exit };
    ExitCode::from(exit as u8)
}

fn run(cli: Cli, printer: &Printer) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Check(args) => commands::check::run(&args, printer),
        Command::Fix(args) => commands::fix::run(&args, printer),
        Command::Restart(args) => commands::restart::run(&args, printer),
        Command::Undo(args) => commands::undo::run(&args, printer),
        Command::Watch(args) => commands::watch::run(&args, printer),
        Command::Top(args) => commands::top::run(&args, printer),
        Command::Keys(args) => commands::keys::run(&args, printer),
        Command::Lab(args) => commands::lab::run(&args, printer),
        Command::Reshape(args) => commands::reshape::run(&args, printer),
        Command::Rdb(args) => commands::rdb::run(&args, printer),
        Command::Explain(args) => commands::explain::run(&args, printer),
        Command::Acl(args) => commands::acl::run(&args, printer),
        Command::Completions(args) => commands::completions::run(&args, printer),
        Command::Man => commands::man::run(printer),
    }
}

/// clap's own message; `--help` and `--version` are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a terminal that is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(Exit::Usage as u8),
    }
}
