//! What each workload leaves on each server: `cargo run --release -p unfrag-testbed --example figures [MiB] [SERVER]`.
//!
//! `settled` is the RSS after `MEMORY PURGE` until it stops falling: pages that an allocator would have given
//! back by itself within seconds do not count as fragmentation.

#![expect(clippy::print_stdout, reason = "a measurement's output")]

use redis::Connection;
use std::time::Instant;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Error, Kind, Options, Server, measure, require};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let fill_mib: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(400);
    let only = args.next();
    let chosen = |kind: &Kind| only.as_deref().is_none_or(|name| name == kind.name());
    println!("| server | workload | used MiB | RSS MiB | ratio | settled MiB | ratio | seconds |");
    println!("|---|---|---|---|---|---|---|---|");
    for kind in Kind::ALL.into_iter().filter(chosen).filter(|&k| require(k)) {
        for workload in Workload::ALL {
            let server = Server::start(kind, &Options::default())?;
            let mut connection = server.connection()?;
            let started = Instant::now();
            workload.run(&mut connection, fill_mib << 20, 1)?;
            let seconds = started.elapsed().as_secs_f64();
            let (used, rss) = measure::used_and_rss(&mut connection)?;
            let settled = settle(&mut connection, rss)?;
            println!(
                "| {} | {} | {} | {} | {:.2} | {} | {:.2} | {seconds:.1} |",
                kind.name(),
                workload.name(),
                used >> 20,
                rss >> 20,
                rss as f64 / used as f64,
                settled >> 20,
                settled as f64 / used as f64,
            );
        }
    }
    Ok(())
}

fn settle(connection: &mut Connection, mut rss: u64) -> Result<u64, Error> {
    for _ in 0..20 {
        measure::command::<()>(connection, "purge", redis::cmd("MEMORY").arg("PURGE"))?;
        let (_, now) = measure::used_and_rss(connection)?;
        if now + (1 << 20) >= rss {
            return Ok(now);
        }
        rss = now;
    }
    Ok(rss)
}
