//! What the machine around a server says: its process, its kernel, its cgroups. Read [`Host`] first.
//!
//! Only a server on this machine (or a pasted `free`, `smaps`) has one. Every figure may be absent.

use serde::Serialize;

/// The host's view of one server process. Bytes unless named otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The process whose figures these are.
    pub pid: Option<u32>,
    /// Resident set by the kernel's accounting (`VmRSS`).
    pub rss: Option<u64>,
    /// Highest resident set so far (`VmHWM`).
    pub rss_peak: Option<u64>,
    /// Anonymous part of it.
    pub anonymous: Option<u64>,
    /// File-backed and shared-memory part of it: binary, libraries, mapped files.
    pub file_backed: Option<u64>,
    /// The process's pages in swap (`VmSwap`).
    pub swapped: Option<u64>,
    /// Anonymous memory on transparent huge pages (`AnonHugePages`).
    pub anon_huge_pages: Option<u64>,
    /// Page tables.
    pub page_tables: Option<u64>,
    /// `always`, `madvise` or `never`.
    pub thp_mode: Option<String>,
    /// `vm.overcommit_memory`: 0 heuristic, 1 always, 2 strict.
    pub overcommit_memory: Option<u8>,
    /// Physical memory.
    pub memory_total: Option<u64>,
    /// What can be taken without swapping (`MemAvailable`).
    pub memory_available: Option<u64>,
    /// Swap space.
    pub swap_total: Option<u64>,
    /// Swap space in use, by everyone.
    pub swap_used: Option<u64>,
    /// The tightest cgroup limit on the way up from the process.
    pub cgroup: Option<Cgroup>,
}

/// The control group whose limit binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u8,
    /// Its path under the cgroup mount.
    pub path: String,
    /// Hard limit: above it the kernel kills.
    pub limit: u64,
    /// Throttling limit (v2 `memory.high`), when lower.
    pub high: Option<u64>,
    /// Charged to it now: processes, page cache, tmpfs.
    pub current: Option<u64>,
    /// Processes the kernel killed in it (v2 `memory.events`).
    pub oom_kills: Option<u64>,
}

impl Host {
    /// False when the host surely swapped nothing of the process: it says so, or has no swap in use.
    /// `None` when it does not tell.
    pub fn is_swapping(&self) -> Option<bool> {
        match (self.swapped, self.swap_total, self.swap_used) {
            (Some(swapped), _, _) => Some(swapped > 0),
            (None, Some(0), _) | (None, _, Some(0)) => Some(false),
            _ => None,
        }
    }
}
