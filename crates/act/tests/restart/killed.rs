//! unfrag killed (-9) at each step of a restart: one server takes writes and has them all, and `undo` finishes the rest.

use crate::load::Load;
use crate::site::Site;
use crate::swap::KINDS;
use redis::Commands;
use rustix::process::{Signal, getpid, kill_process};
use std::path::Path;
use std::process::{Command, Stdio};
use unfrag_act::Journals;
use unfrag_act::restart::{Mode, RestartEvent, RestartStatus, Supervisor, Wish};
use unfrag_client::{ConnectOptions, Target, Uri};
use unfrag_testbed::measure::wait_until;
use unfrag_testbed::{Kind, require};

const KEYS: u64 = 5_000;

/// Not a test of its own: the process that the others kill. It kills itself, so that it dies exactly there.
#[test]
#[ignore = "started by the tests beside it"]
fn a_run_that_dies() {
    let get = |name: &str| std::env::var(format!("UNFRAG_DIES_{name}")).unwrap();
    let (at, when) = (get("AT"), get("WHEN"));
    let mode = match get("MODE").as_str() {
        "swap" | "supervised" => Mode::Swap,
        "rolling" => Mode::Rolling,
        _ => Mode::Plain,
    };
    // Without a start command the supervisor is found.
    let line = get("START");
    let supervisor = (!line.is_empty()).then_some(Supervisor::Command { line });
    let supervised = get("MODE") == "supervised";
    let wish = Wish { mode: Some(mode), supervisor, supervised, ..Wish::default() };
    // `pause#2` is the second step of that name.
    let (at, which) =
        at.split_once('#').map_or((at.as_str(), 1), |(at, n)| (at, n.parse().unwrap()));
    let mut count = 0;
    let target = get("TARGET").parse::<Uri>().unwrap().target;
    let journals = Journals::at(get("STATE"));
    let mut events = |event: RestartEvent| {
        let is_there = match &event {
            RestartEvent::Step { name, .. } => when == "begins" && *name == at,
            RestartEvent::Done(step) => when == "is done" && step.name == at,
            _ => false,
        };
        count += u32::from(is_there);
        if is_there && count == which {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    };
    let outcome =
        crate::site::restart(&target, &ConnectOptions::default(), &journals, &wish, &mut events);
    assert_eq!(outcome.status, RestartStatus::Done, "{outcome:?}");
    panic!("the step {at} never came");
}

/// Runs a restart that is killed at a step; true when it came so far.
pub(crate) fn die(target: &Target, start: &str, state: &Path, mode: &str, at: &str, when: &str) {
    let target = match target {
        Target::Server(address) => address.to_string(),
        Target::Sentinel { .. } => format!("redis+sentinel://{target}"),
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_run_that_dies", "--ignored", "--nocapture"])
        .env("UNFRAG_DIES_AT", at)
        .env("UNFRAG_DIES_WHEN", when)
        .env("UNFRAG_DIES_MODE", mode)
        .env("UNFRAG_DIES_TARGET", target)
        .env("UNFRAG_DIES_START", start)
        .env("UNFRAG_DIES_STATE", state)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{mode} {at} {when}: {text}");
}

/// Primaries among the site's processes: asked on every port that one of them has in its title.
pub(crate) fn primaries(site: &Site) -> usize {
    let titles = site.processes().into_iter().filter_map(|pid| {
        let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        title.split([' ', '\0']).find_map(|w| w.rsplit_once(':')?.1.parse::<u16>().ok())
    });
    let mut all = 0;
    for port in titles {
        if let Some(mut connection) = crate::site::try_connection(port, site.password.as_deref())
            && let Ok(found) = unfrag_testbed::measure::info(&mut connection)
            && found.get("role").is_some_and(|role| role == "master")
        {
            all += 1;
        }
    }
    all
}

fn survives(kind: Kind, mode: &str, lines: &str, at: &str, when: &str) {
    let label = format!("{} {mode} {lines:?} killed when {at} {when}", kind.name());
    let site = Site::start(kind, lines);
    site.fill(KEYS);
    let conf = std::fs::read_to_string(site.conf()).unwrap();
    let load = Load::start(site.port, None);
    let state = site.folder.path().join("state");
    die(&Target::Server(site.address()), &site.start_line(), &state, mode, at, when);
    let down = mode == "plain" && matches!(at, "stop" | "start");
    if !down {
        // A second process that is not made ready yet has a password that nobody knows, and no clients.
        assert!(primaries(&site) <= 1, "{label}");
    }
    let undone = site.undo().unwrap_or_else(|e| panic!("{label}: {e}"));
    load.wait_for(300);
    let mut connection = site.connection();
    let seen = load.end(|key| connection.get(key).unwrap());
    assert_eq!(seen.lost, 0, "{label} {seen:?} {undone:?}");
    let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    assert_eq!(keys, KEYS + 800 + Load::CLIENTS as u64, "{label}");
    assert_eq!((site.processes().len(), primaries(&site)), (1, 1), "{label}");
    assert_eq!(site.journals().unfinished().unwrap(), [], "{label}");
    for name in ["repl-diskless-sync-delay", "auto-aof-rewrite-percentage"] {
        let pair: Vec<String> =
            redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).unwrap();
        let usual = if name.starts_with("auto") { "100" } else { "5" };
        assert_eq!(pair[1], usual, "{label}");
    }
    let left: Vec<String> = std::fs::read_dir(site.folder.path())
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .filter(|name| name.contains(".unfrag"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "{label}");
    assert_eq!(std::fs::read_to_string(site.conf()).unwrap(), conf, "{label}");
    // And once more, from there.
    let wish = Wish { mode: Some(Mode::Plain), ..site.wish() };
    let outcome = site.restart(&wish);
    assert_eq!(outcome.status, RestartStatus::Done, "{label} {outcome:?}");
}

#[test]
fn plain_killed_at_each_step() {
    for kind in [Kind::Redis6, Kind::Redis8, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        for at in ["pause", "record", "stop", "start", "load", "verify"] {
            survives(kind, "plain", "save 3600 1", at, "begins");
        }
        survives(kind, "plain", "save \"\"", "stop", "is done");
        survives(kind, "plain", "appendonly yes", "start", "is done");
    }
}

const SWAP_STEPS: [&str; 10] = [
    "launch",
    "carry",
    "sync",
    "pause",
    "compare",
    "hand-over",
    "ports",
    "reconnect",
    "verify",
    "retire",
];

/// Killed while the second process starts, as soon as `seen` is there; true when it was still there then.
fn killed_when(site: &Site, state: &Path, seen: &Path) -> bool {
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_run_that_dies", "--ignored"])
        .env("UNFRAG_DIES_AT", "never")
        .env("UNFRAG_DIES_WHEN", "begins")
        .env("UNFRAG_DIES_MODE", "swap")
        .env("UNFRAG_DIES_TARGET", site.address().to_string())
        .env("UNFRAG_DIES_START", "")
        .env("UNFRAG_DIES_STATE", state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !seen.exists() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    seen.exists()
}

/// The second process begins an append-only file for a moment, though the server has none or an old one lies there.
#[test]
fn folders_of_append_only_files_are_what_they_were() {
    const TRIES: usize = 20;
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        for has_old in [false, true] {
            let site = Site::start(kind, "save 3600 1");
            site.fill(100);
            let state = site.folder.path().join("state");
            let folder = site.folder.path().join("appendonlydir");
            let (old, aside) =
                (folder.join("old.aof"), site.folder.path().join("appendonlydir.unfrag"));
            if has_old {
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(&old, "precious").unwrap();
            }
            let seen = if has_old { &aside } else { &folder };
            let label = format!("{} has_old {has_old}", kind.name());
            let was_there = (0..TRIES).any(|_| {
                let was_there = killed_when(&site, &state, seen);
                // A child that was forked and is not yet the second server holds the journal's lock for that instant.
                wait_until("undo", || Ok(site.undo().is_ok()))
                    .unwrap_or_else(|e| panic!("{label}: {e} {:?}", site.undo()));
                was_there
            });
            assert!(was_there, "{label}: never killed in that moment");
            assert_eq!(folder.exists(), has_old, "{label}");
            assert!(!aside.exists(), "{label}");
            assert!(!has_old || std::fs::read(&old).unwrap() == b"precious", "{label}");
            assert_eq!((site.processes().len(), primaries(&site)), (1, 1), "{label}");
        }
    }
}

#[test]
fn swap_killed_at_each_step() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        for at in SWAP_STEPS {
            survives(kind, "swap", "save 3600 1", at, "begins");
        }
        for at in ["launch", "hand-over", "retire"] {
            survives(kind, "swap", "appendonly yes\nsave \"\"", at, "is done");
        }
    }
}
