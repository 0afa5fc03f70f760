//! `unfrag acl`: the rights a command needs, and no more.

use crate::args::AclArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use unfrag_client::acl;

pub(crate) fn run(args: &AclArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let Some(rules) = acl::rules(&args.command) else {
        let message = format!(
            "no rights are known for '{}'; commands are: {}",
            args.command,
            acl::COMMANDS.join(", ")
        );
        return Err(UsageError { message }.into());
    };
    printer.data(&format!("ACL SETUSER {} on >PASSWORD {rules}\n", args.user));
    Ok(Exit::Fine)
}
