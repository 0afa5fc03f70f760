//! `unfrag restart` as typed: what is shown, what programs read, exit codes, undo.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use unfrag_testbed::measure::{connect, wait_until};
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
        wait_until("the unit", || Ok(unit.connection().is_some())).unwrap();
        let mut connection = unit.connection().unwrap();
        redis::cmd("SET").arg("key").arg("value").exec(&mut connection).unwrap();
        unit
    }

    fn connection(&self) -> Option<redis::Connection> {
        connect(&format!("redis://127.0.0.1:{}", self.port)).ok()
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

/// What is told to systemd as a shutdown begins starts the clock of its stop: a save after that might be killed.
#[test]
fn a_unit_that_hears_of_the_stop_saves_before_it() {
    for kind in [Kind::Redis7, Kind::Redis8, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let unit = Unit::start(kind, "1min 30s");
        let output = unit.unfrag(&["--mode", "plain", "--dry-run"]);
        assert!(text(&output).contains("> SAVE\n"), "{}", text(&output));
        let output = unit.unfrag(&["--mode", "plain", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        unit.is_in_order(2);
        let log = unit.read("log");
        let (before, _) = log.split_once("User requested shutdown").unwrap();
        assert!(before.contains("DB saved on disk"), "{log}");
        assert!(!log.contains("Saving the final RDB snapshot"), "{log}");
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

fn document(output: &Output) -> serde_json::Value {
    let document = serde_json::from_slice(&output.stdout);
    assert!(document.is_ok(), "{}", text(output));
    document.unwrap()
}

/// Whatever comes of it, a program gets one document that says so.
#[test]
fn every_end_is_a_document_for_programs() {
    let state = tempfile::tempdir().unwrap();
    let unfrag = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        command.env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
        command.args(args).args(["-o", "json"]).output().unwrap()
    };
    let is_error = |args: &[&str], code: i32, schema: &str, words: &str| {
        let output = unfrag(args);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let json = document(&output);
        assert_eq!(json["schema"], schema, "{json}");
        assert!(json["error"]["message"].as_str().unwrap().contains(words), "{json}");
        assert!(json["error"]["hint"].is_string(), "{json}");
        json
    };
    // Port 1 is nobody's.
    let json = is_error(&["restart", "--yes", "-p", "1"], 4, "unfrag.restart/1", "refused");
    assert_eq!((&json["target"], &json["status"]), (&"127.0.0.1:1".into(), &"not-begun".into()));
    is_error(&["restart", "--dry-run", "-p", "1"], 4, "unfrag.restart-plan/1", "refused");
    is_error(&["restart", "a:1", "b:1"], 2, "unfrag.restart/1", "one server at a time");
    is_error(&["undo", "-p", "1"], 4, "unfrag.undo/1", "refused");
    is_error(&["undo", "--fleet", "/nonexistent"], 5, "unfrag.undo/1", "/nonexistent");
    let two = document(&unfrag(&["undo", "127.0.0.1:1", "127.0.0.1:2"]));
    assert!(two[0]["error"].is_object() && two[1]["error"].is_object(), "{two}");
    if !require(Kind::Redis8) {
        return;
    }
    let bench = Bench::start(Kind::Redis8);
    let port = bench.server.port().to_string();
    is_error(&["restart", "-p", &port], 2, "unfrag.restart/1", "--yes");
    let plain = ["restart", "--mode", "plain", "--yes", "-p", &port];
    is_error(&plain, 6, "unfrag.restart/1", "--start-command");
    let undone = document(&unfrag(&["undo", "-p", &port]));
    assert_eq!((&undone["runs"], &undone["error"]), (&0.into(), &serde_json::Value::Null));
    for pause in ["10ms", "2h"] {
        let output = unfrag(&["restart", "--pause-max", pause, "-p", &port]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("60s at most"), "{}", text(&output));
    }
}

/// A server with a file, and a start command that is a script of its own.
struct Scripted {
    folder: TempDir,
    kind: Kind,
    port: u16,
}

impl Scripted {
    fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let conf = format!(
            "port {port}\nbind 127.0.0.1\ndir {at}\nlogfile {at}/log\npidfile {at}/pid\nsave 3600 1\ndaemonize yes\n"
        );
        std::fs::write(folder.path().join("conf"), conf).unwrap();
        let site = Self { folder, kind, port };
        site.by_hand();
        let mut pipe = redis::pipe();
        (0..1234).for_each(|n| {
            pipe.set(format!("key:{n}"), "value");
        });
        pipe.exec(&mut site.connection().unwrap()).unwrap();
        site
    }

    fn connection(&self) -> Option<redis::Connection> {
        connect(&format!("redis://127.0.0.1:{}", self.port)).ok()
    }

    fn program(&self) -> String {
        self.kind.binary().unwrap().display().to_string()
    }

    fn by_hand(&self) {
        let conf = self.folder.path().join("conf");
        assert!(Command::new(self.program()).arg(conf).status().unwrap().success());
        wait_until("the server", || Ok(self.connection().is_some())).unwrap();
    }

    /// A line that begins with a script and names the server, as the rehearsal wants it.
    fn line(&self, script: &str) -> String {
        let path = self.folder.path().join("go");
        std::fs::write(&path, script).unwrap();
        format!("sh {} {} {}/conf", path.display(), self.program(), self.folder.path().display())
    }

    fn unfrag(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        command.env("XDG_STATE_HOME", self.folder.path().join("s")).stdin(Stdio::null());
        command.args(args).args(["-p", &self.port.to_string()]).output().unwrap()
    }

    /// The sentences of an output, whatever its lines are.
    fn said(output: &Output) -> String {
        let all = text(output);
        let is_document = output.stdout.starts_with(b"{");
        let people = if is_document { &output.stderr[..] } else { all.as_bytes() };
        let people = String::from_utf8_lossy(people);
        for line in people.lines().filter(|line| line.chars().count() > 80) {
            // A path or a command is one word, however long it is.
            assert!(line.trim().split("  ").last().unwrap().split(' ').count() < 4, "{all}");
        }
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
    }
}

/// A start that fails at once is noticed at once, with its words, by the run and by every undo after it.
#[test]
fn a_start_command_that_ends_is_not_waited_for() {
    for kind in [Kind::Redis8, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        let site = Scripted::start(kind);
        let line = site.line("echo one moment; no-such-command-here \"$@\"\n");
        let plain = ["restart", "--mode", "plain", "--yes", "--start-command", &line];
        let output = site.unfrag(&plain);
        assert_eq!(output.status.code(), Some(8), "{}", text(&output));
        let ended = "it ended with exit status 127 (no such command); it printed: one moment / ";
        let failed = |output: &Output| {
            let said = Scripted::said(output);
            assert!(said.contains(ended) && said.contains("not found"), "{said}");
            assert!(said.contains("start it in another way, then run `unfrag undo"), "{said}");
            assert!(!said.contains("every setting is as it was"), "{said}");
        };
        failed(&output);
        let said = Scripted::said(&output);
        assert!(said.contains("keys 1,234 ->") || said.contains("1,234 keys"), "{said}");
        assert!(said.contains("the step `load` on") && !said.contains(" 0.0 ms"), "{said}");
        // Now it is down: whoever tries it again is told what was left.
        for args in [&plain[..], &["restart", "--dry-run"], &["restart", "--yes", "-o", "json"]] {
            let output = site.unfrag(args);
            assert_eq!(output.status.code(), Some(4), "{}", text(&output));
            let said = Scripted::said(&output);
            assert!(said.contains("first run `unfrag undo 127.0.0.1:"), "{said}");
        }
        let output = site.unfrag(&["undo"]);
        assert_eq!(output.status.code(), Some(8), "{}", text(&output));
        failed(&output);
        let json = document(&site.unfrag(&["undo", "-o", "json"]));
        assert!(json["error"]["message"].as_str().unwrap().contains(ended), "{json}");
        site.by_hand();
        let output = site.unfrag(&["restart", "--dry-run"]);
        assert_eq!(output.status.code(), Some(6), "{}", text(&output));
        assert!(Scripted::said(&output).contains("first run `unfrag undo"), "{}", text(&output));
        let output = site.unfrag(&["undo"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(Scripted::said(&output).contains("1,234 keys (1,234 when"), "{}", text(&output));
        let line = site.line("exec \"$@\"\n");
        let plain = ["restart", "--mode", "plain", "--yes", "--start-command", &line];
        let output = site.unfrag(&plain);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(Scripted::said(&output).contains("every setting is as it was"), "{output:?}");
    }
}
