//! Starts a hundred real servers, reads them all at once, and prints how long it took:
//! `cargo run --release -p unfrag-client --example hundred [SERVERS]`. The goal is under 3 s.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measurement prints, and stops when it cannot go on"
)]

use std::time::Instant;
use unfrag_client::{ConnectOptions, SurveyOptions, Target, survey};
use unfrag_testbed::{Kind, Options, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100);
    let servers: Vec<Server> = Kind::ALL
        .into_iter()
        .cycle()
        .take(wanted)
        .map(|kind| Server::start(kind, &Options::default()).expect("a server"))
        .collect();
    let mut targets: Vec<_> = servers
        .iter()
        .map(|s| (Target::tcp("127.0.0.1", s.port()), ConnectOptions::default()))
        .collect();
    for round in 1..=3 {
        measure(&format!("round {round}"), &targets).await;
    }
    // A dead one, and one that takes connections and never answers: 5 s, and nobody else waits for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let options = ConnectOptions::default();
    targets.insert(0, (Target::tcp("127.0.0.1", 1), options.clone()));
    targets.insert(0, (Target::tcp("127.0.0.1", port), options));
    measure("with a dead and a silent one", &targets).await;
}

async fn measure(what: &str, targets: &[(Target, ConnectOptions)]) {
    let begun = Instant::now();
    let found = survey(targets, &SurveyOptions::default()).await;
    let took = begun.elapsed().as_millis();
    let good = found.readings.iter().filter(|r| r.result.is_ok()).count();
    println!(
        "{what}: {good} of {} servers read in {took} ms; peak RSS {}",
        targets.len(),
        peak_rss()
    );
}

fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}
