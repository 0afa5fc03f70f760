//! Each rule on the figures that make it speak, and on neighbouring figures that must not.

use unfrag_diagnose::diagnose;
use unfrag_model::log::LogFacts;
use unfrag_model::{Cause, Config, Host, Info, MallocStats, Report, Sample, Severity, Verdict};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A sample from INFO lines and redis.conf lines.
fn sample(info: &str, config: &str) -> Sample {
    Sample { info: Info::parse(info), config: Config::parse(config), ..Sample::default() }
}

fn report(info: &str, config: &str) -> Report {
    diagnose(&sample(info, config))
}

fn has(report: &Report, id: &str) -> bool {
    report.findings.iter().any(|f| f.id == id)
}

/// A jemalloc server with these levels, in MiB.
fn levels(used: u64, active: u64, resident: u64, rss: u64) -> String {
    format!(
        "redis_version:7.2.5\nmem_allocator:jemalloc-5.3.0\nused_memory:{}\nused_memory_peak:{}\nallocator_allocated:{}\nallocator_active:{}\nallocator_resident:{}\nused_memory_rss:{}\n",
        used * MIB,
        used * MIB,
        used * MIB,
        active * MIB,
        resident * MIB,
        rss * MIB
    )
}

#[test]
fn the_three_gaps_are_told_apart() {
    for (info, want) in [
        (levels(1000, 1600, 1620, 1630), Cause::ExternalFragmentation),
        (levels(1000, 1010, 1600, 1610), Cause::AllocatorRetained),
        (levels(1000, 1010, 1020, 1700), Cause::NonAllocatorOverhead),
        (levels(1000, 1010, 1020, 1030), Cause::Healthy),
    ] {
        assert_eq!(report(&info, "").primary_cause, want, "{info}");
    }
}

#[test]
fn a_tiny_server_never_alarms_whatever_its_ratio() {
    let r = report(&levels(1, 3, 8, 20), "");
    assert_eq!((r.primary_cause, r.verdict), (Cause::SmallInstanceFalseAlarm, Verdict::Healthy));
}

#[test]
fn libc_fakes_are_not_read_as_fragmentation() {
    let info = "valkey_version:8.1.8\nserver_name:valkey\nmem_allocator:libc\nused_memory:104857600\nallocator_allocated:104857600\nallocator_active:524288000\nallocator_resident:524288000\nused_memory_rss:524288000\nallocator_frag_ratio:1.00\n";
    let r = report(info, "");
    assert_eq!(r.primary_cause, Cause::DefragUnsupportedBuild);
    assert_eq!(r.layers.active, None);
    assert!(r.reclaim.purge.unavailable.is_some() && r.reclaim.defrag.unavailable.is_some());
}

#[test]
fn the_ladder_adds_up_exactly() {
    for info in [
        levels(1000, 1600, 1620, 1630),
        levels(1000, 1600, 1650, 1630),
        levels(1700, 1600, 1500, 1630),
    ] {
        let layers = report(&info, "").layers;
        let levels = layers.levels();
        let rises: i64 =
            levels.windows(2).map(|w| w[1].1.saturating_sub(w[0].1).cast_signed()).sum();
        let whole = layers.rss.unwrap().cast_signed() - layers.used.unwrap().cast_signed();
        assert_eq!(rises + layers.remainder, whole, "{info}");
    }
}

#[test]
fn an_evicting_cache_at_its_limit_is_fine_and_a_store_is_not() {
    let full = "redis_version:7.0.0\nused_memory:1073741824\nused_memory_rss:1100000000\nmaxmemory:1073741824\nevicted_keys:500\n# Keyspace\ndb0:keys=1000,expires=900\n";
    let cache = report(&format!("{full}maxmemory_policy:allkeys-lru"), "");
    assert_eq!(cache.primary_cause, Cause::Healthy);
    let store = report(&format!("{full}maxmemory_policy:noeviction"), "");
    assert_eq!(
        (store.primary_cause, store.verdict),
        (Cause::MaxmemoryReachedDataset, Verdict::Urgent)
    );
}

#[test]
fn a_volatile_policy_without_ttls_cannot_free() {
    let info = "used_memory:1173741824\nused_memory_rss:1200000000\nmaxmemory:1073741824\nmaxmemory_policy:volatile-lru\n# Keyspace\ndb0:keys=1000,expires=0\n";
    assert_eq!(report(info, "").primary_cause, Cause::EvictionCannotFree);
    let half = info.replace("1173741824", "673741824").replace("1200000000", "700000000");
    assert!(has(&report(&half, ""), "no-ttl-to-evict"));
}

