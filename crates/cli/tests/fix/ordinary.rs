//! What happens when nothing happens.

use super::{fragmented, set, settings, text, unfrag};
use unfrag_testbed::{Kind, measure, require};

#[test]
fn nobody_to_ask_and_nothing_is_done() {
    if !require(Kind::Redis8) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis8);
    let before = settings(&mut connection);
    let output = unfrag(state.path(), &server, &["fix", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["schema"], &json["status"]), (&"unfrag.fix/1".into(), &"not-begun".into()));
    assert!(json["error"].as_str().unwrap().contains("--yes"), "{json}");
    let dry = unfrag(state.path(), &server, &["fix", "--dry-run"]).output().unwrap();
    assert_eq!(dry.status.code(), Some(0));
    assert!(text(&dry).contains("CONFIG SET activedefrag yes"), "{}", text(&dry));
    assert_eq!(settings(&mut connection), before);
}

/// The server's own account of what was called is held against what the dry run named.
#[test]
fn a_dry_run_names_every_command_that_is_sent() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let dry = unfrag(state.path(), &server, &["fix", "--dry-run"]).output().unwrap();
        let named = text(&dry).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).unwrap();
        let output = unfrag(state.path(), &server, &["fix", "--yes"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let called: Vec<String> = stats
            .lines()
            .filter_map(|l| Some(l.strip_prefix("cmdstat_")?.split_once(':')?.0.replace('|', " ")))
            .filter(|c| c != "config resetstat")
            .collect();
        let has = |name: &str| called.iter().any(|c| c.starts_with(name));
        assert!(has("config") && has("memory") && has("ping"), "{}: {called:?}", kind.name());
        let unnamed: Vec<&String> = called.iter().filter(|c| !named.contains(*c)).collect();
        assert!(unnamed.is_empty(), "{}: {unnamed:?} not in {named}", kind.name());
        let (said, planned) = (text(&output), text(&dry));
        let lines = said.lines().chain(planned.lines());
        // A path is as long as it is.
        let own = lines.filter(|l| !l.starts_with("journal: "));
        let long: Vec<&str> = own.filter(|l| l.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
    }
}

/// Programs are told of every server that was named, whatever became of it.
#[test]
fn a_server_that_cannot_be_helped_is_in_the_document_beside_one_that_can() {
    if ![Kind::Redis8, Kind::Valkey9].into_iter().all(require) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let ((can, _), (cannot, _)) = (fragmented(Kind::Redis8), fragmented(Kind::Valkey9));
    let servers = [can.address(), cannot.address()];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .env("XDG_STATE_HOME", state.path())
        .args(["fix", "--yes", "-o", "json", "--only", "defrag"])
        .args(&servers)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seen = |field: &str| -> Vec<String> {
        let all = json.as_array().unwrap().iter();
        all.map(|d| d[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(seen("target"), servers, "{json:#}");
    assert_eq!(seen("status"), ["done", "refused"], "{json:#}");
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
    let long: Vec<String> =
        text(&output).lines().filter(|l| l.chars().count() > 80).map(str::to_owned).collect();
    assert!(long.is_empty(), "{long:#?}");
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

/// A cache that lives at its maxmemory: known before anybody is asked.
#[test]
fn without_room_for_copies_the_plan_promises_none() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis7);
    let used = measure::field(&mut connection, "used_memory").unwrap();
    set(&mut connection, "maxmemory", &(used + (2 << 20)).to_string());
    let args = ["fix", "--yes", "-o", "json", "--only", "repack"];
    let output = unfrag(state.path(), &server, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("not repack: there is no room"), "{said}");
    assert!(!said.contains("can be given back"), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (json["status"].as_str(), json["predicted_bytes"].as_u64()),
        (Some("refused"), Some(0))
    );
}
