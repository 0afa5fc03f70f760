//! Every workload on every real server: the cause is right, and the restart floor that is predicted is the
//! one a real restart reaches.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use unfrag_client::{Address, ConnectOptions, SampleOptions, connect, sample};
use unfrag_diagnose::diagnose;
use unfrag_model::{Cause, Sample};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, measure, require};

/// Enough that the process's own megabytes do not decide.
const FILL_BYTES: u64 = 256 << 20;

fn read(lab: &Lab) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = Address::Tcp("127.0.0.1".to_owned(), lab.server.port());
        let mut connection = connect(&address, &ConnectOptions::default()).await.unwrap();
        sample(&mut connection, &SampleOptions::default()).await.unwrap()
    })
}

/// The cause that is true of a server fragmented this way.
fn expected(kind: Kind, workload: Workload) -> Cause {
    match (kind.has_jemalloc(), workload) {
        // Nothing can be seen or moved inside libc's heap.
        (false, _) => Cause::DefragUnsupportedBuild,
        // Values of their own pages, which are kept.
        (true, Workload::Large) => Cause::AllocatorRetained,
        (true, _) => Cause::ExternalFragmentation,
    }
}

/// Freed pages decay within ten seconds: how many are left when the server is read would be the machine's doing.
fn options(workload: Workload) -> Options {
    Options { keeps_freed_pages: workload == Workload::Large, ..Options::default() }
}

fn check(kind: Kind, workload: Workload) -> String {
    let mut lab = Lab::start(kind, &options(workload), workload, FILL_BYTES).unwrap();
    let report = diagnose(&read(&lab));
    lab.server.restart().unwrap();
    let (fresh_used, rss) = measure::used_and_rss(&mut lab.server.connection().unwrap()).unwrap();
    let floor = report.reclaim.restart.floor_rss_bytes.unwrap();
    let error = (floor as f64 / rss as f64 - 1.0) * 100.0;
    let right = report.primary_cause == expected(kind, workload);
    let line = format!(
        "{:<13} {:<12} used {:>4} rss {:>4} -> used {:>4} floor {:>4} predicted {:>4} MiB ({error:+.1} %)  {:?}{}",
        kind.name(),
        workload.name(),
        lab.used >> 20,
        lab.rss >> 20,
        fresh_used >> 20,
        rss >> 20,
        floor >> 20,
        report.primary_cause,
        if right && error.abs() <= 10.0 { "" } else { "  WRONG" }
    );
    println!("\n{line}");
    line
}

fn check_all(kind: Kind) {
    if !require(kind) {
        return;
    }
    let wrong: Vec<String> = Workload::ALL
        .into_iter()
        .map(|w| check(kind, w))
        .filter(|l| l.ends_with("WRONG"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn redis_6() {
    check_all(Kind::Redis6);
}

#[test]
fn redis_7_debian() {
    check_all(Kind::Redis7);
}

#[test]
fn redis_8() {
    check_all(Kind::Redis8);
}

#[test]
fn valkey_8_libc() {
    check_all(Kind::Valkey8);
}

#[test]
fn valkey_9_libc() {
    check_all(Kind::Valkey9);
}
