//! The binary, killed and stopped in the middle: what it changed is put back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use redis::{Commands, Connection};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

const FILL_BYTES: u64 = 96 << 20;
/// Settings that fix may touch.
const SETTINGS: [&str; 7] = [
    "activedefrag",
    "active-defrag-ignore-bytes",
    "active-defrag-threshold-lower",
    "active-defrag-threshold-upper",
    "active-defrag-cycle-min",
    "active-defrag-cycle-max",
    "hz",
];

fn unfrag(state: &Path, server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
    command.env("XDG_STATE_HOME", state).args(args).args(["-p", &server.port().to_string()]);
    command.stdin(Stdio::null());
    command
}

fn fragmented(kind: Kind) -> (Server, Connection) {
    let server = Server::start(kind, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
    (server, connection)
}

fn settings(connection: &mut Connection) -> Vec<(String, String)> {
    SETTINGS
        .iter()
        .flat_map(|name| {
            let pair: Vec<(String, String)> =
                redis::cmd("CONFIG").arg("GET").arg(*name).query(connection).unwrap();
            pair
        })
        .collect()
}

fn ours(connection: &mut Connection) -> usize {
    connection.scan_match::<_, String>("~uf*").unwrap().count()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until the run has begun to change something.
fn wait_until_busy(connection: &mut Connection, before: &[(String, String)]) {
    measure::wait_until("the first change", 60, || {
        Ok(settings(connection) != before || ours(connection) > 0)
    })
    .unwrap();
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn undo_after_kill_9_leaves_nothing() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        for delay_ms in [0, 40, 150, 400] {
            let mut child = unfrag(state.path(), &server, &["fix", "--yes"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_until_busy(&mut connection, &before.0);
            std::thread::sleep(Duration::from_millis(delay_ms));
            kill(&mut child);
            // A second run must not begin on top of the wreck.
            let refused = unfrag(state.path(), &server, &["fix", "--yes"]).output().unwrap();
            assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
            let undo = unfrag(state.path(), &server, &["undo"]).output().unwrap();
            assert_eq!(undo.status.code(), Some(0), "{}", text(&undo));
            assert_eq!(settings(&mut connection), before.0, "{} {delay_ms}", kind.name());
            assert_eq!(ours(&mut connection), 0, "{} {delay_ms}", kind.name());
            assert_eq!(measure::digest(&mut connection).unwrap(), before.1);
            let again = unfrag(state.path(), &server, &["undo"]).output().unwrap();
            assert!(text(&again).contains("nothing to undo"), "{}", text(&again));
        }
    }
}

#[test]
fn ctrl_c_puts_everything_back() {
    for kind in [Kind::Redis6, Kind::Redis7].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = settings(&mut connection);
        let child = unfrag(state.path(), &server, &["fix", "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_busy(&mut connection, &before);
        let interrupted =
            Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(interrupted.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
        assert_eq!(settings(&mut connection), before);
        assert_eq!(ours(&mut connection), 0);
    }
}

#[test]
fn a_cut_connection_is_made_again_and_everything_put_back() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let child = unfrag(state.path(), &server, &["fix", "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_busy(&mut connection, &before.0);
        let cut: u64 = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query(&mut connection)
            .unwrap();
        assert!(cut >= 2, "the acting connection and the probe's");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{} {}", kind.name(), text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
        assert_eq!(ours(&mut connection), 0, "{}", kind.name());
    }
}

#[test]
fn another_terminal_pauses_and_aborts() {
    if !require(Kind::Redis6) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis6);
    let before = settings(&mut connection);
    let child = unfrag(state.path(), &server, &["fix", "--yes", "--only", "defrag"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_busy(&mut connection, &before);
    let tell = |word: &str| {
        let output = unfrag(state.path(), &server, &["fix", word]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    };
    tell("--pause");
    measure::wait_until("the settings' return", 20, || Ok(settings(&mut connection) == before))
        .unwrap();
    tell("--resume");
    wait_until_busy(&mut connection, &before);
    tell("--abort");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(settings(&mut connection), before);
}

#[test]
fn nobody_to_ask_and_nothing_is_done() {
    if !require(Kind::Redis8) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis8);
    let before = settings(&mut connection);
    let output = unfrag(state.path(), &server, &["fix"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let dry = unfrag(state.path(), &server, &["fix", "--dry-run"]).output().unwrap();
    assert_eq!(dry.status.code(), Some(0));
    assert!(text(&dry).contains("CONFIG SET activedefrag yes"), "{}", text(&dry));
    assert_eq!(settings(&mut connection), before);
}

#[test]
fn libc_is_left_alone_and_told_why() {
    if !require(Kind::Valkey9) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Valkey9);
    let calls = measure::field(&mut connection, "total_error_replies").unwrap();
    let output = unfrag(state.path(), &server, &["fix", "--yes"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("unfrag restart --mode swap"), "{}", text(&output));
    assert_eq!(measure::field(&mut connection, "total_error_replies").unwrap(), calls);
}

#[test]
fn fix_gives_back_what_it_said_and_says_so_in_json() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let output =
            unfrag(state.path(), &server, &["fix", "--yes", "-o", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["schema"], "unfrag.fix/1");
        let (predicted, got) =
            (json["predicted_bytes"].as_f64().unwrap(), json["reclaimed_bytes"].as_f64().unwrap());
        assert!((got / predicted - 1.0).abs() < 0.2, "{} {got} of {predicted}", kind.name());
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
    }
}
