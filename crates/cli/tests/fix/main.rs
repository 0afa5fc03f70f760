//! `unfrag fix` and `unfrag undo`: the binary against real servers, while the worst happens to either.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "a kill that went well is said: there are hundreds")]

use redis::{Commands, Connection};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure};

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

/// Waits until the run has begun to change something.
fn wait_until_busy(connection: &mut Connection, before: &[(String, String)]) {
    measure::wait_until("the first change", 300, || Ok(is_changed(connection, before))).unwrap();
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
