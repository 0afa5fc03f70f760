//! Rolling: a primary with replicas, a Sentinel trio, a Cluster of six, each with configuration files as operators have.

use crate::load::{Load, Where};
use crate::site::{facts, free_port, restart, runtime, try_connection};
use redis::Commands;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use unfrag_act::permit::Consent;
use unfrag_act::restart::{
    Mode, RestartEvent, RestartOutcome, RestartPlan, RestartRecord, RestartStatus, Supervisor,
    Wish, plan,
};
use unfrag_act::{ActError, ChangePermit, Journals, Undone, undo};
use unfrag_client::{Address, ConnectOptions, Target};
use unfrag_testbed::measure::{info, wait_until};
use unfrag_testbed::{Kind, Options, Server, require};

const KEYS: u64 = 5_000;

/// Servers with files in one folder: `PORT.conf`, and a folder each.
pub(crate) struct Fleet {
    pub(crate) kind: Kind,
    pub(crate) ports: Vec<u16>,
    pub(crate) folder: TempDir,
    sentinels: Vec<Server>,
}

impl Fleet {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("unfrag-fleet-").tempdir().unwrap();
        Self { kind, ports: vec![], folder, sentinels: vec![] }
    }

    fn add(&mut self, lines: &str) -> u16 {
        let port = free_port();
        let folder = self.folder.path().join(port.to_string());
        std::fs::create_dir(&folder).unwrap();
        let shown = folder.display();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {shown}\ndaemonize yes\nlogfile {shown}/log\npidfile {shown}/pid\n{lines}\n"
        );
        std::fs::write(self.folder.path().join(format!("{port}.conf")), text).unwrap();
        self.ports.push(port);
        self.boot(port);
        port
    }

    pub(crate) fn boot(&self, port: u16) {
        let line = self.start_line().replace("{port}", &port.to_string());
        assert!(Command::new("sh").arg("-c").arg(line).status().unwrap().success());
        wait_until("the server", || Ok(try_connection(port, None).is_some())).unwrap();
    }

    fn start_line(&self) -> String {
        let conf: PathBuf = self.folder.path().join("{port}.conf");
        format!("{} {}", self.kind.binary().unwrap().display(), conf.display())
    }

    pub(crate) fn replicated(kind: Kind, replicas: usize, lines: &str) -> Self {
        let mut fleet = Self::new(kind);
        let primary = fleet.add(lines);
        for _ in 0..replicas {
            fleet.add(&format!("replicaof 127.0.0.1 {primary}\n{lines}"));
        }
        for &port in fleet.ports.iter().skip(1) {
            wait_until("the link", || {
                Ok(info(&mut server_at(port))?.get("master_link_status").is_some_and(|s| s == "up"))
            })
            .unwrap();
        }
        fleet
    }

    pub(crate) fn watched(kind: Kind, lines: &str) -> Self {
        let mut fleet = Self::replicated(kind, 2, lines);
        let conf = format!(
            "sentinel monitor main 127.0.0.1 {} 2\nsentinel down-after-milliseconds main 5000\nsentinel failover-timeout main 20000\n",
            fleet.ports[0]
        );
        let options = Options {
            sentinel: true,
            files: vec![("sentinel.conf".to_owned(), conf.into_bytes())],
            ..Options::default()
        };
        // Debian's package has the Sentinel that all can share.
        fleet.sentinels = (0..3).map(|_| Server::start(kind, &options).unwrap()).collect();
        for sentinel in &fleet.sentinels {
            wait_until("discovery", || {
                let text: String =
                    redis::cmd("INFO").arg("sentinel").query(&mut sentinel.connection()?).unwrap();
                Ok(text.contains("status=ok") && text.contains("slaves=2,sentinels=3"))
            })
            .unwrap();
        }
        fleet
    }

    pub(crate) fn cluster(kind: Kind, lines: &str) -> Self {
        let mut fleet = Self::new(kind);
        for _ in 0..6 {
            fleet.add(&format!("cluster-enabled yes\ncluster-node-timeout 5000\n{lines}"));
        }
        for (n, &port) in fleet.ports.iter().take(3).enumerate() {
            let mut cmd = redis::cmd("CLUSTER");
            cmd.arg("ADDSLOTS");
            ((n * 16384 / 3)..((n + 1) * 16384 / 3)).for_each(|slot| {
                cmd.arg(slot);
            });
            cmd.exec(&mut server_at(port)).unwrap();
        }
        for &port in &fleet.ports[1..] {
            redis::cmd("CLUSTER")
                .arg("MEET")
                .arg("127.0.0.1")
                .arg(port)
                .exec(&mut server_at(fleet.ports[0]))
                .unwrap();
        }
        let nodes = |port: u16| -> String {
            redis::cmd("CLUSTER").arg("NODES").query(&mut server_at(port)).unwrap()
        };
        for &port in &fleet.ports {
            wait_until("the meeting", || {
                Ok(nodes(port).lines().filter(|l| !l.contains("handshake")).count() == 6)
            })
            .unwrap();
        }
        for n in 0..3 {
            let id: String =
                redis::cmd("CLUSTER").arg("MYID").query(&mut server_at(fleet.ports[n])).unwrap();
            redis::cmd("CLUSTER")
                .arg("REPLICATE")
                .arg(id)
                .exec(&mut server_at(fleet.ports[n + 3]))
                .unwrap();
        }
        for &port in &fleet.ports {
            wait_until("agreement", || {
                let state: String =
                    redis::cmd("CLUSTER").arg("INFO").query(&mut server_at(port)).unwrap();
                Ok(state.contains("cluster_state:ok")
                    && nodes(port).lines().filter(|l| l.contains("slave ")).count() == 3)
            })
            .unwrap();
        }
        for &port in &fleet.ports[3..] {
            wait_until("the link", || {
                Ok(info(&mut server_at(port))?.get("master_link_status").is_some_and(|s| s == "up"))
            })
            .unwrap();
        }
        fleet
    }

    pub(crate) fn wish(&self) -> Wish {
        Wish {
            mode: Some(Mode::Rolling),
            supervisor: Some(Supervisor::Command { line: self.start_line() }),
            ..Wish::default()
        }
    }

    pub(crate) fn target(&self) -> Target {
        if self.sentinels.is_empty() {
            return Target::tcp("127.0.0.1", self.ports[0]);
        }
        let sentinels =
            self.sentinels.iter().map(|s| Address::tcp("127.0.0.1", s.port())).collect();
        Target::Sentinel { name: "main".to_owned(), sentinels }
    }

    pub(crate) fn journals(&self) -> Journals {
        Journals::at(self.folder.path().join("state"))
    }

    fn plan(&self, wish: &Wish) -> RestartPlan {
        plan::make(&facts(&self.target(), &ConnectOptions::default(), wish).unwrap(), wish)
    }

    fn restart(
        &self,
        wish: &Wish,
        events: &mut (dyn FnMut(RestartEvent) + Send),
    ) -> RestartOutcome {
        restart(&self.target(), &ConnectOptions::default(), &self.journals(), wish, events)
    }

    /// Clients as they are: they ask a Sentinel, follow a Cluster's redirection, or know one address.
    fn finder(&self) -> Where {
        let ports = self.ports.clone();
        if !self.sentinels.is_empty() {
            let sentinels: Vec<u16> = self.sentinels.iter().map(Server::port).collect();
            return Arc::new(Mutex::new(Box::new(move |_| {
                let mut connection = sentinels.iter().find_map(|&p| try_connection(p, None))?;
                let (_, port): (String, u16) = redis::cmd("SENTINEL")
                    .arg("GET-MASTER-ADDR-BY-NAME")
                    .arg("main")
                    .query(&mut connection)
                    .ok()?;
                Some(port)
            })));
        }
        if ports.len() < 6 {
            return Arc::new(Mutex::new(Box::new(move |_| Some(ports[0]))));
        }
        Arc::new(Mutex::new(Box::new(move |key| owner(&ports, key))))
    }

    fn read(&self, key: &str) -> u64 {
        let port = (self.finder().lock().unwrap())(key).unwrap();
        server_at(port).get(key).unwrap()
    }

    fn primaries(&self) -> usize {
        let mut all = 0;
        for &port in &self.ports {
            if let Some(mut connection) = try_connection(port, None)
                && info(&mut connection).is_ok_and(|i| i.get("role").is_some_and(|r| r == "master"))
            {
                all += 1;
            }
        }
        all
    }

    fn fill(port: u16) {
        let mut pipe = redis::pipe();
        (0..KEYS).for_each(|n| {
            pipe.set(format!("key:{n}"), format!("{n:0100}"));
        });
        pipe.exec(&mut server_at(port)).unwrap();
    }

    fn run_ids(&self) -> Vec<String> {
        self.ports.iter().map(|&p| info(&mut server_at(p)).unwrap()["run_id"].clone()).collect()
    }

    /// Ends one server as an accident would.
    fn kill(port: u16) {
        let pid: i32 = info(&mut server_at(port)).unwrap()["process_id"].parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

/// One that is just being started again on a busy machine takes its time.
fn server_at(port: u16) -> redis::Connection {
    for _ in 0..200 {
        if let Some(connection) = try_connection(port, None) {
            return connection;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nobody answers on port {port}")
}

fn owner(ports: &[u16], key: &str) -> Option<u16> {
    for &port in ports {
        let Some(mut connection) = try_connection(port, None) else { continue };
        match redis::cmd("GET").arg(key).query::<Option<String>>(&mut connection) {
            Ok(_) => return Some(port),
            Err(error) if error.code() == Some("MOVED") => {
                return error.redirect_node()?.0.rsplit_once(':')?.1.parse().ok();
            }
            Err(_) => {}
        }
    }
    None
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let folder = std::fs::canonicalize(self.folder.path()).unwrap();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
                continue;
            };
            if std::fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|cwd| cwd.starts_with(&folder))
            {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }
}

const SAVES: &str = "save 3600 1";

fn nothing_is_lost(fleet: &Fleet) {
    let before = fleet.run_ids();
    let load = Load::start_where(&fleet.finder(), None);
    let outcome = fleet.restart(&fleet.wish(), &mut |_| {});
    assert_eq!(outcome.status, RestartStatus::Done, "{} {outcome:?}", fleet.kind.name());
    load.wait_for(300);
    let seen = load.end(|key| fleet.read(key));
    assert_eq!(seen.lost, 0, "{} {seen:?}", fleet.kind.name());
    let after = fleet.run_ids();
    assert!(before.iter().zip(&after).all(|(b, a)| b != a), "every node is a new process");
    assert_eq!(outcome.nodes.len(), fleet.ports.len());
    assert!(outcome.gap_ms.is_some());
}

#[test]
fn a_primary_with_replicas() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let fleet = Fleet::replicated(kind, 2, SAVES);
        Fleet::fill(fleet.ports[0]);
        nothing_is_lost(&fleet);
        assert_eq!(fleet.primaries(), 1);
        assert_eq!(info(&mut server_at(fleet.ports[0])).unwrap()["role"], "master");
        assert_eq!(info(&mut server_at(fleet.ports[0])).unwrap()["connected_slaves"], "2");
    }
}

