//! The servers come up, fragment, restart without loss, and go away.

#![expect(clippy::print_stdout, reason = "tests")]

use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, deployment, measure, require};

const FILL_BYTES: u64 = 48 << 20;

#[test]
fn a_dropped_server_leaves_no_process_and_no_folder() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let server = Server::start(kind, &Options::default()).unwrap();
        let (pid, folder) = (server.pid(), server.folder().to_owned());
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        drop(server);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(!folder.exists());
    }
}

#[test]
fn every_workload_leaves_more_resident_than_used_on_every_server() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        for workload in Workload::ALL {
            let server = Server::start(kind, &Options::default()).unwrap();
            let mut connection = server.connection().unwrap();
            workload.run(&mut connection, FILL_BYTES, 1).unwrap();
            let (used, rss) = measure::used_and_rss(&mut connection).unwrap();
            let name = format!("{} {}", kind.name(), workload.name());
            println!("{name}: used {} MiB, rss {} MiB", used >> 20, rss >> 20);
            assert!(measure::keys(&mut connection).unwrap() > 0, "{name}");
            assert!(rss > used * 5 / 4, "{name}: used {used}, rss {rss}");
        }
    }
}

#[test]
fn a_restart_keeps_the_data_and_compacts_it() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let mut server = Server::start(kind, &Options::default()).unwrap();
        let mut connection = server.connection().unwrap();
        Workload::Strings.run(&mut connection, FILL_BYTES, 2).unwrap();
        let (digest, (_, before)) = (
            measure::digest(&mut connection).unwrap(),
            measure::used_and_rss(&mut connection).unwrap(),
        );
        server.restart().unwrap();
        let mut connection = server.connection().unwrap();
        let (_, after) = measure::used_and_rss(&mut connection).unwrap();
        assert_eq!(measure::digest(&mut connection).unwrap(), digest);
        assert!(after < before, "{}: {before} -> {after}", kind.name());
    }
}

#[test]
fn deployments_agree_with_themselves() {
    if require(Kind::Redis7) {
        let watched = deployment::Watched::start(Kind::Redis7, 2, &Options::default()).unwrap();
        assert_eq!((watched.sentinels.len(), watched.servers.replicas.len()), (3, 2));
    }
    if require(Kind::Valkey9) {
        let cluster = deployment::Cluster::start(Kind::Valkey9, 1, &Options::default()).unwrap();
        assert_eq!(cluster.nodes.len(), 6);
    }
}
