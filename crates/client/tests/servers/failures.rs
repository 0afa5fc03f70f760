//! Everything that goes wrong, made to go wrong: on real servers where one can be brought to it, else on a fake.

use super::{CANARY, address, block_on, error, read, start};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use unfrag_client::error::Stranger;
use unfrag_client::{Address, ConnectOptions, ErrorKind, Problem, connect};
use unfrag_testbed::misbehaving::{Fault, Misbehaving};
use unfrag_testbed::{Kind, Options, measure};

fn with_password(password: &str) -> ConnectOptions {
    ConnectOptions { password: Some(password.into()), ..ConnectOptions::default() }
}

fn impatient() -> ConnectOptions {
    ConnectOptions::default().with_timeout(Duration::from_millis(300))
}

#[test]
fn passwords() {
    for kind in Kind::ALL {
        let options = Options { password: Some(CANARY.into()), ..Options::default() };
        let Some(server) = start(kind, &options) else { continue };
        let there = address(&server);
        for resp3 in [false, true] {
            let protocol = |options| ConnectOptions { resp3, ..options };
            let missing = error(&there, &protocol(ConnectOptions::default()));
            assert!(matches!(*missing.problem, Problem::AuthRequired), "{kind:?}: {missing}");
            let wrong = error(&there, &protocol(with_password("other-1f9d")));
            assert!(matches!(*wrong.problem, Problem::WrongPassword { .. }), "{kind:?}: {wrong}");
            assert!(!wrong.to_string().contains("other-1f9d"));
            assert_eq!(wrong.kind(), ErrorKind::NotAllowed);
            let user = ConnectOptions { user: Some("nobody".into()), ..with_password(CANARY) };
            let unknown = error(&there, &protocol(user));
            assert!(
                matches!(*unknown.problem, Problem::WrongPassword { .. }),
                "{kind:?}: {unknown}"
            );
            assert!(read(&there, &protocol(with_password(CANARY))).is_ok(), "{kind:?}");
        }
    }
}

#[test]
fn a_password_for_a_server_without_one() {
    let Some(server) = start(Kind::Redis7, &Options::default()) else { return };
    let error = error(&address(&server), &with_password(CANARY));
    assert!(matches!(*error.problem, Problem::NoPasswordSet { .. }), "{error}");
}

/// What a renamed or unknown command answers has the arguments in it.
#[test]
fn an_echoed_password_does_not_come_back() {
    let options = Options::args(&["--rename-command", "AUTH", ""]);
    let Some(server) = start(Kind::Redis6, &options) else { return };
    let error = error(&address(&server), &with_password(CANARY));
    assert!(matches!(*error.problem, Problem::UnknownCommand { .. }), "{error}");
}

#[test]
fn nobody_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let port = port.expect("a port").port();
    let refused = error(&Address::tcp("127.0.0.1", port), &impatient());
    assert!(matches!(*refused.problem, Problem::Refused), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
    let unknown = error(&Address::tcp("no-such-host.invalid", 6379), &ConnectOptions::default());
    let is_unknown = matches!(*unknown.problem, Problem::UnknownHost { .. });
    // Where no resolver answers at all, that takes longer than we wait.
    assert!(is_unknown || matches!(*unknown.problem, Problem::ConnectTimeout { .. }), "{unknown}");
    let missing = error(&Address::Unix("/nonexistent/server.sock".into()), &impatient());
    assert!(matches!(*missing.problem, Problem::NoSocket), "{missing}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let stale = error(&Address::Unix(path), &impatient());
    assert!(matches!(*stale.problem, Problem::SocketRefused), "{stale}");
}

/// A full listen queue: the kernel answers no further SYN.
#[test]
fn nobody_answers_the_connection() {
    let late = block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let listener = socket.listen(1).expect("listening");
        let there = listener.local_addr().expect("an address");
        // A queue for one holds two; the rest only begin to connect.
        let mut queued = vec![];
        for _ in 0..4 {
            let begun = tokio::net::TcpStream::connect(there);
            queued.push(tokio::time::timeout(Duration::from_millis(50), begun).await);
        }
        let there = Address::tcp("127.0.0.1", there.port());
        connect(&there, &impatient()).await.expect_err("no connection")
    });
    assert!(matches!(*late.problem, Problem::ConnectTimeout { .. }), "{late}");
    assert!(late.to_string().ends_with("no connection within 0.3 s"), "{late}");
}

