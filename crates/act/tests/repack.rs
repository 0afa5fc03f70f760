//! Repack on real servers: nothing is lost, changed or left behind, whoever else is at work.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use redis::{Commands, Connection, Value};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use unfrag_act::plan::{self, Tails};
use unfrag_act::{
    Bounds, ChangePermit, Journals, Outcome, Plan, RemedyName, Run, Status, Step, Stop,
};
use unfrag_act::{execute, permit::Consent};
use unfrag_client::{Address, ConnectOptions, SampleOptions};
use unfrag_diagnose::diagnose;
use unfrag_testbed::deployment::{Cluster, Replicated};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

const FILL_BYTES: u64 = 48 << 20;
const JEMALLOC: [Kind; 3] = [Kind::Redis6, Kind::Redis7, Kind::Redis8];

fn options() -> ConnectOptions {
    // Debug builds on a busy machine: a fork or a fill may take seconds.
    ConnectOptions::default().with_timeout(Duration::from_secs(30))
}

async fn planned(server: &Server, bounds: Bounds) -> (Plan, unfrag_model::Layers, Address) {
    let address = Address::Tcp("127.0.0.1".to_owned(), server.port());
    let mut connection = unfrag_client::connect(&address, &options()).await.unwrap();
    let sample = unfrag_client::sample(&mut connection, &SampleOptions::default()).await.unwrap();
    let report = diagnose(&sample);
    (plan::make(&report, &sample, bounds), report.layers, address)
}

/// Repacks and insists that it came to its end.
fn repack(server: &Server) -> Outcome {
    let outcome = repack_any(server);
    assert_eq!(outcome.status, Status::Done, "{outcome:#?}");
    outcome
}

