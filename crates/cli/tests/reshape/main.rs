//! `unfrag reshape` on real servers: what it says, what it does, and that nothing is ever lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod killed;
mod said;
mod side_by_side;
mod snippets;

use redis::{Connection, FromRedisValue, Value};
use serde_json::Value as Json;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use unfrag_testbed::{Kind, Options, Server, measure};

/// The servers that the issue names.
const SERVERS: [Kind; 4] = [Kind::Redis6, Kind::Redis7, Kind::Redis8, Kind::Valkey9];

const HASH: &[&str] = &["hash", "--match", "user:{id}:{field}", "--into", "user:{id}"];

/// A server and a folder for the tool's state.
struct Scene {
    server: Server,
    connection: Connection,
    state: TempDir,
}

impl Scene {
    fn new(kind: Kind, args: &[&str]) -> Self {
        let server = Server::start(kind, &Options::args(args)).unwrap();
        let connection = server.connection().unwrap();
        Self { server, connection, state: tempfile::tempdir().unwrap() }
    }

    /// `unfrag reshape ARGS…` on this server.
    fn reshape(&self, args: &[&str]) -> Command {
        let mut command = self.unfrag(&[&["reshape"], args].concat());
        if !args.contains(&"--latency-budget") {
            // A machine busy with other tests is felt as well, and would make it crawl.
            command.args(["--latency-budget", "200ms"]);
        }
        command
    }

    fn unfrag(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        command.env("XDG_STATE_HOME", self.state.path()).stdin(Stdio::null());
        command.args(args).args(["-p", &self.server.port().to_string(), "-t", "30"]);
        command
    }

    /// Runs it, insists on the exit code, and reads its JSON.
    fn json(&self, args: &[&str], code: i32) -> Json {
        let output = self.reshape(&[args, &["-o", "json"]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut self.connection).unwrap()
    }

    fn run(&mut self, words: &[&str]) {
        let _: Value = self.ask(words);
    }

    fn digest(&mut self) -> String {
        measure::digest(&mut self.connection).unwrap()
    }

    /// Four fields each.
    fn users(&mut self, count: u32) {
        let mut pipe = redis::pipe();
        for id in 0..count {
            for (field, value) in [("name", "Ada Lovelace"), ("age", "36"), ("plan", "x")] {
                pipe.cmd("SET").arg(format!("user:{id}:{field}")).arg(value);
            }
            pipe.cmd("SET").arg(format!("user:{id}:mail")).arg(format!("u{id}@example.org"));
            if id % 500 == 499 {
                pipe.exec(&mut self.connection).unwrap();
                pipe.clear();
            }
        }
        if !pipe.is_empty() {
            pipe.exec(&mut self.connection).unwrap();
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A document of about `words` words, the same each time.
fn document(number: u64, words: u64) -> String {
    let word = |n: u64| {
        const WORDS: [&str; 12] = [
            "memory", "server", "the", "page", "of", "slab", "a", "key", "value", "and", "reads",
            "writes",
        ];
        let at = (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number) >> 33) % 12;
        *WORDS.get(usize::try_from(at).unwrap()).unwrap()
    };
    let text: Vec<&str> = (0..words).map(|n| word(n + number * 31)).collect();
    format!("{{\"id\":{number},\"text\":\"{}\"}}", text.join(" "))
}
