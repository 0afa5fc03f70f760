//! `swap --supervised`, with a real supervisord and with a start command: what remains is the supervisor's own.

use crate::killed::{die, primaries};
use crate::load::Load;
use crate::site::Site;
use crate::swap::KINDS;
use redis::Commands;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use unfrag_act::restart::{Mode, RestartOutcome, RestartStatus, Wish};
use unfrag_client::Target;
use unfrag_testbed::measure::wait_until;
use unfrag_testbed::{Kind, require};

const KEYS: u64 = 20_000;

/// Where supervisord's commands are; `None`, said once, where it cannot be had.
fn supervisord() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let bring = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/supervisord.py");
        let output = Command::new("python3").arg(script).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() || output.status.code() == Some(77), "{output:?}");
        if !output.status.success() {
            assert!(std::env::var_os("CI").is_none(), "{said}");
            eprintln!("skipped: {said}");
            return None;
        }
        Some(PathBuf::from(said))
    };
    FOLDER.get_or_init(bring).as_deref()
}

/// A server that a supervisord of its own keeps.
struct Kept {
    daemon: Child,
    control: Vec<PathBuf>,
    pub(crate) site: Site,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // First, or it would start what the site ends.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Kept {
    fn start(kind: Kind, lines: &str, args: &str) -> Option<Self> {
        let folder = supervisord()?;
        let site = Site::laid_out(kind, lines);
        let own = tempfile_of(&site);
        let at = own.display();
        let text = format!(
            "[unix_http_server]\nfile={at}/s\n[supervisord]\nlogfile={at}/log\npidfile={at}/pid\nchildlogdir={at}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{at}/s\n\
             [program:cache]\ncommand={} {args}\nautorestart=true\nstartretries=1\n",
            site.start_line()
        );
        let conf = own.join("conf");
        std::fs::write(&conf, text).unwrap();
        let daemon = Command::new(folder.join("supervisord"))
            .args(["-n", "-c"])
            .arg(&conf)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let control = vec![folder.join("supervisorctl"), "-c".into(), conf];
        let kept = Self { daemon, control, site };
        kept.site.wait_until_up();
        // Until then it is `STARTING`.
        wait_until("supervisord", 20, || Ok(kept.status().contains("RUNNING"))).unwrap();
        Some(kept)
    }

    fn ask(&self, words: &[&str]) -> String {
        let (program, first) = self.control.split_first().unwrap();
        let output = Command::new(program).args(first).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn status(&self) -> String {
        self.ask(&["status", "cache"])
    }

    fn pid(&self) -> String {
        self.ask(&["pid", "cache"]).trim().to_owned()
    }

    /// The server that answers is the supervisor's own, alone, and as it was set up.
    fn is_in_order(&self, before: &Before, label: &str) {
        let info = self.site.info();
        assert_eq!(info["process_id"], self.pid(), "{label}");
        assert_eq!(info["role"], "master", "{label}");
        before.holds(&self.site, label);
    }
}

/// Beside the site's own folder, so that it is not taken for one of its servers.
fn tempfile_of(site: &Site) -> PathBuf {
    let folder = site.folder.path().join("supervisord");
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// The file and the settings as they were.
struct Before {
    text: Vec<u8>,
    inode: u64,
    mode: u32,
    settings: Vec<(String, String)>,
}

impl Before {
    fn of(site: &Site) -> Self {
        let meta = std::fs::metadata(site.conf()).unwrap();
        Self {
            text: std::fs::read(site.conf()).unwrap(),
            inode: meta.ino(),
            mode: meta.mode(),
            settings: settings(site),
        }
    }

    fn holds(&self, site: &Site, label: &str) {
        let now = Self::of(site);
        assert_eq!(
            String::from_utf8_lossy(&self.text),
            String::from_utf8_lossy(&now.text),
            "{label}"
        );
        assert_eq!((self.inode, self.mode), (now.inode, now.mode), "{label}");
        let differs: Vec<_> = self.settings.iter().zip(&now.settings).filter(|(a, b)| a != b).collect();
        assert!(differs.is_empty(), "{label} {differs:?}");
        let left: Vec<String> = std::fs::read_dir(site.folder.path())
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().into_string().ok())
            .filter(|name| name.contains(".unfrag"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{label}");
        assert_eq!((site.processes().len(), primaries(site)), (1, 1), "{label}");
        assert_eq!(site.journals().unfinished().unwrap(), [], "{label}");
        let pid = std::fs::read_to_string(site.folder.path().join("pid")).unwrap();
        assert_eq!(pid.trim(), site.info()["process_id"], "{label}");
    }
}

fn settings(site: &Site) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        redis::cmd("CONFIG").arg("GET").arg("*").query(&mut site.connection()).unwrap();
    all.sort();
    all
}

fn supervised() -> Wish {
    Wish { mode: Some(Mode::Swap), supervised: true, ..Wish::default() }
}

/// Two thirds of its keys gone: memory that only a fresh process gives back.
fn waste(site: &Site) {
    let mut pipe = redis::pipe();
    for n in 0..KEYS * 4 {
        pipe.set(format!("gone:{n}"), format!("{n:0400}"));
    }
    pipe.exec(&mut site.connection()).unwrap();
    site.fill(KEYS);
    let mut pipe = redis::pipe();
    for n in (0..KEYS * 4).filter(|n| n % 8 > 0) {
        pipe.del(format!("gone:{n}"));
    }
    pipe.exec(&mut site.connection()).unwrap();
}

fn succeeded(outcome: &RestartOutcome, label: &str) {
    assert_eq!(outcome.status, RestartStatus::Done, "{label} {outcome:?}");
    assert_eq!(outcome.verified.config_differs, Vec::<String>::new(), "{label}");
    assert_eq!(outcome.verified.databases_equal, Some(true), "{label}");
    assert!(outcome.reclaimed_bytes > 0, "{label} {outcome:?}");
}

const SHAPES: [&str; 3] =
    ["save 3600 1", "appendonly yes\nsave \"\"", "requirepass canary\nreplica-read-only no"];

#[test]
fn supervisord_keeps_its_own_child_and_no_write_is_lost() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        for lines in SHAPES {
            let label = format!("{} {lines:?}", kind.name());
            let Some(kept) = Kept::start(kind, lines, "") else { return };
            let site = &kept.site;
            waste(site);
            site.set("maxmemory", "3gb");
            site.set("hash-max-listpack-entries", "77");
            redis::cmd("ACL")
                .arg(&["SETUSER", "bob", "on", ">secret", "~a*", "+get"])
                .exec(&mut site.connection())
                .unwrap();
            let (before, pid) = (Before::of(site), kept.pid());
            let load = Load::start(site.port, site.password.as_deref());
            let outcome = site.restart(&supervised());
            succeeded(&outcome, &label);
            load.wait_for(500);
            let mut connection = site.connection();
            let seen = load.end(|key| connection.get(key).unwrap());
            assert_eq!(seen.lost, 0, "{label} {seen:?}");
            eprintln!(
                "{label}: longest gap {:?}, pauses {:?} ms, rss {:?} -> {:?}",
                seen.longest, outcome.gap_ms, outcome.before.rss, outcome.after.rss
            );
            kept.is_in_order(&before, &label);
            assert_ne!(kept.pid(), pid, "{label}");
            let users: Vec<String> = redis::cmd("ACL").arg("LIST").query(&mut connection).unwrap();
            assert!(users.iter().any(|u| u.starts_with("user bob on")), "{users:?}");
            // What it leaves on disk is what the next start needs, whoever orders it.
            let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
            if !lines.starts_with("requirepass") {
                kept.ask(&["restart", "cache"]);
                site.wait_until_up();
                let after: u64 = redis::cmd("DBSIZE").query(&mut site.connection()).unwrap();
                assert_eq!(after, keys, "{label}");
            }
        }
    }
}

