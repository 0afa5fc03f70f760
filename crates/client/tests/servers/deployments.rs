//! One node, or a name, is enough for all of them.

use super::{CANARY, block_on};
use std::collections::BTreeSet;
use unfrag_client::acl::{self, acl_line};
use unfrag_client::{
    Address, ConnectOptions, DiscoverOptions, Role, Survey, SurveyOptions, Target, Uri, discover,
    survey,
};
use unfrag_testbed::deployment::{Cluster, Replicated, Watched};
use unfrag_testbed::{Kind, Options, Server, measure, require};

fn look(targets: &[Target], connect_options: &ConnectOptions, options: &SurveyOptions) -> Survey {
    let targets: Vec<_> = targets.iter().map(|t| (t.clone(), connect_options.clone())).collect();
    block_on(survey(&targets, options))
}

fn port(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn names(survey: &Survey) -> BTreeSet<String> {
    survey.readings.iter().map(|r| r.name.clone()).collect()
}

fn target(server: &Server) -> Target {
    Target::tcp("127.0.0.1", server.port())
}

#[test]
fn any_node_of_a_cluster_leads_to_all() {
    for kind in [Kind::Redis6, Kind::Redis8, Kind::Valkey9] {
        if !require(kind) {
            continue;
        }
        let mut cluster = Cluster::start(kind, 1, &Options::default()).expect("a Cluster");
        let everyone: BTreeSet<String> = cluster.nodes.iter().map(port).collect();
        for seed in [&cluster.nodes[0], &cluster.nodes[5]] {
            let found =
                look(&[target(seed)], &ConnectOptions::default(), &SurveyOptions::default());
            assert_eq!(names(&found), everyone, "{kind:?}");
            assert!(found.problems.is_empty());
            for reading in &found.readings {
                let sample = reading.result.as_ref().expect("a sample");
                let node = reading.node.as_ref().expect("a node");
                assert_eq!(
                    sample.info.is_replica(),
                    node.role == Role::Replica,
                    "{}",
                    reading.name
                );
                assert!(sample.unread.is_empty(), "{:?}", sample.unread);
                assert!(sample.commands.len() < 15, "with CLUSTER NODES at most fifteen");
            }
            let roles: Vec<Role> =
                found.readings.iter().filter_map(|r| r.node.as_ref()).map(|n| n.role).collect();
            let pair = [Role::Primary, Role::Replica];
            assert_eq!(roles, [pair, pair, pair].concat(), "each primary before its replicas");
        }
        // All nodes as targets are still six readings.
        let all: Vec<Target> = cluster.nodes.iter().map(target).collect();
        let found = look(&all, &ConnectOptions::default(), &SurveyOptions::default());
        assert_eq!(found.readings.len(), 6);
        let only = SurveyOptions { only_targets: true, ..SurveyOptions::default() };
        assert_eq!(look(&all[..1], &ConnectOptions::default(), &only).readings.len(), 1);

        // A replica that dies is one line, as an error or, once the Cluster has noticed, as a problem.
        let dead = cluster.nodes.pop().expect("a node");
        let name = port(&dead);
        drop(dead);
        let found = look(&all[..1], &ConnectOptions::default(), &SurveyOptions::default());
        let failed: Vec<&str> =
            found.readings.iter().filter(|r| r.result.is_err()).map(|r| r.name.as_str()).collect();
        let listed: Vec<&str> = found.problems.iter().map(|p| p.what.as_str()).collect();
        assert!(
            failed == [name.as_str()] || listed == [format!("{name} (replica)")],
            "{failed:?} {listed:?}"
        );
        assert_eq!(found.readings.iter().filter(|r| r.result.is_ok()).count(), 5);
    }
}

#[test]
fn the_printed_rights_are_enough_for_a_cluster() {
    if !require(Kind::Redis7) {
        return;
    }
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).expect("a Cluster");
    let line = acl_line(acl::Reading::ClusterNode, "reader").replace("PASSWORD", CANARY);
    for node in &cluster.nodes {
        let mut cmd = redis::Cmd::new();
        line.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        measure::command::<()>(
            &mut node.connection().expect("a connection"),
            "make the user",
            &cmd,
        )
        .expect("made");
    }
    let options = ConnectOptions {
        user: Some("reader".into()),
        password: Some(CANARY.into()),
        ..ConnectOptions::default()
    };
    let found = look(&[target(&cluster.nodes[2])], &options, &SurveyOptions::default());
    assert_eq!(found.readings.len(), 3);
    assert!(found.readings.iter().all(|r| r.result.as_ref().is_ok_and(|s| s.unread.is_empty())));
    assert!(!format!("{found:?}").contains(CANARY));
}

