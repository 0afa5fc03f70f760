//! `unfrag rdb fetch` against real servers: what arrives is whole, sound, and loads; what does not leaves nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use redis::{Commands, Connection};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use unfrag_testbed::deployment::{Cluster, Watched};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require, signal, tls};

const FILL_BYTES: u64 = 8 << 20;

fn fetch(server: &Server, place: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
    command.args(["rdb", "fetch", "-p", &server.port().to_string()]).args(more);
    command.arg("-o").arg(place).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn filled(kind: Kind, options: &Options) -> (Server, Connection) {
    let server = Server::start(kind, options).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Collections.run(&mut connection, FILL_BYTES, 7).unwrap();
    redis::cmd("SELECT").arg(5).exec(&mut connection).unwrap();
    connection.set::<_, _, ()>("elsewhere", "x").unwrap();
    redis::cmd("SELECT").arg(0).exec(&mut connection).unwrap();
    (server, connection)
}

/// A server that has loaded this snapshot.
fn loaded(kind: Kind, snapshot: &Path) -> Server {
    let bytes = std::fs::read(snapshot).unwrap();
    let options = Options { files: vec![("dump.rdb".to_owned(), bytes)], ..Options::default() };
    Server::start(kind, &options).unwrap()
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_arrives_loads_and_is_the_same_with_either_framing() {
    for kind in Kind::ALL.into_iter().filter(|k| require(*k)) {
        let folder = tempfile::tempdir().unwrap();
        let (server, mut connection) = filled(kind, &Options::default());
        let digest = measure::digest(&mut connection).unwrap();
        for (diskless, name) in [("no", "bulk.rdb"), ("yes", "streamed.rdb")] {
            for (setting, value) in
                [("repl-diskless-sync", diskless), ("repl-diskless-sync-delay", "0")]
            {
                let mut set = redis::cmd("CONFIG");
                set.arg("SET").arg(setting).arg(value).exec(&mut connection).unwrap();
            }
            let place = folder.path().join(name);
            let output = fetch(&server, &place, &["--report", "json"]).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(said["schema"], "unfrag.rdb-fetch/1");
            assert_eq!(said["verified"]["ok"], true);
            assert_eq!(said["bytes"].as_u64().unwrap(), place.metadata().unwrap().len());
            let copy = loaded(kind, &place);
            let there = measure::digest(&mut copy.connection().unwrap()).unwrap();
            assert_eq!(there, digest, "{} {name}", kind.name());
        }
        assert_eq!(files_in(folder.path()).len(), 2, "nothing else is left");
        assert_eq!(measure::field(&mut connection, "connected_slaves").unwrap(), 0);
    }
}

/// Field TTLs are what Valkey 9 fails on for who does not say which version it understands.
#[test]
fn field_ttls_of_valkey_9_arrive() {
    if !require(Kind::Valkey9) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, mut connection) = filled(Kind::Valkey9, &Options::default());
    let mut set = redis::cmd("HSETEX");
    set.arg("h").arg("EX").arg(5000).arg("FIELDS").arg(1).arg("f").arg("v");
    set.exec(&mut connection).unwrap();
    let place = folder.path().join("dump.rdb");
    let output = fetch(&server, &place, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let bytes = std::fs::read(&place).unwrap();
    assert!(bytes.starts_with(b"VALKEY"), "{:?}", bytes.get(..9));
}

/// Writers go on; what arrives is one moment of it.
#[test]
fn a_busy_server_is_fetched_at_one_moment() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = filled(Kind::Redis7, &Options::default());
    let place = folder.path().join("dump.rdb");
    let stop = AtomicBool::new(false);
    let mut own = server.connection().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = server.connection().unwrap();
            while !stop.load(Ordering::Relaxed) {
                // Both or neither, at any moment.
                let mut pair = redis::pipe();
                pair.atomic().incr("a", 1).ignore().incr("b", 1).ignore();
                pair.exec(&mut connection).unwrap();
            }
        });
        measure::wait_until("the writer", || Ok(own.get::<_, Option<u64>>("a").unwrap().is_some()))
            .unwrap();
        let output = fetch(&server, &place, &[]).output().unwrap();
        stop.store(true, Ordering::Relaxed);
        output
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let server = loaded(Kind::Redis7, &place);
    let mut copy = server.connection().unwrap();
    let (a, b): (u64, u64) = (copy.get("a").unwrap(), copy.get("b").unwrap());
    assert!(a > 0 && a == b, "{a} {b}");
}

