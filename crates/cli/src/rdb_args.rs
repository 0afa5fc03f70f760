//! Arguments of `unfrag rdb`.

use crate::args::Output;
use crate::connect_args::ConnectArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct RdbArgs {
    #[command(subcommand)]
    pub(crate) command: RdbCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RdbCommand {
    /// Is a snapshot sound? Checksum, structure, every value, and the accounts that span keys.
    Verify(VerifyArgs),
    /// What would a snapshot occupy in a server of this version, with this allocator? It takes the file's word: whether
    /// that is sound, verify tells.
    Size(Box<SizeArgs>),
    /// Fetch a snapshot from a live server, as a replica would, and verify it while it arrives.
    Fetch(Box<crate::fetch_args::FetchArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Snapshots, or `-` for standard input; gzip, zstd and lz4 are recognised.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Look for repeated keys however many there are, at 9 to 18 bytes of memory a key (without it: up to 3 million keys, 40 MiB).
    #[arg(long)]
    pub(crate) all_keys: bool,
    /// Output: human, json.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SizeArgs {
    /// The snapshot, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Size for this server: redis-6.2, 7.0, 7.2, 7.4, 8.0, 8.2, 8.4, 8.6; valkey-7.2, 8.0, 8.1, 9.0, 9.1.
    #[arg(long = "for", value_name = "SERVER", conflicts_with = "like")]
    pub(crate) server: Option<String>,
    /// Size for this allocator: jemalloc-8 (bundled), jemalloc-16 (distributions'), libc.
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        hide_possible_values = true,
        conflicts_with = "like"
    )]
    pub(crate) allocator: Option<AllocatorName>,
    /// Size for a node of a Cluster, which has tables for each slot: 16 to 42 bytes more a key before 7.4, up to 42 MB a node
    /// from 8.0 on.
    #[arg(long, conflicts_with = "like")]
    pub(crate) cluster_node: bool,
    /// Size for this running server: its version, allocator and thresholds. Of the flags for servers, those that say
    /// how to connect are for it.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) like: Option<String>,
    /// Output: human, json.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Output,
    /// Keys listed, largest first.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) top: usize,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AllocatorName {
    #[value(name = "jemalloc-8")]
    Jemalloc8,
    #[value(name = "jemalloc-16")]
    Jemalloc16,
    #[value(name = "libc")]
    Libc,
}
