//! Figures sent to a store by remote-write: to the real Prometheus, which is read back from and goes away in between; and to
//! a stand-in for the answers that it never gives.

use crate::prometheus::charted;
use crate::running::{Running, Watch, folder, get, has, until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

/// What `/metrics` says of it.
impl Watch {
    /// A sample of `/metrics`; 0 when it is not there.
    fn metric(&self, series: &str) -> u64 {
        let page = get(&self.address, "/metrics").unwrap();
        let value = page.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |v| v.parse().unwrap())
    }

    fn samples(&self, result: &str) -> u64 {
        self.metric(&format!("unfrag_watch_remote_write_samples_total{{result=\"{result}\"}}"))
    }

    fn rounds(&self) -> u64 {
        self.metric("unfrag_watch_remote_write_rounds_total")
    }

    fn pending(&self) -> u64 {
        self.metric("unfrag_watch_remote_write_pending_samples")
    }
}

/// The real Prometheus, which scrapes nobody.
struct Store {
    address: String,
    _process: Running,
}

impl Store {
    fn start(folder: &Path, address: &str) -> Self {
        std::fs::write(folder.join("prometheus.yml"), "global: {}\n").unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--config.file=prometheus.yml"])
            .arg("--storage.tsdb.path=tsdb")
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { address: address.to_owned(), _process: Running(process) }
    }

    /// What a query finds; empty while it does not answer.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded = query.bytes().map(|b| format!("%{b:02X}")).collect::<Vec<_>>().concat();
        let text = get(&self.address, &format!("/api/v1/query?query={encoded}"));
        let answer: Value = text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        answer.pointer("/data/result").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Every round that it was told of.
    fn rounds(&self) -> Vec<u64> {
        let found = self.query("unfrag_watch_remote_write_rounds_total[1h]");
        let values = found.first().and_then(|series| series["values"].as_array().cloned());
        let number = |v: &Value| v[1].as_str().unwrap().parse().unwrap();
        values.unwrap_or_default().iter().map(number).collect()
    }
}

#[test]
fn prometheus_is_written_to_and_misses_nothing_while_it_is_away() {
    if !require(Kind::Redis7) || !has("prometheus") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = folder();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut watch = Watch::configured(
        folder.path(),
        &format!(
            "targets = [\"{}\"]\ninterval = \"500ms\"\n\
             [history]\nprometheus = \"http://{address}\"\nlocal = false\n\
             [remote_write]\nurl = \"http://{address}/api/v1/write\"\ninterval = \"1s\"\n",
            server.address()
        ),
    );
    // It is not there yet: figures wait, and that is said.
    watch.hears("they wait");
    assert!(get(&watch.address, "/-/ready").unwrap().contains("figures are not sent"));
    let store = Store::start(folder.path(), &address);
    watch.hears("takes figures again");
    let rss = format!("unfrag_layer_bytes{{layer=\"rss\",target=\"{}\"}}", server.address());
    until("the server's RSS", || !store.query(&rss).is_empty());
    let found = &store.query(&rss)[0];
    let port = watch.address.rsplit(':').next().unwrap();
    assert_eq!(found["metric"]["job"], "unfrag");
    assert!(found["metric"]["instance"].as_str().unwrap().ends_with(&format!(":{port}")));
    assert!(found["value"][1].as_str().unwrap().parse::<u64>().unwrap() > 1 << 20, "{found}");
    until("a chart out of it", || charted(&watch.address) > 0);

    drop(store);
    watch.hears("they wait");
    let at = watch.rounds();
    until("rounds that wait", || watch.rounds() >= at + 3 && watch.pending() > 0);
    let overview = get(&watch.address, "/api/v1/overview").unwrap();
    assert!(overview.contains("do not reach the store"), "{overview}");
    let store = Store::start(folder.path(), &address);
    watch.hears("takes figures again");
    let last = watch.rounds();
    until("all that waited", || store.rounds().last().is_some_and(|n| *n >= last));
    let known = store.rounds();
    let all: Vec<u64> = (1..=known.len() as u64).collect();
    assert_eq!(known, all, "each round once, in order");
    assert_eq!((watch.samples("refused"), watch.samples("dropped")), (0, 0));

    // A series that ends has ended there, long before the five minutes after which it would be forgotten.
    signal(server.pid(), "-KILL").unwrap();
    until("the end of its RSS", || {
        let up = format!("unfrag_up{{target=\"{}\"}} == 0", server.address());
        !store.query(&up).is_empty() && store.query(&rss).is_empty()
    });
    let last = watch.rounds();
    watch.end();
    // A store that is slow just then misses it, which is said.
    let said = watch.talk.iter().any(|line| line.contains("the end came before"));
    assert!(said || store.rounds().last().is_some_and(|n| *n > last), "the end is written down");
}

