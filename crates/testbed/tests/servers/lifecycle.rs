//! Start, restart, end.

use crate::kinds;
use std::net::TcpListener;
use std::path::Path;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Error, Kind, Options, Server, measure, require};

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn populate(connection: &mut redis::Connection, keys: u32) {
    let cmd = redis::cmd("DEBUG").arg("POPULATE").arg(keys).clone();
    measure::command::<()>(connection, "populate", &cmd).unwrap();
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_folder() {
    for kind in kinds() {
        let server = Server::start(kind, &Options::default()).unwrap();
        let (pid, folder) = (server.pid(), server.folder().to_owned());
        assert!(is_running(pid) && folder.exists());
        drop(server);
        assert!(!is_running(pid) && !folder.exists(), "{}", kind.name());
    }
}

/// Left alone, such a child writes on for a hundred seconds after its server was killed.
#[test]
fn a_dropped_server_leaves_no_child_that_saves() {
    for kind in kinds() {
        let slow_save = Options::args(&["--rdb-key-save-delay", "2000"]);
        let server = Server::start(kind, &slow_save).unwrap();
        let mut connection = server.connection().unwrap();
        populate(&mut connection, 50_000);
        measure::command::<()>(&mut connection, "save", &redis::cmd("BGSAVE")).unwrap();
        let pid = server.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let saving = std::fs::read_to_string(children).unwrap();
        let saving: u32 = saving.trim().parse().expect("one child");
        assert!(is_running(saving));
        let folder = server.folder().to_owned();
        drop(server);
        // Whoever inherits the dead child buries it within moments.
        measure::wait_until("the child's end", || Ok(!is_running(saving))).unwrap();
        assert!(!folder.exists(), "{}", kind.name());
    }
}

#[test]
fn a_restart_keeps_the_data_and_compacts_it() {
    for kind in kinds() {
        let mut server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        Workload::Strings.run(&mut connection, 32 << 20, 2).unwrap();
        let digest = measure::digest(&mut connection).unwrap();
        let (_, before) = measure::used_and_rss(&mut connection).unwrap();
        let (pid, port) = (server.pid(), server.port());
        server.restart().unwrap();
        let mut connection = server.connection().unwrap();
        let (_, after) = measure::used_and_rss(&mut connection).unwrap();
        assert_eq!(measure::digest(&mut connection).unwrap(), digest, "{}", kind.name());
        assert!(after < before * 3 / 4, "{}: {before} -> {after}", kind.name());
        assert!(server.pid() != pid && server.port() == port);
    }
}

#[test]
fn a_shut_down_server_is_gone_until_it_is_started_again() {
    if !require(Kind::Valkey9) {
        return;
    }
    let mut server = Server::start(Kind::Valkey9, &Options::default()).unwrap();
    populate(&mut server.connection().unwrap(), 100);
    let pid = server.pid();
    server.shutdown().unwrap();
    assert!(!is_running(pid) && server.folder().join("dump.rdb").is_file());
    assert!(server.connection().is_err());
    server.start_again().unwrap();
    assert_eq!(measure::keys(&mut server.connection().unwrap()).unwrap(), 100);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    if !require(Kind::Redis8) {
        return;
    }
    let error = Server::start(Kind::Redis8, &Options::args(&["--no-such-option", "1"]));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("it ended with") && text.contains("no-such-option"), "{text}");
}

#[test]
fn a_port_that_stays_taken_is_named_after_a_few_starts() {
    if !require(Kind::Redis6) {
        return;
    }
    let other = Server::start(Kind::Redis6, &Options::default()).unwrap();
    let taken = Options::args(&["--port", &other.port().to_string()]);
    let error = Server::start(Kind::Redis6, &taken).unwrap_err();
    assert!(matches!(&error, Error::NotUp { log, .. } if log.contains("in use")), "{error}");
}

#[test]
fn many_servers_have_ports_of_their_own_below_those_of_outgoing_connections() {
    if !require(Kind::Valkey8) {
        return;
    }
    let start = |_| Server::start(Kind::Valkey8, &Options::default()).unwrap();
    let servers: Vec<Server> = (0..8).map(start).collect();
    let mut ports: Vec<u16> = servers.iter().map(Server::port).collect();
    assert!(ports.iter().all(|&p| p < 32_768 - 10_000), "{ports:?}");
    assert!(ports.iter().all(|&p| TcpListener::bind(("127.0.0.1", p)).is_err()));
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), servers.len());
}

#[test]
fn a_password_is_asked_for_and_given() {
    for kind in kinds() {
        let options = Options { password: Some("Secret".to_owned()), ..Options::default() };
        let server = Server::start(kind, &options).unwrap();
        assert_eq!(measure::keys(&mut server.connection().unwrap()).unwrap(), 0);
        let url = format!("redis://{}/", server.address());
        let mut stranger = measure::connect(&url).unwrap();
        let refused = measure::keys(&mut stranger).unwrap_err();
        assert!(
            matches!(&refused, Error::Command { source, .. } if source.code() == Some("NOAUTH"))
        );
    }
}
