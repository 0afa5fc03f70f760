//! Servers that belong together, brought up by command and seen from inside.

use redis::Connection;
use unfrag_testbed::deployment::{Cluster, Replicated, Watched};
use unfrag_testbed::{Kind, Options, Server, measure, require};

fn set(server: &Server, key: &str) {
    let cmd = redis::cmd("SET").arg(key).arg("value").clone();
    measure::command::<()>(&mut server.connection().unwrap(), "write", &cmd).unwrap();
}

fn wait_for_keys(connection: &mut Connection, keys: u64) {
    measure::wait_until("the key's copy", || Ok(measure::keys(connection)? == keys)).unwrap();
}

#[test]
fn what_a_primary_is_told_its_replicas_hold() {
    for kind in [Kind::Redis6, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let options = Options { password: Some("Secret".to_owned()), ..Options::default() };
        let pair = Replicated::start(kind, 2, &options).unwrap();
        assert_eq!(pair.replicas.len(), 2);
        set(&pair.primary, "key");
        for replica in &pair.replicas {
            wait_for_keys(&mut replica.connection().unwrap(), 1);
        }
    }
}

#[test]
fn sentinels_know_their_primary_and_fail_over() {
    if !require(Kind::Redis7) {
        return;
    }
    let watched = Watched::start(Kind::Redis7, 1, &Options::default()).unwrap();
    assert_eq!((watched.sentinels.len(), watched.servers.replicas.len()), (3, 1));
    let primary = |sentinel: &Server| -> (String, u16) {
        let ask = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg("main").clone();
        measure::command(&mut sentinel.connection().unwrap(), "ask for the primary", &ask).unwrap()
    };
    assert!(watched.sentinels.iter().all(|s| primary(s).1 == watched.servers.primary.port()));
    let ask = redis::cmd("SENTINEL").arg("CKQUORUM").arg("main").clone();
    let sentinel = watched.sentinels.first().unwrap();
    let mut connection = sentinel.connection().unwrap();
    measure::wait_until("the quorum", || {
        Ok(measure::command::<String>(&mut connection, "check the quorum", &ask).is_ok())
    })
    .unwrap();
    let fail_over = redis::cmd("SENTINEL").arg("FAILOVER").arg("main").clone();
    measure::command::<()>(&mut connection, "fail over", &fail_over).unwrap();
    let replica = watched.servers.replicas.first().unwrap().port();
    measure::wait_until("the failover", || Ok(primary(sentinel).1 == replica)).unwrap();
}

#[test]
fn a_cluster_serves_all_slots_with_a_replica_each() {
    if !require(Kind::Valkey9) {
        return;
    }
    let cluster = Cluster::start(Kind::Valkey9, 1, &Options::default()).unwrap();
    assert_eq!(cluster.nodes.len(), 6);
    let slots = |node: &Server| -> usize {
        let ask = redis::cmd("CLUSTER").arg("INFO").clone();
        let text: String =
            measure::command(&mut node.connection().unwrap(), "read the state", &ask).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("cluster_slots_ok:"));
        line.unwrap().parse().unwrap()
    };
    assert!(cluster.nodes.iter().all(|node| slots(node) == 16_384));
    // `foo` is in slot 12182, the third primary's; its replica is the last node.
    set(cluster.nodes.get(2).unwrap(), "foo");
    wait_for_keys(&mut cluster.nodes.get(5).unwrap().connection().unwrap(), 1);
}
