//! `unfrag man`: one manual page for the program and all its commands.

use crate::args::Cli;
use crate::exit::Exit;
use crate::printer::Printer;
use clap::CommandFactory;

pub(crate) fn run(printer: &Printer) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    // Built as a whole: by itself a subcommand would give `-h`, which is the host here, to its help.
    command.build();
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