#[test]
fn a_sentinel_trio() {
    for kind in [Kind::Redis7, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        let fleet = Fleet::watched(kind, SAVES);
        Fleet::fill(fleet.ports[0]);
        nothing_is_lost(&fleet);
        assert_eq!(fleet.primaries(), 1);
        for &port in &fleet.ports {
            let pair: Vec<String> = redis::cmd("CONFIG")
                .arg("GET")
                .arg("min-replicas-to-write")
                .query(&mut server_at(port))
                .unwrap();
            assert_eq!(pair[1], "0", "the guard is put back");
        }
    }
}

#[test]
fn a_cluster_of_six() {
    for kind in [Kind::Redis8, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let fleet = Fleet::cluster(kind, SAVES);
        nothing_is_lost(&fleet);
        assert_eq!(fleet.primaries(), 3);
    }
}

/// Killed at a step; then `undo`, and nothing is lost, and each shard has one primary.
fn survives(fleet: &Fleet, primaries: usize, at: &str, when: &str) {
    let label = format!("{} killed when {at} {when}", fleet.kind.name());
    fleet.fill_one();
    let load = Load::start_where(&fleet.finder(), None);
    let (target, state) = (fleet.target(), fleet.folder.path().join("state"));
    crate::killed::die(&target, &fleet.start_line(), &state, "rolling", at, when);
    let undone = fleet.undo().unwrap_or_else(|e| panic!("{label}: {e}"));
    load.wait_for(300);
    let seen = load.end(|key| fleet.read(key));
    assert_eq!(seen.lost, 0, "{label} {seen:?} {undone:?}");
    assert_eq!(fleet.primaries(), primaries, "{label} {undone:?}");
    assert_eq!(fleet.journals().unfinished().unwrap(), [], "{label}");
    for &port in &fleet.ports {
        let pair: Vec<String> = redis::cmd("CONFIG")
            .arg("GET")
            .arg("min-replicas-to-write")
            .query(&mut server_at(port))
            .unwrap();
        assert_eq!(pair[1], "0", "{label}");
    }
}

