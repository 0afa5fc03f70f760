//! More than one server: each is a heap of its own, worked on one at a time, replicas first.

use super::{FILL_BYTES, ours, settings, text, unfrag};
use redis::Connection;
use serde_json::Value as Json;
use unfrag_testbed::deployment::{Cluster, Replicated};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

/// Of 60,000 keys of 700 bytes, each node takes its own (the others are answered with MOVED) and deletes two thirds.
fn fill_and_thin(connection: &mut Connection) {
    let value = "v".repeat(700);
    let mut send = |command: &dyn Fn(u32) -> redis::Cmd, numbers: Vec<u32>| {
        for some in numbers.chunks(1000) {
            let mut pipe = redis::pipe();
            pipe.ignore_errors();
            for &n in some {
                pipe.add_command(command(n));
            }
            let _: Vec<redis::Value> = pipe.query(connection).unwrap();
        }
    };
    send(&|n| redis::Cmd::set(format!("k{n}"), &value), (0..60_000).collect());
    let leaving = (0..60_000u32).filter(|n| !n.is_multiple_of(3)).collect();
    send(&|n| redis::Cmd::del(format!("k{n}")), leaving);
}

#[test]
fn all_primaries_of_a_cluster_are_packed_by_one_command() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let mut connections: Vec<_> = cluster.nodes.iter().map(|n| n.connection().unwrap()).collect();
    let before: Vec<String> = connections
        .iter_mut()
        .map(|connection| {
            fill_and_thin(connection);
            assert!(measure::keys(connection).unwrap() > 5000);
            measure::digest(connection).unwrap()
        })
        .collect();
    let first = cluster.nodes.first().unwrap();
    let output =
        unfrag(state.path(), first, &["fix", "-c", "--yes", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let outcomes: Vec<Json> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcomes.len(), 3, "{}", text(&output));
    for outcome in &outcomes {
        assert!(outcome["reclaimed_bytes"].as_i64().unwrap() > 2 << 20, "{outcome}");
    }
    for (connection, before) in connections.iter_mut().zip(&before) {
        assert_eq!(&measure::digest(connection).unwrap(), before);
        assert_eq!(ours(connection), 0);
    }
}

#[test]
fn a_replica_goes_before_its_primary_and_both_heaps_shrink() {
    if !require(Kind::Redis8) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let servers = Replicated::start(Kind::Redis8, 1, &Options::default()).unwrap();
    let mut primary = servers.primary.connection().unwrap();
    let mut replica = servers.replicas.first().unwrap().connection().unwrap();
    Workload::Strings.run(&mut primary, FILL_BYTES, 7).unwrap();
    let offset = measure::field(&mut primary, "master_repl_offset").unwrap();
    measure::wait_until("the replica's catching up", || {
        Ok(measure::field(&mut replica, "slave_repl_offset")? >= offset)
    })
    .unwrap();
    let digest = measure::digest(&mut primary).unwrap();
    let set_before = (settings(&mut primary), settings(&mut replica));
    let (_, rss_primary) = measure::used_and_rss(&mut primary).unwrap();
    let (_, rss_replica) = measure::used_and_rss(&mut replica).unwrap();
    let output =
        unfrag(state.path(), &servers.primary, &["fix", "--replicas", "--yes", "-o", "json"])
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let outcomes: Vec<Json> = serde_json::from_slice(&output.stdout).unwrap();
    let targets: Vec<&str> = outcomes.iter().map(|o| o["target"].as_str().unwrap()).collect();
    let ports = [servers.replicas.first().unwrap().port(), servers.primary.port()];
    assert_eq!(targets.len(), 2, "{}", text(&output));
    for (target, port) in targets.iter().zip(ports) {
        assert!(target.ends_with(&port.to_string()), "{targets:?} {ports:?}");
    }
    let (_, primary_after) = measure::used_and_rss(&mut primary).unwrap();
    let (_, replica_after) = measure::used_and_rss(&mut replica).unwrap();
    assert!(primary_after < rss_primary * 7 / 10, "{rss_primary} {primary_after}");
    assert!(replica_after < rss_replica * 7 / 10, "{rss_replica} {replica_after}");
    assert_eq!((settings(&mut primary), settings(&mut replica)), set_before);
    assert_eq!(measure::digest(&mut primary).unwrap(), digest);
    assert_eq!(measure::digest(&mut replica).unwrap(), digest);
}

/// An inventory often has a server under its name and under its address.
#[test]
fn a_server_named_twice_is_worked_on_once() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let other_name = format!("localhost:{}", server.port());
    let args = ["fix", &server.address(), &other_name, "--dry-run", "-o", "json"];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .env("XDG_STATE_HOME", state.path())
        .args(args)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let plans: Json = serde_json::from_slice(&output.stdout).unwrap();
    let targets: Vec<&str> =
        plans.as_array().unwrap().iter().map(|p| p["target"].as_str().unwrap()).collect();
    assert_eq!(targets, [server.address()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&other_name) && said.contains("the same server"), "{said}");
}

/// Nothing found is not the same as nothing to do.
#[test]
fn a_sentinel_that_watches_nobody_is_no_success() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let files = vec![("sentinel.conf".to_owned(), vec![])];
    let options = Options { sentinel: true, files, ..Options::default() };
    let sentinel = Server::start(Kind::Redis7, &options).unwrap();
    let output = unfrag(state.path(), &sentinel, &["fix", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("watches no primary"), "{}", text(&output));
}