fn cmd(words: &[&str]) -> redis::Cmd {
    let mut cmd = redis::Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

fn run(connection: &mut Connection, words: &[&str]) -> Value {
    cmd(words).query(connection).unwrap()
}

/// Every type in every encoding, in two databases, with and without a TTL; names of all lengths, binary ones too.
fn fill_with_everything(server: &Server, connection: &mut Connection) {
    for db in ["3", "0"] {
        run(connection, &["SELECT", db]);
        run(connection, &["SET", "int", "12345"]);
        run(connection, &["SET", "e", "short"]);
        run(connection, &["SET", "raw", &"x".repeat(3000)]);
        run(connection, &["SET", "bits", "\u{1}\u{ff}"]);
        redis::cmd("SET").arg(b"\x00\xff\r\n*{}").arg("binary name").exec(connection).unwrap();
        run(connection, &["SET", &format!("long:{}", "n".repeat(700)), "v"]);
        for i in 0..600 {
            let (i, long) = (i.to_string(), format!("{i}:{}", "y".repeat(80)));
            run(connection, &["RPUSH", "list:big", &long]);
            run(connection, &["HSET", "hash:big", &long, &i]);
            run(connection, &["SADD", "set:big", &long]);
            run(connection, &["ZADD", "zset:big", &i, &long]);
            run(connection, &["XADD", "stream", "*", "field", &long]);
        }
        run(connection, &["RPUSH", "list", "a", "b"]);
        run(connection, &["HSET", "hash", "a", "1", "b", "2"]);
        run(connection, &["SADD", "set:int", "1", "2", "3"]);
        run(connection, &["SADD", "set", "a", "b"]);
        run(connection, &["ZADD", "zset", "1.5", "a"]);
        run(connection, &["PFADD", "hll", "a", "b", "c"]);
        run(connection, &["XGROUP", "CREATE", "stream", "g", "0"]);
        run(
            connection,
            &["XREADGROUP", "GROUP", "g", "c", "COUNT", "50", "STREAMS", "stream", ">"],
        );
        run(connection, &["XDEL", "stream", "0-1"]);
        if server.kind() == Kind::Redis8 {
            run(connection, &["HPEXPIRE", "hash", "9000000", "FIELDS", "1", "a"]);
        }
        for (key, ms) in [("int", "8000123"), ("raw", "8000456"), ("list:big", "8000789")] {
            run(connection, &["PEXPIRE", key, ms]);
        }
    }
}

/// What DEBUG DIGEST does not cover.
#[derive(Debug, PartialEq)]
struct Details {
    encodings: Vec<String>,
    /// Exact expiry, consumer groups, expiry of fields.
    rest: Vec<String>,
}

fn details(connection: &mut Connection) -> Details {
    let (mut encodings, mut rest) = (vec![], vec![]);
    for db in ["3", "0"] {
        run(connection, &["SELECT", db]);
        for key in ["int", "raw", "list:big"] {
            rest.push(format!("{key} {}", expiry(connection, key)));
        }
        let keys = [
            "int", "e", "raw", "list", "list:big", "hash", "hash:big", "set", "set:int", "set:big",
            "zset", "zset:big", "stream", "hll",
        ];
        for key in keys {
            let encoding = run(connection, &["OBJECT", "ENCODING", key]);
            encodings.push(format!("{key} {encoding:?}"));
        }
        rest.push(format!("{:?}", run(connection, &["XPENDING", "stream", "g"])));
        rest.push(format!("{:?}", run(connection, &["XINFO", "GROUPS", "stream"])));
        rest.push(format!(
            "{:?}",
            cmd(&["HPEXPIRETIME", "hash", "FIELDS", "1", "a"]).query::<Value>(connection).ok()
        ));
    }
    Details { encodings, rest }
}

/// The moment at which a key expires, in milliseconds.
fn expiry(connection: &mut Connection, key: &str) -> String {
    let script = "while true do local a=redis.call('TIME') local t=redis.call('PTTL',KEYS[1]) local b=redis.call('TIME') \
        local m=math.floor(a[2]/1000) if a[1]==b[1] and m==math.floor(b[2]/1000) then return string.format('%.0f',a[1]*1000+m+t) end end";
    format!("{:?}", run(connection, &["EVAL", script, "1", key]))
}

fn ours(connection: &mut Connection) -> Vec<String> {
    connection.scan_match::<_, String>("~uf*").unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_type_and_every_ttl_comes_out_as_it_was() {
    // Redis 6.0 has no COPY; elsewhere, the second policy makes it go by DUMP and RESTORE.
    let policies = |kind| match kind {
        Kind::Redis60 => &["noeviction"][..],
        Kind::Redis7 => &["noeviction", "allkeys-lfu"],
        _ => &["noeviction", "allkeys-lru"],
    };
    for kind in JEMALLOC.into_iter().chain([Kind::Redis60]).filter(|k| require(*k)) {
        for policy in policies(kind) {
            let server =
                Server::start(kind, &Options::args(&["--maxmemory-policy", policy])).unwrap();
            let mut connection = server.connection().unwrap();
            fill_with_everything(&server, &mut connection);
            Workload::Strings.run(&mut connection, FILL_BYTES / 2, 7).unwrap();
            let before = (measure::digest(&mut connection).unwrap(), details(&mut connection));
            let outcome = repack(&server);
            let after = (measure::digest(&mut connection).unwrap(), details(&mut connection));
            assert_eq!(before.0, after.0, "{} {policy}", kind.name());
            assert_eq!(before.1.rest, after.1.rest, "{} {policy}", kind.name());
            // RESTORE chooses the compact encodings again.
            if kind != Kind::Redis60 && *policy == "noeviction" {
                assert_eq!(before.1, after.1, "{}", kind.name());
            }
            assert_eq!(ours(&mut connection), Vec::<String>::new());
            assert!(outcome.reclaimed_bytes > 0, "{} {policy}: {outcome:#?}", kind.name());
        }
    }
}

/// A graph of the FalkorDB module, whose type has no copy callback.
#[test]
fn a_modules_key_is_left_alone_and_named() {
    if !require(Kind::Redis8) {
        return;
    }
    let module = Kind::Redis8.binary().unwrap().with_file_name("falkordb.so");
    let options = Options::args(&["--loadmodule", module.to_str().unwrap()]);
    let server = Server::start(Kind::Redis8, &options).unwrap();
    let mut connection = server.connection().unwrap();
    run(&mut connection, &["GRAPH.QUERY", "graph", "UNWIND range(1, 500) AS n CREATE (:N {n: n})"]);
    Workload::Strings.run(&mut connection, FILL_BYTES / 3, 7).unwrap();
    let count = |connection: &mut Connection| {
        format!("{:?}", run(connection, &["GRAPH.RO_QUERY", "graph", "MATCH (n) RETURN sum(n.n)"]))
    };
    // The module writes a log of its queries, when it likes.
    let keys = |connection: &mut Connection| {
        let mut keys: BTreeSet<String> = cmd(&["KEYS", "*"]).query(connection).unwrap();
        keys.remove("telemetry{graph}");
        keys
    };
    let before = keys(&mut connection);
    let outcome = repack(&server);
    let named: Vec<_> = outcome.skipped.iter().filter(|s| s.what == "key graph in db 0").collect();
    assert_eq!(named.len(), 1, "{outcome:#?}");
    assert!(named[0].why.contains("module"), "{outcome:#?}");
    assert!(count(&mut connection).contains("125250"), "{}", count(&mut connection));
    assert_eq!(keys(&mut connection), before);
    assert!(outcome.reclaimed_bytes > 0, "{outcome:#?}");
}

/// Keys all over the keyspace, so that some are in every part of a chunk: DUMP counts as an access.
#[test]
fn idle_times_and_access_counters_are_kept() {
    const KEYS: usize = 2000;
    // The counter's third step is certain to follow an access: only from 5 on is it left to chance.
    for (kind, policy, word, value) in [
        (Kind::Redis6, "allkeys-lru", "IDLETIME", 5000),
        (Kind::Redis7, "allkeys-lru", "IDLETIME", 5000),
        (Kind::Redis7, "allkeys-lfu", "FREQ", 2),
        (Kind::Redis8, "volatile-lfu", "FREQ", 2),
    ] {
        if require(kind) {
            let options = ["--maxmemory-policy", policy, "--lfu-decay-time", "0"];
            let server = Server::start(kind, &Options::args(&options)).unwrap();
            let mut connection = server.connection().unwrap();
            Workload::Strings.run(&mut connection, FILL_BYTES / 3, 7).unwrap();
            let restored = Instant::now();
            restore_with(&mut connection, KEYS, word, value);
            repack(&server);
            let passed = if word == "IDLETIME" { restored.elapsed().as_secs() } else { 0 };
            let wrong: Vec<u64> = usage(&mut connection, KEYS, word)
                .into_iter()
                .filter(|found| !(value..=value + passed + 2).contains(found))
                .collect();
            assert!(
                wrong.is_empty(),
                "{} {policy}: {} of {KEYS}: {wrong:?}",
                kind.name(),
                wrong.len()
            );
        }
    }
}

/// Keys `old:<n>` last used `value` seconds ago, or with `value` as their counter; every other one expires some day.
fn restore_with(connection: &mut Connection, keys: usize, word: &str, value: u64) {
    run(connection, &["SET", "old", "v"]);
    let payload: Vec<u8> = redis::cmd("DUMP").arg("old").query(connection).unwrap();
    let mut pipe = redis::pipe();
    for n in 0..keys {
        let ttl_ms = n % 2 * 100_000_000;
        let restore = pipe.cmd("RESTORE").arg(format!("old:{n}")).arg(ttl_ms).arg(&payload);
        restore.arg(word).arg(value).ignore();
    }
    pipe.exec(connection).unwrap();
}

/// OBJECT IDLETIME or FREQ of the same keys.
fn usage(connection: &mut Connection, keys: usize, word: &str) -> Vec<u64> {
    let mut pipe = redis::pipe();
    for n in 0..keys {
        pipe.cmd("OBJECT").arg(word).arg(format!("old:{n}"));
    }
    pipe.query(connection).unwrap()
}

/// Writers count up, readers look: every acknowledged increment is there, and no key is ever missing.
#[test]
fn writers_and_readers_notice_nothing() {
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
        let stop = AtomicBool::new(false);
        let acknowledged = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..2)
                .map(|worker| {
                    let (stop, mut connection) = (&stop, server.connection().unwrap());
                    scope.spawn(move || {
                        let mut counts = [0u64; 50];
                        while !stop.load(Ordering::Relaxed) {
                            for (n, count) in counts.iter_mut().enumerate() {
                                let key = format!("count:{worker}:{n}");
                                if *count > 0 {
                                    let seen: Option<u64> = connection.get(&key).unwrap();
                                    assert_eq!(seen, Some(*count), "{key} was missing or stale");
                                }
                                *count = connection.incr(&key, 1).unwrap();
                            }
                        }
                        counts
                    })
                })
                .collect();
            repack(&server);
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().map(|w| w.join().unwrap()).collect::<Vec<_>>()
        });
        for (worker, counts) in acknowledged.iter().enumerate() {
            for (n, count) in counts.iter().enumerate() {
                let there: u64 = connection.get(format!("count:{worker}:{n}")).unwrap();
                assert_eq!(there, *count);
            }
        }
    }
}

