//! Families about the watch itself.

use super::Shown;
use super::family::Page;
use crate::fleet::Fleet;
use std::sync::atomic::Ordering;

pub(super) fn write(page: &mut Page, fleet: &Fleet, shown: &[Shown]) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.gauge("unfrag_build_info", "This release; always 1.").put_with("", &version, Some(1));
    page.gauge("unfrag_watch_targets", "Servers that are watched.").put("", Some(shown.len()));
    let lost = shown.iter().filter(|s| !s.answers).count();
    page.gauge("unfrag_watch_targets_lost", "Servers that do not answer.").put("", Some(lost));
    let problems = fleet.problems().len();
    page.gauge("unfrag_watch_groups_unresolved", "Targets whose servers cannot all be found.")
        .put("", Some(problems));
    page.counter(
        "unfrag_watch_alerts_undelivered_total",
        "Messages about alerts that Alertmanager, a webhook or a command did not take.",
    )
    .put("", Some(fleet.undelivered.load(Ordering::Relaxed)));
    if let Some(history) = fleet.history() {
        let health = history.health();
        let read = |n: &std::sync::atomic::AtomicU64| Some(n.load(Ordering::Relaxed));
        page.gauge("unfrag_watch_history_bytes", "Bytes of the history in use.")
            .put("", read(&health.bytes));
        page.counter("unfrag_watch_history_errors_total", "Writes of the history that failed.")
            .put("", read(&health.errors));
        page.counter(
            "unfrag_watch_history_dropped_total",
            "Records given up because nothing could be written for long.",
        )
        .put("", read(&health.dropped));
    }
    remote(page, fleet);
    // What grows without end shows here first.
    let runtime = tokio::runtime::Handle::try_current().ok();
    page.gauge("unfrag_watch_tasks", "Tasks of this watch that are alive.")
        .put("", runtime.map(|r| r.metrics().num_alive_tasks()));
    process(page);
}

/// How what is sent to a store fares, where one is.
fn remote(page: &mut Page, fleet: &Fleet) {
    let health = &fleet.remote;
    if !health.is_on.load(Ordering::Relaxed) {
        return;
    }
    let read = |n: &std::sync::atomic::AtomicU64| Some(n.load(Ordering::Relaxed));
    page.counter(
        "unfrag_watch_remote_write_rounds_total",
        "Times that figures were taken to be sent to the store.",
    )
    .put("", read(&health.rounds));
    let mut samples = page.counter(
        "unfrag_watch_remote_write_samples_total",
        "Samples that the store took (sent), refused for good (refused), or that went because too many waited (dropped).",
    );
    let results =
        [("sent", &health.sent), ("refused", &health.refused), ("dropped", &health.dropped)];
    for (result, n) in results {
        samples.put_with("", &[("result", result)], read(n));
    }
    page.gauge(
        "unfrag_watch_remote_write_pending_samples",
        "Samples that wait until the store takes them.",
    )
    .put("", read(&health.pending));
    page.counter(
        "unfrag_watch_remote_write_failures_total",
        "Requests to the store that failed and are made again.",
    )
    .put("", read(&health.failures));
}

/// Our own process, under the names every Prometheus client uses.
fn process(page: &mut Page) {
    let Some(own) = own_process() else { return };
    page.counter("process_cpu_seconds_total", "Processor time of this process.")
        .put("", Some(own.cpu_s));
    page.gauge("process_resident_memory_bytes", "RSS of this process.").put("", Some(own.rss));
    page.gauge("process_open_fds", "Open file descriptors of this process.").put("", Some(own.fds));
}

struct Own {
    cpu_s: f64,
    rss: u64,
    fds: usize,
}

/// From procfs; `None` where there is none.
fn own_process() -> Option<Own> {
    /// Linux reports times in these on every platform we build for.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces: fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let field = |n: usize| fields.split(' ').nth(n)?.parse::<f64>().ok();
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let rss_kb: u64 = rss.trim().trim_end_matches("kB").trim().parse().ok()?;
    let fds = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Some(Own { cpu_s: (field(11)? + field(12)?) / TICKS_PER_S, rss: rss_kb * 1024, fds })
}
