//! A shell command that the user gave.

use super::Account;
use super::started::{Printed, Started};
use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use unfrag_client::Address;

pub(super) fn account(line: &str, address: &Address, process: Option<&Process>) -> Account {
    let known = process.map(Process::binary_name).unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let line = filled(line, address);
    Account {
        boot: Boot::from_shell(&line, &known, &here),
        trouble: why_not_started(&line),
        ..Account::default()
    }
}

/// A line that no shell can begin. Where its first word is more than a plain name, only the shell can tell.
fn why_not_started(line: &str) -> Option<String> {
    let Some(word) = line.split_whitespace().next() else {
        return Some("the start command is empty".to_owned());
    };
    if !word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return None;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"command -v -- "$1""#, "sh", word]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let is_unknown = shell.status().is_ok_and(|status| !status.success());
    is_unknown.then(|| format!("the start command begins with `{word}`, which is no command here"))
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
) -> Result<Started, ActError> {
    /// What is printed once we have stopped reading is no reason to die.
    const DEAF: &str = "trap '' PIPE; exec sh -c \"$1\"";
    use std::os::unix::process::CommandExt;
    let line = filled(line, address);
    let fail =
        |e: std::io::Error| ActError::Unsafe(format!("the start command `{line}` failed: {e}"));
    let (printed, [out, err]) = Printed::to(output).map_err(fail)?;
    let mut command = Command::new("sh");
    if output.is_some() {
        command.args(["-c", &line]);
    } else {
        command.args(["-c", DEAF, "sh", &line]);
    }
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    Ok(Started::new(command.spawn().map_err(fail)?, printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_shell_can_begin_is_told() {
        for line in ["", "  ", "redis-serverr /x", "/nonexistent/start --now"] {
            assert!(why_not_started(line).is_some(), "{line}");
        }
        for line in
            ["cd /tmp && ls", "sh -c 'true'", "/bin/sh x", "A=1 sh x", "\"$HOME/x\"", ". ./x"]
        {
            assert_eq!(why_not_started(line), None, "{line}");
        }
    }
}
