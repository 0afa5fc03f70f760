//! The command line, as typed. `-h` is the host, as in redis-cli; help is `--help`.

use crate::connect_args::ConnectArgs;
use crate::printer::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use unfrag_act::RemedyName;
use unfrag_model::Verdict;

/// Where did the memory of your Redis or Valkey server go, and how to get it back.
#[derive(Debug, Parser)]
#[command(name = "unfrag", version, disable_help_flag = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 a bug in unfrag, 2 usage, 3 findings at or above --fail-on,\n4 unreachable or not allowed, 5 unreadable input, 6 a guard refused, 7 failed and\nrolled back, 8 roll-back failed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print help.
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Use colour: auto, always, never. `NO_COLOR` is respected.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is something wrong with a server's memory, what, and what would each remedy give back?
    Check(Box<CheckArgs>),
    /// Give memory back while the server keeps serving: purge, defrag, repack, within a latency budget.
    Fix(Box<FixArgs>),
    /// Start it afresh and lose nothing: swap, rolling or plain, the gentlest that works here.
    Restart(Box<crate::restart_args::RestartArgs>),
    /// Put back what an interrupted fix, restart or reshape changed, and delete what it set aside.
    Undo(Box<UndoArgs>),
    /// Which keys hold the memory, by pattern; what would hashes or compression save?
    Keys(Box<crate::keys_args::KeysArgs>),
    /// Keep the same data in less memory: keys into hashes, values compressed; a dry run first, reversible.
    Reshape(crate::reshape_args::ReshapeArgs),
    /// Verify a snapshot; size it for any server version.
    Rdb(crate::rdb_args::RdbArgs),
    /// Watch servers: history, metrics, alerts, a web page, remedies in the hours you allow.
    Watch(Box<crate::watch_args::WatchArgs>),
    /// The live view of servers in a terminal.
    Top(Box<crate::watch_args::TopArgs>),
    /// Start a disposable, really fragmented server to try this on; Ctrl-C stops it.
    Lab(LabArgs),
    /// Print a rule's page: what it detects, why it matters, what to do.
    Explain(ExplainArgs),
    /// Print the ACL rules that a command needs, and no more.
    Acl(AclArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page (roff).
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Read only the servers named, not the Cluster around them.
    #[arg(long, conflicts_with = "cluster")]
    pub(crate) only: bool,
    /// Output: human, json, markdown.
    #[arg(
        short,
        long,
        help_heading = "Output",
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Output,
    /// Exit with 3 when a verdict is at or above this: watch, act, urgent.
    #[arg(
        long,
        help_heading = "Output",
        value_enum,
        value_name = "VERDICT",
        hide_possible_values = true
    )]
    pub(crate) fail_on: Option<FailOn>,
    /// Say everything: all findings, all evidence, the sums, each command with its cost.
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// Use this advisory table instead of the built-in one.
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    pub(crate) advisories: Option<PathBuf>,
    /// A snapshot of this server: what a restart would reach is then sized from it, key by key.
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct FixArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Do it without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print the plan with every command it may send, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only these remedies: purge, defrag, repack.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "REMEDY",
        hide_possible_values = true
    )]
    pub(crate) only: Vec<Remedy>,
    /// End after this: 90s, 15m, 2h.
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = duration)]
    pub(crate) max_duration: Duration,
    /// Latency that may be added at the 99.9th percentile: 5ms, 800us.
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = duration)]
    pub(crate) latency_budget: Duration,
    /// Stop when RSS / used is down to this.
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub(crate) target_ratio: Option<f64>,
    /// Go on where a guard says no and may be overridden (the plan says which and why).
    #[arg(long)]
    pub(crate) allow: bool,
    /// A snapshot of this server: the floor that a restart would reach is then sized from it, key by key.
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Hold the fix that another terminal runs on this server.
    #[arg(long, conflicts_with_all = ["yes", "dry_run", "resume", "abort"])]
    pub(crate) pause: bool,
    /// Let it go on.
    #[arg(long, conflicts_with_all = ["yes", "dry_run", "abort"])]
    pub(crate) resume: bool,
    /// End it; it puts everything back.
    #[arg(long, conflicts_with_all = ["yes", "dry_run"])]
    pub(crate) abort: bool,
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

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
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

/// Output of commands that act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Remedy {
    Purge,
    Defrag,
    Repack,
}

impl From<Remedy> for RemedyName {
    fn from(value: Remedy) -> Self {
        match value {
            Remedy::Purge => Self::Purge,
            Remedy::Defrag => Self::Defrag,
            Remedy::Repack => Self::Repack,
        }
    }
}

/// Longer than any run.
const MOST_SECONDS: f64 = 7.0 * 86400.0;

/// RSS over used: a process in RAM does not get below one.
fn ratio(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 1.0);
    value.ok_or_else(|| "write a ratio of RSS to used memory from 1.0 up, as 1.2".to_owned())
}

/// `90s`, `15m`, `2h`, `5ms`, `800us`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at).unwrap_or((text, ""));
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit: 800us, 5ms, 90s, 15m, 2h".to_owned()),
    };
    let value = number.parse::<f64>().map_err(|_| format!("`{number}` is not a number"))? * seconds;
    if (1e-5..=MOST_SECONDS).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err("write a time from 10us to 168h".to_owned())
    }
}

/// Pasted or saved output instead of a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "From files, without a server")]
pub(crate) struct FileArgs {
    /// INFO text as people paste it, a folder with it, or `-`.
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Output of MEMORY MALLOC-STATS.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) malloc_stats: Option<PathBuf>,
    /// Output of MEMORY STATS.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) memory_stats: Option<PathBuf>,
    /// Output of CONFIG GET, or a redis.conf.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) config: Option<PathBuf>,
    /// Server log, or output of free, top, smaps.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Human,
    Json,
    Markdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    Watch,
    Act,
    Urgent,
}

impl From<FailOn> for Verdict {
    fn from(value: FailOn) -> Self {
        match value {
            FailOn::Watch => Self::Watch,
            FailOn::Act => Self::Act,
            FailOn::Urgent => Self::Urgent,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    /// Which server: redis-6.2.5, redis-7.0.15, redis-8.2.3, valkey-8.1.8, valkey-9.1.2, or a path to a server binary.
    #[arg(long, default_value = "redis-8.2.3", value_name = "NAME")]
    pub(crate) server: String,
    /// How it is fragmented: strings, churn, collections, ttl, large.
    #[arg(long, default_value = "strings", value_name = "NAME")]
    pub(crate) workload: String,
    /// About how much memory to fill before it is thinned, in MiB.
    #[arg(long, default_value_t = 400, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=8192))]
    pub(crate) fill: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The rule's id, as a report prints it. Without it: the list of rules.
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AclArgs {
    /// The command: check, fix, restart, reshape, undo, rdb, keys, watch, top.
    #[arg(default_value = "check")]
    pub(crate) command: String,
    /// The user's name in the line printed.
    #[arg(long, default_value = "unfrag", value_name = "NAME")]
    pub(crate) user: String,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, elvish, powershell.
    pub(crate) shell: clap_complete::Shell,
}
