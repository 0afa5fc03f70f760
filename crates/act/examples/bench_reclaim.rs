//! The efficiency of `fix`: bytes of RSS given back, as a share of what a restart gives back.
//!
//! `cargo run --release --example bench_reclaim [SERVERS] [WORKLOADS] [FILL_MIB]`, lists with commas. Each run has a
//! server of its own, fragmented, under a steady reader and writer; restarted afterwards to find the floor.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement's own report")]

use redis::Commands;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use unfrag_act::permit::Consent;
use unfrag_act::{Bounds, ChangePermit, Journals, Outcome, Run, Stop, execute, plan};
use unfrag_client::{Address, ConnectOptions, SampleOptions, connect, sample};
use unfrag_diagnose::diagnose;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, Server, measure};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word =
        |at: usize, default: &str| words.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let kinds = word(0, "redis-6.2.5,redis-8.2.3,redis-7.0.15");
    let workloads = word(1, "strings,churn,collections,ttl,large");
    let fill_bytes = word(2, "400").parse::<u64>().unwrap() << 20;
    println!(
        "server        workload        before   after   floor  efficiency  predicted  took   p99.9 base/during/worst   slowest command"
    );
    for kind in kinds.split(',').filter_map(Kind::named) {
        for workload in workloads.split(',').filter_map(Workload::named) {
            row(kind, workload, fill_bytes);
        }
    }
}

fn row(kind: Kind, workload: Workload, fill_bytes: u64) {
    let mut lab = Lab::start(kind, &Options::default(), workload, fill_bytes).unwrap();
    let mut connection = lab.server.connection().unwrap();
    let watch = [("latency-monitor-threshold", "2"), ("slowlog-log-slower-than", "2000")];
    for (name, value) in watch {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut connection).unwrap();
    }
    redis::cmd("SLOWLOG").arg("RESET").exec(&mut connection).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load = steady_load(&lab.server, &stop);
    let begun = Instant::now();
    let outcome = fix(&lab.server);
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let slowest = slowest(&mut connection);
    drop(connection);
    lab.server.restart().unwrap();
    let (_, floor) = measure::used_and_rss(&mut lab.server.connection().unwrap()).unwrap();
    let (before, after) = (outcome.before.rss.unwrap(), outcome.after.rss.unwrap());
    let latency = outcome.steps.iter().map(|s| s.latency_us).max_by_key(|l| l.during.p999);
    let latency = latency.map_or_else(String::new, |l| {
        format!("{}/{}/{} us", l.baseline.p999, l.during.p999, l.during.max)
    });
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{:<13} {:<12} {:>9.1} {:>7.1} {:>7.1} {:>11.3} {:>+9.1}% {:>5.1}s   {latency:<24}  {slowest}",
        kind.name(),
        workload.name(),
        mib(before),
        mib(after),
        mib(floor),
        (before as f64 - after as f64) / (before as f64 - floor as f64),
        (outcome.predicted_bytes as f64 / outcome.reclaimed_bytes.max(1) as f64 - 1.0) * 100.0,
        took.as_secs_f64(),
    );
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

fn fix(server: &Server) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let address = Address::Tcp("127.0.0.1".to_owned(), server.port());
        let options = ConnectOptions::default();
        let mut connection = connect(&address, &options).await.unwrap();
        let sample = sample(&mut connection, &SampleOptions::default()).await.unwrap();
        let report = diagnose(&sample);
        let plan = plan::make(&report, &sample, Bounds::default());
        let permit = ChangePermit::mint(Consent::Flag, &plan.run_id);
        let run = Run {
            plan: &plan,
            permit: &permit,
            before: report.layers,
            address: &address,
            options: &options,
            journals: &Journals::at(folder.path()),
            stop: Stop::default(),
        };
        execute(run, &mut |_| {}).await.unwrap()
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
