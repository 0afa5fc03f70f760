//! What must hold of the text parsers, whatever the text: no panic, nothing out of nothing, and a diagnosis
//! of whatever came out.

use unfrag_diagnose::diagnose;
use unfrag_model::log::LogFacts;
use unfrag_model::{Config, Info, MallocStats, MemoryStats, Sample, paste};

/// INFO: every server read has at least one field, reading the same text twice is the same, and the report's
/// levels add up. The same of what other forms hold.
pub(crate) fn info(text: &str) {
    info_as_printed(text);
    info_as_printed(&paste::info_lines(text));
}

fn info_as_printed(text: &str) {
    let servers = Info::parse_all(text);
    assert_eq!(servers, Info::parse_all(text));
    for info in servers {
        assert!(!info.is_empty());
        let report = diagnose(&Sample { info, ..Sample::default() });
        let levels = report.layers.levels();
        let rises: i128 =
            levels.windows(2).map(|w| i128::from(w[1].1.saturating_sub(w[0].1))).sum();
        if let (Some(first), Some(last)) = (levels.first(), levels.last()) {
            let whole = i128::from(last.1) - i128::from(first.1);
            assert_eq!(rises + i128::from(report.layers.remainder), whole);
        }
    }
}

/// MALLOC-STATS: bins are real (no slab without regions), and waste is never more than the slabs hold.
pub(crate) fn malloc_stats(text: &str) {
    let Some(stats) = MallocStats::parse(text) else { return };
    for bin in &stats.bins {
        assert!(bin.size_bytes > 0 && bin.regions_per_slab > 0 && bin.slabs > 0);
        let held = bin.size_bytes.saturating_mul(bin.regions_per_slab).saturating_mul(bin.slabs);
        assert!(bin.waste_bytes() <= held);
        assert!((0.0..).contains(&bin.utilization()));
    }
    let _ = diagnose(&Sample { malloc_stats: Some(stats), ..Sample::default() });
}

/// MEMORY STATS: only finite figures come out.
pub(crate) fn memory_stats(text: &str) {
    let stats = MemoryStats::parse(text);
    assert!(stats.pairs().all(|(_, value)| value.is_finite()));
    let _ = diagnose(&Sample { memory_stats: Some(stats), ..Sample::default() });
}

/// Configuration: no secret survives.
pub(crate) fn config(text: &str) {
    let config = Config::parse(text);
    assert!(config.text("requirepass").is_none() && config.text("masterauth").is_none());
    let _ = diagnose(&Sample { config, ..Sample::default() });
}

/// Logs.
pub(crate) fn log(text: &str) {
    let _ = diagnose(&Sample { log: LogFacts::parse(text), ..Sample::default() });
}
