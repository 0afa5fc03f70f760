//! [`RestartRecord`]: what the journal keeps of a restart, so that another unfrag can finish it.

use crate::restart::process::ProcessId;
use crate::restart::supervisor::Supervisor;
use crate::restart::swap::supervised::Written;
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
    Second(Box<SecondRecord>),
    /// Settings of the first process that were empty and are filled in for the hand-over.
    Filled {
        /// Their names: no value of theirs, for they may be secrets.
        names: Vec<String>,
    },
    /// Settings of the second process that go back to what the first one has, once it has taken over.
    Settle {
        /// Name and value.
        settings: Vec<(String, String)>,
    },
    /// A supervised swap, and how far it is.
    Supervised(Box<SupervisedRecord>),
    /// The servers are told to exchange roles.
    HandingOver {
        /// From this one.
        from: String,
        /// To this one, or to one of these.
        to: Vec<String>,
        /// Whoever clients know only by its address is made the primary again in the end.
        back: bool,
        /// The Sentinel that is asked for it, by address, and its name for the primary. What it has begun goes on
        /// without us.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sentinel: Option<(String, String)>,
    },
    /// Roles are exchanged, and nothing is left to do about it.
    HandedOver {
        /// The primary now.
        to: String,
    },
}

/// Two processes of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondRecord {
    /// The first one.
    pub first: ProcessId,
    /// Its run id.
    pub first_run_id: String,
    /// The second one; `None` before its number is known.
    pub second: Option<ProcessId>,
    /// The program of both.
    pub program: PathBuf,
    /// Where clients look.
    pub address: String,
    /// Host that both listen on.
    pub host: String,
    /// `port` and `tls-port`, those that are used: the client's, the second process's own, the first one's afterwards.
    pub ports: Vec<(String, [u16; 3])>,
    /// The file that holds the process's number.
    pub pid_file: Option<PathBuf>,
    /// The unix socket that clients look for, and the one that the second process makes.
    pub socket: Option<(PathBuf, PathBuf)>,
    /// A folder of append-only files that the second process makes and does not need.
    pub made_append_only: Option<PathBuf>,
    /// There was such a folder before: an older one of the server's, which is put aside meanwhile.
    #[serde(default)]
    pub found_append_only: bool,
    /// The server keeps an append-only file.
    pub append_only: bool,
    /// It has save points.
    pub saves: bool,
}

/// The server that its supervisor is to have back as its own child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisedRecord {
    /// How far it is.
    pub phase: Phase,
    /// Who starts it.
    pub supervisor: Supervisor,
    /// Its configuration file.
    pub file: PathBuf,
    /// The second name of that file: while it is there, the file may be another one.
    pub kept: PathBuf,
    /// Where the server's output goes.
    pub output: Option<PathBuf>,
    /// The supervisor's new child.
    pub own: Option<ProcessId>,
    /// Settings of it that go back to these values in the end; none is a secret.
    pub settle: Vec<(String, String)>,
    /// The file as the server wrote it for that one start.
    #[serde(default)]
    pub written: Option<Written>,
}

/// How far a supervised swap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The first process runs, as the primary or as the second one's replica.
    Away,
    /// It is told to end, and the supervisor to start its successor.
    Restarting,
    /// The successor runs; the file is what it was.
    Back,
}
