//! `unfrag acl`: the rights a command needs, and no more.

use crate::args::AclArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn run(args: &AclArgs, printer: &Printer) -> anyhow::Result<Exit> {
    printer.data(&args.user);
    Ok(Exit::Fine)
}
