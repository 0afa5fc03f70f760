//! The daemon as people run it: real servers, real signals, real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "a test that misses a field has failed")]
#![expect(clippy::panic, reason = "a test that waited in vain says for what")]

use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use unfrag_testbed::deployment::{Cluster, Watched};
use unfrag_testbed::misbehaving::{Fault, Misbehaving};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

const TOKEN: &str = "a-token-of-the-tests-0123456789";

/// A running `unfrag watch`; dropping it kills it.
struct Watch {
    child: Child,
    address: String,
    talk: Receiver<String>,
}

impl Watch {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .arg("watch")
            .args(args)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .env("XDG_STATE_HOME", folder)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, talk) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let mut heard = vec![];
        let address = loop {
            let line = talk.recv_timeout(measure::PATIENCE).unwrap_or_else(|_| panic!("{heard:?}"));
            if let Some(rest) = line.strip_prefix("the page is at http://") {
                break rest.split('/').next().unwrap().to_owned();
            }
            heard.push(line);
        };
        Self { child, address, talk }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name).unwrap();
    }

    /// Sends a request as it stands; returns status and the rest.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text)
    }

    fn get(&self, path: &str) -> String {
        let (status, text) =
            self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address), "");
        assert_eq!(status, 200, "{path}: {text}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn json(&self, path: &str) -> Value {
        let text = self.get(path);
        serde_json::from_str(&unchunked(&text)).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
    }

    fn post(&self, path: &str, more: &str, body: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{more}X: y",
            self.address
        );
        self.ask(&head, body)
    }

    fn until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + measure::PATIENCE;
        while Instant::now() < end {
            if let Some(found) = found(self) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("waited in vain for {what}: {}", self.get("/api/v1/overview"));
    }

    fn server(&self, name: &str) -> Option<Value> {
        let all = self.json("/api/v1/overview");
        all["servers"].as_array()?.iter().find(|s| s["name"] == name).cloned()
    }

    /// The server's key once it has been read.
    fn read(&self, name: &str) -> i64 {
        self.until(name, |w| w.server(name).filter(|s| s["rss"].is_u64())?["id"].as_i64())
    }

    fn events(&self, id: i64) -> Vec<String> {
        let events = self.json(&format!("/api/v1/targets/{id}/events?from=0"));
        let line =
            |e: &Value| format!("{} {}", e["what"].as_str().unwrap(), e["text"].as_str().unwrap());
        events["events"].as_array().unwrap().iter().map(line).collect()
    }
}

/// A process that ends with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Small answers come whole; a chunked one would begin with its length.
fn unchunked(text: &str) -> String {
    text.trim().to_owned()
}

fn servers(kinds: &[Kind]) -> Vec<Server> {
    let present = kinds.iter().filter(|k| require(**k));
    present.map(|kind| Server::start(*kind, &Options::default()).unwrap()).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_kind_is_read_and_the_dead_and_the_hung_delay_nobody() {
    let servers =
        servers(&[Kind::Redis6, Kind::Redis7, Kind::Redis8, Kind::Valkey8, Kind::Valkey9]);
    let hung = Misbehaving::start(Fault::Hangs).unwrap();
    let garbage = Misbehaving::start(Fault::Garbage).unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
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
    let config = folder.path().join("watch.toml");
    std::fs::write(&config, "[alerts]\nlost_after = \"1s\"\n").unwrap();
    let config = config.display().to_string();
    let args = [seed.as_str(), "--interval", "500ms", "--config", &config];
    let watch = Watch::start(folder.path(), &args);
    let id = watch.until("the dead node's alert", |w| {
        let row = w.server(&dead)?;
        let is_told = row["alerts"].as_array().is_some_and(|a| !a.is_empty());
        is_told.then(|| row["id"].as_i64())?
    });
    watch.until("its event", |w| w.events(id).iter().any(|e| e.starts_with("lost ")).then_some(()));
    let all = watch.json("/api/v1/overview");
    assert_eq!(all["servers"].as_array().unwrap().len(), 3, "{all}");
}

#[test]
fn what_changes_is_on_the_time_line_and_survives_kill_9() {
    if !require(Kind::Redis8) {
        return;
    }
    let mut server = Server::start(Kind::Redis8, &Options::default()).unwrap();
    let name = server.address();
    let folder = folder();
    let args = [name.as_str(), "--interval", "200ms", "--deep-interval", "1s"];
    let mut watch = Watch::start(folder.path(), &args);
    let id = watch.read(&name);
    let mut connection = server.connection().unwrap();
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "123456789"]).exec(&mut connection).unwrap();
    watch.until("the setting", |w| {
        w.events(id)
            .iter()
            .any(|e| e.starts_with("config maxmemory") && e.ends_with("123456789"))
            .then_some(())
    });
    server.restart().unwrap();
    watch.until("the restart", |w| {
        w.events(id).iter().any(|e| e.starts_with("restart")).then_some(())
    });
    let events = watch.events(id).len();
    let points = |w: &Watch| {
        w.json(&format!("/api/v1/targets/{id}/history"))["at_s"].as_array().unwrap().len()
    };
    let before = watch.until("points", |w| Some(points(w)).filter(|n| *n >= 4));
    std::thread::sleep(Duration::from_secs(3));
    watch.child.kill().unwrap();
    watch.child.wait().unwrap();
    let again = Watch::start(folder.path(), &args);
    assert_eq!(again.read(&name), id);
    assert!(again.events(id).len() >= events);
    assert!(again.until("points", |w| Some(points(w)).filter(|n| *n >= before)) >= before);
}

