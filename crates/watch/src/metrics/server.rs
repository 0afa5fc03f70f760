//! Families about servers.

use super::family::Page;
use super::{Shown, View};
use crate::point::{Column, headroom};
use crate::trend::{Outlook, Slope, Until};
use unfrag_model::{Estimate, Severity};

pub(super) fn write(page: &mut Page, shown: &[Shown]) {
    identity(page, shown);
    ladder(page, shown);
    reclaim(page, shown);
    findings(page, shown);
    defrag(page, shown);
    forks(page, shown);
    process(page, shown);
    trends(page, shown);
    looks(page, shown);
}

/// A family with one sample a server.
fn each<T: std::fmt::Display>(
    page: &mut Page,
    shown: &[Shown],
    name: &'static str,
    help: &'static str,
    value: impl Fn(&View) -> Option<T>,
) {
    let mut family = page.gauge(name, help);
    for s in shown {
        family.put(&s.label, s.fresh().and_then(&value));
    }
}

/// A counter with one sample a server.
fn count<T: std::fmt::Display>(
    page: &mut Page,
    shown: &[Shown],
    name: &'static str,
    help: &'static str,
    value: impl Fn(&View) -> Option<T>,
) {
    let mut family = page.counter(name, help);
    for s in shown {
        family.put(&s.label, s.fresh().and_then(&value));
    }
}

fn identity(page: &mut Page, shown: &[Shown]) {
    let mut up = page.gauge("unfrag_up", "1 when the server answered the last look.");
    for s in shown.iter().filter(|s| s.view.is_some() || !s.answers) {
        up.put(&s.label, Some(u8::from(s.answers)));
    }
    let mut info = page.gauge("unfrag_server_info", "Who answers; always 1.");
    for s in shown {
        let Some(view) = s.fresh() else { continue };
        let server = &view.report.server;
        let version = server.version.map(|v| v.to_string()).unwrap_or_default();
        let flavor = format!("{:?}", server.flavor).to_lowercase();
        let labels = [
            ("group", s.group.as_str()),
            ("shard", s.shard.as_str()),
            ("role", server.role.unwrap_or_default()),
            ("flavor", flavor.as_str()),
            ("version", version.as_str()),
            ("allocator", server.allocator.as_deref().unwrap_or_default()),
        ];
        info.put_with(&s.label, &labels, Some(1));
    }
    each(page, shown, "unfrag_verdict", "0 healthy, 1 watch, 2 act, 3 urgent.", |v| {
        Some(v.report.verdict as u8)
    });
}

fn ladder(page: &mut Page, shown: &[Shown]) {
    let mut layers = page.gauge(
        "unfrag_layer_bytes",
        "Memory at each level of the ladder: used, allocated, active, resident, rss, limit, maxmemory, peak.",
    );
    for s in shown {
        let Some(view) = s.fresh() else { continue };
        let l = &view.report.layers;
        for (name, bytes) in [
            ("used", l.used),
            ("allocated", l.allocated),
            ("active", l.active),
            ("resident", l.resident),
            ("rss", l.rss),
            ("limit", l.limit),
            ("maxmemory", l.maxmemory),
            ("peak", l.peak),
        ] {
            layers.put_with(&s.label, &[("layer", name)], bytes);
        }
    }
    let mut gaps = page.gauge(
        "unfrag_gap_bytes",
        "Memory lost between levels: fragmentation (active - allocated), retained (resident - active), outside_allocator (rss - resident).",
    );
    for s in shown {
        let Some(view) = s.fresh() else { continue };
        for (name, column) in [
            ("fragmentation", Column::Fragmentation),
            ("retained", Column::Retained),
            ("outside_allocator", Column::Outside),
        ] {
            gaps.put_with(&s.label, &[("gap", name)], view.point.get(column));
        }
    }
    each(
        page,
        shown,
        "unfrag_rss_overhead_bytes",
        "rss - resident: pages the allocator does not hold; negative when the two were sampled apart.",
        |v| {
            let l = &v.report.layers;
            Some(l.rss?.cast_signed() - l.resident?.cast_signed())
        },
    );
    each(
        page,
        shown,
        "unfrag_headroom_bytes",
        "Bytes until the tightest known limit on RSS.",
        |v| headroom(&v.report),
    );
    each(
        page,
        shown,
        "unfrag_allocator_muzzy_bytes",
        "Pages given back lazily (MADV_FREE).",
        |v| v.counters.allocator_muzzy,
    );
}

