//! Byte floors and ratios below which unfrag stays quiet, each with its reason.

/// A gap below this is never worth waking anyone: on every server a few to tens of megabytes of RSS are
/// binary, libraries, thread stacks and allocator bookkeeping (4-10 MB measured on idle servers), and a
/// day's jitter. MEMORY DOCTOR stays quiet under 10 MiB a gap, which still alarms on test servers.
pub(crate) const GAP_BYTES: u64 = 64 << 20;

/// What a process without data occupies: a gap under this says nothing at all.
pub(crate) const BASELINE_BYTES: u64 = 12 << 20;

/// `rss / used` from which people are alarmed; MEMORY DOCTOR's threshold.
pub(crate) const ALARMING_RATIO: f64 = 1.4;

/// Share of the allocated bytes from which a gap inside the allocator matters; MEMORY DOCTOR's 1.1.
pub(crate) const ALLOCATOR_SHARE: f64 = 0.10;

/// Share from which it is worth acting on by itself.
pub(crate) const ACT_SHARE: f64 = 0.25;

/// Share of maxmemory that counts as reached: the next write of some size is refused or evicts.
pub(crate) const FULL: f64 = 0.97;

/// Share of maxmemory from which a server that cannot evict will soon refuse writes.
pub(crate) const NEARLY_FULL: f64 = 0.90;

/// Share of the memory limit from which the kernel is near: page cache, forks and buffers need the rest.
pub(crate) const LIMIT_NEAR: f64 = 0.90;
