//! What can happen to a server in the middle of a fix: forks, stalls, restarts, limits, followers that fall behind.

use super::{FILL_BYTES, Held, begin, fragmented, ours, set, settings, text};
use redis::Connection;
use std::time::Duration;
use unfrag_testbed::deployment::Replicated;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

const JEMALLOC: [Kind; 3] = [Kind::Redis6, Kind::Redis7, Kind::Redis8];

/// How often the server was asked to copy, move or purge anything.
fn work_done(connection: &mut Connection) -> String {
    let info = measure::info(connection).unwrap();
    let calls = |name: &str| info.get(name).cloned().unwrap_or_default();
    let count = |name: &str| calls(name).split(',').next().unwrap_or_default().to_owned();
    format!(
        "{} {} {}",
        count("cmdstat_evalsha"),
        count("cmdstat_memory|purge"),
        calls("active_defrag_hits")
    )
}

#[test]
fn a_fork_in_the_middle_is_waited_out() {
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        // The child sleeps after each key, so that there is time to look.
        set(&mut connection, "rdb-key-save-delay", "150");
        let run = Held::begin(state.path(), &server, &mut connection, &[]);
        redis::cmd("BGSAVE").exec(&mut connection).unwrap();
        run.release();
        // What it was about to send when it was held may still come; then nothing more.
        let mut still = String::new();
        measure::wait_until("the run to wait for the fork", || {
            let before = std::mem::replace(&mut still, work_done(&mut connection));
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(
                measure::field(&mut connection, "rdb_bgsave_in_progress")?,
                1,
                "it worked on"
            );
            Ok(before == still)
        })
        .unwrap();
        assert_eq!(work_done(&mut connection), still, "{}: beside a fork", kind.name());
        set(&mut connection, "rdb-key-save-delay", "0");
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        assert!(text(&output).contains("a fork child is at work"), "{}", text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
        assert_eq!(ours(&mut connection), 0);
    }
}

#[test]
fn a_server_restarted_in_the_middle_keeps_its_data_and_nothing_of_ours() {
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let run = Held::begin(state.path(), &server, &mut connection, &[]);
        server.restart().unwrap();
        let output = run.end();
        assert_eq!(output.status.code(), Some(7), "{} {}", kind.name(), text(&output));
        let mut connection = server.connection().unwrap();
        assert_eq!(ours(&mut connection), 0, "{} {}", kind.name(), text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
    }
}

/// While it loads it answers INFO and refuses every key.
#[test]
fn a_server_that_is_long_in_loading_is_waited_for() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    // Microseconds for each key.
    let options = Options::args(&["--key-load-delay", "100"]);
    let mut server = Server::start(Kind::Redis7, &options).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
    let digest = measure::digest(&mut connection).unwrap();
    let run = Held::begin(state.path(), &server, &mut connection, &["--only", "repack"]);
    let set_aside = ours(&mut connection);
    assert!(set_aside > 0);
    server.shutdown().unwrap();
    run.release();
    server.start_again().unwrap();
    let output = run.end();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("waiting for the server"), "{}", text(&output));
    let mut connection = server.connection().unwrap();
    assert_eq!(ours(&mut connection), 0, "of {set_aside}: {}", text(&output));
    assert_eq!(measure::digest(&mut connection).unwrap(), digest);
}

#[test]
fn a_server_that_stalls_is_left_as_it_was() {
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let run = Held::begin(state.path(), &server, &mut connection, &["-t", "2"]);
        signal(server.pid(), "-STOP").unwrap();
        run.release();
        // Longer than a command may take, shorter than the tries to reach the server again.
        std::thread::sleep(Duration::from_secs(5));
        signal(server.pid(), "-CONT").unwrap();
        let output = run.end();
        assert_eq!(output.status.code(), Some(7), "{} {}", kind.name(), text(&output));
        assert_eq!(ours(&mut connection), 0, "{} {}", kind.name(), text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
    }
}

/// Beyond `lua-time-limit` every command but a few is answered with BUSY; it is no reason to give up, and none to leave
/// settings behind.
#[test]
fn a_script_that_holds_the_server_is_waited_out() {
    for kind in [Kind::Redis6, Kind::Redis7].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        set(&mut connection, "lua-time-limit", "50");
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let run = Held::begin(state.path(), &server, &mut connection, &[]);
        let script = "local t=redis.call('TIME')[1] while redis.call('TIME')[1]-t < 3 do end";
        // Sent before the run goes on, so that the script is at work when it does.
        let mut other = server.connection().unwrap();
        other
            .send_packed_command(&redis::cmd("EVAL").arg(script).arg(0).get_packed_command())
            .unwrap();
        run.release();
        other.recv_response().unwrap();
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
        assert_eq!(ours(&mut connection), 0, "{} {}", kind.name(), text(&output));
    }
}