fn reclaim(page: &mut Page, shown: &[Shown]) {
    let remedies = |v: &View| {
        let r = &v.report.reclaim;
        [
            ("purge", r.purge.clone()),
            ("defrag", r.defrag.clone()),
            ("repack", r.repack.clone()),
            ("restart", r.restart.clone()),
        ]
    };
    let mut family = |name, help, value: fn(&Estimate) -> Option<u64>| {
        let mut family = page.gauge(name, help);
        for s in shown {
            let Some(view) = s.fresh() else { continue };
            for (remedy, estimate) in remedies(view) {
                let usable = estimate.unavailable.is_none();
                family.put_with(
                    &s.label,
                    &[("remedy", remedy)],
                    value(&estimate).filter(|_| usable),
                );
            }
        }
    };
    family(
        "unfrag_reclaimable_bytes",
        "RSS that a remedy would give back; absent where it cannot be used or told.",
        |e| e.bytes,
    );
    family("unfrag_reclaimable_low_bytes", "Likely at least.", |e| e.low);
    family("unfrag_reclaimable_high_bytes", "Likely at most.", |e| e.high);
    let (mut waste, bins) = (
        vec![],
        "Free bytes in slabs of a small size class (size in bytes), from the last whole sample.",
    );
    for s in shown {
        let Some(view) = s.fresh() else { continue };
        for bin in view.bins.iter().filter(|b| b.slabs > 0) {
            waste.push((&s.label, bin.size_bytes.to_string(), bin.waste_bytes()));
        }
    }
    let mut family = page.gauge("unfrag_bin_waste_bytes", bins);
    for (label, size, bytes) in waste {
        family.put_with(label, &[("bin", &size)], Some(bytes));
    }
}