#[test]
fn a_replica_ends_equal_to_its_primary() {
    if !require(Kind::Redis7) {
        return;
    }
    let servers = Replicated::start(Kind::Redis7, 1, &Options::default()).unwrap();
    let mut primary = servers.primary.connection().unwrap();
    fill_with_everything(&servers.primary, &mut primary);
    Workload::Strings.run(&mut primary, FILL_BYTES, 7).unwrap();
    let before = measure::digest(&mut primary).unwrap();
    repack(&servers.primary);
    let mut replica = servers.replicas.first().unwrap().connection().unwrap();
    let offset = measure::field(&mut primary, "master_repl_offset").unwrap();
    measure::wait_until("the replica's catching up", || {
        Ok(measure::field(&mut replica, "slave_repl_offset")? >= offset)
    })
    .unwrap();
    assert_eq!(measure::digest(&mut primary).unwrap(), before);
    assert_eq!(measure::digest(&mut replica).unwrap(), before);
}

#[test]
fn a_cluster_keeps_every_key_in_its_slot() {
    if !require(Kind::Redis7) {
        return;
    }
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let node = cluster.nodes.first().unwrap();
    let mut connection = node.connection().unwrap();
    let value = "v".repeat(700);
    let mut written = 0;
    for n in 0..60_000u32 {
        // A third of them belong here; the others are answered with MOVED.
        written += u32::from(
            redis::cmd("SET").arg(format!("k{n}")).arg(&value).exec(&mut connection).is_ok(),
        );
    }
    assert!(written > 15_000, "{written}");
    for n in (0..60_000u32).filter(|n| n % 3 > 0) {
        let _: Result<(), _> = redis::cmd("DEL").arg(format!("k{n}")).query(&mut connection);
    }
    let before = measure::digest(&mut connection).unwrap();
    let outcome = repack(node);
    assert!(outcome.reclaimed_bytes > 2 << 20, "{outcome:#?}");
    assert_eq!(measure::digest(&mut connection).unwrap(), before);
    assert_eq!(ours(&mut connection), Vec::<String>::new());
}

