//! Killed, stopped and cut off in the middle: what it changed is put back.

use super::{fragmented, kill, ours, settings, text, unfrag, wait_until_busy};
use std::process::{Command, Stdio};
use std::time::Duration;
use unfrag_testbed::{Kind, measure, require};

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
