//! A real Prometheus that scrapes it, and is read back from.

use crate::running::{Running, Watch, folder, get, has, until};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use unfrag_testbed::{Kind, Options, Server, require};

#[test]
fn prometheus_scrapes_it_and_its_rules_fire() {
    if !require(Kind::Redis7) || !has("prometheus") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    // Nothing listens there.
    let gone = "127.0.0.1:1";
    let folder = folder();
    let watch = Watch::start(folder.path(), &[&server.address(), gone, "--interval", "500ms"]);
    let address = &watch.address;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rules = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["watch", "--print-rules"])
        .output()
        .unwrap();
    // The same rules, a minute shortened to two seconds: the test would take one otherwise.
    let rules = String::from_utf8(rules.stdout).unwrap().replace("for: 1m", "for: 2s");
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    std::fs::write(
        folder.path().join("prometheus.yml"),
        format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
             scrape_configs: [{{ job_name: unfrag, static_configs: [{{ targets: ['{address}'] }}] }}]\n"
        ),
    )
    .unwrap();
    let prometheus = Command::new("prometheus")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=tsdb")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Running(prometheus);
    let api = format!("127.0.0.1:{port}");
    let query =
        |query: &str| get(&api, &format!("/api/v1/query?query={query}")).unwrap_or_default();
    until("a scrape", || query("unfrag_up").contains(&server.address()));
    until("the rss", || {
        query("unfrag_layer_bytes%7Blayer%3D%22rss%22%7D").contains(&server.address())
    });
    until("the alert", || {
        let alerts = get(&api, "/api/v1/alerts").unwrap_or_default();
        alerts.contains("UnfragServerLost")
            && alerts.contains(gone)
            && alerts.contains("\"firing\"")
    });
    let health = get(&api, "/api/v1/targets").unwrap();
    assert!(health.contains("\"health\":\"up\""), "{health}");
    reads_charts_back(folder.path(), &server.address(), port);
}

/// Another watch, which keeps no figures itself.
fn reads_charts_back(folder: &Path, server: &str, port: u16) {
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    let watch = Watch::configured(
        &other,
        &format!(
            "targets = [\"{server}\"]\n[history]\nprometheus = \"http://127.0.0.1:{port}/\"\nlocal = false\n"
        ),
    );
    until("figures out of Prometheus", || charted(&watch.address) >= 2);
    let kept = std::fs::metadata(other.join("data/history.sqlite")).unwrap();
    assert!(kept.len() < 1 << 20);
}

/// Points with figures in the chart of the first server's last five minutes.
pub(crate) fn charted(watch: &str) -> usize {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let path = format!("/api/v1/targets/1/history?from={}&until={now}", now - 300);
    let text = get(watch, &path).unwrap_or_default();
    let chart: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    let rss = chart.pointer("/means/rss").and_then(Value::as_array).cloned().unwrap_or_default();
    rss.iter().filter(|v| v.as_u64().is_some_and(|bytes| bytes > 1 << 20)).count()
}