impl Fleet {
    fn fill_one(&self) {
        if self.ports.len() < 6 {
            Self::fill(self.ports[0]);
        }
    }

    fn undo(&self) -> Result<Vec<Undone>, ActError> {
        let permit = |run_id: &str| ChangePermit::mint(Consent::Flag, run_id);
        // As the command does: the server named, or every one that the Sentinels know.
        let mut all = vec![];
        for &port in &self.ports {
            let address = Address::tcp("127.0.0.1", port);
            let (options, journals) = (ConnectOptions::default(), self.journals());
            all.push(runtime().block_on(undo(&address, &options, &journals, permit))?);
        }
        Ok(all)
    }
}

#[test]
fn replication_killed_at_each_step() {
    for kind in [Kind::Redis6, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        for at in ["stop", "start", "load", "synced", "hand-over", "hand-back"] {
            let fleet = Fleet::replicated(kind, 1, SAVES);
            survives(&fleet, 1, at, "begins");
            assert_eq!(info(&mut server_at(fleet.ports[0])).unwrap()["role"], "master", "{at}");
        }
        survives(&Fleet::replicated(kind, 2, SAVES), 1, "hand-over", "is done");
    }
}

#[test]
fn sentinels_killed_at_each_step() {
    let kind = Kind::Redis7;
    if !require(kind) {
        return;
    }
    for (at, when) in [
        ("stop", "begins"),
        ("pause", "begins"),
        ("pause", "is done"),
        ("hand-over", "begins"),
        ("hand-over", "is done"),
    ] {
        survives(&Fleet::watched(kind, SAVES), 1, at, when);
    }
}