/// One hash tag gone wild: more keys in a slot than are asked for at once.
#[test]
fn a_crowded_slot_is_packed_as_well() {
    if !require(Kind::Redis7) {
        return;
    }
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let value = "v".repeat(700);
    let keys: Vec<String> = (0..40_000).map(|n| format!("{{wild}}:{n}")).collect();
    let node = cluster
        .nodes
        .iter()
        .find(|n| {
            let mut connection = n.connection().unwrap();
            redis::cmd("SET").arg("{wild}:0").arg("x").exec(&mut connection).is_ok()
        })
        .unwrap();
    let mut connection = node.connection().unwrap();
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.set(key, &value).ignore();
    }
    pipe.exec(&mut connection).unwrap();
    let mut pipe = redis::pipe();
    for (_, key) in keys.iter().enumerate().filter(|(n, _)| n % 3 > 0) {
        pipe.del(key).ignore();
    }
    pipe.exec(&mut connection).unwrap();
    let before = measure::digest(&mut connection).unwrap();
    let outcome = repack(node);
    // Two thirds of 28 MB were holes.
    assert!(outcome.reclaimed_bytes > 12 << 20, "{outcome:#?}");
    assert_eq!(measure::digest(&mut connection).unwrap(), before);
    assert_eq!(ours(&mut connection), Vec::<String>::new());
}