fn findings(page: &mut Page, shown: &[Shown]) {
    let mut bytes = page.gauge(
        "unfrag_finding_bytes",
        "Bytes a finding accounts for; 0 when it is not about bytes.",
    );
    let listed = |s: &Shown| -> Vec<(&'static str, Severity, u64)> {
        let Some(view) = s.fresh() else { return vec![] };
        let mut listed: Vec<(&str, Severity, u64)> = vec![];
        for f in &view.report.findings {
            // Several advisories share an id: the worst stands for them.
            if !listed.iter().any(|l| l.0 == f.id) {
                listed.push((f.id, f.severity, f.bytes.unwrap_or(0)));
            }
        }
        listed
    };
    for s in shown {
        for (id, severity, n) in listed(s) {
            bytes.put_with(&s.label, &[("finding", id), ("severity", word(severity))], Some(n));
        }
    }
    let mut firing = page.gauge(
        "unfrag_alert_firing",
        "1 for each alert that stands, after for-durations and hysteresis.",
    );
    for s in shown {
        for (id, severity) in &s.alerts {
            firing.put_with(&s.label, &[("finding", id), ("severity", word(*severity))], Some(1));
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Watch => "watch",
        Severity::Act => "act",
        Severity::Urgent => "urgent",
    }
}

fn seconds(ms: Option<u64>) -> Option<f64> {
    ms.map(|ms| ms as f64 / 1000.0)
}

fn defrag(page: &mut Page, shown: &[Shown]) {
    each(page, shown, "unfrag_active_defrag_running", "1 while active defrag runs.", |v| {
        v.point.get(Column::Defragging)
    });
    count(
        page,
        shown,
        "unfrag_active_defrag_seconds_total",
        "Time active defrag has taken.",
        |v| seconds(v.counters.total_active_defrag_time_ms),
    );
    each(
        page,
        shown,
        "unfrag_active_defrag_current_seconds",
        "Time the run of active defrag at work has taken.",
        |v| seconds(v.counters.current_active_defrag_time_ms),
    );
    count(
        page,
        shown,
        "unfrag_active_defrag_moved_total",
        "Allocations that active defrag moved.",
        |v| v.counters.active_defrag_hits,
    );
    count(
        page,
        shown,
        "unfrag_active_defrag_left_total",
        "Allocations that active defrag looked at and left.",
        |v| v.counters.active_defrag_misses,
    );
    count(
        page,
        shown,
        "unfrag_active_defrag_keys_moved_total",
        "Keys of which something was moved.",
        |v| v.counters.active_defrag_key_hits,
    );
    count(
        page,
        shown,
        "unfrag_active_defrag_keys_left_total",
        "Keys of which nothing was moved.",
        |v| v.counters.active_defrag_key_misses,
    );
}

fn forks(page: &mut Page, shown: &[Shown]) {
    each(page, shown, "unfrag_fork_in_progress", "1 while a child saves or rewrites.", |v| {
        v.point.get(Column::Forking)
    });
    each(
        page,
        shown,
        "unfrag_cow_bytes",
        "Pages copied for the last fork, or for the one at work.",
        |v| v.point.get(Column::Cow),
    );
    each(
        page,
        shown,
        "unfrag_cow_estimate_bytes",
        "Pages that the next fork may copy: twice the most measured, a quarter of the data where nothing was; 0 where nothing forks by itself.",
        |v| v.counters.cow_estimate,
    );
    let mut last = page
        .gauge("unfrag_cow_last_bytes", "Pages copied for the last save (rdb) and rewrite (aof).");
    for s in shown {
        let Some(view) = s.fresh() else { continue };
        last.put_with(&s.label, &[("kind", "rdb")], view.counters.rdb_last_cow_size);
        last.put_with(&s.label, &[("kind", "aof")], view.counters.aof_last_cow_size);
    }
}

fn process(page: &mut Page, shown: &[Shown]) {
    each(page, shown, "unfrag_swapped_bytes", "Bytes of the process in swap.", |v| {
        v.point.get(Column::Swapped)
    });
    each(
        page,
        shown,
        "unfrag_huge_pages_bytes",
        "Anonymous memory in transparent huge pages.",
        |v| v.counters.anon_huge_pages,
    );
    each(page, shown, "unfrag_cgroup_limit_bytes", "The control group's limit.", |v| {
        v.counters.cgroup_limit
    });
    each(
        page,
        shown,
        "unfrag_cgroup_charged_bytes",
        "What is charged to the control group.",
        |v| v.counters.cgroup_current,
    );
    count(page, shown, "unfrag_cgroup_oom_kills_total", "OOM kills in the control group.", |v| {
        v.counters.cgroup_oom_kills
    });
    each(page, shown, "unfrag_buffers_bytes", "Client and replica buffers.", |v| {
        v.point.get(Column::Buffers)
    });
    each(page, shown, "unfrag_scripts_bytes", "What scripts and functions hold.", |v| {
        v.counters.used_memory_scripts
    });
    each(
        page,
        shown,
        "unfrag_not_counted_bytes",
        "Buffers that are not compared with maxmemory.",
        |v| v.counters.mem_not_counted_for_evict,
    );
    each(page, shown, "unfrag_keys", "Keys in all databases.", |v| v.point.get(Column::Keys));
    each(page, shown, "unfrag_clients", "Connected clients.", |v| v.point.get(Column::Clients));
    count(
        page,
        shown,
        "unfrag_evicted_keys_total",
        "Keys evicted since the server started.",
        |v| v.point.get(Column::Evicted),
    );
    each(page, shown, "unfrag_uptime_seconds", "Seconds since the server started.", |v| {
        v.report.server.uptime_s
    });
}

fn trends(page: &mut Page, shown: &[Shown]) {
    let mut family = page.gauge(
        "unfrag_trend_bytes_per_second",
        "Robust slope over the known past day (Theil-Sen), with a 95 % interval: of rss and of fragmentation.",
    );
    for s in shown {
        let slopes = [("rss", s.outlook.rss), ("fragmentation", s.outlook.fragmentation)];
        for (of, slope) in slopes {
            let Some(Slope { per_s, low, high }) = slope else { continue };
            for (bound, value) in [("likely", per_s), ("low", low), ("high", high)] {
                family.put_with(&s.label, &[("of", of), ("bound", bound)], Some(value));
            }
        }
    }
    let limit = "Seconds until RSS reaches the limit; absent when it is not certainly going there.";
    until(page, shown, "unfrag_time_to_limit_seconds", limit, |o| o.until_limit);
    let max =
        "Seconds until the data reaches maxmemory; absent when it is not certainly going there.";
    until(page, shown, "unfrag_time_to_maxmemory_seconds", max, |o| o.until_maxmemory);
}

fn until(
    page: &mut Page,
    shown: &[Shown],
    name: &'static str,
    help: &'static str,
    which: impl Fn(&Outlook) -> Option<Until>,
) {
    let mut family = page.gauge(name, help);
    for s in shown {
        let Some(until) = which(&s.outlook) else { continue };
        family.put_with(&s.label, &[("bound", "likely")], Some(until.likely_s));
        family.put_with(&s.label, &[("bound", "soonest")], Some(until.soonest_s));
        family.put_with(&s.label, &[("bound", "latest")], until.latest_s);
    }
}

fn looks(page: &mut Page, shown: &[Shown]) {
    let mut family = page.counter("unfrag_looks_total", "Looks at the server, by result.");
    for s in shown {
        let [good, bad] = s.looks;
        family.put_with(&s.label, &[("result", "ok")], Some(good));
        family.put_with(&s.label, &[("result", "failed")], Some(bad));
    }
    let mut round = page.gauge("unfrag_look_seconds", "Until the last INFO was here.");
    let mut stamps = vec![];
    for s in shown {
        let Some(view) = &s.view else { continue };
        let us = view.point.get(Column::RoundTrip).filter(|_| s.answers);
        round.put(&s.label, us.map(|us| us as f64 / 1e6));
        stamps.push((&s.label, view.at_ms, view.deep_at_ms));
    }
    let mut family = page.gauge(
        "unfrag_last_look_timestamp_seconds",
        "When figures were read last: info, and everything.",
    );
    for (label, info, deep) in stamps {
        family.put_with(label, &[("depth", "info")], Some(info as f64 / 1000.0));
        family.put_with(label, &[("depth", "whole")], Some(deep as f64 / 1000.0));
    }
}
