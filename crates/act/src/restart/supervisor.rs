//! [`Supervisor`]: what brings a server's process up again. One a file.

mod command;
mod container;
mod started;
mod supervisord;
mod systemd;

pub(crate) use started::Started;

use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;
use unfrag_client::Address;

/// Whoever starts the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Supervisor {
    /// A systemd unit, through systemctl.
    Systemd {
        /// `redis-server.service`.
        unit: String,
    },
    /// A container of docker or podman.
    Container {
        /// `docker` or `podman`.
        engine: String,
        /// Its name or id.
        name: String,
    },
    /// A program of supervisord, through supervisorctl.
    Supervisord {
        /// The program's name.
        program: String,
        /// The words that speak with its supervisord, where `supervisorctl` alone does not.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        control: Vec<String>,
    },
    /// A shell command that the user gave; `{host}` and `{port}` in it are the server's.
    Command {
        /// The line.
        line: String,
    },
}

impl fmt::Display for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd { unit } => write!(f, "systemctl start {unit}"),
            Self::Container { engine, name } => write!(f, "{engine} start {name}"),
            Self::Supervisord { program, control } => {
                write!(f, "{} start {program}", supervisord::typed(control))
            }
            Self::Command { line } => f.write_str(line),
        }
    }
}

/// What the supervisor says that matters before a stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// The command line of the next start.
    pub(crate) boot: Option<Boot>,
    /// Seconds it gives a process to stop before it kills it.
    pub(crate) stop_timeout_s: Option<u64>,
    /// The server tells it of every stop, whoever ordered that.
    pub(crate) hears_stop: bool,
    /// What it runs as the process ends, whoever ended it, where that may reach another process.
    pub(crate) stop_command: Option<String>,
    /// Seconds it gives a process to have loaded everything before it kills it.
    pub(crate) ready_timeout_s: Option<u64>,
    /// Why it would not start the server again.
    pub(crate) trouble: Option<String>,
}

impl Supervisor {
    /// As the user named it: `systemd:UNIT`, `docker:NAME`, `podman:NAME`, `supervisord:PROGRAM`.
    pub fn named(text: &str) -> Result<Self, String> {
        let hint = "write systemd:UNIT, docker:NAME, podman:NAME or supervisord:PROGRAM";
        let (kind, name) = text.split_once(':').ok_or(hint)?;
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_.@:\\/".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(safe) {
            return Err(format!("`{name}` is no name of a unit, container or program"));
        }
        let name = name.to_owned();
        match kind {
            "systemd" => Ok(Self::Systemd { unit: name }),
            "docker" | "podman" => Ok(Self::Container { engine: kind.to_owned(), name }),
            "supervisord" => Ok(Self::Supervisord { program: name, control: vec![] }),
            _ => Err(hint.to_owned()),
        }
    }

    /// Who runs this process, if somebody does.
    pub(crate) async fn detect(process: &Process) -> Option<Self> {
        if let Some(found) = container::detect(process).or_else(|| systemd::detect(process)) {
            return Some(found);
        }
        supervisord::detect(process).await
    }

    /// This one, with what is known of it when it is the one that was found.
    pub(crate) fn or_found(self, found: Option<&Self>) -> Self {
        match (&self, found) {
            (
                Self::Supervisord { program, .. },
                Some(Self::Supervisord { program: known, control }),
            ) if program == known => {
                Self::Supervisord { program: known.clone(), control: control.clone() }
            }
            _ => self,
        }
    }

    /// The process that it calls the server's, where it keeps one as its own.
    pub(crate) async fn main_pid(&self) -> Option<u32> {
        match self {
            Self::Systemd { unit } => systemd::main_pid(unit).await,
            Self::Supervisord { program, control } => supervisord::main_pid(program, control).await,
            Self::Container { .. } | Self::Command { .. } => None,
        }
    }

    /// It knows its own process, so that it can be held against the one that answers.
    pub(crate) fn keeps_a_process(&self) -> bool {
        matches!(self, Self::Systemd { .. } | Self::Supervisord { .. })
    }

    /// What it says of the server.
    pub(crate) async fn account(&self, address: &Address, process: Option<&Process>) -> Account {
        match self {
            Self::Systemd { unit } => systemd::account(unit, process).await,
            Self::Container { engine, name } => container::account(engine, name).await,
            Self::Supervisord { program, control } => {
                supervisord::account(program, control, process).await
            }
            Self::Command { line } => command::account(line, address, process),
        }
    }

    /// As it is typed for one server.
    pub(crate) fn typed_for(&self, address: &Address) -> String {
        match self {
            Self::Command { line } => command::filled(line, address),
            other => other.to_string(),
        }
    }

    /// Starts the server. Idempotent where the supervisor is: one that has started it by itself is content. A command of
    /// the user's is a child of ours, which may be the server itself; so is a systemctl that waits for a unit.
    pub(crate) async fn start(
        &self,
        address: &Address,
        output: Option<&Path>,
    ) -> Result<Started, ActError> {
        match self {
            Self::Systemd { unit } => return systemd::start(unit),
            Self::Container { engine, name } => container::start(engine, name).await?,
            Self::Supervisord { program, control } => supervisord::start(program, control).await?,
            Self::Command { line } => return command::start(line, address, output),
        }
        Ok(Started::default())
    }
}

/// Longer than any supervisor takes to answer; systemd's own default for a start is 90 s.
const ANSWERS: Duration = Duration::from_secs(120);

/// Runs a supervisor's own tool; an error holds what it said.
async fn run(program: &str, args: &[&str]) -> Result<Output, ActError> {
    let shown = format!("{program} {}", args.join(" "));
    let fail = |why: String| ActError::Unsafe(format!("`{shown}` failed: {why}"));
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWERS, command.output()).await;
    let output = output
        .map_err(|_| fail(format!("no answer in {} s", ANSWERS.as_secs())))?
        .map_err(|e| fail(e.to_string()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(fail(why(&output.stderr, output.status)))
}

/// Its words, or how it ended.
fn why(said: &[u8], status: ExitStatus) -> String {
    let said = String::from_utf8_lossy(said).trim().replace('\n', " / ");
    if said.is_empty() { status.to_string() } else { said }
}