#[test]
fn near_maxmemory_nothing_is_evicted_or_refused() {
    if !require(Kind::Redis7) {
        return;
    }
    let server =
        Server::start(Kind::Redis7, &Options::args(&["--maxmemory-policy", "allkeys-random"]))
            .unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
    let used = measure::field(&mut connection, "used_memory").unwrap();
    run(&mut connection, &["CONFIG", "SET", "maxmemory", &(used + (8 << 20)).to_string()]);
    let keys = measure::keys(&mut connection).unwrap();
    repack_any(&server);
    assert_eq!(measure::keys(&mut connection).unwrap(), keys);
    assert_eq!(measure::field(&mut connection, "evicted_keys").unwrap(), 0);
}

/// Whether the pages behind large values are worth it depends on what the kernel was asked for before; here they are said
/// to be, so that they are gone after in any case.
#[test]
fn large_values_come_out_as_they_were_and_small_ones_are_passed_over() {
    const LARGE: usize = 600;
    for kind in JEMALLOC.into_iter().filter(|k| require(*k)) {
        let server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        fill_with_everything(&server, &mut connection);
        for number in 0..LARGE {
            let (key, value) = (format!("large:{number}"), "v".repeat(20_000 + number * 100));
            run(&mut connection, &["SET", &key, &value, "PX", "100000000"]);
        }
        let field = "f".repeat(30_000);
        run(&mut connection, &["HSET", "hash of large fields", &field, &field]);
        let all = |connection: &mut Connection| {
            let expiry = expiry(connection, "large:7");
            (details(connection), measure::digest(connection).unwrap(), expiry)
        };
        let before = all(&mut connection);
        let tails = Tails { bytes: u64::MAX / 2, outside_bytes: 0 };
        let step = Step {
            remedy: RemedyName::Repack,
            why: "a trial".to_owned(),
            predicted_bytes: None,
            tails: Some(tails),
            settings: vec![],
            commands: vec![],
        };
        let outcome = carry_out(&server, Bounds::default(), |plan| plan.steps = vec![step]);
        assert_eq!(outcome.status, Status::Done, "{outcome:#?}");
        let note = &outcome.steps.first().unwrap().note;
        assert_eq!(note, &format!("{LARGE} large values were copied to fresh pages"));
        assert_eq!(all(&mut connection), before, "{}", kind.name());
        assert_eq!(ours(&mut connection), Vec::<String>::new());
    }
}

/// As [`repack`], whatever its status.
fn repack_any(server: &Server) -> Outcome {
    let bounds = Bounds { only: vec![RemedyName::Repack], ..Bounds::default() };
    carry_out(server, bounds, |plan| assert_eq!(plan.steps.len(), 1, "{plan:#?}"))
}

/// Plans, lets `change` have a look at the plan, and carries it out.
fn carry_out(server: &Server, bounds: Bounds, change: impl FnOnce(&mut Plan)) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let (mut plan, before, address) = planned(server, bounds).await;
        change(&mut plan);
        let permit = ChangePermit::mint(Consent::Flag, &plan.run_id);
        let journals = Journals::at(folder.path());
        let run = Run {
            plan: &plan,
            permit: &permit,
            before,
            address: &address,
            options: &options(),
            journals: &journals,
            stop: Stop::default(),
        };
        let outcome = execute(run, &mut |_| {}).await.unwrap();
        assert!(journals.unfinished().unwrap().is_empty(), "the journal has ended");
        outcome
    })
}
