//! The daemon and `top` with programs that others wrote: a real Prometheus that scrapes it, a real browser that shows its
//! page, a real terminal.
//! Skipped, and said so, where they are not installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "a skip is said")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, Server, require};

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: no {program} here");
    }
    there
}

/// Starts the watch; returns it and its address.
fn watch(folder: &Path, targets: &[String]) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .arg("watch")
        .args(targets)
        .args(["--interval", "500ms", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .find_map(|l| Some(l.strip_prefix("the page is at http://")?.split('/').next()?.to_owned()))
        .unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + unfrag_testbed::measure::PATIENCE;
    while !found() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn prometheus_scrapes_it_and_its_rules_fire() {
    if !require(Kind::Redis7) || !has("prometheus") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (_watch, address) = watch(folder.path(), &[server.address(), gone.clone()]);
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
            && alerts.contains(&gone)
            && alerts.contains("\"firing\"")
    });
    let health = get(&api, "/api/v1/targets").unwrap();
    assert!(health.contains("\"health\":\"up\""), "{health}");
    reads_charts_back(folder.path(), &server.address(), port);
}

/// Another watch, which keeps no figures itself.
fn reads_charts_back(folder: &Path, server: &str, port: u16) {
    let config = folder.join("watch.toml");
    let text = format!(
        "targets = [\"{server}\"]\n[history]\nprometheus = \"http://127.0.0.1:{port}/\"\nlocal = false\n"
    );
    std::fs::write(&config, text).unwrap();
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    let (_watch, address) = watch(&other, &["--config".to_owned(), config.display().to_string()]);
    until("figures out of Prometheus", || {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let path = format!("/api/v1/targets/1/history?from={}&until={now}", now - 300);
        let text = get(&address, &path).unwrap_or_default();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { return false };
        let Ok(chart) = serde_json::from_str::<serde_json::Value>(body.trim()) else {
            return false;
        };
        let rss =
            chart.pointer("/means/rss").and_then(|r| r.as_array()).cloned().unwrap_or_default();
        rss.iter().filter(|v| v.as_u64().is_some_and(|b| b > 1 << 20)).count() >= 2
    });
    let kept = std::fs::metadata(other.join("data/history.sqlite")).unwrap();
    assert!(kept.len() < 1 << 20);
}

/// The page after its script ran, as the browser's own text.
fn dom(address: &str, hash: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=4000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/{hash}"))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_shows_hostile_text_as_text() {
    if !require(Kind::Redis7) || !has("chromium") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let hostile = hostile_server();
    let folder = tempfile::tempdir().unwrap();
    let (_watch, address) = watch(folder.path(), &[server.address(), hostile.clone()]);
    until("a reading", || {
        let text = get(&address, "/api/v1/overview").unwrap_or_default();
        text.contains("\"verdict\":\"") && text.contains("<img/src=x")
    });
    let fleet = dom(&address, "");
    assert!(fleet.contains(&server.address()) && fleet.contains("class=\"row "), "{fleet}");
    // It is shown, as the text it is.
    assert!(fleet.contains("&lt;img/src=x"), "{fleet}");
    let page = dom(&address, "#/server/1");
    assert!(
        page.contains("The ladder over time") && page.contains("What would come back"),
        "{page}"
    );
    let lost = dom(&address, "#/server/2");
    assert!(lost.contains("It does not answer") && lost.contains("&lt;img/src=x"), "{lost}");
    // What turns the order of text, or hides in it, is shown as its number.
    assert!(lost.contains(r"\u{202e}edoc\u{2066}\u{200b}"), "{lost}");
    for text in [&fleet, &page, &lost] {
        assert!(
            !text.contains("<img/src")
                && !text.contains("<img src=\"x\"")
                && !text.contains("<title>pwned")
                && !text.contains(['\u{202e}', '\u{2066}', '\u{200b}']),
            "{text}"
        );
    }
}

#[test]
fn while_the_store_is_away_the_page_shows_all_that_is_known() {
    if !require(Kind::Redis7) || !has("chromium") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("watch.toml");
    // Nothing listens there.
    let text = format!(
        "targets = [\"{}\"]\n[history]\nprometheus = \"http://127.0.0.1:1\"\nlocal = false\n",
        server.address()
    );
    std::fs::write(&config, text).unwrap();
    let (_watch, address) =
        watch(folder.path(), &["--config".to_owned(), config.display().to_string()]);
    until("a reading", || {
        get(&address, "/api/v1/overview").is_some_and(|text| text.contains("\"verdict\":\""))
    });
    let page = dom(&address, "#/server/1");
    for wanted in ["The store of figures cannot be read", "What would come back", "What happened"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!page.contains("The watch does not answer"), "{page}");
}

