//! Every reading, from every kind of server, over every way in.

use super::{CANARY, address, block_on, crowd, read, start};
use std::collections::BTreeSet;
use unfrag_client::{Address, ConnectOptions, SampleOptions, connect, sample as take};
use unfrag_model::{Flavor, Sample};
use unfrag_testbed::{Kind, Options, measure};

/// Commands sent after the connection stands, the handshake included.
const MOST_COMMANDS: usize = 15;

#[test]
fn every_server_over_tcp_and_its_socket_in_both_protocols() {
    for kind in Kind::ALL {
        let Some(server) = start(kind, &Options::default()) else { continue };
        fill(&server);
        for resp3 in [false, true] {
            let options = ConnectOptions { resp3, ..ConnectOptions::default() };
            for address in [address(&server), Address::Unix(server.socket())] {
                let sample = read(&address, &options).expect("a sample");
                assert_eq!(sample.target, address.to_string());
                is_complete(&sample, kind, server.pid());
            }
        }
    }
}

fn fill(server: &unfrag_testbed::Server) {
    let mut connection = server.connection().expect("a connection");
    let run = |cmd: &redis::Cmd, connection: &mut redis::Connection| {
        measure::command::<redis::Value>(connection, "fill", cmd).expect("filled")
    };
    run(redis::cmd("CONFIG").arg("SET").arg("latency-monitor-threshold").arg(1), &mut connection);
    run(redis::cmd("MSET").arg("a").arg("1").arg("b").arg("2"), &mut connection);
    // A latency event: a command of 30 ms, over the threshold of 1 ms.
    run(redis::cmd("DEBUG").arg("SLEEP").arg("0.03"), &mut connection);
    // An error reply: errorstats counts it.
    let wrong = redis::cmd("LPUSH").arg("a").arg("x").query::<i64>(&mut connection);
    assert!(wrong.is_err());
}

fn is_complete(sample: &Sample, kind: Kind, pid: u32) {
    let name = kind.name();
    assert_eq!(sample.unread, [], "{name}");
    let engine = sample.info.engine();
    let flavor = if name.starts_with("valkey") { Flavor::Valkey } else { Flavor::Redis };
    assert_eq!(engine.flavor, flavor, "{name}");
    assert!(name.ends_with(&engine.version.expect("a version").to_string()), "{name}: {engine}");

    let stats = sample.memory_stats.as_ref().expect("MEMORY STATS");
    assert_eq!(stats.count("keys.count"), Some(2), "{name}");
    assert!(stats.number("fragmentation").is_some_and(|r| r > 0.0), "{name}: a double");
    assert!(
        stats.sum_databases("overhead.hashtable.main").is_some_and(|b| b > 0),
        "{name}: nested"
    );
    assert_eq!(sample.malloc_stats.is_some(), kind.has_jemalloc(), "{name}");
    if let Some(malloc) = &sample.malloc_stats {
        assert!(malloc.totals.allocated.is_some() && !malloc.bins.is_empty(), "{name}");
    }
    assert_eq!(sample.config.text("maxmemory-policy"), Some("noeviction"), "{name}");
    assert_eq!(sample.config.text("save"), Some(""), "{name}");
    assert!(sample.config.text("hash-max-listpack-entries").is_some() || kind == Kind::Redis6);
    assert!(sample.config.text("active-defrag-ignore-bytes").is_some(), "{name}: by its pattern");
    assert!(sample.clients.as_ref().is_some_and(|c| c.clients >= 1 && c.total.is_some()), "{name}");
    assert!(sample.latency.iter().any(|e| e.event == "command" && e.max_ms >= 30), "{name}");
    assert_eq!(sample.info.error_count("WRONGTYPE"), Some(1), "{name}");

    let host = sample.host.as_ref().expect("a host");
    assert_eq!(host.pid, Some(pid), "{name}");
    assert!(host.rss.is_some_and(|b| b > 1 << 20) && host.memory_total.is_some(), "{name}");
    assert!(host.thp_mode.is_some() && host.overcommit_memory.is_some(), "{name}");
    costs_are_told(sample, name);
}

fn costs_are_told(sample: &Sample, name: &str) {
    let optional = ["HELLO 3", "CLIENT SETNAME unfrag", "INFO commandstats"];
    for cost in &sample.commands {
        let is_told = cost.server_us.is_some() || optional.contains(&cost.command.as_str());
        assert!(is_told, "{name}: {cost:?}");
        assert!(cost.round_trip_us > 0 && cost.reply_bytes > 0, "{name}: {cost:?}");
        assert!(cost.server_us.unwrap_or(0) <= cost.round_trip_us, "{name}: {cost:?}");
    }
    let info = sample.commands.iter().find(|c| c.command == "INFO everything").expect("INFO");
    assert!(info.server_us.is_some_and(|us| us > 0), "{name}: {info:?}");
}

/// By the server's own count of what it was sent.
#[test]
fn few_commands_and_none_that_walks_the_keyspace() {
    for kind in Kind::ALL {
        let options = Options { password: Some(CANARY.into()), ..Options::default() };
        let Some(server) = start(kind, &options) else { continue };
        let mut own = server.connection().expect("a connection");
        let mut calls = || -> Vec<(String, u64)> {
            let section: String =
                measure::command(&mut own, "read INFO", redis::cmd("INFO").arg("commandstats"))
                    .expect("INFO");
            let line = |l: &str| {
                let (name, rest) = l.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
            };
            section.lines().filter_map(line).collect()
        };
        let before = calls();
        let connect_options = ConnectOptions {
            resp3: true,
            db: 1,
            password: Some(CANARY.into()),
            ..ConnectOptions::default()
        };
        let sample = read(&address(&server), &connect_options).expect("a sample");
        let (mut sent, mut names) = (0, BTreeSet::new());
        for (name, now) in calls() {
            let was = before.iter().find(|(n, _)| *n == name).map_or(0, |(_, calls)| *calls);
            if now > was {
                sent += now - was;
                names.insert(name);
            }
        }
        // One INFO of the difference is the test's own first one.
        assert_eq!(sent, sample.commands.len() as u64 + 1, "{kind:?}: {names:?}");
        assert!(sample.commands.len() <= MOST_COMMANDS, "{kind:?}: {:?}", sample.commands);
        let allowed = ["auth", "client", "config", "hello", "info", "latency", "memory", "select"];
        for name in &names {
            let container = name.split('|').next().unwrap_or_default();
            assert!(allowed.contains(&container), "{kind:?} was sent {name}");
        }
        let shown = format!("{sample:?}");
        assert!(!shown.contains(CANARY), "requirepass, masterauth or AUTH in {shown}");
    }
}