#[test]
fn it_reads_its_configuration_again_and_ends_when_told() {
    if !require(Kind::Redis7) {
        return;
    }
    let servers = servers(&[Kind::Redis7, Kind::Redis7]);
    let names: Vec<String> = servers.iter().map(Server::address).collect();
    let folder = folder();
    let file = folder.path().join("watch.toml");
    let write = |targets: &[&String], more: &str| {
        std::fs::write(&file, format!("interval = \"300ms\"\ntargets = {targets:?}\n{more}"))
            .unwrap();
    };
    write(&[&names[0]], "");
    let mut watch = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    let id = watch.read(&names[0]);
    write(&[&names[0], &names[1]], "");
    watch.signal("-HUP");
    watch.read(&names[1]);
    assert_eq!(watch.server(&names[0]).unwrap()["id"], id);
    // A mistake in it changes nothing and is said.
    write(&[], "intervall = \"1s\"\n");
    watch.signal("-HUP");
    let hears = |wanted: &str| loop {
        let line = watch.talk.recv_timeout(measure::PATIENCE).unwrap();
        if line.contains(wanted) {
            break line;
        }
    };
    let heard = hears("left as it was");
    assert!(heard.contains("intervall"), "{heard}");
    // What is read at the start only is not passed over in silence.
    write(&[&names[1]], "[history]\nraw = \"1d\"\n");
    watch.signal("-HUP");
    let heard = hears("at the next start");
    assert!(heard.contains("how long the history is kept"), "{heard}");
    watch.until("the first to leave", |w| w.server(&names[0]).is_none().then_some(()));
    assert!(watch.server(&names[1]).unwrap()["rss"].is_u64());
    watch.signal("-TERM");
    assert!(watch.child.wait().unwrap().success());
}