#[test]
fn a_start_command_gets_its_own_process_back() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        waste(&site);
        let before = Before::of(&site);
        let old = site.info()["run_id"].clone();
        let load = Load::start(site.port, None);
        let outcome = site.restart(&Wish { supervised: true, ..Wish { mode: Some(Mode::Swap), ..site.wish() } });
        succeeded(&outcome, kind.name());
        load.wait_for(500);
        let mut connection = site.connection();
        let seen = load.end(|key| connection.get(key).unwrap());
        assert_eq!(seen.lost, 0, "{} {seen:?}", kind.name());
        before.holds(&site, kind.name());
        assert_ne!(site.info()["run_id"], old);
    }
}

const STEPS: [&str; 22] = [
    "keep",
    "launch",
    "carry",
    "sync",
    "pause",
    "compare",
    "hand-over",
    "ports",
    "reconnect",
    "rewrite",
    "stop",
    "start",
    "sync#2",
    "carry#2",
    "pause#2",
    "compare#2",
    "hand-over#2",
    "ports#2",
    "reconnect#2",
    "verify",
    "retire",
    "own",
];

/// Killed at a step; then `undo`: one server, the supervisor's own, with everything, and its file as it was.
fn survives(kind: Kind, lines: &str, at: &str, when: &str) {
    let label = format!("{} supervised {lines:?} killed when {at} {when}", kind.name());
    let Some(kept) = Kept::start(kind, lines, "") else { return };
    let site = &kept.site;
    site.fill(1000);
    let before = Before::of(site);
    let load = Load::start(site.port, None);
    let state = site.folder.path().join("state");
    die(&Target::Server(site.address()), "", &state, "supervised", at, when);
    assert!(primaries(site) <= 1, "{label}");
    // It serves all the while, whatever is half way.
    if !["ports", "ports#2"].contains(&at) && when == "begins" {
        load.wait_for(100);
    }
    let undone = site.undo().unwrap_or_else(|e| panic!("{label}: {e}"));
    load.wait_for(200);
    let mut connection = site.connection();
    let seen = load.end(|key| connection.get(key).unwrap());
    assert_eq!(seen.lost, 0, "{label} {seen:?} {undone:?}");
    let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    assert_eq!(keys, 1000 + 800 + Load::CLIENTS as u64, "{label}");
    kept.is_in_order(&before, &format!("{label} {undone:?}"));
}

#[test]
fn killed_at_each_step_and_undone() {
    let all = std::env::var_os("UNFRAG_LONG").is_some();
    let kinds: &[Kind] = if all { &KINDS } else { &[Kind::Redis7, Kind::Valkey9] };
    for (n, &kind) in kinds.iter().filter(|&&k| require(k)).enumerate() {
        // The short version shares the steps out among the servers.
        let share = |i: usize| all || i % kinds.len() == n;
        for (_, at) in STEPS.iter().enumerate().filter(|(i, _)| share(*i)) {
            survives(kind, "save 3600 1", at, "begins");
        }
        let again = ["rewrite", "stop", "start", "hand-over#2", "retire"];
        for (_, at) in again.iter().enumerate().filter(|(i, _)| share(*i)) {
            survives(kind, "appendonly yes\nsave \"\"", at, "begins");
            survives(kind, "appendonly yes\nsave \"\"", at, "is done");
        }
    }
}
