//! `unfrag rdb` as people meet it, on snapshots that real servers write.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

fn unfrag(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfrag")).args(args).env("LC_ALL", "C.UTF-8").output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A fragmented server and the snapshot it has just saved.
fn saved(kind: Kind) -> (Server, PathBuf) {
    let server = Server::start(kind, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Collections.run(&mut connection, 8 << 20, 7).unwrap();
    redis::cmd("SAVE").exec(&mut connection).unwrap();
    let file = server.folder().join("dump.rdb");
    (server, file)
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[test]
fn a_servers_own_snapshot_is_sound_and_a_changed_byte_is_found() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (server, file) = saved(kind);
        let keys = measure::keys(&mut server.connection().unwrap()).unwrap();
        let sound = unfrag(&["rdb", "verify", "-o", "json", path(&file)]);
        assert_eq!(sound.status.code(), Some(0), "{}", kind.name());
        let report = json(&sound);
        assert_eq!(
            (report.get("ok"), report.get("keys")),
            (Some(&true.into()), Some(&keys.into()))
        );
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).unwrap() ^= 0x40;
        std::fs::write(&file, bytes).unwrap();
        let damaged = unfrag(&["rdb", "verify", "-o", "json", path(&file)]);
        assert_eq!(damaged.status.code(), Some(5), "{}", kind.name());
        assert!(!json(&damaged).get("problems").unwrap().as_array().unwrap().is_empty());
    }
}

#[test]
fn the_size_for_a_live_server_is_what_its_restart_uses() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (mut server, file) = saved(kind);
        let sized =
            unfrag(&["rdb", "size", "-o", "json", path(&file), "--like", &server.address()]);
        assert_eq!(sized.status.code(), Some(0), "{}", String::from_utf8_lossy(&sized.stderr));
        let predicted = json(&sized).pointer("/total/bytes").unwrap().as_u64().unwrap();
        server.restart().unwrap();
        let (used, _) = measure::used_and_rss(&mut server.connection().unwrap()).unwrap();
        // What the same reading finds in an empty server: start-up, one connection, the script engines.
        let empty = Server::start(kind, &Options::default()).unwrap();
        let (baseline, _) = measure::used_and_rss(&mut empty.connection().unwrap()).unwrap();
        let grown = used - baseline;
        let error = predicted.abs_diff(grown) as f64 / grown as f64;
        assert!(error < 0.03, "{}: predicted {predicted}, grown {grown}", kind.name());
    }
}

#[test]
fn a_cluster_nodes_structures_by_slot_are_in_the_size() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        let mut pipe = redis::pipe();
        for n in 0..30_000 {
            pipe.cmd("SET").arg(format!("key:{n}")).arg("v".repeat(20)).ignore();
            if n % 3 == 0 {
                pipe.cmd("PEXPIRE").arg(format!("key:{n}")).arg(10_000_000).ignore();
            }
        }
        pipe.exec(&mut connection).unwrap();
        redis::cmd("SAVE").exec(&mut connection).unwrap();
        let file = server.folder().join("dump.rdb");
        let cluster = Options::args(&["--cluster-enabled", "yes"]);
        let files = vec![("dump.rdb".to_owned(), std::fs::read(&file).unwrap())];
        let node = Server::start(kind, &Options { files, ..cluster.clone() }).unwrap();
        let mut connection = node.connection().unwrap();
        assert_eq!(measure::keys(&mut connection).unwrap(), 30_000);
        let (used, _) = measure::used_and_rss(&mut connection).unwrap();
        let empty = Server::start(kind, &cluster).unwrap();
        let (baseline, _) = measure::used_and_rss(&mut empty.connection().unwrap()).unwrap();
        let sized = unfrag(&["rdb", "size", "-o", "json", path(&file), "--like", &node.address()]);
        let report = json(&sized);
        assert_eq!(report["cluster"], true);
        let (predicted, grown) = (report["total"]["bytes"].as_u64().unwrap(), used - baseline);
        let error = predicted.abs_diff(grown) as f64 / grown as f64;
        assert!(error < 0.02, "{}: predicted {predicted}, grown {grown}", kind.name());
    }
}