/// Looks at a server that a page of /metrics tells of, by their result.
fn looks(page: &str, target: &str, result: &str) -> u64 {
    let line = format!("unfrag_looks_total{{target=\"{target}\",result=\"{result}\"}} ");
    page.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
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
    while !watch.talk.recv_timeout(measure::PATIENCE).unwrap().contains("was read again") {}
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
fn spans_of_any_size_are_answered() {
    let folder = folder();
    let watch = Watch::start(folder.path(), &["127.0.0.1:1"]);
    let id = watch.until("the server", |w| w.server("127.0.0.1:1")?["id"].as_i64());
    let (low, high) = (i64::MIN, i64::MAX);
    for what in ["history", "events", "bins"] {
        for span in
            [format!("until={low}"), format!("from={low}&until={high}"), format!("from={high}")]
        {
            watch.json(&format!("/api/v1/targets/{id}/{what}?{span}"));
        }
    }
}

/// A fake of systemd, and said to be: a socket that takes its messages, and its environment.
#[test]
fn systemd_hears_that_it_is_ready_alive_and_ending_and_its_log_is_json() {
    let folder = folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Nothing listens there: it is shown as lost, and all else goes on.
    let child = Command::new("sh")
        .args(["-c", "export WATCHDOG_PID=$$; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_unfrag")])
        .args(["watch", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--log", "json"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut heard = String::new();
    let mut until = |wanted: &str, times: usize| {
        while heard.matches(wanted).count() < times {
            let mut message = [0; 512];
            match socket.recv(&mut message) {
                Ok(length) => heard += &String::from_utf8_lossy(&message[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{wanted}: {error}: {heard}"),
            }
        }
    };
    until("READY=1", 1);
    until("WATCHDOG=1", 4);
    until("STATUS=1 servers, 1 do not answer", 1);
    signal(child.0.id(), "-TERM").unwrap();
    until("STOPPING=1", 1);
    let mut log = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert!(folder.path().join("state/history.sqlite").exists());
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|l| l["level"].is_string()),
            "{line}"
        );
    }
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

#[test]
fn mistakes_are_told_with_their_exit_codes() {
    let folder = folder();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .arg("watch")
            .args(args)
            .env("XDG_STATE_HOME", folder.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = run(&["--listen", &address]);
    assert!(code == 2 && text.contains("cannot listen on"), "{code} {text}");
    let (code, text) = run(&["--config", "/does/not/exist"]);
    assert!(code == 5 && text.contains("cannot read the configuration"), "{code} {text}");
    let config = folder.path().join("bad.toml");
    std::fs::write(&config, "[policy]\nenabled = true\n").unwrap();
    let (code, text) = run(&["--config", config.to_str().unwrap()]);
    assert!(code == 5 && text.contains("has no rule"), "{code} {text}");
    std::fs::write(folder.path().join("token"), "short\n").unwrap();
    let (code, text) = run(&["--token-file", folder.path().join("token").to_str().unwrap()]);
    assert!(code == 2 && text.contains("shorter than"), "{code} {text}");
    let (code, text) = run(&["--token-file", "/does/not/exist"]);
    assert!(code == 2 && text.contains("cannot read the token file"), "{code} {text}");
    let (code, text) = run(&["--interval", "fast"]);
    assert!(code == 2 && text.contains("is no time"), "{code} {text}");
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    std::fs::write(
        folder.path().join("data/history.sqlite"),
        "this is no database, and long enough to be looked at",
    )
    .unwrap();
    let (code, text) =
        run(&["--data", folder.path().join("data").to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(code == 5 && text.contains("history"), "{code} {text}");
}

#[test]
fn other_sites_frames_and_callers_without_the_token_are_kept_out() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = folder();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let watch = Watch::start(
        folder.path(),
        &[
            &server.address(),
            "--interval",
            "300ms",
            "--token-file",
            file.to_str().unwrap(),
            "--host-name",
            "unfrag.example",
        ],
    );
    let id = watch.read(&server.address());
    for (host, want) in [
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("unfrag.example", 200),
        ("localhost:1", 200),
        ("[::1]", 200),
    ] {
        let (status, _) = watch.ask(&format!("GET /api/v1/overview HTTP/1.1\r\nHost: {host}"), "");
        assert_eq!(status, want, "{host}");
    }
    let (_, page) = watch.ask(&format!("GET / HTTP/1.1\r\nHost: {}", watch.address), "");
    for header in [
        "frame-ancestors 'none'",
        "default-src 'none'",
        "script-src 'self'",
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
    ] {
        assert!(page.contains(header), "{header}");
    }
    assert!(
        !page.contains("'unsafe-inline'")
            && !page.contains("http://cdn")
            && !page.contains("https://")
    );
    let fix = format!("/api/v1/targets/{id}/fix");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let post = |more: &str| watch.post(&fix, more, "{\"only\":[\"purge\"]}").0;
    assert_eq!(post(""), 401);
    assert_eq!(post("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(post(&format!("{bearer}Origin: http://evil.example\r\n")), 403);
    assert_eq!(post(&format!("{bearer}Origin: null\r\n")), 403);
    assert_eq!(post(&format!("{bearer}Sec-Fetch-Site: cross-site\r\n")), 403);
    let form = format!(
        "POST {fix} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Type: text/plain",
        watch.address
    );
    assert_eq!(watch.ask(&form, "{}").0, 415);
    assert_eq!(watch.post("/api/v1/targets/4711/fix", &bearer, "{}").0, 404);
    assert_eq!(watch.post(&fix, &bearer, "{\"only\":[\"restart\"]}").0, 400);
    assert_eq!(watch.post("/api/v1/token", &bearer, "{}").0, 200);
    // Without a token file nobody may, whatever he sends.
    let closed = Watch::start(&folder.path().join("closed"), &[&server.address()]);
    assert_eq!(closed.post("/api/v1/token", "Authorization: Bearer \r\n", "{}").0, 403);
}

/// Takes requests, answers 200, and hands their bodies on.
fn sink() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut length, mut head) = (0, String::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
                head += &line;
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ = reader
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = sender.send(format!("{path} {}", String::from_utf8_lossy(&body)));
        }
    });
    (address, bodies)
}

#[test]
fn alerts_reach_alertmanager_a_webhook_and_a_command() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let (address, bodies) = sink();
    let folder = folder();
    let (file, out) = (folder.path().join("watch.toml"), folder.path().join("out"));
    std::fs::write(&file, format!(
        "targets = [\"{}\"]\ninterval = \"300ms\"\n[alerts]\nlost_after = \"1s\"\n\
         [[alerts.to]]\nwebhook = \"http://{address}/hook\"\n[[alerts.to]]\nalertmanager = \"http://{address}/\"\n\
         [[alerts.to]]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n\
         [[alerts.to]]\ncommand = [\"/does/not/exist\"]\n",
        server.address(), out.display()
    )).unwrap();
    let watch = Watch::start(folder.path(), &["--config", file.to_str().unwrap(), "-t", "1"]);
    watch.read(&server.address());
    let stop = |name: &str| signal(server.pid(), name).unwrap();
    stop("-STOP");
    let mut got = vec![];
    while got.len() < 2 {
        got.push(bodies.recv_timeout(measure::PATIENCE).unwrap());
    }
    got.sort();
    let (path, body) = got[0].split_once(' ').unwrap();
    assert_eq!(path, "/api/v2/alerts");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body[0]["labels"]["alertname"], "unreachable");
    assert_eq!(body[0]["labels"]["target"], server.address().as_str());
    assert!(body[0]["endsAt"].as_str() > body[0]["startsAt"].as_str());
    let (path, body) = got[1].split_once(' ').unwrap();
    assert_eq!(path, "/hook");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (body["schema"].as_str(), body["status"].as_str()),
        (Some("unfrag.alert/1"), Some("firing"))
    );
    assert!(body["alerts"][0]["next"].as_str().unwrap().contains("dmesg"));
    stop("-CONT");
    let over = bodies.recv_timeout(measure::PATIENCE).unwrap();
    assert!(over.contains("resolved") || over.starts_with("/api/v2/alerts"), "{over}");
    measure::wait_until("the command", || {
        Ok(std::fs::read_to_string(&out)
            .is_ok_and(|t| t.contains("\"firing\"") && t.contains("\"resolved\"")))
    })
    .unwrap();
    // What a sink did not take is counted once its tries are over.
    watch.until("the undelivered", |w| {
        let page = w.get("/metrics");
        let line =
            page.lines().find_map(|l| l.strip_prefix("unfrag_watch_alerts_undelivered_total "));
        line.filter(|count| *count != "0").map(|_| ())
    });
}

