//! Alerts, wherever they are sent.

use crate::running::{Watch, folder};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

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
    let out = folder.path().join("out");
    let config = format!(
        "targets = [\"{}\"]\ninterval = \"300ms\"\n[alerts]\nlost_after = \"1s\"\n\
         [[alerts.to]]\nwebhook = \"http://{address}/hook\"\n[[alerts.to]]\nalertmanager = \"http://{address}/\"\n\
         [[alerts.to]]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n\
         [[alerts.to]]\ncommand = [\"/does/not/exist\"]\n",
        server.address(),
        out.display()
    );
    std::fs::write(folder.path().join("watch.toml"), config).unwrap();
    let config = folder.path().join("watch.toml").display().to_string();
    let watch = Watch::start(folder.path(), &["--config", &config, "-t", "1"]);
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