/// A request that the stand-in took.
struct Taken {
    head: String,
    body: Vec<u8>,
}

/// Takes requests and gives these answers, the last one for ever.
fn stand_in(answers: &'static [&'static str]) -> (String, Receiver<Taken>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, taken) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.iter();
        let mut answer = answers.next();
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            head.make_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let text = answer.unwrap();
            let reply =
                format!("HTTP/1.1 {text}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhy\n");
            reader.get_mut().write_all(reply.as_bytes()).unwrap();
            answer = answers.next().or(answer);
            if sender.send(Taken { head, body }).is_err() {
                return;
            }
        }
    });
    (address, taken)
}

#[test]
fn what_is_busy_is_asked_again_and_what_is_refused_is_let_go_and_said_once() {
    let (address, taken) = stand_in(&[
        "503 Busy\r\nRetry-After: 1",
        "429 Slower",
        "204 Fine",
        "400 Bad",
        "400 Bad",
        "204 Fine",
    ]);
    let folder = folder();
    std::fs::write(folder.path().join("secret"), "canary-0123456789\n").unwrap();
    let watch = Watch::configured(
        folder.path(),
        // Nothing is there: that is something to tell, too.
        &format!(
            "targets = [\"127.0.0.1:1\"]\n[remote_write]\nurl = \"http://{address}/push\"\ninterval = \"1s\"\n\
             secret_file = \"secret\"\nheaders = {{ X-Scope-OrgID = \"cache\" }}\n"
        ),
    );
    let next = || taken.recv_timeout(measure::PATIENCE).unwrap();
    let requests: Vec<Taken> = (0..6).map(|_| next()).collect();
    let head = &requests[0].head;
    for wanted in [
        "post /push ",
        "content-encoding: snappy\r\n",
        "content-type: application/x-protobuf\r\n",
        "x-prometheus-remote-write-version: 0.1.0\r\n",
        "authorization: bearer canary-0123456789\r\n",
        "x-scope-orgid: cache\r\n",
        "user-agent: unfrag/",
    ] {
        assert!(head.contains(wanted), "{wanted}: {head}");
    }
    assert!(requests[0].body == requests[1].body && requests[1].body == requests[2].body);
    let after = |n: usize| requests[n].body != requests[n + 1].body;
    assert!(after(2) && after(3) && after(4), "what was refused is not sent again");
    let mut log = vec![watch.hears("they wait")];
    let mut lines = || {
        let line = watch.talk.recv_timeout(measure::PATIENCE).unwrap();
        log.push(line.clone());
        line
    };
    let mut again = 0;
    while again < 2 {
        again += u32::from(lines().contains("takes figures again"));
    }
    let count = |wanted: &str| log.iter().filter(|l| l.contains(wanted)).count();
    assert_eq!((count("they wait"), count("refuses figures")), (1, 1), "{log:#?}");
    assert_eq!(count("canary"), 0);
    assert!(watch.samples("refused") > 0 && watch.samples("sent") > 0);
    assert_eq!(watch.metric("unfrag_watch_remote_write_failures_total"), 2);
}

#[test]
fn a_store_that_hangs_does_not_hold_up_the_end_and_what_is_lost_is_said() {
    // It takes connections, and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = folder();
    let url = format!("http://{}/", hung.local_addr().unwrap());
    let mut watch = Watch::configured(
        folder.path(),
        &format!("targets = [\"127.0.0.1:1\"]\n[remote_write]\nurl = \"{url}\"\n"),
    );
    until("figures that wait", || watch.pending() > 0);
    watch.end();
    watch.hears("the end came before");
}
