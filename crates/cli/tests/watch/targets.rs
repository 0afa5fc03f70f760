//! Which servers are watched, and that one that fails delays no other.

use crate::running::{Watch, folder, looks, servers};
use unfrag_testbed::deployment::{Cluster, Watched};
use unfrag_testbed::misbehaving::{Fault, Misbehaving};
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

#[test]
fn every_kind_is_read_and_the_dead_and_the_hung_delay_nobody() {
    let servers =
        servers(&[Kind::Redis6, Kind::Redis7, Kind::Redis8, Kind::Valkey8, Kind::Valkey9]);
    let hung = Misbehaving::start(Fault::Hangs).unwrap();
    let garbage = Misbehaving::start(Fault::Garbage).unwrap();
    // Nothing listens there.
    let dead = "127.0.0.1:1".to_owned();
    let mut targets: Vec<String> = servers.iter().map(Server::address).collect();
    let bad = [format!("127.0.0.1:{}", hung.port()), format!("127.0.0.1:{}", garbage.port()), dead];
    targets.extend(bad.clone());
    let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
    args.extend(["--interval", "500ms", "--deep-interval", "2s"]);
    let folder = folder();
    let watch = Watch::start(folder.path(), &args);
    for server in &servers {
        watch.read(&server.address());
    }
    // Ten more looks at each good one while the hung one is waited for.
    let page = watch.until("ten looks", |w| {
        let page = w.get("/metrics");
        servers.iter().all(|s| looks(&page, &s.address(), "ok") >= 10).then_some(page)
    });
    for server in &servers {
        assert!(page.contains(&format!("unfrag_up{{target=\"{}\"}} 1\n", server.address())));
        assert!(page.contains(&format!(
            "unfrag_layer_bytes{{target=\"{}\",layer=\"rss\"}}",
            server.address()
        )));
    }
    watch.until("the bad ones", |w| {
        let page = w.get("/metrics");
        bad.iter().all(|b| page.contains(&format!("unfrag_up{{target=\"{b}\"}} 0\n"))).then_some(())
    });
    // What redis_exporter's users lack, on the server that has it all.
    if let Some(redis) = servers.iter().find(|s| s.kind() == Kind::Redis8) {
        for name in [
            "unfrag_rss_overhead_bytes",
            "unfrag_active_defrag_seconds_total",
            "unfrag_bin_waste_bytes",
            "unfrag_headroom_bytes",
            "unfrag_cow_bytes",
            "unfrag_cow_estimate_bytes",
        ] {
            assert!(page.contains(&format!("{name}{{target=\"{}\"", redis.address())), "{name}");
        }
        let probe = watch.get(&format!("/probe?target={}", redis.address()));
        assert!(probe.contains("unfrag_probe_success 1"));
        assert!(!probe.contains(&format!("target=\"{}\"", bad[0])));
    }
    let (status, _) = watch
        .ask(&format!("GET /probe?target=10.9.8.7:6379 HTTP/1.1\r\nHost: {}", watch.address), "");
    assert_eq!(status, 404);
    let all = watch.json("/api/v1/targets");
    assert_eq!(all["schema"], "unfrag.check/1");
    assert_eq!(all["targets"].as_array().unwrap().len(), targets.len());
    assert_eq!(watch.get("/-/healthy"), "unfrag watch is healthy\n");
    assert_eq!(watch.get("/-/ready"), "ready\n");
}

#[test]
fn clusters_and_sentinels_are_found_whole() {
    if !require(Kind::Redis7) {
        return;
    }
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let watched = Watched::start(Kind::Redis7, 1, &Options::default()).unwrap();
    let first = cluster.nodes[0].address();
    let sentinel = format!("redis+sentinel://main@{}", watched.sentinels[0].address());
    let folder = folder();
    let watch = Watch::start(folder.path(), &[&first, &sentinel, "--interval", "500ms"]);
    for node in &cluster.nodes {
        watch.read(&node.address());
    }
    let replica = watched.servers.replicas[0].address();
    watch.read(&replica);
    let row = watch.server(&replica).unwrap();
    assert_eq!(row["server"]["role"], "replica");
    assert_eq!(row["shard"], watched.servers.primary.address().as_str());
    // Sentinels themselves are not watched.
    let count = cluster.nodes.len() + 2;
    assert_eq!(watch.json("/api/v1/overview")["servers"].as_array().unwrap().len(), count);
}

