//! `unfrag fix` and `unfrag undo`: the binary against real servers, while the worst happens to either.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "a kill that went well is said: there are hundreds")]

use redis::{Commands, Connection};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, signal};

mod deployments;
mod faults;
mod interrupted;
mod ordinary;
mod rights;

const FILL_BYTES: u64 = 96 << 20;
/// Settings that fix may touch.
const SETTINGS: [&str; 7] = [
    "activedefrag",
    "active-defrag-ignore-bytes",
    "active-defrag-threshold-lower",
    "active-defrag-threshold-upper",
    "active-defrag-cycle-min",
    "active-defrag-cycle-max",
    "hz",
];

fn unfrag(state: &Path, server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
    command.env("XDG_STATE_HOME", state).args(args).args(["-p", &server.port().to_string()]);
    command.stdin(Stdio::null());
    command
}

fn fragmented(kind: Kind) -> (Server, Connection) {
    let server = Server::start(kind, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, FILL_BYTES, 7).unwrap();
    (server, connection)
}

fn settings(connection: &mut Connection) -> Vec<(String, String)> {
    SETTINGS
        .iter()
        .flat_map(|name| {
            let pair: Vec<(String, String)> =
                redis::cmd("CONFIG").arg("GET").arg(*name).query(connection).unwrap();
            pair
        })
        .collect()
}

fn ours(connection: &mut Connection) -> usize {
    connection.scan_match::<_, String>("~uf*").unwrap().count()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A run that stands still in the middle of its work, so that what happens to it next happens there on any machine.
struct Held(Option<Child>);

impl Held {
    /// Begins a run and stops it when it has changed something.
    fn begin(state: &Path, server: &Server, connection: &mut Connection, args: &[&str]) -> Self {
        let before = settings(connection);
        let mut held = Self(Some(begin(state, server, args)));
        held.hold(connection, &before);
        held
    }

    /// Stops it once it has changed something, and not put it back again.
    fn hold(&mut self, connection: &mut Connection, before: &[(String, String)]) {
        let child = self.0.as_mut().unwrap();
        let mut has_ended = false;
        measure::wait_until("the middle of the run", || {
            has_ended = child.try_wait().unwrap().is_some();
            if has_ended || !is_changed(connection, before) {
                return Ok(has_ended);
            }
            signal(child.id(), "-STOP")?;
            let is_in_the_middle = is_changed(connection, before);
            if !is_in_the_middle {
                signal(child.id(), "-CONT")?;
            }
            Ok(is_in_the_middle)
        })
        .unwrap();
        if has_ended {
            let output = self.0.take().unwrap().wait_with_output().unwrap();
            assert!(!has_ended, "it ended before it was held: {}", text(&output));
        }
    }

    fn signal(&self, name: &str) {
        signal(self.0.as_ref().unwrap().id(), name).unwrap();
    }

    /// Lets it go on.
    fn release(&self) {
        self.signal("-CONT");
    }

    /// Lets it go on to its end.
    fn end(mut self) -> Output {
        self.release();
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// Kills it where it stands.
    fn kill(mut self) {
        kill(&mut self.0.take().unwrap());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only where a test fails: a process that stands still would stay for ever.
        if let Some(mut child) = self.0.take() {
            kill(&mut child);
        }
    }
}

fn set(connection: &mut Connection, name: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(connection).unwrap();
}

fn is_changed(connection: &mut Connection, before: &[(String, String)]) -> bool {
    settings(connection) != before || ours(connection) > 0
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A run that goes on beside the test.
fn begin(state: &Path, server: &Server, args: &[&str]) -> Child {
    let mut all = vec!["fix", "--yes"];
    all.extend(args);
    let mut command = unfrag(state, server, &all);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
