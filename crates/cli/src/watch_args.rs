//! `unfrag watch`, as typed. What is said here wins over the configuration file.

use crate::connect_args::ConnectArgs;
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Everything else, in TOML; SIGHUP reads it again.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the page and /metrics are (by default 127.0.0.1:9122).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the history is kept (by default $STATE_DIRECTORY, or ~/.local/state/unfrag/watch).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Between two cheap looks at a server (by default 10s).
    #[arg(long, value_name = "TIME")]
    pub(crate) interval: Option<String>,
    /// Between two whole samples, MALLOC-STATS among them (by default 10m).
    #[arg(long, value_name = "TIME")]
    pub(crate) deep_interval: Option<String>,
    /// A file with the token that allows acting from the page; without one it only shows.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A name under which the page may be asked for, besides addresses and localhost.
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Vec<String>,
    /// Watch only part N of M of the targets: several watches share a fleet.
    #[arg(long, value_name = "N/M", value_parser = share)]
    pub(crate) share: Option<(u64, u64)>,
    /// Print alert rules for Prometheus, and end.
    #[arg(long)]
    pub(crate) print_rules: bool,
    /// Print a dashboard for Grafana, and end.
    #[arg(long, conflicts_with = "print_rules")]
    pub(crate) print_dashboard: bool,
    /// Print a systemd unit, and end.
    #[arg(long, conflicts_with_all = ["print_rules", "print_dashboard"])]
    pub(crate) print_unit: bool,
    /// Logs: text, json.
    #[arg(
        long,
        value_enum,
        default_value = "text",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) log: LogForm,
    /// Log this much: error, warn, info, debug, trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Between two looks at a server.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) interval: String,
}

fn share(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)));
    parts
        .filter(|(n, m)| (1..=*m).contains(n))
        .ok_or_else(|| "write which part of how many: 2/5".to_owned())
}