#[test]
fn a_node_that_its_cluster_has_given_up_is_told_of_by_name() {
    if !require(Kind::Redis7) {
        return;
    }
    let cluster = Cluster::start(Kind::Redis7, 0, &Options::default()).unwrap();
    let [seed, dead] = [0, 1].map(|n: usize| cluster.nodes[n].address());
    signal(cluster.nodes[1].pid(), "-KILL").unwrap();
    let mut connection = cluster.nodes[0].connection().unwrap();
    measure::wait_until("the Cluster's verdict", || {
        let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut connection).unwrap();
        Ok(nodes.lines().any(|l| l.contains(&dead) && l.contains("master,fail ")))
    })
    .unwrap();
    let folder = folder();
    let config =
        format!("targets = [\"{seed}\"]\ninterval = \"500ms\"\n[alerts]\nlost_after = \"1s\"\n");
    let watch = Watch::configured(folder.path(), &config);
    let id = watch.until("the dead node's alert", |w| {
        let row = w.server(&dead)?;
        let is_told = row["alerts"].as_array().is_some_and(|a| !a.is_empty());
        is_told.then(|| row["id"].as_i64())?
    });
    watch.until("its event", |w| w.events(id).iter().any(|e| e.starts_with("lost ")).then_some(()));
    let all = watch.json("/api/v1/overview");
    assert_eq!(all["servers"].as_array().unwrap().len(), 3, "{all}");
}

/// The server's `timeout`, CLIENT KILL, and a Sentinel at a failover close the connection that is kept between looks.
#[test]
fn a_connection_that_was_closed_is_no_lost_server() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let (name, folder) = (server.address(), folder());
    let watch = Watch::start(folder.path(), &[&name, "--interval", "200ms"]);
    let id = watch.read(&name);
    let mut connection = server.connection().unwrap();
    for _ in 0..3 {
        let seen = looks(&watch.get("/metrics"), &name, "ok");
        // The second look after this one begins on a connection that was kept.
        watch.until("two looks", |w| {
            (looks(&w.get("/metrics"), &name, "ok") >= seen + 2).then_some(())
        });
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut connection).unwrap();
        let seen = looks(&watch.get("/metrics"), &name, "ok");
        watch.until("two more looks", |w| {
            (looks(&w.get("/metrics"), &name, "ok") >= seen + 2).then_some(())
        });
    }
    assert_eq!(looks(&watch.get("/metrics"), &name, "failed"), 0);
    assert!(!watch.events(id).iter().any(|e| e.starts_with("lost")), "{:?}", watch.events(id));
}

#[test]
fn an_entry_of_the_fleet_file_that_moves_takes_its_watch_along() {
    if !require(Kind::Redis7) {
        return;
    }
    let mut servers = servers(&[Kind::Redis7, Kind::Redis7]);
    let names: Vec<String> = servers.iter().map(Server::address).collect();
    let folder = folder();
    let fleet = folder.path().join("fleet.toml");
    let write = |name: &str, interval: &str| {
        let entry = format!("[[target]]\nname = \"sessions\"\nuri = \"redis://{name}\"\n");
        std::fs::write(&fleet, entry).unwrap();
        let config = folder.path().join("watch.toml");
        std::fs::write(&config, format!("interval = \"{interval}\"\nfleet = \"fleet.toml\"\n"))
            .unwrap();
        config
    };
    let config = write(&names[0], "300ms");
    let watch = Watch::start(folder.path(), &["--config", config.to_str().unwrap()]);
    watch.read(&names[0]);
    write(&names[1], "300ms");
    watch.signal("-HUP");
    watch.read(&names[1]);
    watch.until("the first to leave", |w| w.server(&names[0]).is_none().then_some(()));
    // From now on the watch itself looks once an hour: what comes is the probe's.
    write(&names[1], "1h");
    watch.signal("-HUP");
    watch.hears("was read again");
    let probe = |target: &str| watch.get(&format!("/probe?target={target}"));
    let up = format!("unfrag_up{{target=\"{}\"}} ", names[1]);
    for text in ["sessions", &names[1], &format!("redis://{}", names[1])] {
        let page = probe(text);
        assert!(page.contains("unfrag_probe_success 1\n"), "{text}: {page}");
        assert!(page.contains(&format!("{up}1\n")), "{text}: {page}");
    }
    servers[1].shutdown().unwrap();
    let page = probe("sessions");
    assert!(page.contains("unfrag_probe_success 0\n"), "{page}");
    // Old figures are not shown as new ones.
    assert!(page.contains(&format!("{up}0\n")) && !page.contains("unfrag_layer_bytes"), "{page}");
}

#[test]
fn one_server_under_two_names_is_said() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let (name, folder) = (server.address(), folder());
    let other = name.replace("127.0.0.1", "localhost");
    let watch = Watch::start(folder.path(), &[&name, &other, "--interval", "200ms"]);
    let said = watch.until("the doubled server", |w| {
        Some(w.json("/api/v1/overview")["problems"]["watched twice"].as_str()?.to_owned())
    });
    assert!(said.contains(&name) && said.contains(&other) && said.contains("twice"), "{said}");
}