/// Purges that the server was asked for, and how many of them beside the allocator's own thread.
fn purges(connection: &mut Connection) -> (usize, usize) {
    type Slow = (u64, u64, u64, Vec<Vec<u8>>, String, String);
    let log: Vec<Slow> = redis::cmd("SLOWLOG").arg("GET").arg(1_000_000).query(connection).unwrap();
    let (mut all, mut beside, mut is_on) = (0, 0, false);
    for (_, _, _, words, ..) in log.into_iter().rev() {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match words.as_slice() {
            [b"CONFIG", b"SET", b"jemalloc-bg-thread", value] => is_on = *value == b"yes",
            [b"MEMORY", b"PURGE"] => {
                all += 1;
                beside += usize::from(is_on);
            }
            _ => {}
        }
    }
    (all, beside)
}

/// Without the allocator's own thread one purge drops all there is, and the server waits for it. Each remedy ends with one.
#[test]
fn the_allocators_own_thread_is_lent_for_a_purge() {
    for (kind, remedy) in [
        (Kind::Redis6, "purge"),
        (Kind::Redis6, "defrag"),
        (Kind::Redis7, "purge"),
        (Kind::Redis7, "repack"),
    ] {
        if !require(kind) {
            continue;
        }
        let state = tempfile::tempdir().unwrap();
        let thread = ["--jemalloc-bg-thread", "no"];
        let log = ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000000"];
        // A log of each batch of repack's would be larger than the data.
        let log = if remedy == "repack" { &[][..] } else { &log[..] };
        let options = Options::args(&[&thread[..], log].concat());
        let options = Options { keeps_freed_pages: true, ..options };
        let server = Server::start(kind, &options).unwrap();
        let mut connection = server.connection().unwrap();
        if remedy != "purge" {
            Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
        }
        for n in 0..80 {
            redis::cmd("SET").arg(n).arg(vec![b'x'; 1 << 20]).exec(&mut connection).unwrap();
        }
        redis::cmd("DEL").arg((0..80).collect::<Vec<_>>()).exec(&mut connection).unwrap();
        // Its figures are its own sample, taken ten times a second.
        measure::wait_until("the server's own look", || {
            let resident = measure::field(&mut connection, "allocator_resident")?;
            Ok(resident > measure::field(&mut connection, "allocator_active")? + (70 << 20))
        })
        .unwrap();
        let child = begin(state.path(), &server, &["--only", remedy, "-o", "json"]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let lent = json["restored_config"].as_array().unwrap();
        let lent = lent.iter().find(|s| s["name"] == "jemalloc-bg-thread").unwrap();
        assert_eq!((&lent["value"], &lent["restored"]), (&"no".into(), &true.into()), "{json:#}");
        if remedy != "repack" {
            let (all, beside) = purges(&mut connection);
            assert!(all > 0 && beside == all, "{remedy}: {beside} of {all} purges with the thread");
        }
        let (_, now): (String, String) = redis::cmd("CONFIG")
            .arg("GET")
            .arg("jemalloc-bg-thread")
            .query(&mut connection)
            .unwrap();
        assert_eq!(now, "no", "{json:#}");
        assert!(json["reclaimed_bytes"].as_i64().unwrap() > 60 << 20, "{json:#}");
    }
}

#[test]
fn a_replica_that_falls_behind_is_waited_for() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    // With this policy whole values go through replication.
    // And one that stands still for a while stays a replica.
    let args = ["--maxmemory-policy", "allkeys-lru", "--repl-timeout", "3600"];
    let options = Options::args(&args);
    let servers = Replicated::start(Kind::Redis7, 1, &options).unwrap();
    let mut primary = servers.primary.connection().unwrap();
    Workload::Strings.run(&mut primary, 3 * FILL_BYTES, 7).unwrap();
    let replica = servers.replicas.first().unwrap();
    let digest = measure::digest(&mut primary).unwrap();
    let run = Held::begin(state.path(), &servers.primary, &mut primary, &[]);
    signal(replica.pid(), "-STOP").unwrap();
    run.release();
    let mut behind = || {
        let info = measure::info(&mut primary).unwrap();
        let here: u64 = info["master_repl_offset"].parse().unwrap();
        let there = info["slave0"].split("offset=").nth(1).unwrap().split(',').next().unwrap();
        here.saturating_sub(there.parse().unwrap())
    };
    measure::wait_until("a write that the replica lacks", || Ok(behind() > 0)).unwrap();
    let mut most = 0;
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(100));
        most = behind().max(most);
    }
    signal(replica.pid(), "-CONT").unwrap();
    let output = run.end();
    // 16 MiB, and what one chunk adds before the next look.
    assert!(most < 32 << 20, "{most} bytes behind");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let mut replica = replica.connection().unwrap();
    let offset = measure::field(&mut primary, "master_repl_offset").unwrap();
    measure::wait_until("the replica's catching up", || {
        Ok(measure::field(&mut replica, "slave_repl_offset")? >= offset)
    })
    .unwrap();
    assert_eq!(measure::digest(&mut primary).unwrap(), digest);
    assert_eq!(measure::digest(&mut replica).unwrap(), digest);
}