#[test]
fn a_replica_that_ignores_maxmemory_is_not_full() {
    let info = "role:slave\nused_memory:1173741824\nused_memory_rss:1200000000\nmaxmemory:1073741824\nmaxmemory_policy:noeviction\n";
    assert_eq!(report(info, "").primary_cause, Cause::Healthy);
    let enforced = report(info, "replica-ignore-maxmemory no");
    assert_eq!(enforced.verdict, Verdict::Urgent);
    assert!(has(&enforced, "replica-maxmemory"));
}

#[test]
fn buffers_not_data_fill_maxmemory() {
    let info = "redis_version:7.0.0\nused_memory:1073741824\nused_memory_overhead:900000000\nused_memory_startup:1000000\nused_memory_rss:1100000000\nmem_clients_normal:890000000\nmaxmemory:1073741824\nmaxmemory_policy:noeviction\n";
    let r = report(info, "");
    assert_eq!(r.primary_cause, Cause::MaxmemoryReachedOverhead);
    assert!(!has(&r, "maxmemory-data"));
}

#[test]
fn defrag_that_is_on_and_gated_names_its_gate() {
    let info = levels(400, 470, 475, 480) + "active_defrag_running:0\n";
    let r = report(
        &info,
        "activedefrag yes\nactive-defrag-ignore-bytes 104857600\nactive-defrag-threshold-lower 10",
    );
    assert_eq!(r.primary_cause, Cause::DefragMisconfigured);
    let idle = r.findings.iter().find(|f| f.id == "defrag-idle").unwrap();
    assert!(idle.title.contains("active-defrag-ignore-bytes"), "{}", idle.title);
}

#[test]
fn defrag_that_only_misses_is_ineffective() {
    let info = levels(1000, 1600, 1620, 1630)
        + "active_defrag_running:25\nactive_defrag_hits:58000\nactive_defrag_misses:6300000\n";
    assert_eq!(
        report(&info, "activedefrag yes").primary_cause,
        Cause::DefragBugOrUndefraggableData
    );
    let works = info.replace("hits:58000", "hits:5800000");
    assert_eq!(report(&works, "activedefrag yes").primary_cause, Cause::ExternalFragmentation);
}

#[test]
fn swap_needs_the_hosts_word() {
    let info = format!(
        "used_memory:{}\nused_memory_rss:{}\ntotal_system_memory:{}\n",
        4 * GIB,
        3 * GIB,
        64 * GIB
    );
    assert_eq!(report(&info, "").primary_cause, Cause::RssBelowUsedBenign);
    let mut swapping = sample(&info, "");
    swapping.host = Some(Host { swapped: Some(GIB), ..Host::default() });
    assert_eq!(diagnose(&swapping).primary_cause, Cause::Swapped);
}

#[test]
fn the_cgroup_counts_and_not_the_hosts_memory() {
    let mut near = sample(
        &format!(
            "used_memory:{}\nused_memory_rss:{}\ntotal_system_memory:{}\n",
            950 * MIB,
            970 * MIB,
            64 * GIB
        ),
        "",
    );
    assert_eq!(diagnose(&near).verdict, Verdict::Healthy);
    near.host = Some(Host {
        cgroup: Some(unfrag_model::host::Cgroup {
            version: 2,
            path: "/".into(),
            limit: GIB,
            high: None,
            current: None,
            oom_kills: Some(0),
        }),
        ..Host::default()
    });
    let r = diagnose(&near);
    assert_eq!((r.primary_cause, r.verdict), (Cause::KernelOomOrCgroupLimit, Verdict::Urgent));
}

#[test]
fn a_fork_that_would_not_fit_is_foreseen() {
    let info = |cow: u64| {
        format!(
            "used_memory:{g}\nused_memory_rss:{g}\ntotal_system_memory:{}\nrdb_last_cow_size:{cow}\n",
            5 * GIB,
            g = 4 * GIB
        )
    };
    assert!(!has(&report(&info(100 * MIB), ""), "cow-headroom"));
    assert_eq!(
        report(&info(2 * GIB), "maxmemory 4gb\nmaxmemory-policy allkeys-lru").primary_cause,
        Cause::CowForkSpike
    );
}

#[test]
fn oom_replies_of_another_node_are_not_blamed_on_this_one() {
    let mut s = sample(
        "used_memory:2951384\nused_memory_rss:3000000\nused_memory_peak:9439760\nmaxmemory:5368709120\nmaxmemory_policy:volatile-ttl",
        "",
    );
    s.log = LogFacts::parse("(error) OOM command not allowed when used memory > 'maxmemory'.");
    assert_eq!(diagnose(&s).primary_cause, Cause::OomNotFromThisInstance);
}