#[test]
fn a_fix_from_the_page_runs_and_its_outcome_is_kept() {
    if !require(Kind::Redis8) {
        return;
    }
    let server = Server::start(Kind::Redis8, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, 64 << 20, 7).unwrap();
    let digest = measure::digest(&mut connection).unwrap();
    let folder = folder();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let watch = Watch::start(
        folder.path(),
        &[&server.address(), "--interval", "500ms", "--token-file", file.to_str().unwrap()],
    );
    let id = watch.read(&server.address());
    let (status, text) = watch.post(
        &format!("/api/v1/targets/{id}/fix"),
        &format!("Authorization: Bearer {TOKEN}\r\n"),
        "{\"max_duration_s\":60}",
    );
    assert_eq!(status, 200, "{text}");
    let job = watch.until("the fix to end", |w| {
        Some(w.json("/api/v1/jobs/1")).filter(|j| j["status"] != "running")
    });
    assert_eq!(job["status"], "done", "{job}");
    assert!(job["outcome"]["reclaimed_bytes"].as_i64().unwrap() > 8 << 20, "{job}");
    assert_eq!(job["outcome"]["schema"], "unfrag.fix/1");
    watch.until("the outcome in the history", |w| {
        let outcomes = w.json(&format!("/api/v1/targets/{id}"))["outcomes"].clone();
        outcomes.as_array().filter(|o| !o.is_empty()).map(|o| assert_eq!(o[0]["what"], "page"))
    });
    assert_eq!(measure::digest(&mut connection).unwrap(), digest);
    // What was packed is not promised once more out of the bins of before.
    let ended_ms = job["ended_s"].as_u64().unwrap() * 1000;
    let after = watch.until("a look after it", |w| {
        let server = w.json(&format!("/api/v1/targets/{id}"));
        (server["read_at_ms"].as_u64()? > ended_ms + 1000).then_some(server)
    });
    let beyond = after["rss"].as_u64().unwrap() - after["used"].as_u64().unwrap();
    for remedy in ["defrag", "repack"] {
        let promised = after["report"]["reclaim"][remedy]["bytes"].as_u64().unwrap_or(0);
        assert!(promised <= beyond, "{remedy}: {promised} of {beyond}");
    }
}