/// What a Sentinel was asked for goes on without us: an undo that came before its end once let writes in on a primary
/// that was told to follow another one a moment later.
#[test]
fn an_undo_in_the_middle_of_a_failover_loses_nothing() {
    for kind in [Kind::Redis7, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        let fleet = Fleet::watched(kind, SAVES);
        Fleet::fill(fleet.ports[0]);
        let load = Load::start_where(&fleet.finder(), None);
        let state = fleet.folder.path().join("state");
        // It dies before its word in the journal and the word to the Sentinel: these are both.
        crate::killed::die(
            &fleet.target(),
            &fleet.start_line(),
            &state,
            "rolling",
            "hand-over",
            "begins",
        );
        let run = fleet.journals().unfinished().unwrap().remove(0);
        let named = |port: &u16| format!("127.0.0.1:{port}");
        let record = RestartRecord::HandingOver {
            from: run.target.clone(),
            to: fleet.ports[1..].iter().map(named).collect(),
            back: false,
            sentinel: Some((named(&fleet.sentinels[0].port()), "main".to_owned())),
        };
        let line = serde_json::json!({ "entry": "restart", "record": record });
        let mut journal = std::fs::File::options().append(true).open(&run.path).unwrap();
        writeln!(journal, "{line}").unwrap();
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg("main");
        failover.exec(&mut server_at(fleet.sentinels[0].port())).unwrap();
        let undone = fleet.undo().unwrap();
        load.wait_for(300);
        let seen = load.end(|key| fleet.read(key));
        assert_eq!(seen.lost, 0, "{} {seen:?} {undone:?}", kind.name());
        assert_eq!(fleet.primaries(), 1, "{} {undone:?}", kind.name());
        assert_eq!(fleet.journals().unfinished().unwrap(), []);
    }
}

#[test]
fn a_cluster_killed_at_each_step() {
    let kind = Kind::Redis8;
    if !require(kind) {
        return;
    }
    for (at, when) in [("stop", "is done"), ("hand-over", "begins"), ("hand-over", "is done")] {
        survives(&Fleet::cluster(kind, SAVES), 3, at, when);
    }
}

fn pid(port: u16) -> Pid {
    let mut connection = try_connection(port, None).unwrap();
    let pid = info(&mut connection).unwrap()["process_id"].parse().unwrap();
    Pid::from_raw(pid).unwrap()
}

/// A gate that does not open ends it: the primary serves on, and nothing is lost.
fn ends_without_loss(
    fleet: &Fleet,
    wish: &Wish,
    events: &mut (dyn FnMut(RestartEvent) + Send),
) -> String {
    let load = Load::start_where(&fleet.finder(), None);
    let outcome = fleet.restart(wish, events);
    assert_eq!(outcome.status, RestartStatus::RolledBack, "{outcome:?}");
    load.wait_for(200);
    let seen = load.end(|key| fleet.read(key));
    assert_eq!(seen.lost, 0, "{seen:?} {outcome:?}");
    assert_eq!(info(&mut server_at(fleet.ports[0])).unwrap()["role"], "master");
    assert_eq!(fleet.journals().unfinished().unwrap(), []);
    outcome.error.unwrap()
}