#[test]
fn memory_without_keys_is_a_modules_or_a_leak() {
    let info = "redis_version:7.0.0\nused_memory:2147483648\nused_memory_overhead:5000000\nused_memory_rss:2200000000\n# Keyspace\n";
    assert_eq!(report(info, "").primary_cause, Cause::ModuleMemory);
    let told_none = format!("# Modules\n{info}");
    assert_eq!(report(&told_none, "").primary_cause, Cause::MemoryLeakBug);
}

#[test]
fn figures_that_cannot_be_true_come_first() {
    for info in [
        "used_memory:1000000000\nused_memory_overhead:2000000000\nused_memory_rss:1100000000",
        "used_memory:1000000000\nused_memory_rss:1100000000\nmem_clients_normal:18446744073709547520",
        "used_memory:1000000000\nused_memory_rss:0",
    ] {
        assert_eq!(report(info, "").primary_cause, Cause::MetricAccountingBug, "{info}");
    }
}

#[test]
fn advisories_follow_the_version() {
    let at = |version: &str| {
        let info = format!(
            "redis_version:{version}\nmem_allocator:jemalloc-5.3.0\nused_memory:1\nused_memory_rss:1\n"
        );
        report(&info, "activedefrag yes")
            .findings
            .into_iter()
            .filter(|f| f.id == "advisory")
            .collect::<Vec<_>>()
    };
    assert!(
        at("7.2.5")
            .iter()
            .any(|f| f.title.contains("7.2-defrag-toggle") && f.severity == Severity::Act)
    );
    assert!(at("7.2.6").is_empty());
}

#[test]
fn the_small_bin_metric_is_believed_only_where_it_exists() {
    // 7.4 counts small bins only: a large-class heap has active > allocated and nothing to defragment.
    let info = levels(1000, 1600, 1620, 1630).replace("7.2.5", "7.4.1")
        + "allocator_frag_bytes:1048576\nallocator_frag_ratio:1.00\n";
    let r = report(&info, "");
    assert!(r.reclaim.defrag.bytes.unwrap() < 64 * MIB, "{:?}", r.reclaim.defrag);
}

#[test]
fn malloc_stats_narrow_the_estimate() {
    let mut s = sample(&levels(1000, 1600, 1620, 1630), "");
    let wide = diagnose(&s).reclaim.defrag;
    s.malloc_stats = MallocStats::parse(
        "Quantum size: 8\nPage size: 4096\nbins: size ind allocated curregs curslabs regs pgs util\n 1024 23 0 1024000 409600 4 1 0.625\n",
    );
    let narrow = diagnose(&s).reclaim.defrag;
    let spread = |e: &unfrag_model::Estimate| e.high.unwrap() - e.low.unwrap();
    assert!(spread(&narrow) < spread(&wide), "{narrow:?} {wide:?}");
}

#[test]
fn safe_limits_show_their_sums() {
    let info = format!(
        "used_memory:{g}\nused_memory_rss:{g}\ntotal_system_memory:{}\nrdb_last_cow_size:{}\n",
        16 * GIB,
        GIB,
        g = 4 * GIB
    );
    let limits = report(&info, "").safe_limits.unwrap();
    // (16 GiB - 12 MiB) / (1.10 + 2 x 1/4)
    let want = (16 * GIB - 12 * MIB) as f64 / 1.60;
    assert!((limits.maxmemory_bytes.unwrap() as f64 - want).abs() < MIB as f64);
    assert!(limits.arithmetic.iter().any(|l| l.starts_with("maxmemory = ")));
}

#[test]
fn an_empty_sample_is_healthy_and_silent() {
    let r = diagnose(&Sample::default());
    assert_eq!((r.primary_cause, r.findings.len()), (Cause::Healthy, 0));
}

#[test]
fn freed_pages_that_were_never_touched_are_not_promised() {
    // jemalloc 5.1 after large values were deleted: resident above RSS.
    let mut s = sample(&levels(80, 86, 214, 161), "");
    s.malloc_stats = MallocStats::parse(
        "Page size: 4096\nAllocated: 83886080, active: 90177536, metadata: 3000000, resident: 224395264\narenas[0]:\ndecaying: time npages\n dirty: 10000 32000 7 7 51\n muzzy: 10000 0 7 7 51\n",
    );
    let r = diagnose(&s);
    assert!(r.reclaim.purge.bytes.unwrap() <= 75 * MIB, "{:?}", r.reclaim.purge);
    assert!(r.reclaim.purge.floor_rss_bytes.unwrap() >= 86 * MIB);
}