#[test]
fn the_aof_written_meanwhile_gives_the_same_data() {
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let options = Options::args(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let mut server = Server::start(kind, &options).unwrap();
        let mut connection = server.connection().unwrap();
        Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
        let digest = measure::digest(&mut connection).unwrap();
        let output = begin(state.path(), &server, &["--only", "purge,repack"]).wait_with_output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{} {}", kind.name(), text(&output));
        server.restart().unwrap();
        let mut connection = server.connection().unwrap();
        assert_eq!(measure::field(&mut connection, "aof_enabled").unwrap(), 1);
        assert_eq!(measure::digest(&mut connection).unwrap(), digest, "{}", kind.name());
        assert_eq!(ours(&mut connection), 0);
    }
}

#[test]
fn maxmemory_reached_in_the_middle_evicts_and_refuses_nothing() {
    if !require(Kind::Redis7) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis7);
    set(&mut connection, "maxmemory-policy", "allkeys-random");
    let keys = measure::keys(&mut connection).unwrap();
    let run = Held::begin(state.path(), &server, &mut connection, &[]);
    let used = measure::field(&mut connection, "used_memory").unwrap();
    // Room for what is set aside now and a little more; the next batches must not take it.
    set(&mut connection, "maxmemory", &(used + (2 << 20)).to_string());
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("no room"), "{}", text(&output));
    assert_eq!(measure::field(&mut connection, "evicted_keys").unwrap(), 0);
    assert_eq!(measure::keys(&mut connection).unwrap(), keys);
    assert_eq!(ours(&mut connection), 0);
}

#[test]
fn who_begins_to_listen_in_the_middle_does_not_hear_of_every_key() {
    for args in [&["--only", "repack"][..], &["--only", "repack", "--allow"]] {
        if !require(Kind::Redis7) {
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(Kind::Redis7);
        let digest = measure::digest(&mut connection).unwrap();
        let run = Held::begin(state.path(), &server, &mut connection, args);
        set(&mut connection, "notify-keyspace-events", "KA");
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let is_left = text(&output).contains("keyspace notifications are on");
        assert_eq!(is_left, !args.contains(&"--allow"), "{}", text(&output));
        assert_eq!(ours(&mut connection), 0);
        assert_eq!(measure::digest(&mut connection).unwrap(), digest);
    }
}

/// A consumer that waits for a stream's next entry gets it, though the stream has moved meanwhile.
#[test]
fn consumers_that_wait_are_not_woken_and_not_forgotten() {
    for kind in [Kind::Redis6, Kind::Redis7].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let stream = |words: &[&str]| {
            let mut cmd = redis::cmd("XGROUP");
            cmd.arg(words);
            cmd
        };
        stream(&["CREATE", "jobs", "workers", "$", "MKSTREAM"]).exec(&mut connection).unwrap();
        let waiting = std::thread::spawn({
            let mut connection = server.connection().unwrap();
            move || -> redis::Value {
                connection.set_read_timeout(None).unwrap();
                let words = "GROUP workers one BLOCK 0 STREAMS jobs >";
                let mut cmd = redis::cmd("XREADGROUP");
                words.split(' ').for_each(|word| {
                    cmd.arg(word);
                });
                cmd.query(&mut connection).unwrap()
            }
        });
        measure::wait_until("the consumer", || {
            Ok(measure::field(&mut connection, "blocked_clients")? == 1)
        })
        .unwrap();
        let run = begin(state.path(), &server, &["--only", "repack"]).wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(0), "{} {}", kind.name(), text(&run));
        assert!(!waiting.is_finished(), "{}: it was woken by us", kind.name());
        let mut add = redis::cmd("XADD");
        add.arg("jobs").arg("*").arg("job").arg("42").exec(&mut connection).unwrap();
        let got = format!("{:?}", waiting.join().unwrap());
        assert!(got.contains("42"), "{} {got}", kind.name());
    }
}
