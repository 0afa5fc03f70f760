//! `unfrag restart` as typed: what is shown, what programs read, exit codes, undo.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
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
    assert!(text(&dry).lines().all(|l| l.chars().count() <= 100), "{}", text(&dry));
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
