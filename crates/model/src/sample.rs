//! [`Sample`]: everything read from one server at one time, and what could not be read.

use crate::{Config, Host, Info, MallocStats, MemoryStats, log::LogFacts};
use serde::Serialize;

/// One server at one time. A live collection and a folder of files make the same Sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// The server as people would name it, without secrets: `127.0.0.1:6379`, a socket path, a file name.
    pub target: String,
    /// Where the readings come from.
    pub source: Source,
    /// When it was taken, in milliseconds since 1970; `None` for files.
    pub taken_at_unix_ms: Option<u64>,
    /// INFO, whole or part.
    pub info: Info,
    /// MEMORY STATS.
    pub memory_stats: Option<MemoryStats>,
    /// MEMORY MALLOC-STATS, on jemalloc builds.
    pub malloc_stats: Option<MallocStats>,
    /// Configuration; empty when it could not be read.
    pub config: Config,
    /// Client memory, when the list was short enough to ask for.
    pub clients: Option<ClientMemory>,
    /// LATENCY LATEST.
    pub latency: Vec<LatencyEvent>,
    /// The host's view, when the server runs on this machine.
    pub host: Option<Host>,
    /// What a snapshot of its data would occupy in a fresh process of it, where one was sized.
    pub snapshot: Option<SnapshotSize>,
    /// Pasted log and shell output.
    pub log: LogFacts,
    /// What could not be read, and why.
    pub unread: Vec<Unread>,
    /// The commands that were sent.
    pub commands: Vec<CommandCost>,
}

/// A snapshot, sized for the server of the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotSize {
    /// Its file.
    pub file: String,
    /// Bytes of keys, values and tables once loaded, in size classes.
    pub bytes: u64,
    /// Keys in it.
    pub keys: u64,
}

/// Origin of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Read from a running server.
    #[default]
    Live,
    /// Read from files or standard input.
    File,
}

/// A reading that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The command or file: `CONFIG GET`.
    pub what: String,
    /// The reason, for people: `NOPERM: …`, `the server runs on another host`.
    pub why: String,
}

/// One command sent while sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandCost {
    /// The command with its arguments.
    pub command: String,
    /// Server microseconds it took, from commandstats; `None` where that cannot be told.
    pub server_us: Option<u64>,
    /// Microseconds until the whole reply was here.
    pub round_trip_us: u64,
    /// Bytes of the reply's text.
    pub reply_bytes: u64,
}

/// Memory held by client connections, summed from CLIENT LIST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClientMemory {
    /// Clients listed.
    pub clients: u64,
    /// Bytes of query buffers (`qbuf` + `qbuf-free`).
    pub query_buffers: u64,
    /// Bytes of pending replies (`omem`).
    pub output_buffers: u64,
    /// `tot-mem` of all, where the server prints it (6.2 on).
    pub total: Option<u64>,
    /// The few biggest, biggest first.
    pub biggest: Vec<ClientLine>,
    /// Subscribers among them.
    pub pubsub: u64,
    /// MONITOR clients among them.
    pub monitors: u64,
    /// Clients with tracking on (client-side caching).
    pub tracking: u64,
    /// Clients inside WATCH or MULTI when listed.
    pub transactions: u64,
}

/// One client, named as CLIENT LIST names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientLine {
    /// Client id.
    pub id: u64,
    /// `ip:port`.
    pub address: String,
    /// Name it set, if any. Text from outside: treat as hostile.
    pub name: String,
    /// `normal`, `replica`, `pubsub`, `monitor`.
    pub kind: String,
    /// Last command.
    pub command: String,
    /// Bytes it holds.
    pub bytes: u64,
}

/// One line of LATENCY LATEST.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatencyEvent {
    /// `active-defrag-cycle`, `fork`, `command`, …
    pub event: String,
    /// When it last happened, in seconds since 1970.
    pub at_unix_s: u64,
    /// The last one, in milliseconds.
    pub latest_ms: u64,
    /// The longest, in milliseconds.
    pub max_ms: u64,
}
