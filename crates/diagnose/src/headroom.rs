//! Whether a fork fits: what a command that makes a server fork asks first. Pure.

use unfrag_model::{Report, Severity, human};

/// A child shares its parent's pages and has page tables of its own; with nothing known of earlier forks, a twentieth
/// of RSS is what a quiet server writes while one lives.
const LEAST_SHARE: u64 = 20;

/// Why the next fork may not fit in memory: the rule `cow-headroom` has found so, or `limit-near` that the kernel kills
/// next, or RSS alone is at the limit.
pub fn fork_refusal(report: &Report) -> Option<String> {
    let least = |id: &str| match id {
        "cow-headroom" => Some(Severity::Act),
        "limit-near" => Some(Severity::Urgent),
        _ => None,
    };
    let refuses = |id: &str, severity| least(id).is_some_and(|least| severity >= least);
    if let Some(finding) = report.findings.iter().find(|f| refuses(f.id, f.severity)) {
        return Some(finding.title.clone());
    }
    let (rss, limit) = (report.layers.rss?, report.layers.limit?);
    (rss.saturating_add(rss / LEAST_SHARE) > limit).then(|| {
        format!(
            "rss is {} and the limit {}: a fork's child needs more than is left",
            human(rss),
            human(limit)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_model::Sample;

    fn report(info: &str) -> Report {
        let info = unfrag_model::Info::parse(info);
        crate::diagnose(&Sample { info, ..Sample::default() })
    }

    #[test]
    fn a_server_at_its_limit_is_not_made_to_fork() {
        let gib = 1u64 << 30;
        let mut full =
            report(&format!("redis_version:8.2.3\nused_memory:{gib}\nused_memory_rss:{gib}"));
        assert_eq!(fork_refusal(&full), None, "no limit is known");
        full.layers.limit = Some(4 * gib);
        assert_eq!(fork_refusal(&full), None);
        full.layers.limit = Some(gib + gib / 50);
        let why = fork_refusal(&full).unwrap_or_default();
        assert!(why.contains("1.00 GiB"), "{why:?}");
    }

    #[test]
    fn a_server_that_the_kernel_kills_next_is_not_made_to_fork() {
        let gib = 1u64 << 30;
        let with_memory = |total: u64| {
            fork_refusal(&report(&format!(
                "redis_version:8.2.3\nused_memory:{gib}\nused_memory_rss:{gib}\ntotal_system_memory:{total}"
            )))
        };
        // Six percent are left: more than the least share of a fork, and check says URGENT.
        let why = with_memory(gib + gib / 16).unwrap_or_default();
        assert!(why.contains("the kernel kills next"), "{why:?}");
        assert_eq!(with_memory(2 * gib), None);
    }
}