#[test]
fn exactly_the_printed_rights_and_tls_are_enough() {
    for kind in Kind::ALL.into_iter().filter(|k| require(*k)) {
        let folder = tempfile::tempdir().unwrap();
        let (server, mut connection) = filled(kind, &Options::default());
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .args(["acl", "rdb", "--user", "fetcher"])
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let line = lines.lines().find(|l| l.contains("+psync")).unwrap().replace("PASSWORD", "pw");
        measure::typed(&mut connection, &line).unwrap();
        let place = folder.path().join("dump.rdb");
        let output = fetch(&server, &place, &["--user", "fetcher", "-a", "pw"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        let denied: Vec<redis::Value> =
            redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
        assert!(denied.is_empty(), "{} {denied:?}", kind.name());
        // Without the right: said, nothing left, exit 4.
        let mut take = redis::cmd("ACL");
        take.arg("SETUSER").arg("fetcher").arg("-psync").exec(&mut connection).unwrap();
        let other = folder.path().join("other.rdb");
        let output = fetch(&server, &other, &["--user", "fetcher", "-a", "pw"]).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{} {}", kind.name(), text(&output));
        assert!(text(&output).contains("PSYNC"), "{}", text(&output));
        assert!(!text(&output).contains("pw\""), "{}", text(&output));
        assert_eq!(files_in(folder.path()), ["dump.rdb"]);
    }
}

#[test]
fn tls_carries_it_as_well() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = tls::Files::make().unwrap();
    let options = Options { tls: Some(files.clone()), ..Options::default() };
    let (server, _) = filled(Kind::Redis7, &options);
    let place = folder.path().join("dump.rdb");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
    command.args(["rdb", "fetch", "-h", "localhost", "-p", &server.tls_port().to_string()]);
    command.arg("--tls").arg("--cacert").arg(files.ca());
    command.arg("--cert").arg(files.client_certificate()).arg("--key").arg(files.client_key());
    let output = command.arg("-o").arg(&place).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(place.exists());
}

/// A Sentinel's name means the primary, one file.
#[test]
fn a_sentinels_name_means_its_primary() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let watched = Watched::start(Kind::Redis7, 1, &Options::default()).unwrap();
    let mut primary = watched.servers.primary.connection().unwrap();
    primary.set::<_, _, ()>("a", "b").unwrap();
    let place = folder.path().join("dump.rdb");
    let sentinel = watched.sentinels.first().unwrap().port();
    let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["rdb", "fetch", &format!("redis+sentinel://main@127.0.0.1:{sentinel}"), "-o"])
        .arg(&place)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(&watched.servers.primary.port().to_string()));
    assert_eq!(files_in(folder.path()), ["dump.rdb"]);
}

