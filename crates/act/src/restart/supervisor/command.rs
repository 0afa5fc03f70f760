//! A shell command that the user gave.

use super::Account;
use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use unfrag_client::Address;

pub(super) fn account(line: &str, address: &Address, process: Option<&Process>) -> Account {
    let known = process.map(Process::binary_name).unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    Account { boot: Boot::from_shell(&filled(line, address), &known, &here), ..Account::default() }
}

/// The line for one server.
pub(crate) fn filled(line: &str, address: &Address) -> String {
    match address {
        Address::Tcp(host, port) => {
            line.replace("{host}", host).replace("{port}", &port.to_string())
        }
        Address::Unix(_) => line.to_owned(),
    }
}

/// Runs the line in a process group of its own: what it starts stays when we end, and Ctrl-C is not meant for it.
pub(super) fn start(
    line: &str,
    address: &Address,
    output: Option<&Path>,
) -> Result<Child, ActError> {
    use std::os::unix::process::CommandExt;
    let line = filled(line, address);
    let fail =
        |e: std::io::Error| ActError::Unsafe(format!("the start command `{line}` failed: {e}"));
    let sink = || match output {
        Some(path) => OpenOptions::new().create(true).append(true).open(path).map(Stdio::from),
        None => Ok(Stdio::null()),
    };
    let mut command = Command::new("sh");
    command.arg("-c").arg(&line).stdin(Stdio::null()).process_group(0);
    command.stdout(sink().map_err(fail)?).stderr(sink().map_err(fail)?);
    command.spawn().map_err(fail)
}
