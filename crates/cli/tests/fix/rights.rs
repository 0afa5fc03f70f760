//! Exactly the rights that `unfrag acl fix` prints, and rights that are taken away in the middle.

use super::{Held, begin, fragmented, ours, settings, text, unfrag};
use redis::Connection;
use std::path::Path;
use std::process::Output;
use unfrag_testbed::{Kind, Server, measure, require};

/// Makes the user of the line that `acl fix` prints for everything.
fn make_user(connection: &mut Connection) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["acl", "fix", "--user", "fixer"])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = lines.lines().find(|l| l.contains("+evalsha")).unwrap().replace("PASSWORD", "pw");
    measure::typed(connection, &line).unwrap();
}

const AS_FIXER: [&str; 4] = ["--user", "fixer", "-a", "pw"];

fn rule(connection: &mut Connection, rule: &str) {
    redis::cmd("ACL").arg("SETUSER").arg("fixer").arg(rule).exec(connection).unwrap();
}

fn undo(state: &Path, server: &Server) -> Output {
    unfrag(state, server, &[&["undo"][..], &AS_FIXER].concat()).output().unwrap()
}

#[test]
fn the_rights_that_are_printed_are_enough() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        make_user(&mut connection);
        let digest = measure::digest(&mut connection).unwrap();
        let output = begin(state.path(), &server, &AS_FIXER).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        assert_eq!(measure::digest(&mut connection).unwrap(), digest);
        let denied: Vec<redis::Value> =
            redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
        assert!(denied.is_empty(), "{} {denied:?}", kind.name());
    }
}

#[test]
fn scripts_denied_in_the_middle_end_the_run_and_nothing_is_left() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis7);
    make_user(&mut connection);
    let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
    let run = Held::begin(state.path(), &server, &mut connection, &AS_FIXER);
    rule(&mut connection, "-evalsha");
    let output = run.end();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("NOPERM"), "{}", text(&output));
    assert_eq!(ours(&mut connection), 0);
    assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
}

#[test]
fn settings_denied_in_the_middle_are_said_and_undo_puts_them_back_later() {
    for kind in [Kind::Redis6, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        make_user(&mut connection);
        let before = settings(&mut connection);
        let run = Held::begin(state.path(), &server, &mut connection, &AS_FIXER);
        rule(&mut connection, "-config");
        let output = run.end();
        assert_eq!(output.status.code(), Some(8), "{} {}", kind.name(), text(&output));
        assert!(text(&output).contains("unfrag undo"), "{}", text(&output));
        let denied = undo(state.path(), &server);
        assert_eq!(denied.status.code(), Some(8), "{}", text(&denied));
        rule(&mut connection, "+config|get");
        rule(&mut connection, "+config|set");
        let done = undo(state.path(), &server);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done));
        assert_eq!(settings(&mut connection), before);
    }
}

/// Told before any key is touched, by the command that prints what is missing; the next run is not in its way.
#[test]
fn a_right_that_repack_lacks_is_told_at_once() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis7);
    make_user(&mut connection);
    let digest = measure::digest(&mut connection).unwrap();
    let policies = [
        (
            "noeviction",
            &["set", "unlink", "evalsha", "memory|usage", "copy", "rename", "pexpire"][..],
        ),
        ("allkeys-lru", &["object|idletime", "dump", "restore"]),
    ];
    for (policy, rights) in policies {
        measure::typed(&mut connection, &format!("CONFIG SET maxmemory-policy {policy}")).unwrap();
        for right in rights {
            rule(&mut connection, &format!("-{right}"));
            let only = [&["--only", "repack"][..], &AS_FIXER].concat();
            let output = begin(state.path(), &server, &only).wait_with_output().unwrap();
            let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(output.status.code(), Some(6), "{right}: {said}");
            assert!(said.contains("REFUSED") && said.contains("unfrag acl fix"), "{right}: {said}");
            assert!(said.contains("still to be had"), "{right}: {said}");
            if *right == "copy" {
                let only = [&only[..], &["-o", "json"]].concat();
                let output = begin(state.path(), &server, &only).wait_with_output().unwrap();
                let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(json["status"], "refused", "a program must not read that it was done");
            }
            rule(&mut connection, &format!("+{right}"));
            assert_eq!(ours(&mut connection), 0, "{right}");
            assert_eq!(measure::digest(&mut connection).unwrap(), digest, "{right}");
        }
    }
}

/// In the middle of a batch's work a key is known by no name, or has no expiry: no right may be found missing there.
#[test]
fn a_right_taken_away_in_the_middle_costs_no_key() {
    if !require(Kind::Redis7) {
        return;
    }
    for (policy, right) in
        [("noeviction", "pexpire"), ("noeviction", "rename"), ("allkeys-lru", "pexpire")]
    {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(Kind::Redis7);
        make_user(&mut connection);
        measure::typed(&mut connection, &format!("CONFIG SET maxmemory-policy {policy}")).unwrap();
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let run = Held::begin(state.path(), &server, &mut connection, &AS_FIXER);
        rule(&mut connection, &format!("-{right}"));
        let output = run.end();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(7), "{policy} {right}: {said}");
        assert_eq!(ours(&mut connection), 0, "{policy} {right}");
        let digest = measure::digest(&mut connection).unwrap();
        assert_eq!(digest, before.1, "{policy} {right}: {said}");
    }
}
