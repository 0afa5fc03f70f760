//! What the workloads leave behind.

use crate::kinds;
use redis::Connection;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, Server, measure, require};

const FILL_BYTES: u64 = 24 << 20;

/// RSS once the allocator has given back every page that nothing is in: what is left is fragmentation.
fn settled_rss(connection: &mut Connection) -> u64 {
    let purge = redis::cmd("MEMORY").arg("PURGE").clone();
    measure::command::<()>(connection, "purge", &purge).unwrap();
    measure::used_and_rss(connection).unwrap().1
}

/// Beyond an empty server's own: at this scale its few megabytes would pass for fragmentation.
#[test]
fn every_workload_fragments_every_server() {
    for kind in kinds() {
        for workload in Workload::ALL {
            let server = Server::start(kind, &Options::default()).unwrap();
            let mut connection = server.connection().unwrap();
            let (empty_used, empty_rss) = measure::used_and_rss(&mut connection).unwrap();
            workload.run(&mut connection, FILL_BYTES, 1).unwrap();
            let (used, rss) = measure::used_and_rss(&mut connection).unwrap();
            let (used, rss) = (used - empty_used, rss - empty_rss);
            let settled = settled_rss(&mut connection) - empty_rss;
            let name = format!("{} {}", kind.name(), workload.name());
            println!("{name}: used {used}, rss {rss}, settled {settled}");
            assert!(measure::keys(&mut connection).unwrap() > 0, "{name}");
            assert!(rss * 10 > used * 13, "{name}: used {used}, rss {rss}");
            // jemalloc gives the pages of large values back: that memory is retained, not fragmented.
            let stays = workload != Workload::Large || !kind.has_jemalloc();
            assert_eq!(settled * 10 > used * 13, stays, "{name}: used {used}, settled {settled}");
        }
    }
}

fn digest_after(workload: Workload, seed: u64) -> String {
    let server = Server::start(Kind::Valkey9, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    workload.run(&mut connection, 2 << 20, seed).unwrap();
    measure::digest(&mut connection).unwrap()
}

#[test]
fn the_same_seed_makes_the_same_data() {
    if !require(Kind::Valkey9) {
        return;
    }
    for workload in Workload::ALL {
        let (one, again) = (digest_after(workload, 1), digest_after(workload, 1));
        assert_eq!(one, again, "{}", workload.name());
        assert_ne!(one, digest_after(workload, 2), "{}", workload.name());
    }
}

#[test]
fn a_lab_says_what_its_server_says() {
    if !require(Kind::Redis7) {
        return;
    }
    let lab = Lab::start(Kind::Redis7, &Options::default(), Workload::Strings, 16 << 20).unwrap();
    let mut connection = lab.server.connection().unwrap();
    assert_eq!(measure::keys(&mut connection).unwrap(), lab.keys);
    assert!(lab.keys > 0 && lab.rss > lab.used, "{} {} {}", lab.keys, lab.rss, lab.used);
    let (used, rss) = measure::used_and_rss(&mut connection).unwrap();
    let near = |a: u64, b: u64| a.abs_diff(b) < 8 << 20;
    assert!(near(used, lab.used) && near(rss, lab.rss));
}
