//! What to type next: the one place that words commands, so that every finding says them the same way.

use crate::figures::{AllocatorKind, Figures};
use unfrag_model::{Finding, RemedyKind, Version};

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

/// Adds the restart that loses nothing.
pub(crate) fn restart(f: &Figures<'_>, finding: Finding) -> Finding {
    let next = if f.sample.info.is_replica() {
        "restart this replica and wait for master_link_status:up; its primary keeps serving"
            .to_owned()
    } else if f.count("connected_slaves") > 0 {
        "restart the replicas first, fail over to one, then restart this server: no downtime"
            .to_owned()
    } else {
        format!(
            "{} SHUTDOWN SAVE   (then start it again: this loses no write; a restart after BGSAVE does)",
            f.cli()
        )
    };
    finding.remedy(RemedyKind::RestartOrFailover, next)
}

/// True when nothing says that `CONFIG SET activedefrag yes` would be refused.
pub(crate) fn can_defrag(f: &Figures<'_>) -> bool {
    matches!(f.allocator, AllocatorKind::BundledJemalloc | AllocatorKind::Jemalloc)
        && f.engine.version.is_none_or(|v| v >= Version::new(4, 0, 0))
}
