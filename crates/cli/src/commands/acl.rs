//! `unfrag acl`: the rights a command needs, and no more.

use crate::args::AclArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use unfrag_client::acl::{Reading, acl_line};

pub(crate) fn run(args: &AclArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if args.command != "check" {
        let message = format!("no rights are known for '{}'; commands are: check", args.command);
        return Err(UsageError { message }.into());
    }
    // A name with a blank would end the user's part and begin a rule.
    if args.user.is_empty() || args.user.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UsageError { message: "a user's name holds no blanks".to_owned() }.into());
    }
    for reading in [Reading::Server, Reading::ClusterNode, Reading::Sentinel] {
        printer.data(&format!("# {reading}\n{}\n", acl_line(reading, &args.user)));
    }
    Ok(Exit::Fine)
}
