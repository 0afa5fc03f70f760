//! Arguments of `unfrag keys`.

use crate::connect_args::ConnectArgs;
use crate::rdb_args::AllocatorName;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "A TARGET is a server, a snapshot (a path, or - for standard input), or several of either.\np50 and p99 are the largest size seen in the quarter of a doubling that the quantile falls in: exact where a pattern's keys are of one size, at most a quarter too high.\nA server that had no replica keeps a replication backlog (repl-backlog-size) after a stream, until repl-backlog-ttl is over.\nThe SQL of docs/keys-queries.md reads folders of -o parquet."
)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: Option<KeysCommand>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) size: SizeForArgs,
    /// Keys in each list of the biggest.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) top: usize,
    /// Sum up Cluster slots too; done by itself for a Cluster.
    #[arg(long)]
    pub(crate) by_slot: bool,
    /// Output of MEMORY MALLOC-STATS, to tell whose allocations stand in fragmented bins; a server is asked for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) malloc_stats: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// What grew between two snapshots, by pattern.
    Diff(DiffArgs),
}

/// Whom bytes are of.
#[derive(Debug, Args)]
pub(crate) struct SizeForArgs {
    /// Size for this server (a file's own by default, redis-8.2 for a pipe): redis-6.2 to 8.6, valkey-7.2 to 9.1.
    #[arg(long = "for", value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// Size for this allocator: jemalloc-8 (bundled), jemalloc-16 (distributions'), libc.
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    pub(crate) allocator: Option<AllocatorName>,
}

/// How a server's keys are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "From a server")]
pub(crate) struct LiveArgs {
    /// End after this: 90s, 15m, 2h. What was read until then is reported, and that it is a part (exit 0).
    #[arg(long, value_name = "TIME", value_parser = crate::args::duration)]
    pub(crate) deadline: Option<Duration>,
    /// stream (a snapshot as a replica gets it: one fork, exact) or scan (each key in turn, of a replica if there is one:
    /// no fork, slow, MEMORY USAGE). By itself: stream, and scan where the server does not give one.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    pub(crate) source: Option<SourceName>,
    /// Server milliseconds a second that a scan may take.
    #[arg(long, value_name = "MS", default_value_t = unfrag_client::scan::BUDGET_MS_PER_S, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) scan_budget: u32,
    /// Milliseconds that a scan may add to the slowest answers others get (p99): it slows down above.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub(crate) latency_budget: u32,
    /// Go on with a scan where an earlier one ended, as it printed. The report is of the rest alone: parts cannot be joined.
    #[arg(long, value_name = "POSITION")]
    pub(crate) resume: Option<unfrag_client::scan::Position>,
    /// Read although the server's fork may run out of room.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceName {
    Stream,
    Scan,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutArgs {
    /// Output: human, json, csv, parquet.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: KeysOutput,
    /// Rows of csv and parquet: patterns, or keys (of snapshots only: `unfrag rdb fetch` brings a server's).
    #[arg(
        long,
        value_enum,
        default_value = "patterns",
        value_name = "WHAT",
        hide_possible_values = true
    )]
    pub(crate) rows: Rows,
    /// Write csv or parquet to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Print hashes instead of key names; give a salt so that names cannot be guessed.
    #[arg(long, value_name = "SALT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) hash_keys: Option<String>,
    /// Also write one self-contained page with a map of all patterns.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Say everything: all patterns, all advice.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The earlier snapshot.
    #[arg(value_name = "A")]
    pub(crate) before: PathBuf,
    /// The later one.
    #[arg(value_name = "B")]
    pub(crate) after: PathBuf,
    #[command(flatten)]
    pub(crate) size: SizeForArgs,
    /// Output: human, json.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: crate::args::Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeysOutput {
    Human,
    Json,
    Csv,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rows {
    Patterns,
    Keys,
}