#[test]
fn of_two_gaps_alike_in_size_the_more_specific_is_the_answer() {
    for (info, want) in [
        (levels(1000, 1500, 1520, 2200), Cause::ExternalFragmentation),
        (levels(1000, 1300, 1320, 2600), Cause::NonAllocatorOverhead),
    ] {
        assert_eq!(report(&info, "").primary_cause, want, "{info}");
    }
}

/// The same server's INFO without the lines of these names.
fn cut(info: &str, names: &[&str]) -> String {
    let kept = info.lines().filter(|l| !names.iter().any(|n| l.split(':').next() == Some(n)));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_gap_above_the_active_pages_is_never_passed_over() {
    let peak = |mib: u64| format!("used_memory_peak:{}\n", mib * MIB);
    let info = cut(&levels(1000, 1010, 1600, 1610), &["allocator_resident"]);
    // Beyond anything the heap ever needed, or what it has freed since.
    assert_eq!(report(&info, "").primary_cause, Cause::NonAllocatorOverhead);
    let r = report(&(info + "\n" + &peak(1700)), "");
    assert_eq!(r.primary_cause, Cause::AllocatorRetained);
}

#[test]
fn a_libc_server_is_known_by_its_equal_levels_or_by_its_age() {
    let mirrored = cut(&levels(1000, 1500, 1500, 1500), &["mem_allocator", "allocator_allocated"]);
    let mirrored = format!("{mirrored}\nallocator_allocated:{}\n", 900 * MIB);
    let ancient =
        format!("redis_version:2.2.1\nuse_tcmalloc:0\nused_memory:{MIB}\nused_memory_rss:{GIB}\n");
    for info in [mirrored, ancient] {
        let r = report(&info, "");
        assert_eq!(r.primary_cause, Cause::DefragUnsupportedBuild, "{info}");
        assert_eq!(r.layers.active, None);
    }
}

#[test]
fn rss_far_above_use_is_not_fine_for_want_of_a_peak() {
    for times in [2, 5] {
        let info = format!("used_memory:{GIB}\nused_memory_rss:{}\n", times * GIB);
        assert!(report(&info, "").verdict > Verdict::Healthy, "{info}");
    }
}

#[test]
fn a_server_that_has_taken_no_sample_yet_is_not_a_broken_one() {
    let info = "used_memory:900000\nused_memory_rss:0\nallocator_allocated:0\nallocator_active:0\nallocator_resident:0\n";
    assert_eq!(report(info, "").verdict, Verdict::Healthy);
    assert!(has(&report("used_memory:900000\nused_memory_rss:0\n", ""), "impossible-figures"));
}

#[test]
fn what_a_cut_paste_lost_is_rebuilt_from_what_is_left() {
    let mib = |n: u64| n * MIB;
    // 1000 used, 1010 active, 1020 resident, 1700 RSS: only differences and a ratio are left of it.
    let tail = format!(
        "rss_overhead_bytes:{}\nallocator_rss_bytes:{}\nallocator_frag_bytes:{}\nmem_fragmentation_ratio:1.70\nmem_fragmentation_bytes:{}\n",
        mib(680),
        mib(10),
        mib(10),
        mib(700)
    );
    let r = report(&tail, "");
    assert_eq!(r.primary_cause, Cause::NonAllocatorOverhead, "{r:?}");
    let near = |bytes: Option<u64>, want: u64| {
        bytes.is_some_and(|b| b.abs_diff(mib(want)) < mib(want) / 50)
    };
    assert!(near(r.layers.used, 1000) && near(r.layers.rss, 1700) && near(r.layers.active, 1010));
    let without = cut(&tail, &["allocator_frag_bytes"]);
    assert_eq!(report(&without, "").primary_cause, Cause::NonAllocatorOverhead);
    for shares in [
        format!("used_memory_peak:{}\nused_memory_peak_perc:50.00%\n", mib(2000)),
        format!("used_memory_dataset:{}\nused_memory_dataset_perc:80.00%\n", mib(800)),
    ] {
        assert!(near(report(&shares, "").layers.used, 1000), "{shares}");
    }
}

#[test]
fn memory_stats_alone_tell_the_levels() {
    let text = format!(
        "peak.allocated\n{g}\ntotal.allocated\n{g}\nallocator.allocated\n{g}\nallocator.active\n{g}\nallocator.resident\n{}\nfragmentation.bytes\n{}\n",
        2 * GIB,
        GIB,
        g = GIB
    );
    let memory_stats = Some(unfrag_model::MemoryStats::parse(&text));
    let r = diagnose(&Sample { memory_stats, ..Sample::default() });
    assert_eq!(r.layers.rss, Some(2 * GIB));
    assert_eq!(r.primary_cause, Cause::AllocatorRetained);
}
