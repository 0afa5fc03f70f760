//! Scores diagnoses against real incidents: `cases DIR` prints the share whose primary cause is the one an
//! expert gave, beside two others computed on the same cases.
//!
//! A case is a folder with `info.txt`, optional `config.txt`, `malloc-stats.txt`, `memory-stats.txt`,
//! `log.txt`, and `case.json`, of which only `primary_cause` and `confidence` are read, after the diagnosis.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a report for a terminal, over fixed columns"
)]

use std::fs;
use std::path::{Path, PathBuf};
use unfrag_diagnose::{diagnose, figures::Figures};
use unfrag_model::log::LogFacts;
use unfrag_model::sample::Source;
use unfrag_model::{Cause, Config, Info, MallocStats, MemoryStats, Sample};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).unwrap_or_else(|| "../shared/cases".to_owned());
    let Ok(entries) = fs::read_dir(&root) else {
        println!("skipped: no cases at {root}");
        return Ok(());
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.join("case.json").is_file())
        .collect();
    folders.sort();
    let mut score = Score::default();
    println!("{:<44} {:<32} unfrag says", "case", "expert says");
    for folder in &folders {
        score.add(folder)?;
    }
    score.print();
    Ok(())
}

/// Right answers of three ways to diagnose: unfrag, the ratio, the doctor; of all and of expert-stated.
#[derive(Default)]
struct Score {
    all: [u32; 4],
    stated: [u32; 4],
}

impl Score {
    fn add(&mut self, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let sample = load(folder);
        let report = diagnose(&sample);
        let case: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join("case.json"))?)?;
        let expert: Cause = serde_json::from_value(case["primary_cause"].clone())?;
        let stated = case["confidence"] == "expert-stated";
        let right = [
            true,
            report.primary_cause == expert,
            by_ratio(&sample) == expert,
            by_doctor(&sample).contains(&expert),
        ];
        for (column, right) in right.into_iter().enumerate() {
            self.all[column] += u32::from(right);
            self.stated[column] += u32::from(right && stated);
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let label = |cause: Cause| {
            serde_json::to_value(cause)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let mark = if right[1] { " " } else { "!" };
        println!("{mark} {name:<42} {:<32} {}", label(expert), label(report.primary_cause));
        Ok(())
    }

    fn print(&self) {
        println!();
        println!("{:<36} {:>14} {:>16}", "primary cause right", "all", "expert-stated");
        let rows =
            ["unfrag", "mem_fragmentation_ratio > 1.5", "MEMORY DOCTOR (any of its bullets)"];
        for (row, name) in rows.into_iter().enumerate() {
            let cell = |counts: &[u32; 4]| {
                format!(
                    "{}/{} {:.0} %",
                    counts[row + 1],
                    counts[0],
                    f64::from(counts[row + 1]) * 100.0 / f64::from(counts[0].max(1))
                )
            };
            println!("{name:<36} {:>14} {:>16}", cell(&self.all), cell(&self.stated));
        }
    }
}

fn load(folder: &Path) -> Sample {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    Sample {
        source: Source::File,
        info: Info::parse(&read("info.txt")),
        config: Config::parse(&read("config.txt")),
        malloc_stats: MallocStats::parse(&read("malloc-stats.txt")),
        memory_stats: Some(MemoryStats::parse(&read("memory-stats.txt"))).filter(|m| !m.is_empty()),
        log: LogFacts::parse(&read("log.txt")),
        ..Sample::default()
    }
}

/// What everyone alerts on.
fn by_ratio(sample: &Sample) -> Cause {
    let ratio =
        sample.info.ratio("mem_fragmentation_ratio").or_else(|| Figures::new(sample).ratio());
    if ratio.is_some_and(|r| r > 1.5) { Cause::ExternalFragmentation } else { Cause::Healthy }
}

/// The published rules of MEMORY DOCTOR (object.c:getMemoryDoctorReport), from the same figures. It names
/// several issues; any of them being right counts.
fn by_doctor(sample: &Sample) -> Vec<Cause> {
    let f = Figures::new(sample);
    let (used, rss) = (f.used.unwrap_or(0), f.rss.unwrap_or(0));
    if used < 5 << 20 {
        return vec![Cause::Healthy];
    }
    let above = |upper: Option<u64>, lower: Option<u64>, ratio: f64| match (upper, lower) {
        (Some(upper), Some(lower)) => {
            upper as f64 > lower as f64 * ratio && upper.saturating_sub(lower) > 10 << 20
        }
        _ => false,
    };
    let normal_clients =
        f.count("connected_clients").saturating_sub(f.count("connected_slaves")).max(1);
    let rules = [
        (f.peak.unwrap_or(used) as f64 > used as f64 * 1.5, Cause::PeakPast),
        (above(Some(rss), Some(used), 1.4), Cause::ExternalFragmentation),
        (above(f.active, f.allocated, 1.1), Cause::ExternalFragmentation),
        (above(f.resident, f.active, 1.1), Cause::AllocatorRetained),
        (
            above(f.rss.filter(|_| f.resident.is_some()), f.resident, 1.1),
            Cause::NonAllocatorOverhead,
        ),
        (f.count("mem_clients_normal") / normal_clients > 200 << 10, Cause::BuffersOverhead),
        (f.count("mem_clients_slaves") > 10 << 20, Cause::BuffersOverhead),
        (f.count("number_of_cached_scripts") > 1000, Cause::LuaScriptsMemory),
    ];
    let found: Vec<Cause> =
        rules.into_iter().filter(|(fires, _)| *fires).map(|(_, cause)| cause).collect();
    if found.is_empty() { vec![Cause::Healthy] } else { found }
}
