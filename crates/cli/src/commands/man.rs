//! `unfrag man`: one manual page for the program and all its commands.

use crate::args::Cli;
use crate::exit::Exit;
use crate::printer::Printer;
use clap::CommandFactory;

pub(crate) fn run(printer: &Printer) -> anyhow::Result<Exit> {
    let command = Cli::command();
    let mut page = vec![];
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        clap_mangen::Man::new(sub.clone())
            .title(format!("unfrag-{}", sub.get_name()))
            .render(&mut page)?;
    }
    printer.data(&String::from_utf8(page)?);
    Ok(Exit::Fine)
}
