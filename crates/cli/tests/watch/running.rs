//! [`Watch`]: a running `unfrag watch`, what it answers and what it says.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use unfrag_testbed::{Kind, Options, Server, measure, require, signal};

pub(crate) const TOKEN: &str = "a-token-of-the-tests-0123456789";

/// A process that ends with the test, however that ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `unfrag watch`; dropping it kills it.
pub(crate) struct Watch {
    pub(crate) process: Running,
    pub(crate) address: String,
    pub(crate) talk: Receiver<String>,
}

impl Watch {
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .arg("watch")
            .args(args)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .env("XDG_STATE_HOME", folder)
            .env_remove("UNFRAG_REMOTE_WRITE_SECRET")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let process = Running(child);
        let (said, talk) = channel();
        std::thread::spawn(move || {
            // Until nobody listens any more.
            lines.map_while(Result::ok).all(|line| said.send(line).is_ok());
        });
        let mut watch = Self { process, address: String::new(), talk };
        let line = watch.hears("the page is at http://");
        line.split('/').nth(2).unwrap().clone_into(&mut watch.address);
        watch
    }

    /// With this configuration, in a file of the folder.
    pub(crate) fn configured(folder: &Path, text: &str) -> Self {
        let file = folder.join("watch.toml");
        std::fs::write(&file, text).unwrap();
        Self::start(folder, &["--config", file.to_str().unwrap()])
    }

    /// The next line of its log with `wanted` in it.
    pub(crate) fn hears(&self, wanted: &str) -> String {
        let mut heard = vec![];
        loop {
            let next = self.talk.recv_timeout(measure::PATIENCE);
            let line = next.unwrap_or_else(|_| panic!("no `{wanted}` in {heard:#?}"));
            if line.contains(wanted) {
                return line;
            }
            heard.push(line);
        }
    }

    /// Ends it as a supervisor does.
    pub(crate) fn end(&mut self) {
        self.signal("-TERM");
        assert!(self.process.0.wait().unwrap().success());
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.0.id(), name).unwrap();
    }

    /// Sends a request as it stands; returns status and the rest.
    pub(crate) fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(measure::PATIENCE)).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let (status, text) =
            self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address), "");
        assert_eq!(status, 200, "{path}: {text}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let text = self.get(path);
        serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
    }

    pub(crate) fn post(&self, path: &str, more: &str, body: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{more}X: y",
            self.address
        );
        self.ask(&head, body)
    }

    pub(crate) fn until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + measure::PATIENCE;
        while Instant::now() < end {
            if let Some(found) = found(self) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("waited in vain for {what}: {}", self.get("/api/v1/overview"));
    }

    pub(crate) fn server(&self, name: &str) -> Option<Value> {
        let all = self.json("/api/v1/overview");
        all["servers"].as_array()?.iter().find(|s| s["name"] == name).cloned()
    }

    /// The server's key once it has been read.
    pub(crate) fn read(&self, name: &str) -> i64 {
        self.until(name, |w| w.server(name).filter(|s| s["rss"].is_u64())?["id"].as_i64())
    }

    pub(crate) fn events(&self, id: i64) -> Vec<String> {
        let events = self.json(&format!("/api/v1/targets/{id}/events?from=0"));
        let line =
            |e: &Value| format!("{} {}", e["what"].as_str().unwrap(), e["text"].as_str().unwrap());
        events["events"].as_array().unwrap().iter().map(line).collect()
    }
}

/// What is behind the head of an answer, whatever its status.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(measure::PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.split_once("\r\n\r\n")?.1.to_owned())
}

pub(crate) fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + measure::PATIENCE;
    while !found() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: no {program} here");
    }
    there
}

pub(crate) fn servers(kinds: &[Kind]) -> Vec<Server> {
    let present = kinds.iter().filter(|k| require(**k));
    present.map(|kind| Server::start(*kind, &Options::default()).unwrap()).collect()
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What a look at the servers of a page of /metrics came to, so many times.
pub(crate) fn looks(page: &str, target: &str, result: &str) -> u64 {
    let line = format!("unfrag_looks_total{{target=\"{target}\",result=\"{result}\"}} ");
    page.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}
