//! [`Facts`]: everything about one server that decides how it can be restarted. Plain data, gathered by `preflight`.

use crate::restart::acl::Users;
use crate::restart::configuration::Configuration;
use crate::restart::launch::Rehearsal;
use crate::restart::process::Process;
use crate::restart::supervisor::Supervisor;
use crate::{ActError, Journals};
use std::path::PathBuf;
use unfrag_client::{Address, Deployment};
use unfrag_model::{Engine, Info, Layers};

/// One server, its files, its supervisor, and what belongs with it.
#[derive(Debug, Clone)]
pub struct Facts {
    pub(crate) address: Address,
    pub(crate) run_id: String,
    pub(crate) engine: Engine,
    pub(crate) info: Info,
    pub(crate) configuration: Configuration,
    /// The ladder now.
    pub(crate) layers: Layers,
    /// RSS of a fresh process with the same data.
    pub(crate) floor_rss_bytes: Option<u64>,
    /// What a restart gives back.
    pub(crate) predicted_bytes: u64,
    /// Its process, when it is one of this machine's; otherwise why it is not seen.
    pub(crate) process: Result<Process, String>,
    /// Who starts it.
    pub(crate) supervisor: Option<Supervisor>,
    /// The supervisor that was found beside the user's own word.
    pub(crate) found_supervisor: Option<Supervisor>,
    pub(crate) stop_timeout_s: Option<u64>,
    /// The server itself tells the supervisor of its stop, and the stop's limit holds for it.
    pub(crate) hears_stop: bool,
    /// What the supervisor runs as the process ends, whoever ended it, and which may reach another one.
    pub(crate) stop_command: Option<String>,
    /// The supervisor kills a start that has not loaded everything by then.
    pub(crate) ready_timeout_s: Option<u64>,
    /// Why the supervisor would not start it.
    pub(crate) supervisor_trouble: Option<String>,
    /// The process that the supervisor calls the server's; asked for a supervised swap only.
    pub(crate) main_pid: Option<u32>,
    /// The next start, rehearsed; otherwise why it could not be.
    pub(crate) next: Result<Rehearsal, String>,
    pub(crate) disk: Disk,
    /// Why the backup that is wished for cannot be written.
    pub(crate) backup_trouble: Option<String>,
    /// Bytes that a second process may take before something is killed.
    pub(crate) room_bytes: Option<u64>,
    /// Who may keep a server of this address up: names of Sentinel's connections.
    pub(crate) is_watched_by_sentinel: bool,
    pub(crate) modules: Vec<Module>,
    /// Its users; `None` where they may not be read.
    pub(crate) users: Option<Users>,
    /// What belongs with it; only itself when it stands alone.
    pub(crate) deployment: Deployment,
    /// The other servers, and what was read of each.
    pub(crate) members: Vec<Self>,
    /// The Sentinels' own word of their quorum: `Err` with it when it is missing.
    pub(crate) quorum: Option<Result<Address, String>>,
}

/// The folder that snapshots go to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) folder: PathBuf,
    /// Why the server cannot write there.
    pub(crate) trouble: Option<String>,
    pub(crate) free_bytes: Option<u64>,
    /// Size of the snapshot that is there.
    pub(crate) snapshot_bytes: Option<u64>,
}

/// One line of MODULE LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Empty where the server does not tell, or for one that is built in.
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
}

impl Facts {
    /// The server as people name it.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// The process these facts are of.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Its ladder.
    pub fn layers(&self) -> Layers {
        self.layers
    }

    /// What starts it, as it is typed; empty where nothing is known to.
    pub(crate) fn start_line(&self) -> String {
        self.supervisor.as_ref().map(|s| s.typed_for(&self.address)).unwrap_or_default()
    }

    /// Every server it belongs with, itself first: where it was looked at, and its process.
    fn everybody(&self) -> impl Iterator<Item = (String, &str)> {
        std::iter::once(self).chain(&self.members).map(|f| (f.target(), f.run_id.as_str()))
    }

    /// Fails while another run on one of these servers lives, or has left something to undo.
    pub fn refuse_others(&self, journals: &Journals) -> Result<(), ActError> {
        self.everybody().try_for_each(|(target, run_id)| journals.refuse_others(&target, run_id))
    }

    pub(crate) fn is_append_only(&self) -> bool {
        self.info.flag("aof_enabled") == Some(true)
    }

    /// Bytes that a new snapshot may take: what the last one took and a quarter more, or the data itself.
    pub(crate) fn snapshot_needs_bytes(&self) -> u64 {
        let data =
            self.info.count("used_memory_dataset").or_else(|| self.info.count("used_memory"));
        let last = self.disk.snapshot_bytes.filter(|&b| b > 1 << 20).map(|b| b + b / 4);
        last.or(data).unwrap_or(0)
    }

    /// Redis 7.0 and every Valkey: ports can be changed while it serves, pauses cover only writes.
    pub(crate) fn is_7(&self) -> bool {
        self.at_least(7, 0)
    }

    /// At least this Redis; every Valkey is.
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        let version = unfrag_model::Version::new(major, minor, 0);
        self.engine.at_least(version, unfrag_model::Version::new(0, 0, 0))
    }
}
