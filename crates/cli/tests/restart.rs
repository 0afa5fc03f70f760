//! `unfrag restart` as typed: what is shown, what programs read, exit codes, undo.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use unfrag_testbed::measure::wait_until;
use unfrag_testbed::{Kind, Options, Server, require};

/// A server of the testbed, whose start command is what the testbed ran: here, all of it on the command line.
struct Bench {
    server: Server,
    state: TempDir,
}

impl Bench {
    fn start(kind: Kind) -> Self {
        let server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        let mut pipe = redis::pipe();
        (0..2000).for_each(|n| {
            pipe.set(format!("key:{n}"), "value");
        });
        pipe.exec(&mut connection).unwrap();
        Self { server, state: tempfile::tempdir().unwrap() }
    }

    fn unfrag(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        command.env("XDG_STATE_HOME", self.state.path()).stdin(Stdio::null());
        command.args(args).args(["-p", &self.server.port().to_string()]).output().unwrap()
    }

    fn process_id(&self) -> i32 {
        let mut connection = self.server.connection().unwrap();
        unfrag_testbed::measure::field(&mut connection, "process_id").unwrap().try_into().unwrap()
    }
}

/// A second process that took over is no child of the testbed's: it is ended by its number.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.0.to_string()]).status();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn nothing_is_done_without_a_word() {
    if !require(Kind::Redis8) {
        return;
    }
    let bench = Bench::start(Kind::Redis8);
    let before = bench.process_id();
    let output = bench.unfrag(&["restart"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let dry = bench.unfrag(&["restart", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry));
    for words in ["mode swap: no replicas", "FAILOVER TO HOST PORT TIMEOUT 1000", "unfrag undo"] {
        assert!(text(&dry).contains(words), "{words}: {}", text(&dry));
    }
    assert!(text(&dry).lines().all(|l| l.chars().count() <= 80), "{}", text(&dry));
    let plain = bench.unfrag(&["restart", "--mode", "plain", "--yes", "-o", "json"]);
    assert_eq!(plain.status.code(), Some(6), "{}", text(&plain));
    let json: serde_json::Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!((&json["schema"], &json["status"]), (&"unfrag.restart/1".into(), &"refused".into()));
    assert_eq!(bench.process_id(), before);
    assert!(text(&bench.unfrag(&["undo"])).contains("nothing to undo"));
}

#[test]
fn a_server_that_has_no_file_is_swapped_with_what_its_command_line_gave_it() {
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let bench = Bench::start(kind);
        let before = bench.process_id();
        let output = bench.unfrag(&["restart", "--yes", "-o", "json"]);
        let after = bench.process_id();
        let _ended = Ended(after);
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        assert_ne!(after, before);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["schema"], &json["mode"]), (&"unfrag.restart/1".into(), &"swap".into()));
        assert_eq!(json["verified"]["keys_before"], 2000);
        assert_eq!(json["verified"]["config_differs"], serde_json::json!([]));
        assert!(json["gap_ms"].as_f64().unwrap() > 0.0);
        assert!(json["before"]["rss"].is_u64() && json["after"]["rss"].is_u64());
        assert!(json["steps"].as_array().unwrap().iter().all(|s| s["ok"] == true));
        // Debug commands were allowed on the command line only: carried over, too.
        unfrag_testbed::measure::digest(&mut bench.server.connection().unwrap()).unwrap();
    }
}

/// A unit as a stand-in for systemctl has it; no systemd runs here. Its `start` brings the server up and never returns, as
/// that of a `Type=notify` unit does until all data is loaded.
struct Unit {
    folder: TempDir,
    port: u16,
    first: Child,
}

impl Unit {
    fn start(kind: Kind, start_limit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (at, program) = (folder.path().display(), kind.binary().unwrap());
        let program = program.display();
        let conf = format!(
            "port {port}\nbind 127.0.0.1\ndir {at}\nlogfile {at}/log\npidfile {at}/pid\nsave 3600 1\n"
        );
        std::fs::write(folder.path().join("conf"), conf).unwrap();
        let script = format!(
            "#!/bin/sh\n\
             # A stand-in for systemctl.\n\
             echo \"$1 $2\" >> {at}/asked\n\
             if [ \"$1\" = start ]; then\n\
               {program} {at}/conf --daemonize no & echo $! > {at}/main\n\
               cat {at}/main >> {at}/ours; wait; exit\n\
             fi\n\
             main=$(cat {at}/main); kill -0 \"$main\" || main=0\n\
             if [ \"$3\" = --property=MainPID ]; then echo MainPID=$main; exit; fi\n\
             echo LoadState=loaded; echo MainPID=$main; echo Type=notify; echo TimeoutStartUSec={start_limit}\n\
             echo TimeoutStopUSec=1min 30s\n\
             echo \"ExecStart={{ path={program} ; argv[]={program} {at}/conf --daemonize no ; ignore_errors=no }}\"\n"
        );
        let systemctl = folder.path().join("systemctl");
        std::fs::write(&systemctl, script).unwrap();
        std::fs::set_permissions(&systemctl, PermissionsExt::from_mode(0o755)).unwrap();
        // By its interpreter: a test beside this one may have been forked while the script was open for writing.
        let mut first = Command::new("sh");
        first.arg(systemctl).args(["start", "cache.service"]).stdin(Stdio::null());
        let unit = Self { folder, port, first: first.spawn().unwrap() };
        wait_until("the unit", 20, || Ok(unit.connection().is_some())).unwrap();
        let mut connection = unit.connection().unwrap();
        redis::cmd("SET").arg("key").arg("value").exec(&mut connection).unwrap();
        unit
    }

    fn connection(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        client.get_connection().ok()
    }

    fn unfrag(&self, args: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.folder.path().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        command.env("XDG_STATE_HOME", self.folder.path().join("state")).env("PATH", path);
        command.stdin(Stdio::null()).args(["restart", "--supervisor", "systemd:cache.service"]);
        command.args(args).args(["-p", &self.port.to_string()]).output().unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn is_in_order(&self, starts: usize) {
        let mut connection = self.connection().unwrap();
        let pid = unfrag_testbed::measure::field(&mut connection, "process_id").unwrap();
        assert_eq!(self.read("main").trim(), pid.to_string(), "its own process serves");
        let value: String = redis::cmd("GET").arg("key").query(&mut connection).unwrap();
        assert_eq!(value, "value");
        assert_eq!(self.read("asked").matches("start cache.service").count(), starts);
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // Each stand-in ends with the server that it started.
        for pid in self.read("ours").split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
        }
        let _ = self.first.wait();
    }
}

#[test]
fn a_unit_that_is_not_ready_before_all_is_loaded_is_not_waited_for() {
    for kind in [Kind::Redis8, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let unit = Unit::start(kind, "1min 30s");
        let output = unit.unfrag(&["--mode", "plain", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        unit.is_in_order(2);
        let output = unit.unfrag(&["--supervised", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        unit.is_in_order(3);
    }
}

#[test]
fn a_unit_that_would_be_killed_while_it_loads_is_refused() {
    if !require(Kind::Redis8) {
        return;
    }
    let unit = Unit::start(Kind::Redis8, "500ms");
    let dry = ["--mode", "plain", "--dry-run"];
    assert_eq!(unit.unfrag(&dry).status.code(), Some(0));
    let mut connection = unit.connection().unwrap();
    redis::cmd("SETRANGE").arg("long").arg(130_000_000).arg("x").exec(&mut connection).unwrap();
    let output = unit.unfrag(&dry);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("Type=notify"), "{}", text(&output));
}
