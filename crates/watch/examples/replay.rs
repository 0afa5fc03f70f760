//! Prints what `replay` finds: `replay [CASES]`, over the recorded histories and, where they are at hand, over real incidents
//! (one reading each, held for forty minutes, with an expert's verdict).
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a terminal")]

#[path = "../tests/recording/mod.rs"]
mod recording;

use recording::{cases, recordings};
use unfrag_watch::alert::Patience;
use unfrag_watch::replay::replay;

#[derive(Default)]
struct Score {
    /// Histories; false alarms of ours and of the ratio; real trouble seen by ours and by the ratio; seen by the ratio alone.
    benign: u32,
    real: u32,
    false_alarms: [u32; 2],
    seen: [u32; 2],
    only_ratio: Vec<String>,
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "../shared/cases".to_owned());
    println!("{:<44} {:<7} {:<22} unfrag", "history", "truth", "ratio > 1.5 for 10m");
    let mut score = Score::default();
    for history in recordings().into_iter().chain(cases(&folder)) {
        let looks = history.looks.iter().map(|(at, sample)| (*at, sample));
        let alarms = replay(looks, &Patience::default());
        let first = |after: i64| format!("after {} min", after / 60);
        let ours = match alarms.ours.first() {
            Some(alarm) => format!(
                "{}: {}",
                first(alarm.after_s),
                alarm.reason.split(':').next().unwrap_or_default()
            ),
            None => "-".to_owned(),
        };
        let ratio = alarms
            .ratio
            .as_ref()
            .map_or("-".to_owned(), |a| format!("{}, {}", first(a.after_s), a.reason));
        println!(
            "{:<44.43} {:<7} {ratio:<22} {ours}",
            history.name,
            if history.is_real { "real" } else { "benign" }
        );
        let raised = [!alarms.ours.is_empty(), alarms.ratio.is_some()];
        if history.is_real {
            score.real += 1;
            score.seen[0] += u32::from(raised[0]);
            score.seen[1] += u32::from(raised[1]);
            if raised[1] && !raised[0] {
                score.only_ratio.push(history.name);
            }
        } else {
            score.benign += 1;
            score.false_alarms[0] += u32::from(raised[0]);
            score.false_alarms[1] += u32::from(raised[1]);
        }
    }
    println!();
    println!("{:<40} {:>8} {:>12}", "", "unfrag", "ratio > 1.5");
    println!(
        "{:<40} {:>8} {:>12}",
        format!("false alarms, of {} benign", score.benign),
        score.false_alarms[0],
        score.false_alarms[1]
    );
    println!(
        "{:<40} {:>8} {:>12}",
        format!("seen, of {} real", score.real),
        score.seen[0],
        score.seen[1]
    );
    println!(
        "seen by the ratio alone: {}",
        if score.only_ratio.is_empty() { "none".to_owned() } else { score.only_ratio.join(", ") }
    );
}
