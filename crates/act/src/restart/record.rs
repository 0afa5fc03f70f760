//! [`RestartRecord`]: what the journal keeps of a restart, so that another unfrag can finish it.

use crate::restart::process::ProcessId;
use crate::restart::supervisor::Supervisor;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Written before what it tells is done. The last of a kind counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum RestartRecord {
    /// Writes are held back on a server; they end by themselves.
    Paused {
        /// The server.
        node: String,
    },
    /// A server is stopped and started again.
    Stopping {
        /// The server.
        node: String,
        /// Its run id.
        run_id: String,
        /// Its process, where it is seen.
        process: Option<ProcessId>,
        /// Who starts it.
        supervisor: Supervisor,
        /// Where its output went.
        output: Option<PathBuf>,
        /// Keys in it; `None` for a replica, whose primary knows.
        keys: Option<u64>,
    },
    /// It is up again and has its data.
    Up {
        /// The server.
        node: String,
    },
    /// A file is put out of the way for the moment in which a second process starts. It is none that a start now reads.
    Aside {
        /// Where it belongs.
        from: PathBuf,
        /// Where it is meanwhile.
        to: PathBuf,
    },
    /// A second process is started beside the first.
    Second {
        /// The first one.
        first: ProcessId,
        /// Its run id.
        first_run_id: String,
        /// The second one; `None` before its number is known.
        second: Option<ProcessId>,
        /// Where clients look.
        address: String,
        /// Where the second process listens until it takes that over, and then the first.
        spare_address: String,
        /// Ports of the first one, by setting.
        ports: Vec<(String, u16)>,
        /// The file that holds the process's number.
        pid_file: Option<PathBuf>,
        /// The unix socket that clients look for, and the one that the second process made.
        socket: Option<(PathBuf, PathBuf)>,
        /// A folder of append-only files that the second process made and does not need.
        made_append_only: Option<PathBuf>,
        /// It writes an append-only file in the end.
        append_only: bool,
    },
    /// Settings of the second process that go back to what the first one has, once it has taken over.
    Settle {
        /// Name and value.
        settings: Vec<(String, String)>,
    },
    /// The servers are told to exchange roles.
    HandingOver {
        /// From this one.
        from: String,
        /// To this one.
        to: String,
    },
    /// The exchange is complete.
    HandedOver {
        /// The primary now.
        to: String,
    },
}