#[test]
fn a_long_client_list_is_not_asked_for() {
    let Some(server) = start(Kind::Redis8, &Options::default()) else { return };
    let _crowd = crowd(&server);
    let sample = read(&address(&server), &ConnectOptions::default()).expect("a sample");
    assert_eq!(sample.clients, None);
    let [unread] = sample.unread.as_slice() else { panic!("{:?}", sample.unread) };
    assert!(unread.what == "CLIENT LIST" && unread.why.contains("1003 clients"), "{unread:?}");
    assert!(sample.commands.iter().all(|c| !c.command.starts_with("CLIENT LIST")));
    assert!(sample.commands.iter().any(|c| c.command == "CLIENT INFO"), "{:?}", sample.commands);
    assert!(sample.host.is_some());
}

#[test]
fn operators_see_who_we_are() {
    for kind in Kind::ALL {
        let Some(server) = start(kind, &Options::default()) else { continue };
        let list = block_on(async {
            let mut connection =
                connect(&address(&server), &ConnectOptions::default()).await.expect("connected");
            let reply = connection.call(&["CLIENT", "LIST"]).await.expect("a list");
            unfrag_client::resp::text(&reply).expect("text")
        });
        assert!(list.contains(" name=unfrag "), "{kind:?}: {list}");
        assert!(!list.contains("redis-rs"), "{kind:?}: {list}");
    }
}

/// A server behind a tunnel has the address of this machine and its process somewhere else. Here the tunnel is a plain
/// relay, and the server says a process id that is another program's: the relay rewrites it.
#[test]
fn a_process_that_is_not_the_server_is_not_believed() {
    let Some(server) = start(Kind::Redis7, &Options::default()) else { return };
    let relay = Relay::start(server.port(), std::process::id(), None);
    let there = Address::tcp("127.0.0.1", relay.port);
    let sample = read(&there, &ConnectOptions::default()).expect("a sample");
    assert_eq!(sample.host, None);
    let host = sample.unread.iter().find(|u| u.what == "host").expect("a reason");
    assert!(host.why.contains("is another program"), "{host:?}");

    let without = block_on(async {
        let mut connection = connect(&address(&server), &ConnectOptions::default()).await?;
        let options = SampleOptions { host: false, ..SampleOptions::default() };
        take(&mut connection, &options).await
    });
    let without = without.expect("a sample");
    assert!(without.host.is_none() && without.unread.is_empty());
}

/// The connection breaks while it is read: what was there counts, and nothing more is asked.
#[test]
fn what_was_read_before_the_connection_broke_is_a_sample() {
    let Some(server) = start(Kind::Redis8, &Options::default()) else { return };
    let relay = Relay::start(server.port(), 0, Some(b"LATENCY"));
    let sample = read(&Address::tcp("127.0.0.1", relay.port), &ConnectOptions::default());
    let sample = sample.expect("a sample");
    assert!(sample.memory_stats.is_some() && sample.clients.is_some());
    let lost: Vec<&str> = sample.unread.iter().map(|u| u.what.as_str()).collect();
    assert_eq!(lost, ["LATENCY LATEST", "host", "INFO commandstats"]);
    assert!(sample.unread[0].why.contains("closed the connection"), "{:?}", sample.unread);
    let sent = |name: &str| sample.commands.iter().filter(|c| c.command == name).count();
    assert_eq!((sent("LATENCY LATEST"), sent("INFO commandstats")), (1, 0));
}

/// Passes bytes on for one connection, and replaces the digits of `process_id`; closes it when the client says `cut`.
struct Relay {
    port: u16,
}

impl Relay {
    fn start(server_port: u16, pid: u32, cut: Option<&'static [u8]>) -> Self {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut server =
                std::net::TcpStream::connect(("127.0.0.1", server_port)).expect("the server");
            let (mut to_server, mut from_client) =
                (server.try_clone().expect("a clone"), client.try_clone().expect("a clone"));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = from_client.read(&mut buffer) {
                    let says = |word: &[u8]| buffer[..n].windows(word.len()).any(|w| w == word);
                    if cut.is_some_and(says) || to_server.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                for stream in [&to_server, &from_client] {
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                }
            });
            let mut buffer = vec![0; 1 << 20];
            while let Ok(n @ 1..) = server.read(&mut buffer) {
                let text = replace_pid(&buffer[..n], pid);
                if client.write_all(&text).is_err() {
                    return;
                }
            }
        });
        Self { port }
    }
}

/// The same number of digits, so that the reply keeps its length.
fn replace_pid(bytes: &[u8], pid: u32) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let name = b"process_id:";
    if let Some(at) = bytes.windows(name.len()).position(|w| w == name) {
        let digits = &mut out[at + name.len()..];
        let width = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        let text = format!("{pid:0width$}");
        digits[..width].copy_from_slice(&text.as_bytes()[text.len() - width..]);
    }
    out
}
