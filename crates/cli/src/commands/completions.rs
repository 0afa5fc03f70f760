//! `unfrag completions`: generated from the same definitions as the parser.

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Exit;
use crate::printer::Printer;
use clap::CommandFactory;

pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "unfrag", &mut script);
    printer.data(&String::from_utf8(script)?);
    Ok(Exit::Fine)
}