#[test]
fn what_is_no_snapshot_is_5_and_named() {
    let missing = unfrag(&["rdb", "verify", "/nonexistent/dump.rdb"]);
    assert_eq!(missing.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/dump.rdb"));
    let other = unfrag(&["rdb", "verify", env!("CARGO_BIN_EXE_unfrag")]);
    assert_eq!(other.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&other.stdout).starts_with("DAMAGED"));
    // The names are told as they are typed: 8.0 is a Redis and a Valkey.
    let unknown = unfrag(&["rdb", "size", "x", "--for", "8.0"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("redis-8.0, ") && said.contains("valkey-8.0, "), "{said}");
}

#[test]
fn a_size_says_first_how_far_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    let told = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let output = unfrag(&["rdb", "size", path(&file)]);
        assert_eq!(output.status.code(), Some(5));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let nothing = told(b"hello, this is text");
    assert!(nothing.starts_with("nothing to size in "), "{nothing}");
    assert!(!nothing.contains("0 keys"), "{nothing}");
    let some = told(b"REDIS0011\xfe\x00\x00\x01a\x01b\x00\x01c\x05d");
    assert!(some.starts_with("at least ") && some.contains("reading stopped at byte "), "{some}");
    assert!(some.contains("rdb verify"), "{some}");
    // A server is named with --like: what would do nothing is refused.
    for flags in [&["-p", "7000"][..], &["--user", "ops"], &["--tls"], &["-n", "3"], &["-t", "1"]] {
        let output = unfrag(&[&["rdb", "size", path(&file)], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("--like HOST:PORT") && said.contains(flags[0]), "{said}");
    }
}

/// Redis keeps the earliest time of a packed hash only as exact as its own index needs it, and saves that.
#[test]
fn hashes_whose_first_expiry_has_changed_are_sound() {
    if !require(Kind::Redis8) {
        return;
    }
    let server = Server::start(Kind::Redis8, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    for line in [
        "HSET persisted f 1 g 2",
        "HPEXPIREAT persisted 4000000000000 FIELDS 1 f",
        "HPEXPIREAT persisted 4000000090000 FIELDS 1 g",
        "HPERSIST persisted FIELDS 1 f",
        "HSET none f 1 g 2",
        "HPEXPIREAT none 4000000000000 FIELDS 1 f",
        "HPERSIST none FIELDS 1 f",
        "HSET sooner f 1 g 2",
        "HPEXPIREAT sooner 4000000002000 FIELDS 1 f",
        "HPEXPIREAT sooner 4000000000000 FIELDS 1 g",
        "SAVE",
    ] {
        measure::typed(&mut connection, line).unwrap();
    }
    let output = unfrag(&["rdb", "verify", path(&server.folder().join("dump.rdb"))]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_cannot_be_opened_is_a_document_of_its_own() {
    for (command, schema) in [("verify", "unfrag.rdb/1"), ("size", "unfrag.rdb-size/1")] {
        let output = unfrag(&["rdb", command, "-o", "json", "/nonexistent/dump.rdb"]);
        assert_eq!(output.status.code(), Some(5));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&document["schema"], &document["ok"]), (&schema.into(), &false.into()));
        assert_eq!(document["file"], "/nonexistent/dump.rdb");
        assert!(document["error"].as_str().unwrap().contains("No such file"));
    }
}

/// Half a report must not look like a whole one.
#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.rdb");
    std::fs::write(&empty, b"REDIS0004\xff").unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["rdb", "verify", path(&empty)])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("standard output cannot be written"), "{said}");
}

/// As `zstd --ultra -22` writes it of a pipe: sound, and too large for the memory that is spent here.
#[test]
fn a_window_that_is_too_large_is_not_called_damage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb.zst");
    std::fs::write(&file, b"\x28\xb5\x2f\xfd\x04\x88\x84\x0d\x00\xa6\x92\x2e").unwrap();
    for command in ["verify", "size"] {
        let output = unfrag(&["rdb", command, path(&file)]);
        assert_eq!(output.status.code(), Some(5));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("zstd -dc --long=31"), "{said}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn one_missing_file_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.rdb");
    // Magic, end, no checksum: version 4 had none.
    std::fs::write(&empty, b"REDIS0004\xff").unwrap();
    let both = unfrag(&["rdb", "verify", "/nonexistent/dump.rdb", path(&empty)]);
    assert_eq!(both.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&both.stdout).starts_with("OK  "));
    assert!(String::from_utf8_lossy(&both.stderr).contains("/nonexistent/dump.rdb"));
    let both = unfrag(&["rdb", "verify", "-o", "json", "/nonexistent/dump.rdb", path(&empty)]);
    assert_eq!(both.status.code(), Some(5));
    let files: serde_json::Value = serde_json::from_slice(&both.stdout).unwrap();
    assert_eq!((&files[0]["ok"], &files[0]["file"]), (&true.into(), &path(&empty).into()));
    assert_eq!(
        (&files[1]["ok"], &files[1]["file"]),
        (&false.into(), &"/nonexistent/dump.rdb".into())
    );
    assert!(files[1]["error"].as_str().unwrap().contains("No such file"));
    let two = unfrag(&["rdb", "size", path(&empty), path(&empty)]);
    assert_eq!(two.status.code(), Some(2), "a second file is not ignored");
}

#[test]
fn a_long_name_is_cut_for_people_and_whole_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twice.rdb");
    let name = [b'k'; 255];
    // A length of 14 bits: 255. The same key twice is a problem that names it.
    let key = [b"\x00\x40\xff".as_slice(), &name, b"\x01v"].concat();
    std::fs::write(&file, [b"REDIS0004\xfe\x00", key.as_slice(), &key, b"\xff"].concat()).unwrap();
    let people = unfrag(&["rdb", "verify", path(&file)]);
    assert_eq!(people.status.code(), Some(5));
    let letters = String::from_utf8_lossy(&people.stdout).matches('k').count();
    assert!((50..120).contains(&letters), "{}", String::from_utf8_lossy(&people.stdout));
    let whole = json(&unfrag(&["rdb", "verify", "-o", "json", path(&file)]));
    assert_eq!(whole["problems"][0]["key"].as_str().unwrap().len(), 255);
}

#[test]
fn damage_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let told = |bytes: &[u8]| {
        let file = folder.path().join("dump.rdb");
        std::fs::write(&file, bytes).unwrap();
        let output = unfrag(&["rdb", "verify", path(&file)]);
        assert_eq!(output.status.code(), Some(5));
        // Lines may break anywhere.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let snapshot = b"REDIS0011\xfe\x00\x00\x01a\x01b\xff";
    assert!(told(&[snapshot.as_slice(), &[1; 8]].concat()).contains("only with `rdbchecksum no`"));
    assert!(told(&snapshot[..14]).contains("hint: the save or the copy broke off there"));
    assert!(told(b"hello, this is text").contains("hint: this is not what"));
    assert!(told(b"hello").contains("hint: this is not what"));
    // Version 4 has no checksum; what follows the end is none of it.
    assert!(told(b"REDIS0004\xfe\x00\x00\x01a\x01b\xff    ").contains("all the same"));
}