/// A fake, and said to be: it answers everything with an error that is markup.
fn hostile_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                    let error = "-ERR <img/src=x/onerror=document.title='pwned'><script>document.title='pwned'</script>\u{202e}edoc\u{2066}\u{200b}\r\n";
                    if stream.write_all(error.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A terminal of 80 columns and 24 lines, on a tmux server of its own; ended with the test.
struct Terminal(String);

impl Terminal {
    fn run(command: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("unfrag-{}-{number}", std::process::id()));
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.0]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is on the screen once `wanted` is.
    fn shows(&self, wanted: &str) -> String {
        self.is(wanted, |screen| screen.contains(wanted))
    }

    /// What is on the screen once it is as `wanted` says; `what` names that.
    fn is(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        until(what, || {
            screen = self.tmux(&["capture-pane", "-p"]);
            wanted(&screen)
        });
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_is_usable_on_80_by_24() {
    if !require(Kind::Redis7) || !has("tmux") {
        return;
    }
    let lab = Lab::start(Kind::Redis7, &Options::default(), Workload::Strings, 64 << 20).unwrap();
    let quiet = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let target = |server: &Server| format!("127.0.0.1:{}", server.port());
    let (worst, other) = (target(&lab.server), target(&quiet));
    // Colour is off, so that the parts of the bar are told by their letters.
    let program = env!("CARGO_BIN_EXE_unfrag");
    let terminal = Terminal::run(&format!("{program} top --color never {other} {worst}"));
    // The second server may still be read when the first is on the screen.
    let order = |screen: &str| {
        let line = |wanted: &str| screen.lines().position(|l| l.contains(wanted));
        Some(line(&worst)? < line(&other)?)
    };
    // Until both are read they stand in the order of their names, which may be the same.
    let list = terminal
        .is("the worst first", |screen| !screen.contains("reading") && order(screen) == Some(true));
    assert!(list.lines().all(|l| l.chars().count() <= 80), "{list}");
    assert!(list.contains("uuuu") && list.contains("ffff"), "{list}");
    let title = |server: &str| format!(" {server} · Redis");
    terminal.tmux(&["send-keys", "j"]);
    terminal.shows(&title(&other));
    // Only what is looked for, until that is cleared.
    terminal.tmux(&["send-keys", "-l", "/"]);
    terminal.tmux(&["send-keys", "-l", &other]);
    terminal.shows(&format!("/{other}_"));
    let found = terminal.shows("1 of 2 servers");
    assert!(found.contains(&title(&other)) && !found.contains(&worst), "{found}");
    terminal.tmux(&["send-keys", "Enter"]);
    terminal.shows("/ find");
    terminal.tmux(&["send-keys", "Escape"]);
    terminal.shows("unfrag 2 servers");
    // Another order begins with its first.
    terminal.tmux(&["send-keys", "s"]);
    assert!(terminal.shows("most waste").contains(&title(&worst)));
    terminal.tmux(&["send-keys", "Enter"]);
    let zoomed = terminal.shows("Enter back");
    assert!(zoomed.contains("mem_fragmentation_ratio") || zoomed.contains("allocator"), "{zoomed}");
    terminal.tmux(&["send-keys", "?"]);
    let help = terminal.shows("next order");
    assert!(help.contains("Esc shows all again"), "{help}");
    terminal.tmux(&["send-keys", "x"]);
    terminal.tmux(&["send-keys", "q"]);
    until("its end", || !terminal.tmux(&["list-sessions"]).contains("windows"));
}

#[test]
fn top_disarms_what_a_server_says() {
    if !has("tmux") {
        return;
    }
    let hostile = hostile_server();
    let program = env!("CARGO_BIN_EXE_unfrag");
    let terminal = Terminal::run(&format!("{program} top --color never {hostile}"));
    let screen = terminal.shows("edoc");
    assert!(screen.contains(r"\u{202e}edoc\u{2066}\u{200b}"), "{screen}");
    assert!(!screen.contains(['\u{202e}', '\u{2066}', '\u{200b}']), "{screen}");
}