#[test]
fn the_policy_acts_in_its_window_and_says_why() {
    if !require(Kind::Redis8) {
        return;
    }
    let servers = servers(&[Kind::Redis8, Kind::Redis8]);
    for server in &servers {
        Workload::Strings.run(&mut server.connection().unwrap(), 48 << 20, 7).unwrap();
    }
    let folder = folder();
    let file = folder.path().join("watch.toml");
    // The window is always open for the first; there is none for the second.
    std::fs::write(&file, format!(
        "targets = [\"{0}\", \"{1}\"]\ninterval = \"500ms\"\n[policy]\nenabled = true\nround = \"1s\"\nfresh = \"0s\"\n\
         [[policy.rule]]\ntargets = [\"{0}\"]\nremedies = [\"purge\", \"defrag\"]\nmin_gain = \"4MB\"\nmax_duration = \"40s\"\n\
         windows = [{{ start = \"* * * * *\", lasts = \"1h\", zone = \"UTC\" }}]\n",
        servers[0].address(), servers[1].address()
    )).unwrap();
    let mut watch = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    let ids: Vec<i64> = servers.iter().map(|s| watch.read(&s.address())).collect();
    let decisions =
        |w: &Watch, id: i64| w.json(&format!("/api/v1/targets/{id}"))["decisions"].clone();
    let acted = watch.until("the decision to act", |w| {
        let all = decisions(w, ids[0]);
        all.as_array()?.iter().find(|d| d["acts"] == true).cloned()
    });
    assert!(acted["text"].as_str().unwrap().contains("would give back"), "{acted}");
    let job = watch
        .until("the end", |w| Some(w.json("/api/v1/jobs/1")).filter(|j| j["status"] != "running"));
    assert_eq!(
        (job["who"].as_str(), job["status"].as_str()),
        (Some("policy"), Some("done")),
        "{job}"
    );
    watch.until("the decision not to act", |w| {
        let all = decisions(w, ids[1]);
        all.as_array()?
            .iter()
            .any(|d| d["text"] == "no rule of the policy names this server")
            .then_some(())
    });
    let cooling = |w: &Watch| {
        let all = decisions(w, ids[0]);
        let waits = |d: &&Value| d["text"].as_str().is_some_and(|t| t.contains("too recent"));
        all.as_array().map_or(0, |all| all.iter().filter(waits).count())
    };
    watch.until("the cool-down", |w| (cooling(w) == 1).then_some(()));
    // It outlives the process: a restart of the watch is no reason to act again.
    signal(watch.child.id(), "-KILL").unwrap();
    watch.child.wait().unwrap();
    let again = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    // It is known under its name a moment after the start.
    again.read(&servers[0].address());
    again.until("the cool-down after a restart", |w| (cooling(w) == 2).then_some(()));
    let acts =
        decisions(&again, ids[0]).as_array().unwrap().iter().filter(|d| d["acts"] == true).count();
    assert_eq!(acts, 1, "{}", decisions(&again, ids[0]));
}
