//! What to type next: the one place that words commands, so that every finding says them the same way.

use crate::figures::{AllocatorKind, Figures};
use crate::reclaim;
use unfrag_model::{Finding, RemedyKind, Version, human};

/// Adds the purge, repeated as often as it is needed.
pub(crate) fn purge(f: &Figures<'_>, finding: Finding) -> Finding {
    finding.remedy(
        RemedyKind::MemoryPurge,
        format!("{} --only purge   (MEMORY PURGE until used_memory_rss stops falling)", fix(f)),
    )
}

/// Adds active defrag where this build has it, and repack where it has not.
pub(crate) fn defrag(f: &Figures<'_>, finding: Finding) -> Finding {
    // Where it runs already, switching it on is no advice.
    if f.count("active_defrag_running") > 0 {
        return finding;
    }
    if can_defrag(f) {
        let next = format!(
            "{}   (active defrag and purge within a latency budget; puts every setting back)",
            fix(f)
        );
        return finding.remedy(RemedyKind::Activedefrag, next);
    }
    if f.allocator == AllocatorKind::ForeignJemalloc && !f.sample.info.is_replica() {
        let next = format!(
            "{}   (this build cannot defragment: copies keys into the holes instead, losing nothing)",
            fix(f)
        );
        return finding.remedy(RemedyKind::Repack, next);
    }
    finding
}

/// `unfrag fix` on this server.
fn fix(f: &Figures<'_>) -> String {
    f.cli().replacen("redis-cli", "unfrag fix", 1)
}

/// Adds the restart that loses nothing, with the bytes it gives.
pub(crate) fn restart(f: &Figures<'_>, finding: Finding) -> Finding {
    let how = if f.sample.info.is_replica() {
        "its primary keeps serving"
    } else if f.count("connected_slaves") > 0 {
        "replicas first, then a hand-over"
    } else {
        "BGSAVE and a restart would lose some"
    };
    let gives = reclaim::of_restart(f).bytes.filter(|&bytes| bytes >= WORTH_SAYING_BYTES);
    let gives = gives.map_or_else(String::new, |b| format!("gives back about {}, ", human(b)));
    let command = f.cli().replacen("redis-cli", "unfrag restart", 1);
    let next = format!("{command}   ({gives}loses no write: {how})");
    finding.remedy(RemedyKind::RestartOrFailover, next)
}

/// Less is within what two readings differ by.
const WORTH_SAYING_BYTES: u64 = 2 << 20;

/// True when nothing says that `CONFIG SET activedefrag yes` would be refused.
pub(crate) fn can_defrag(f: &Figures<'_>) -> bool {
    matches!(f.allocator, AllocatorKind::BundledJemalloc | AllocatorKind::Jemalloc)
        && f.engine.version.is_none_or(|v| v >= Version::new(4, 0, 0))
}
