//! `unfrag restart`, as typed.

use crate::args::{Form, duration};
use crate::connect_args::ConnectArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use unfrag_act::restart::{Mode, Supervisor, Wish};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// How: auto (the gentlest that works here), plain, rolling, swap.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "MODE",
        hide_possible_values = true
    )]
    pub(crate) mode: ModeArg,
    /// Print the steps with every command, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// What starts the server again, for a shell; {host} and {port} in it are the server's.
    #[arg(long, value_name = "COMMAND", conflicts_with = "supervisor")]
    pub(crate) start_command: Option<String>,
    /// Who starts it: systemd:UNIT, docker:NAME, podman:NAME, supervisord:PROGRAM. Found by itself where it can be.
    #[arg(long, value_name = "WHO", value_parser = Supervisor::named)]
    pub(crate) supervisor: Option<Supervisor>,
    /// Swap a server that a supervisor keeps: in the end the supervisor's own new process serves (implies --mode swap).
    #[arg(long)]
    pub(crate) supervised: bool,
    /// Write settings that were changed at run time into the configuration file (CONFIG REWRITE) first.
    #[arg(long)]
    pub(crate) rewrite_config: bool,
    /// Take a snapshot first, verify it, and copy it there.
    #[arg(long, value_name = "FILE")]
    pub(crate) backup: Option<PathBuf>,
    /// Compare the whole data (DEBUG DIGEST, where allowed): writes wait about a second more a million keys.
    #[arg(long)]
    pub(crate) digest: bool,
    /// Hold writes back no longer than this in a hand-over: 500ms, 2s, a minute at most.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = pause)]
    pub(crate) pause_max: Duration,
    /// Give up waiting for data to load or to synchronise after this.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration)]
    pub(crate) wait_max: Duration,
    /// Go on where an objection may be passed over (the plan says which and why).
    #[arg(long)]
    pub(crate) allow: bool,
    /// Output: human, json.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Form,
}

/// Clients give up after some seconds, and what waits in the server takes memory: a longer pause is an outage. A hand-over
/// takes some tens of milliseconds, of which comparing may take half.
fn pause(text: &str) -> Result<Duration, String> {
    let asked = duration(text)?;
    if (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&asked) {
        Ok(asked)
    } else {
        Err("writes are held back for 50ms at least and 60s at most".to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    Auto,
    Plain,
    Rolling,
    Swap,
}

impl RestartArgs {
    pub(crate) fn wish(&self) -> Wish {
        let mode = match self.mode {
            ModeArg::Auto if self.supervised => Some(Mode::Swap),
            ModeArg::Auto => None,
            ModeArg::Plain => Some(Mode::Plain),
            ModeArg::Rolling => Some(Mode::Rolling),
            ModeArg::Swap => Some(Mode::Swap),
        };
        let command = self.start_command.clone().map(|line| Supervisor::Command { line });
        Wish {
            mode,
            supervisor: command.or_else(|| self.supervisor.clone()),
            supervised: self.supervised,
            rewrite_config: self.rewrite_config,
            allow: self.allow,
            digest: self.digest,
            backup: self.backup.clone(),
            pause_max: self.pause_max,
            wait_max: self.wait_max,
        }
    }
}