#[test]
fn a_sentinel_name_leads_to_the_primary_and_its_replicas() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Valkey8] {
        if !require(kind) {
            continue;
        }
        let with_password = Options { password: Some(CANARY.into()), ..Options::default() };
        let watched = Watched::start(kind, 2, &with_password).expect("Sentinels");
        let servers: BTreeSet<String> = std::iter::once(&watched.servers.primary)
            .chain(&watched.servers.replicas)
            .map(port)
            .collect();
        let options = ConnectOptions { password: Some(CANARY.into()), ..ConnectOptions::default() };
        // The first Sentinel is dead: nobody listens on port 1.
        let sentinel = watched.sentinels[1].port();
        let uri: Uri = format!("redis+sentinel://main@127.0.0.1:1,127.0.0.1:{sentinel}")
            .parse()
            .expect("a URI");
        for target in [uri.target, target(&watched.sentinels[0])] {
            let found = look(&[target], &options, &SurveyOptions::default());
            assert_eq!(names(&found), servers, "{kind:?}");
            assert!(found.readings.iter().all(|r| r.result.is_ok()), "{found:?}");
            let first = found.readings[0].node.as_ref().expect("a node");
            assert_eq!((first.role, first.sentinel_name.as_deref()), (Role::Primary, Some("main")));
            assert!(!format!("{found:?}").contains(CANARY));
        }
        let wrong: Uri =
            format!("redis+sentinel://nope@127.0.0.1:{sentinel}").parse().expect("a URI");
        let found = look(&[wrong.target], &options, &SurveyOptions::default());
        let error = found.readings[0].result.as_ref().expect_err("an unknown name");
        assert!(error.to_string().ends_with("known are main"), "{error}");
    }
}

#[test]
fn the_printed_rights_are_enough_on_a_sentinel() {
    if !require(Kind::Redis7) {
        return;
    }
    let watched = Watched::start(Kind::Redis7, 1, &Options::default()).expect("Sentinels");
    let sentinel = &watched.sentinels[0];
    let line = acl_line(acl::Reading::Sentinel, "watcher").replace("PASSWORD", CANARY);
    let mut cmd = redis::Cmd::new();
    line.split(' ').for_each(|word| {
        cmd.arg(word);
    });
    let mut own = sentinel.connection().expect("a connection");
    measure::command::<()>(&mut own, "make the user", &cmd).expect("made");
    let off = redis::cmd("ACL").arg("SETUSER").arg("default").arg("off").clone();
    measure::command::<()>(&mut own, "turn the default user off", &off).expect("off");
    let options = ConnectOptions {
        sentinel_user: Some("watcher".into()),
        sentinel_password: Some(CANARY.into()),
        ..ConnectOptions::default()
    };
    let by_name: Uri =
        format!("redis+sentinel://main@127.0.0.1:{}", sentinel.port()).parse().expect("a URI");
    for target in [by_name.target, target(sentinel)] {
        let found = look(&[target], &options, &SurveyOptions::default());
        assert_eq!(found.readings.len(), 2, "{found:?}");
        assert!(found.readings.iter().all(|r| r.result.is_ok()) && found.problems.is_empty());
    }
}

#[test]
fn either_side_of_a_replication_leads_to_the_other_when_asked() {
    if !require(Kind::Valkey9) {
        return;
    }
    let pair = Replicated::start(Kind::Valkey9, 2, &Options::default()).expect("replicas");
    let both: BTreeSet<String> =
        std::iter::once(&pair.primary).chain(&pair.replicas).map(port).collect();
    for seed in [&pair.primary, &pair.replicas[1]] {
        let asked = DiscoverOptions { replication: true };
        let found =
            block_on(discover(&target(seed), &ConnectOptions::default(), asked)).expect("found");
        let addresses: BTreeSet<String> =
            found.nodes.iter().map(|n| n.address.to_string()).collect();
        assert_eq!(addresses, both);
        assert_eq!(found.nodes.iter().filter(|n| n.is_seed).count(), 1);
        let alone = block_on(discover(
            &target(seed),
            &ConnectOptions::default(),
            DiscoverOptions::default(),
        ));
        assert_eq!(alone.expect("found").nodes.len(), 1);
    }
    // The same server under two names is read once.
    let names = [target(&pair.primary), Target::tcp("localhost", pair.primary.port())];
    let found = look(&names, &ConnectOptions::default(), &SurveyOptions::default());
    assert_eq!(found.readings.len(), 1);
}

#[test]
fn results_come_in_the_order_of_the_targets_whoever_answers() {
    let dead = Target::Server(Address::tcp("127.0.0.1", 1));
    let Some(first) = super::start(Kind::Redis8, &Options::default()) else { return };
    let Some(last) = super::start(Kind::Redis6, &Options::default()) else { return };
    let targets = [target(&first), dead, Target::unix("/nonexistent"), target(&last)];
    let one_at_a_time = SurveyOptions { concurrency: 1, ..SurveyOptions::default() };
    for options in [SurveyOptions::default(), one_at_a_time] {
        let found = look(&targets, &ConnectOptions::default(), &options);
        let got: Vec<String> = found.readings.iter().map(|r| r.name.clone()).collect();
        assert_eq!(got, targets.each_ref().map(Target::display_name));
        let ok: Vec<bool> = found.readings.iter().map(|r| r.result.is_ok()).collect();
        assert_eq!(ok, [true, false, false, true]);
    }
}