#[test]
fn a_node_that_dies_meanwhile() {
    if !require(Kind::Redis7) {
        return;
    }
    let fleet = Fleet::watched(Kind::Redis7, SAVES);
    let mut fallen = false;
    let error = ends_without_loss(&fleet, &fleet.wish(), &mut |event| {
        if matches!(event, RestartEvent::Step { name: "synced", .. })
            && !std::mem::replace(&mut fallen, true)
        {
            // The deployment lists replicas by address: the one that is not done yet.
            let next = fleet.ports[1..].iter().max().unwrap();
            kill_process(pid(*next), Signal::KILL).unwrap();
        }
    });
    assert!(error.contains("connection refused"), "{error}");
}

#[test]
fn a_replica_that_cannot_synchronise() {
    if !require(Kind::Valkey9) {
        return;
    }
    let fleet = Fleet::replicated(Kind::Valkey9, 1, SAVES);
    let conf = fleet.folder.path().join(format!("{}.conf", fleet.ports[1]));
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(
        &conf,
        text.replace(&format!("replicaof 127.0.0.1 {}", fleet.ports[0]), "replicaof 127.0.0.1 9"),
    )
    .unwrap();
    let wish = Wish { wait_max: Duration::from_secs(3), ..fleet.wish() };
    let error = ends_without_loss(&fleet, &wish, &mut |_| {});
    assert!(error.contains("its link is down"), "{error}");
}

#[test]
fn a_failover_that_the_servers_give_up() {
    if !require(Kind::Redis6) {
        return;
    }
    let fleet = Fleet::replicated(Kind::Redis6, 1, SAVES);
    let mut held = None;
    let error = ends_without_loss(&fleet, &fleet.wish(), &mut |event| {
        if matches!(event, RestartEvent::Step { name: "hand-over", .. }) {
            let pid = pid(fleet.ports[1]);
            kill_process(pid, Signal::STOP).unwrap();
            held = Some(pid);
        }
    });
    kill_process(held.unwrap(), Signal::CONT).unwrap();
    assert!(error.contains("gave the hand-over"), "{error}");
}

fn refusals(plan: &RestartPlan) -> String {
    assert!(!plan.may_run(), "{plan:?}");
    plan.refused.iter().map(|o| o.why.clone()).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_cannot_be_safe_is_refused() {
    if !require(Kind::Redis7) {
        return;
    }
    let fleet = Fleet::replicated(Kind::Redis7, 1, SAVES);
    redis::cmd("CONFIG")
        .arg(&["SET", "replica-ignore-maxmemory", "no"])
        .exec(&mut server_at(fleet.ports[1]))
        .unwrap();
    let why = refusals(&fleet.plan(&fleet.wish()));
    assert!(
        why.contains("replica-ignore-maxmemory is no") && why.contains("nobody to hand over to"),
        "{why}"
    );
    redis::cmd("CONFIG")
        .arg(&["SET", "replica-ignore-maxmemory", "yes"])
        .exec(&mut server_at(fleet.ports[1]))
        .unwrap();
    assert!(fleet.plan(&fleet.wish()).may_run());
    redis::cmd("CONFIG").arg(&["SET", "save", ""]).exec(&mut server_at(fleet.ports[0])).unwrap();
    assert!(refusals(&fleet.plan(&fleet.wish())).contains("saves nothing"));
    Fleet::kill(fleet.ports[1]);
    let why = refusals(&fleet.plan(&fleet.wish()));
    // The primary lists it until it has noticed.
    let known = ["nobody to hand over to", "it has no replicas"];
    assert!(known.iter().any(|words| why.contains(words)), "{why}");
}

#[test]
fn without_a_quorum_nothing_begins() {
    if !require(Kind::Redis7) {
        return;
    }
    let mut fleet = Fleet::watched(Kind::Redis7, SAVES);
    assert!(fleet.plan(&fleet.wish()).may_run());
    // Named by its own address, Sentinels would fight us.
    let direct =
        facts(&Target::tcp("127.0.0.1", fleet.ports[0]), &ConnectOptions::default(), &fleet.wish())
            .unwrap();
    assert!(refusals(&plan::make(&direct, &fleet.wish())).contains("redis+sentinel://"));
    fleet.sentinels.truncate(1);
    wait_until("the lost quorum", || Ok(!fleet.plan(&fleet.wish()).may_run())).unwrap();
    assert!(refusals(&fleet.plan(&fleet.wish())).contains("Sentinels cannot fail over"));
}
