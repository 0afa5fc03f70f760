//! What is done to a fragmented server, one method an entry: [`Method`].

use redis::Connection;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use unfrag_testbed::{Server, measure};

/// A way to give memory back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    /// `unfrag fix --yes`.
    Unfrag,
    /// What people paste: activedefrag with thresholds 10 and 100, cycle 5 to 75, until it rests, then MEMORY PURGE.
    Recipe,
    /// MEMORY PURGE until RSS stops falling.
    Purge,
    /// Nothing, for as long as the allocator needs to drop pages by itself.
    Nothing,
}

/// What a method can tell of itself.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) predicted_bytes: Option<u64>,
    /// Share of a core that unfrag used.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) peak_rss_bytes: Option<u64>,
}

/// Both decays of jemalloc, 10 s each, and some.
const DECAY: Duration = Duration::from_secs(25);
/// The recipe may work for this long.
const RECIPE: Duration = Duration::from_secs(180);

impl Method {
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Unfrag, Self::Recipe, Self::Purge, Self::Nothing]
            .into_iter()
            .find(|m| m.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unfrag => "unfrag",
            Self::Recipe => "recipe",
            Self::Purge => "purge",
            Self::Nothing => "nothing",
        }
    }

    pub(crate) fn run(self, server: &Server, unfrag: &Path) -> Run {
        let mut connection = server.connection().unwrap();
        match self {
            Self::Unfrag => return fix(server, unfrag),
            Self::Recipe => recipe(&mut connection),
            Self::Purge => purge(&mut connection),
            Self::Nothing => std::thread::sleep(DECAY),
        }
        Run::default()
    }
}

fn fix(server: &Server, unfrag: &Path) -> Run {
    let state = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut child = Command::new(unfrag)
        .args(["fix", "--yes", "-o", "json", "-p", &server.port().to_string()])
        .env("XDG_STATE_HOME", state.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut cpu_s, mut peak_rss_bytes) = (0.0, 0);
    while child.try_wait().unwrap().is_none() {
        if let Some((cpu, rss)) = usage(&child) {
            (cpu_s, peak_rss_bytes) = (cpu, rss);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let cpu_share = cpu_s / begun.elapsed().as_secs_f64();
    let output = child.wait_with_output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Run {
        predicted_bytes: json.get("predicted_bytes").and_then(serde_json::Value::as_u64),
        cpu_share: Some(cpu_share),
        peak_rss_bytes: Some(peak_rss_bytes),
    }
}

/// CPU seconds so far and the peak of RSS in bytes, from procfs; `None` once it is gone.
fn usage(child: &Child) -> Option<(f64, u64)> {
    /// USER_HZ of every Linux that matters.
    const TICKS_PER_S: f64 = 100.0;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).ok();
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let status = read("status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    Some(((ticks(11)? + ticks(12)?) as f64 / TICKS_PER_S, kib << 10))
}

fn recipe(connection: &mut Connection) {
    let settings = [
        ("active-defrag-threshold-lower", "10"),
        ("active-defrag-threshold-upper", "100"),
        ("active-defrag-cycle-min", "5"),
        ("active-defrag-cycle-max", "75"),
        ("activedefrag", "yes"),
    ];
    let is_set = settings.iter().all(|(name, value)| {
        redis::cmd("CONFIG").arg("SET").arg(*name).arg(*value).exec(connection).is_ok()
    });
    let end = Instant::now() + RECIPE;
    let mut idle = 0;
    // It looks whether there is work once a second.
    while is_set && idle < 8 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        let running = measure::field(connection, "active_defrag_running").unwrap();
        idle = if running == 0 { idle + 1 } else { 0 };
    }
    redis::cmd("MEMORY").arg("PURGE").exec(connection).unwrap();
}

fn purge(connection: &mut Connection) {
    let (_, mut before) = measure::used_and_rss(connection).unwrap();
    for _ in 0..10 {
        redis::cmd("MEMORY").arg("PURGE").exec(connection).unwrap();
        let (_, now) = measure::used_and_rss(connection).unwrap();
        if now + (1 << 20) > before {
            break;
        }
        before = now;
    }
}