#[test]
fn fakes_that_misbehave_each_in_its_way() {
    for fault in [
        Fault::Hangs,
        Fault::ClosesHalfway,
        Fault::Garbage,
        Fault::HugeLength,
        Fault::Endless,
        Fault::Http,
    ] {
        let fake = Misbehaving::start(fault).expect("a fake");
        let there = Address::tcp("127.0.0.1", fake.port());
        let before = resident_bytes();
        // Only what never answers is to be waited for in vain.
        let is_silent = fault == Fault::Hangs;
        let options = if is_silent { impatient() } else { ConnectOptions::default() };
        let error = error(&there, &options);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{fault:?}: {grown} bytes were kept");
        let is_right = match &*error.problem {
            Problem::ResponseTimeout { .. } => fault == Fault::Hangs,
            Problem::ClosedHalfWay { bytes: 14, .. } => fault == Fault::ClosesHalfway,
            Problem::NotRedis { speaks: Stranger::Http } => fault == Fault::Http,
            Problem::NotRedis { .. } => fault == Fault::Garbage,
            Problem::ReplyTooLarge { bytes, .. } => {
                (fault == Fault::HugeLength && *bytes > 2 << 30) || fault == Fault::Endless
            }
            _ => false,
        };
        assert!(is_right, "{fault:?}: {error}");
        assert!(error.hint().is_some(), "{fault:?}");
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A real server that is loading: DEBUG RELOAD of keys that take 1 ms each.
#[test]
fn loading() {
    for kind in [Kind::Redis7, Kind::Valkey9] {
        let Some(server) = start(kind, &Options::default()) else { continue };
        let mut connection = server.connection().expect("a connection");
        let mut run = |words: &[&str]| {
            let cmd = words.iter().fold(redis::Cmd::new(), |mut cmd, word| {
                cmd.arg(word);
                cmd
            });
            measure::command::<redis::Value>(&mut connection, "prepare", &cmd).expect("done")
        };
        run(&["DEBUG", "POPULATE", "20000"]);
        run(&["CONFIG", "SET", "key-load-delay", "1000"]);
        run(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
        let mut reloading = server.connection().expect("a connection");
        std::thread::spawn(move || {
            // Ends with the server's.
            let _ = redis::cmd("DEBUG").arg("RELOAD").query::<redis::Value>(&mut reloading);
        });
        let mut own = server.connection().expect("a connection");
        measure::wait_until("the loading", || Ok(measure::field(&mut own, "loading")? == 1))
            .expect("it loads");
        let error = error(&address(&server), &ConnectOptions::default());
        assert!(matches!(*error.problem, Problem::Loading { percent: Some(_), .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Busy);
    }
}

#[test]
fn a_replica_that_lost_its_primary_is_read_as_far_as_it_lets_us() {
    for kind in Kind::ALL {
        let args = ["--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no"];
        let Some(server) = start(kind, &Options::args(&args)) else { continue };
        let sample = read(&address(&server), &ConnectOptions::default()).expect("a sample");
        assert!(sample.info.is_replica() && !sample.config.is_empty());
        assert!(!sample.unread.is_empty(), "{kind:?}");
        for unread in &sample.unread {
            assert!(unread.what.starts_with("MEMORY"), "{kind:?}: {unread:?}");
            assert!(unread.why.contains("MASTERDOWN"), "{kind:?}: {unread:?}");
        }
    }
}

#[test]
fn a_script_that_never_ends() {
    let Some(server) = start(Kind::Redis7, &Options::args(&["--lua-time-limit", "50"])) else {
        return;
    };
    let mut running = server.connection().expect("a connection");
    std::thread::spawn(move || {
        let _ = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut running);
    });
    let deadline = Instant::now() + measure::PATIENCE;
    let problem = loop {
        match read(&address(&server), &ConnectOptions::default()) {
            // The script has not begun, or not yet run for its 50 ms.
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) => panic!("the script never ran"),
            Err(error) => break error,
        }
    };
    assert!(matches!(*problem.problem, Problem::BusyScript), "{problem}");
    assert_eq!(problem.kind(), ErrorKind::Busy);
}

#[test]
fn no_room_for_another_client() {
    let Some(server) = start(Kind::Redis8, &Options::default()) else { return };
    let mut own = server.connection().expect("a connection");
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("maxclients").arg(1);
    measure::command::<()>(&mut own, "limit the clients", &limit).expect("limited");
    let error = error(&address(&server), &ConnectOptions::default());
    assert!(matches!(*error.problem, Problem::TooManyClients), "{error}");
}

/// A real server that is stopped in the middle: it hangs, and is gone.
#[test]
fn a_server_that_dies_while_it_is_read() {
    let Some(server) = start(Kind::Redis7, &Options::default()) else { return };
    let there = address(&server);
    let problem = block_on(async {
        let mut connection = connect(&there, &ConnectOptions::default()).await.expect("connected");
        drop(server);
        connection.call(&["INFO"]).await.expect_err("nobody answers")
    });
    // Nothing of this answer had come, however much had been answered before.
    assert!(matches!(*problem.problem, Problem::Closed { had_answered: true, .. }), "{problem}");
}

/// A real server that is stopped (SIGSTOP): the kernel still takes connections for it.
#[test]
fn a_server_that_hangs() {
    let Some(server) = start(Kind::Valkey9, &Options::default()) else { return };
    unfrag_testbed::signal(server.pid(), "-STOP").unwrap();
    let error = error(&address(&server), &impatient());
    assert!(matches!(*error.problem, Problem::ResponseTimeout { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[test]
fn an_index_of_a_database_that_is_not_there() {
    let Some(server) = start(Kind::Valkey8, &Options::default()) else { return };
    let error = error(&address(&server), &ConnectOptions { db: 99, ..ConnectOptions::default() });
    assert!(error.to_string().contains("SELECT 99 failed"), "{error}");
}

/// A Cluster's bus port and others speak binary; so does a server that stops listening. Also protected mode, which a
/// loopback client never meets: the words are the server's.
#[test]
fn words_that_servers_say() {
    let says = |line: &str| {
        let text = format!("-{line}\r\n");
        let Ok(redis::Value::ServerError(error)) = redis::parse_redis_value(text.as_bytes()) else {
            panic!("{line} is an error");
        };
        Problem::from_reply("INFO", &error)
    };
    let protected = "DENIED Redis is running in protected mode because protected mode is enabled and no password is set";
    assert!(matches!(says(protected), Problem::ProtectedMode));
    assert!(matches!(says("NOAUTH Authentication required."), Problem::AuthRequired));
    assert!(matches!(says("ERR operation not permitted"), Problem::AuthRequired));
    assert!(matches!(says("ERR max number of clients reached"), Problem::TooManyClients));
    assert!(matches!(
        says("LOADING Redis is loading the dataset in memory"),
        Problem::Loading { .. }
    ));
    assert!(matches!(says("ERR something new"), Problem::Reply { .. }));
}

/// The server closes a connection that passes its output limit; nothing hangs.
#[test]
fn killed_while_waiting() {
    let Some(server) = start(Kind::Redis7, &Options::default()) else { return };
    let there = address(&server);
    let problem = block_on(async {
        let mut connection = connect(&there, &ConnectOptions::default()).await.expect("connected");
        let mut killer = connect(&there, &ConnectOptions::default()).await.expect("connected");
        let wait = connection.call(&["BLPOP", "nothing", "30"]);
        let kill = killer.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let (waited, killed) = tokio::join!(wait, kill);
        killed.expect("killed");
        waited.expect_err("closed")
    });
    assert!(matches!(*problem.problem, Problem::Closed { had_answered: true, .. }), "{problem}");
}

#[test]
fn a_server_in_place_of_a_sentinel() {
    let Some(server) = start(Kind::Redis6, &Options::default()) else { return };
    let target = format!("redis+sentinel://main@127.0.0.1:{}", server.port());
    let uri: unfrag_client::Uri = target.parse().expect("a URI");
    let error = block_on(unfrag_client::discover(
        &uri.target,
        &ConnectOptions::default(),
        unfrag_client::DiscoverOptions::default(),
    ))
    .expect_err("no Sentinel");
    assert!(error.to_string().contains("a server listens there, not a Sentinel"), "{error}");
}
