//! Prints what is read of the targets given, and of what belongs with them:
//! `cargo run -p unfrag-client --example sample -- 127.0.0.1:6379 redis+sentinel://cache@127.0.0.1:26379`.
//!
//! For looking at what the crate reads, and for measuring it; `unfrag check` is the tool for people.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Instant;
use unfrag_client::{ConnectOptions, Reading, SurveyOptions, Uri, survey};
use unfrag_model::Sample;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), unfrag_client::TargetError> {
    let mut targets = vec![];
    for text in std::env::args().skip(1) {
        let uri: Uri = text.parse()?;
        targets.push((uri.target.clone(), ConnectOptions::default().with_uri(&uri)));
    }
    let begun = Instant::now();
    let survey = survey(&targets, &SurveyOptions::default()).await;
    let took = begun.elapsed();
    for reading in &survey.readings {
        show(reading);
    }
    for problem in &survey.problems {
        println!("{}: {}", problem.what, problem.why);
    }
    println!(
        "{} readings in {} ms, peak RSS {}",
        survey.readings.len(),
        took.as_millis(),
        peak_rss()
    );
    Ok(())
}

fn show(reading: &Reading) {
    match &reading.result {
        Ok(sample) => {
            let node = reading.node.as_ref().map(|n| (n.role, n.primary.as_deref()));
            println!("{}: {} {node:?}", reading.name, sample.info.engine());
            if std::env::var_os("QUIET").is_none() {
                show_sample(sample);
            }
        }
        Err(error) => {
            println!(
                "{error}\n  hint: {}\n  kind: {:?}",
                error.hint().unwrap_or("-"),
                error.kind()
            );
        }
    }
}

fn show_sample(sample: &Sample) {
    println!(
        "  INFO {} fields, MEMORY STATS {}, MALLOC-STATS {}, config {}, clients {:?}",
        sample.info.len(),
        sample.memory_stats.is_some(),
        sample.malloc_stats.is_some(),
        sample.config.pairs().count(),
        sample.clients.as_ref().map(|c| c.clients),
    );
    println!("  host {:?}", sample.host);
    for unread in &sample.unread {
        println!("  unread {}: {}", unread.what, unread.why);
    }
    for cost in &sample.commands {
        println!(
            "  {}: server {:?} us, round trip {} us, {} bytes",
            cost.command, cost.server_us, cost.round_trip_us, cost.reply_bytes
        );
    }
}

fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}
