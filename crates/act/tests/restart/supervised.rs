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
use std::time::Duration;
use unfrag_act::Stop;
use unfrag_act::restart::{Mode, RestartEvent, RestartOutcome, RestartStatus, Wish};
use unfrag_client::Target;
use unfrag_testbed::measure::wait_until;
use unfrag_testbed::{Kind, require, signal};

const KEYS: u64 = 20_000;

/// Where supervisord's commands are; `None`, said once, where it cannot be had.
#[expect(clippy::print_stderr, reason = "a skip is said")]
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
        wait_until("supervisord", || Ok(kept.status().contains("RUNNING"))).unwrap();
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
        let differs: Vec<_> =
            self.settings.iter().zip(&now.settings).filter(|(a, b)| a != b).collect();
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
    assert_eq!(outcome.verified.config_differs, Some(vec![]), "{label}");
    assert_eq!(outcome.verified.databases_equal, Some(true), "{label}");
    assert!(outcome.reclaimed_bytes > 0, "{label} {outcome:?}");
}

const SHAPES: [&str; 3] =
    ["save 3600 1", "appendonly yes\nsave \"\"", "requirepass canary\nreplica-read-only no"];

#[test]
#[expect(clippy::print_stderr, reason = "a measurement is said")]
fn supervisord_keeps_its_own_child_and_no_write_is_lost() {
    for (n, kind) in KINDS.into_iter().enumerate().filter(|(_, k)| require(*k)) {
        // Every shape on two servers at least.
        for lines in [SHAPES[n % SHAPES.len()], SHAPES[(n + 1) % SHAPES.len()]] {
            let label = format!("{} {lines:?}", kind.name());
            let Some(kept) = Kept::start(kind, lines, "") else { return };
            let site = &kept.site;
            waste(site);
            site.set_at_run_time();
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
    for kind in [Kind::Redis8, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        waste(&site);
        let before = Before::of(&site);
        let old = site.info()["run_id"].clone();
        let load = Load::start(site.port, None);
        let outcome = site
            .restart(&Wish { supervised: true, ..Wish { mode: Some(Mode::Swap), ..site.wish() } });
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

/// Each step on every server, with snapshots and with an append-only file: `make test-supervised`.
#[test]
#[ignore = "takes half an hour"]
fn killed_at_every_step_and_undone() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        for at in STEPS {
            survives(kind, "save 3600 1", at, "begins");
            survives(kind, "appendonly yes\nsave \"\"", at, "is done");
        }
    }
}

#[test]
fn killed_where_it_matters_most_and_undone() {
    let (saves, appends) = ("save 3600 1", "appendonly yes\nsave \"\"");
    for (kind, lines, at, when) in [
        (Kind::Redis7, saves, "ports", "begins"),
        (Kind::Valkey9, saves, "stop", "begins"),
        (Kind::Redis8, appends, "stop", "is done"),
        (Kind::Valkey8, saves, "start", "is done"),
        (Kind::Redis7, appends, "hand-over#2", "is done"),
        (Kind::Valkey9, appends, "retire", "begins"),
    ] {
        if require(kind) {
            survives(kind, lines, at, when);
        }
    }
}

/// Asked to stop while the first process is a replica: it serves again, and all is as it was.
#[test]
fn stopped_half_way_the_first_process_serves_again() {
    let cases = [(Kind::Redis8, "appendonly yes\nsave \"\""), (Kind::Valkey8, "save 3600 1")];
    for (kind, lines) in cases.into_iter().filter(|(k, _)| require(*k)) {
        let Some(kept) = Kept::start(kind, lines, "") else { return };
        let site = &kept.site;
        site.fill(1000);
        let (before, old) = (Before::of(site), site.info()["run_id"].clone());
        let load = Load::start(site.port, None);
        let (wish, stop) = (supervised(), Stop::default());
        let facts = site.facts(&wish);
        let mut events = |event: RestartEvent| {
            if matches!(&event, RestartEvent::Step { name, .. } if *name == "rewrite") {
                stop.stop();
            }
        };
        let outcome = site.carry_out(&facts, &wish, stop.clone(), &mut events);
        assert_eq!(outcome.status, RestartStatus::RolledBack, "{outcome:?}");
        load.wait_for(200);
        let mut connection = site.connection();
        let seen = load.end(|key| connection.get(key).unwrap());
        assert_eq!(seen.lost, 0, "{lines} {seen:?}");
        kept.is_in_order(&before, lines);
        assert_eq!(site.info()["run_id"], old);
        let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        kept.ask(&["restart", "cache"]);
        wait_until("the restart", || {
            Ok(site.try_connection().is_some_and(|_| site.info()["run_id"] != old))
        })
        .unwrap();
        let after: u64 = redis::cmd("DBSIZE").query(&mut site.connection()).unwrap();
        assert_eq!(after, keys, "{lines}");
    }
}

/// The second process is killed while the successor copies from it: what was on disk is served again.
#[test]
fn the_second_process_dies_before_all_is_copied() {
    if !require(Kind::Redis8) {
        return;
    }
    let Some(kept) = Kept::start(Kind::Redis8, "save 3600 1", "") else { return };
    let site = &kept.site;
    site.fill(1000);
    let before = Before::of(site);
    redis::cmd("SAVE").exec(&mut site.connection()).unwrap();
    // It is noticed long before this.
    let wish = Wish { wait_max: Duration::from_secs(24 * 3600), ..supervised() };
    let facts = site.facts(&wish);
    let mut synchronised = 0;
    let mut events = |event: RestartEvent| {
        synchronised +=
            i32::from(matches!(&event, RestartEvent::Step { name, .. } if *name == "sync"));
        if synchronised == 2 {
            let pid = site.info()["process_id"].parse().unwrap();
            signal(pid, "-KILL").unwrap();
            synchronised += 1;
        }
    };
    let outcome = site.carry_out(&facts, &wish, Stop::default(), &mut events);
    assert_eq!(outcome.status, RestartStatus::Failed, "{outcome:?}");
    let undone = site.undo().unwrap();
    let keys: u64 = redis::cmd("DBSIZE").query(&mut site.connection()).unwrap();
    assert_eq!(keys, 1000 + 800, "{undone:?}");
    kept.is_in_order(&before, &format!("{undone:?}"));
}

/// The supervisor cannot start the successor: `undo` restarts who serves, from what that one saves.
#[test]
fn a_successor_that_does_not_come_up() {
    for (kind, lines) in
        [(Kind::Redis7, "save 3600 1"), (Kind::Valkey9, "appendonly yes\nsave \"\"")]
    {
        if !require(kind) {
            continue;
        }
        let Some(kept) = Kept::start(kind, lines, "") else { return };
        let site = &kept.site;
        site.fill(1000);
        let before = Before::of(site);
        let load = Load::start(site.port, None);
        let state = site.folder.path().join("state");
        die(&Target::Server(site.address()), "", &state, "supervised", "start", "begins");
        kept.ask(&["stop", "cache"]);
        std::fs::write(site.conf(), "maxmemory lots\n").unwrap();
        load.wait_for(100);
        let undone = site.undo().unwrap();
        load.wait_for(100);
        let mut connection = site.connection();
        let seen = load.end(|key| connection.get(key).unwrap());
        assert_eq!(seen.lost, 0, "{} {seen:?} {undone:?}", kind.name());
        kept.is_in_order(&before, &format!("{} {undone:?}", kind.name()));
        let edited = site.folder.path().join("server.conf.edited-1");
        assert_eq!(std::fs::read(edited).unwrap(), b"maxmemory lots\n", "{undone:?}");
    }
}

/// What somebody writes into the file meanwhile is theirs: it ends the run, or is kept and said.
#[test]
fn an_edit_of_the_file_in_mid_run_is_not_lost() {
    if !require(Kind::Redis8) {
        return;
    }
    let edit = |at: &'static str| {
        let site = Site::start(Kind::Redis8, "save 3600 1");
        site.fill(1000);
        let before = Before::of(&site);
        let wish = Wish { supervised: true, mode: Some(Mode::Swap), ..site.wish() };
        let facts = site.facts(&wish);
        let load = Load::start(site.port, None);
        let mut events = |event: RestartEvent| {
            if matches!(&event, RestartEvent::Step { name, .. } if *name == at) {
                let text = std::fs::read_to_string(site.conf()).unwrap();
                std::fs::write(site.conf(), text + "maxmemory-samples 7\n").unwrap();
            }
        };
        let outcome = site.carry_out(&facts, &wish, Stop::default(), &mut events);
        load.wait_for(100);
        let mut connection = site.connection();
        assert_eq!(load.end(|key| connection.get(key).unwrap()).lost, 0, "{at} {outcome:?}");
        (site, before, outcome)
    };
    let (site, before, outcome) = edit("launch");
    assert_eq!(outcome.status, RestartStatus::RolledBack, "{outcome:?}");
    assert!(outcome.error.as_ref().unwrap().contains("somebody has changed"), "{outcome:?}");
    let edited = [&before.text[..], b"maxmemory-samples 7\n"].concat();
    Before { text: edited, ..before }.holds(&site, "launch");
    let (site, before, outcome) = edit("start");
    assert_eq!(outcome.status, RestartStatus::Done, "{outcome:?}");
    before.holds(&site, "start");
    let edited = site.folder.path().join("server.conf.edited-1");
    assert!(std::fs::read_to_string(&edited).unwrap().ends_with("maxmemory-samples 7\n"));
    assert!(outcome.notes.iter().any(|n| n.contains(&edited.display().to_string())), "{outcome:?}");
}

#[test]
fn what_must_be_refused() {
    if !require(Kind::Redis8) {
        return;
    }
    let refused = |site: &Site, wish: &Wish| {
        let plan = site.plan(wish);
        assert!(!plan.may_run(), "{plan:?}");
        plan.refused.iter().map(|o| o.why.clone()).collect::<Vec<_>>().join("; ")
    };
    let Some(kept) = Kept::start(Kind::Redis8, "unixsocket s", "--save 60 1") else { return };
    let why = refused(&kept.site, &supervised());
    assert!(why.contains("--save, which no configuration file can change"), "{why}");
    assert!(why.contains("unix socket"), "{why}");
    let why = refused(&kept.site, &Wish { supervised: false, ..supervised() });
    assert!(why.contains("--supervised gives it its own back"), "{why}");
    let site = Site::start(Kind::Redis8, "");
    let why = refused(&site, &supervised());
    assert!(why.contains("--start-command"), "{why}");
    // A file that includes what sets the port: nothing written into this one would count.
    let more = site.folder.path().join("more.conf");
    std::fs::write(&more, format!("port {}\n", site.port)).unwrap();
    let text = std::fs::read_to_string(site.conf()).unwrap();
    std::fs::write(site.conf(), format!("{text}include {}\n", more.display())).unwrap();
    let wish = Wish { supervised: true, mode: Some(Mode::Swap), ..site.wish() };
    let why = refused(&site, &wish);
    assert!(why.contains("includes sets port"), "{why}");
    std::fs::write(site.conf(), &text).unwrap();
    assert!(site.plan(&wish).may_run(), "{:?}", site.plan(&wish).refused);
    std::fs::write(site.folder.path().join("server.conf.unfrag"), "").unwrap();
    assert!(refused(&site, &wish).contains("in the way"));
}

/// Left to itself it does not touch the file, and says what would keep serving.
#[test]
fn auto_names_the_gentler_way() {
    if !require(Kind::Valkey9) {
        return;
    }
    let Some(kept) = Kept::start(Kind::Valkey9, "save 3600 1", "") else { return };
    let plan = kept.site.plan(&Wish::default());
    assert_eq!((plan.mode, plan.may_run()), (Mode::Plain, true), "{plan:?}");
    assert!(plan.why.contains("--mode swap --supervised"), "{}", plan.why);
}