/// A replica of each shard is there, too, and is not asked.
#[test]
fn a_cluster_comes_as_a_file_for_each_primary() {
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|k| require(*k)) {
        let cluster = Cluster::start(kind, 1, &Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut digests = vec![];
        for (index, node) in cluster.nodes.iter().take(3).enumerate() {
            // Slots 3300, 7233 and 15495.
            let tag = ["{b}", "{g}", "{a}"][index];
            let mut connection = node.connection().unwrap();
            for n in 0..=index {
                connection.set::<_, _, ()>(format!("{tag}:{n}"), "x").unwrap();
            }
            if kind == Kind::Valkey9 {
                // Its records of slots count such keys.
                let key = format!("{tag}:fields");
                redis::cmd("HSET")
                    .arg(&key)
                    .arg(&["a", "1", "b", "2"])
                    .exec(&mut connection)
                    .unwrap();
                let mut expire = redis::cmd("HEXPIRE");
                expire.arg(&key).arg(100_000).arg("FIELDS").arg(1).arg("a");
                expire.exec(&mut connection).unwrap();
            }
            digests.push((node.port(), measure::digest(&mut connection).unwrap()));
        }
        let output = fetch(&cluster.nodes[4], folder.path(), &["-c"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        let files = files_in(folder.path());
        assert_eq!(files.len(), 3, "{files:?}");
        for (port, digest) in digests {
            let file = files.iter().find(|f| f.contains(&port.to_string())).unwrap();
            let copy = loaded(kind, &folder.path().join(file));
            assert_eq!(measure::digest(&mut copy.connection().unwrap()).unwrap(), digest, "{file}");
        }
    }
}

/// Two thirds of a Cluster are no backup of it.
#[test]
fn a_cluster_that_lacks_slots_is_refused_and_a_node_alone_is_said_to_be_one() {
    if !require(Kind::Redis7) {
        return;
    }
    let mut cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let alone = fetch(&cluster.nodes[0], &folder.path().join("one.rdb"), &[]).output().unwrap();
    assert_eq!(alone.status.code(), Some(0), "{}", text(&alone));
    assert!(text(&alone).contains("one node of a Cluster"), "{}", text(&alone));
    cluster.nodes.pop().unwrap().shutdown().unwrap();
    let mut connection = cluster.nodes[0].connection().unwrap();
    measure::wait_until("the nodes' agreement that one is down", || {
        let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut connection).unwrap();
        Ok(nodes.lines().any(|l| l.contains("fail ") && !l.contains("fail? ")))
    })
    .unwrap();
    let place = folder.path().join("all/");
    let refused = fetch(&cluster.nodes[0], &place, &["-c"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(text(&refused).contains("slots 10922-16383"), "{}", text(&refused));
    assert!(!place.exists());
    let forced = fetch(&cluster.nodes[0], &place, &["-c", "--force"]).output().unwrap();
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced));
    assert_eq!(files_in(&place).len(), 2);
}

/// One of several that cannot be reached is said, and costs the others nothing.
#[test]
fn a_server_that_is_down_does_not_keep_the_others_from_being_fetched() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let targets = ["127.0.0.1:1".to_owned(), format!("127.0.0.1:{}", server.port())];
    let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["rdb", "fetch"])
        .args(&targets)
        .arg("-o")
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("127.0.0.1:1"), "{}", text(&output));
    assert_eq!(files_in(folder.path()).len(), 1, "{}", text(&output));
}

/// redis-cli fetches at the same moment; each gets all of it, and the server is rid of both.
#[test]
fn somebody_else_may_fetch_at_the_same_time() {
    for kind in [Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let folder = tempfile::tempdir().unwrap();
        let (server, mut connection) = filled(kind, &Options::default());
        let digest = measure::digest(&mut connection).unwrap();
        let (theirs, ours) = (folder.path().join("theirs.rdb"), folder.path().join("ours.rdb"));
        let cli = Kind::Redis7.binary().unwrap().with_file_name("redis-cli");
        let mut other = Command::new(cli)
            .args(["-p", &server.port().to_string(), "--rdb"])
            .arg(&theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = fetch(&server, &ours, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        assert!(other.wait().unwrap().success());
        for place in [&theirs, &ours] {
            let copy = loaded(kind, place);
            assert_eq!(measure::digest(&mut copy.connection().unwrap()).unwrap(), digest);
        }
        measure::wait_until("the server's being rid of both", || {
            Ok(measure::field(&mut connection, "connected_slaves")? == 0)
        })
        .unwrap();
    }
}

/// A fetch that takes its time: the server writes ten keys a second.
fn slow_fetch(folder: &Path, more: &[&str]) -> (Server, Connection, Child) {
    let (server, mut connection) = filled(Kind::Redis7, &Options::default());
    for (setting, value) in [
        ("repl-diskless-sync", "yes"),
        ("repl-diskless-sync-delay", "0"),
        ("rdb-key-save-delay", "100000"),
    ] {
        redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec(&mut connection).unwrap();
    }
    let mut command = fetch(&server, &folder.join("dump.rdb"), more);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    measure::wait_until("the first bytes", || Ok(files_in(folder).len() == 1)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    (server, connection, child)
}

/// A file under that name would be the end of a pipe, or of a device of the whole machine.
#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = fetch(&server, &pipe, &["--force"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("-o - "), "{}", text(&output));
    assert!(!pipe.metadata().unwrap().is_file());
    assert_eq!(files_in(folder.path()), ["pipe"]);
}

/// `unfrag rdb fetch -o - | head`: as quiet as any tool in a pipe, and with the status that a shell knows.
#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    if !require(Kind::Redis7) {
        return;
    }
    let (server, mut connection) = filled(Kind::Redis7, &Options::default());
    // More than any pipe holds, so that a write meets the closed end.
    redis::cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no").exec(&mut connection).unwrap();
    connection.set::<_, _, ()>("large", vec![b'x'; 8 << 20]).unwrap();
    let mut command = fetch(&server, Path::new("-"), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut magic = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(&magic, b"REDIS0010");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", text(&output));
    assert!(!text(&output).contains("error"), "{}", text(&output));
    assert!(!text(&output).contains("sound"), "{}", text(&output));
    measure::wait_until("the server's being rid of us", || {
        Ok(measure::field(&mut connection, "connected_slaves")? == 0)
    })
    .unwrap();
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing_here_and_nobody_there() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut connection, child) = slow_fetch(folder.path(), &[]);
    signal(child.id(), "-INT").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(files_in(folder.path()), Vec::<String>::new(), "{}", text(&output));
    redis::cmd("CONFIG").arg("SET").arg("rdb-key-save-delay").arg(0).exec(&mut connection).unwrap();
    measure::wait_until("the server's being rid of us", || {
        Ok(measure::field(&mut connection, "connected_slaves")? == 0
            && measure::field(&mut connection, "rdb_bgsave_in_progress")? == 0)
    })
    .unwrap();
}

