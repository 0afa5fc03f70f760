//! What to type next: the one place that words commands, so that every finding says them the same way.

use crate::figures::{AllocatorKind, Figures};
use unfrag_model::{Finding, RemedyKind, Version};

/// Adds the purge, with how often it is needed.
pub(crate) fn purge(f: &Figures<'_>, finding: Finding) -> Finding {
    let cli = f.cli();
    finding.remedy(
        RemedyKind::MemoryPurge,
        format!("{cli} MEMORY PURGE   (repeat until used_memory_rss stops falling; blocks for milliseconds a pass)"),
    )
}

/// Adds active defrag where this build has it, with thresholds that do not stop early.
pub(crate) fn defrag(f: &Figures<'_>, finding: Finding) -> Finding {
    // Where it runs already, switching it on is no advice.
    if !can_defrag(f) || f.count("active_defrag_running") > 0 {
        return finding;
    }
    let cli = f.cli();
    let slices = if has_short_slices(f) { "" } else { " hz 500" };
    // Multi-parameter CONFIG SET came with 7.0.
    let command = if f.engine.at_least(Version::new(7, 0, 0), Version::new(7, 2, 0)) {
        format!(
            "{cli} CONFIG SET active-defrag-ignore-bytes 1mb active-defrag-threshold-lower 2 active-defrag-cycle-min 5 active-defrag-cycle-max 15{slices} activedefrag yes"
        )
    } else {
        format!(
            "r='{cli} CONFIG SET'; $r active-defrag-ignore-bytes 1mb; $r active-defrag-threshold-lower 2; $r active-defrag-cycle-min 5; $r active-defrag-cycle-max 15;{} $r activedefrag yes",
            if slices.is_empty() { "" } else { " $r hz 500;" }
        )
    };
    purge(f, finding.remedy(RemedyKind::Activedefrag, command))
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

/// Redis 8.0 and Valkey 8.1 run defrag in slices of half a millisecond; before, one slice per server tick.
fn has_short_slices(f: &Figures<'_>) -> bool {
    f.engine.at_least(Version::new(8, 0, 0), Version::new(8, 1, 0))
}
