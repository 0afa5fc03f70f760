//! The efficiency of `fix`: bytes of RSS given back, as a share of what a restart gives back, beside the usual recipe,
//! MEMORY PURGE alone, and doing nothing.
//!
//! `bench_reclaim UNFRAG [SERVERS] [WORKLOADS] [FILL_MIB] [METHODS]`, lists with commas. Each row has a server of its
//! own, fragmented alike, under a steady reader and writer; the server is restarted afterwards to find the floor.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement's own report")]

mod layers;
mod method;

use layers::Layers;
use method::{Method, Run};
use redis::Commands;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use unfrag_act::probe::{Percentiles, Probe};
use unfrag_client::{Address, ConnectOptions};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, Server, measure};

/// Heads of what [`layers::Left`] prints.
const LEFT: &str = "   data (table)  holes  pages  recs  rest";
/// Latency before anything is done.
const BASELINE: Duration = Duration::from_secs(5);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word =
        |at: usize, default: &str| words.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let unfrag = PathBuf::from(word(0, "target/release/unfrag"));
    let kinds = word(1, "redis-6.2.5,redis-8.2.3,redis-7.0.15");
    let workloads = word(2, "strings,churn,collections,ttl,large");
    let fill_bytes = word(3, "400").parse::<u64>().unwrap() << 20;
    let methods = word(4, "unfrag,recipe,purge,nothing");
    let methods: Vec<Method> = methods.split(',').filter_map(Method::named).collect();
    println!(
        "MiB of RSS; efficiency: given back / given back by a restart; latency in ms of a PING every 2 ms: added at p99.9, worst;\n\
         slowest: by the server's own account; left: where a restart would still find something, in MiB: data (table: of it\n\
         the key table's old size), holes in pages, pages that hold nothing, the allocator's records of the peak, the rest"
    );
    println!(
        "{:<13}{:<12}{:<8}{:>8}{:>8}{:>8}{:>7}{:>6}{:>9}{:>7}{:>7}{:>7}{:>6}{:>6}{LEFT}  slowest",
        "server",
        "workload",
        "method",
        "keys",
        "before",
        "after",
        "floor",
        "eff.",
        "expected",
        "took",
        "+p99.9",
        "worst",
        "cpu",
        "MiB"
    );
    for kind in kinds.split(',').filter_map(Kind::named) {
        for workload in workloads.split(',').filter_map(Workload::named) {
            for method in &methods {
                row(kind, workload, *method, fill_bytes, &unfrag);
            }
        }
    }
}

fn row(kind: Kind, workload: Workload, method: Method, fill_bytes: u64, unfrag: &Path) {
    let mut lab = Lab::start(kind, &Options::default(), workload, fill_bytes).unwrap();
    let mut connection = lab.server.connection().unwrap();
    let watch = [("latency-monitor-threshold", "2"), ("slowlog-log-slower-than", "2000")];
    for (name, value) in watch {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut connection).unwrap();
    }
    redis::cmd("SLOWLOG").arg("RESET").exec(&mut connection).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load = steady_load(&lab.server, &stop);
    let probe = Probe::start(
        &Address::Tcp("127.0.0.1".to_owned(), lab.server.port()),
        &ConnectOptions::default(),
    );
    probe.start_period();
    std::thread::sleep(BASELINE);
    let baseline = probe.period();
    // Here, not before: jemalloc gives dirty pages back by itself for some ten seconds after the last delete.
    let (_, before) = measure::used_and_rss(&mut connection).unwrap();
    probe.start_period();
    let begun = Instant::now();
    let run = method.run(&lab.server, unfrag);
    let took = begun.elapsed();
    let during = probe.period();
    drop(probe);
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let slowest = slowest(&mut connection);
    let (_, after) = measure::used_and_rss(&mut connection).unwrap();
    let layers_after = Layers::read(&mut connection);
    drop(connection);
    lab.server.restart().unwrap();
    let mut connection = lab.server.connection().unwrap();
    let (_, floor) = measure::used_and_rss(&mut connection).unwrap();
    let left = layers_after.over(&Layers::read(&mut connection));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{:<13}{:<12}{:<8}{:>8}{:>8.1}{:>8.1}{:>7.1}{:>6.3}{:>9}{:>6.1}s{:>7.1}{:>7.1}{:>6}{:>6}{left}  {slowest}",
        kind.name(),
        workload.name(),
        method.name(),
        lab.keys,
        mib(before),
        mib(after),
        mib(floor),
        (before as f64 - after as f64) / (before as f64 - floor as f64),
        expected(&run, before.saturating_sub(after)),
        took.as_secs_f64(),
        added(baseline, during),
        during.max as f64 / 1000.0,
        run.cpu_share.map_or_else(String::new, |share| format!("{:.0}%", share * 100.0)),
        run.peak_rss_bytes.map_or_else(String::new, |bytes| format!("{:.0}", mib(bytes))),
    );
}

fn expected(run: &Run, given_back: u64) -> String {
    run.predicted_bytes.map_or_else(String::new, |predicted| {
        format!("{:+.1}%", (predicted as f64 / given_back.max(1) as f64 - 1.0) * 100.0)
    })
}

fn added(baseline: Percentiles, during: Percentiles) -> f64 {
    during.p999.saturating_sub(baseline.p999) as f64 / 1000.0
}

/// A reader and writer of a few hundred commands a second.
fn steady_load(server: &Server, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (mut connection, stop) = (server.connection().unwrap(), Arc::clone(stop));
    std::thread::spawn(move || {
        for n in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let _: u64 = connection.incr(format!("load:{}", n % 100), 1).unwrap();
            let _: Option<String> = connection.get(format!("load:{}", (n + 7) % 100)).unwrap();
            std::thread::sleep(Duration::from_millis(4));
        }
    })
}

/// The longest that any one command or defrag slice held the server, by its own account.
fn slowest(connection: &mut redis::Connection) -> String {
    let entries: Vec<Vec<redis::Value>> =
        redis::cmd("SLOWLOG").arg("GET").arg(128).query(connection).unwrap();
    let command = entries.iter().filter_map(|entry| {
        let us = redis::from_redis_value_ref::<u64>(entry.get(2)?).ok()?;
        let words = redis::from_redis_value_ref::<Vec<String>>(entry.get(3)?).ok()?;
        Some((us, words.into_iter().take(2).collect::<Vec<_>>().join(" ")))
    });
    let events: Vec<(String, u64, u64, u64)> =
        redis::cmd("LATENCY").arg("LATEST").query(connection).unwrap_or_default();
    let slices = events.into_iter().filter(|e| e.0.contains("defrag")).map(|e| (e.3 * 1000, e.0));
    command.chain(slices).max().map_or_else(String::new, |(us, what)| {
        format!("{:.1} ms {}", us as f64 / 1000.0, what.chars().take(24).collect::<String>())
    })
}