#[test]
fn a_server_that_stalls_is_given_up_and_leaves_nothing() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, _connection, child) = slow_fetch(folder.path(), &["-t", "3"]);
    signal(server.pid(), "-STOP").unwrap();
    let output = child.wait_with_output();
    signal(server.pid(), "-CONT").unwrap();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_eq!(files_in(folder.path()), Vec::<String>::new());
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_nothing() {
    if !require(Kind::Redis7) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut connection, child) = slow_fetch(folder.path(), &[]);
    redis::cmd("CONFIG").arg("SET").arg("rdb-key-save-delay").arg(0).exec(&mut connection).unwrap();
    server.shutdown().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_eq!(files_in(folder.path()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_written_or_is_there_already_is_refused() {
    if !require(Kind::Redis8) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = filled(Kind::Redis8, &Options::default());
    let place = folder.path().join("dump.rdb");
    std::fs::write(&place, "mine").unwrap();
    let output = fetch(&server, &place, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "mine");
    let nowhere = folder.path().join("no/such/folder.rdb");
    let output = fetch(&server, &nowhere, &["--force"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    // A disk that is full.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = fetch(&server, Path::new("-"), &[]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    // A pipe takes the snapshot, and what is said of it goes elsewhere.
    let output = fetch(&server, Path::new("-"), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(output.stdout.starts_with(b"REDIS"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is sound"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

/// A snapshot, sized for its server, says what a restart reaches; a real restart tells whether it is so.
#[test]
fn a_snapshot_says_what_a_restart_would_reach() {
    for kind in [Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(kind, &Options::default()).unwrap();
        Workload::Collections.run(&mut server.connection().unwrap(), 64 << 20, 7).unwrap();
        let place = folder.path().join("dump.rdb");
        let output = fetch(&server, &place, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .args(["check", "-o", "json", "-p", &server.port().to_string(), "--snapshot"])
            .arg(&place)
            .output()
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let restart = &json["targets"][0]["reclaim"]["restart"];
        let floor = restart["floor_rss_bytes"].as_f64().unwrap();
        assert!(restart["basis"].as_str().unwrap().contains("dump.rdb"), "{restart}");
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .args([
                "fix",
                "--dry-run",
                "-o",
                "json",
                "-p",
                &server.port().to_string(),
                "--snapshot",
            ])
            .arg(&place)
            .output()
            .unwrap();
        let plans: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let of_fix = plans[0]["floor_rss_bytes"].as_f64().unwrap();
        assert!((of_fix / floor - 1.0).abs() < 0.005, "{of_fix} {floor}");
        server.restart().unwrap();
        let (_, rss) = measure::used_and_rss(&mut server.connection().unwrap()).unwrap();
        let off = floor / rss as f64 - 1.0;
        assert!(off.abs() < 0.07, "{} {floor} of {rss}: {off:+.3}", kind.name());
    }
}
