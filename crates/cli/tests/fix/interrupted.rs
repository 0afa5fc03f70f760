//! Killed, stopped and cut off in the middle: what it changed is put back.

use super::{Held, begin, fragmented, is_changed, kill, ours, set, settings, text, unfrag};
use redis::{Commands, Connection};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use unfrag_testbed::{Kind, Server, measure, require};

/// Milliseconds after the first change at which unfrag is killed, for one server. `UNFRAG_KILLS` of them for all three
/// (`make test-kills`: 210), spread over a run of some seconds.
fn moments() -> Vec<u64> {
    let kills = std::env::var("UNFRAG_KILLS").ok().and_then(|n| n.parse::<u64>().ok());
    // Steps by the golden ratio fill an interval evenly and never repeat.
    kills.map_or(vec![0, 150, 400], |n| (0..n / 3).map(|i| i * 1_854_101 / 1000 % 3000).collect())
}

/// Tells the writer to stop, also when the test fails: a scope would wait for it for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts up until told to stop; what was acknowledged.
fn count_up(mut connection: Connection, stop: &AtomicBool) -> [u64; 50] {
    let mut counts = [0u64; 50];
    while !stop.load(Ordering::Relaxed) {
        for (n, count) in counts.iter_mut().enumerate() {
            *count = connection.incr(format!("count:{n}"), 1).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    counts
}

#[test]
fn undo_after_kill_9_leaves_nothing() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        for delay_ms in moments() {
            let state = tempfile::tempdir().unwrap();
            // A new one each time: what a killed run did leaves less to do, until there is nothing.
            let (server, mut connection) = fragmented(kind);
            kill_and_undo(state.path(), &server, &mut connection, delay_ms);
        }
    }
}

fn kill_and_undo(state: &Path, server: &Server, connection: &mut Connection, delay_ms: u64) {
    let what = format!("{} killed after {delay_ms} ms", server.kind().name());
    let before = (settings(connection), measure::digest(connection).unwrap());
    let stop = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let writer = scope.spawn(|| count_up(server.connection().unwrap(), &stop));
        let at_end = StopAtEnd(&stop);
        let mut child = begin(state, server, &[]);
        let mut has_begun = false;
        measure::wait_until("the first change", || {
            has_begun = is_changed(connection, &before.0);
            Ok(has_begun || child.try_wait().unwrap().is_some())
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill(&mut child);
        drop(at_end);
        let output = child.wait_with_output().unwrap();
        assert!(has_begun, "{what}: it ended before it changed anything: {}", text(&output));
        writer.join().unwrap()
    });
    let undo = unfrag(state, server, &["undo"]).output().unwrap();
    assert_eq!(undo.status.code(), Some(0), "{what}: {}", text(&undo));
    assert_eq!(settings(connection), before.0, "{what}");
    assert_eq!(ours(connection), 0, "{what}");
    for (n, count) in counts.iter().enumerate() {
        let key = format!("count:{n}");
        assert_eq!(connection.get::<_, u64>(&key).unwrap(), *count, "{what}: {key}");
        connection.del::<_, ()>(&key).unwrap();
    }
    assert_eq!(measure::digest(connection).unwrap(), before.1, "{what}");
    let again = unfrag(state, server, &["undo"]).output().unwrap();
    assert!(text(&again).contains("nothing to undo"), "{what}: {}", text(&again));
    eprintln!("{what}: undone");
}

#[test]
fn no_run_begins_on_top_of_the_wreck_of_another() {
    if !require(Kind::Redis8) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let (server, mut connection) = fragmented(Kind::Redis8);
    let before = settings(&mut connection);
    Held::begin(state.path(), &server, &mut connection, &[]).kill();
    let refused = unfrag(state.path(), &server, &["fix", "--yes"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(text(&refused).contains("unfrag undo"), "{}", text(&refused));
    let undo = unfrag(state.path(), &server, &["undo"]).output().unwrap();
    assert_eq!(undo.status.code(), Some(0), "{}", text(&undo));
    assert_eq!(settings(&mut connection), before);
}

#[test]
fn ctrl_c_puts_everything_back() {
    for kind in [Kind::Redis6, Kind::Redis7].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = settings(&mut connection);
        let run = Held::begin(state.path(), &server, &mut connection, &[]);
        run.signal("-INT");
        let output = run.end();
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
        assert_eq!(settings(&mut connection), before);
        assert_eq!(ours(&mut connection), 0);
    }
}

#[test]
fn a_cut_connection_is_made_again_and_everything_put_back() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Redis8].into_iter().filter(|k| require(*k)) {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(kind);
        let before = (settings(&mut connection), measure::digest(&mut connection).unwrap());
        let run = Held::begin(state.path(), &server, &mut connection, &[]);
        let cut: u64 = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query(&mut connection)
            .unwrap();
        assert!(cut >= 2, "the acting connection and the probe's");
        let output = run.end();
        assert_eq!(output.status.code(), Some(7), "{} {}", kind.name(), text(&output));
        assert_eq!((settings(&mut connection), measure::digest(&mut connection).unwrap()), before);
        assert_eq!(ours(&mut connection), 0, "{}", kind.name());
    }
}

/// A run of defrag alone, in its middle.
struct Defragmenting {
    state: tempfile::TempDir,
    server: Server,
    connection: Connection,
    before: Vec<(String, String)>,
    run: Held,
}

impl Defragmenting {
    fn begin() -> Self {
        let state = tempfile::tempdir().unwrap();
        let (server, mut connection) = fragmented(Kind::Redis6);
        let before = settings(&mut connection);
        // A machine busy with other tests is felt as well, and would make it crawl.
        let args = ["--only", "defrag", "--latency-budget", "200ms"];
        let run = Held::begin(state.path(), &server, &mut connection, &args);
        Self { state, server, connection, before, run }
    }

    /// What another terminal says, while it is held.
    fn tell(&self, word: &str) {
        let output = unfrag(self.state.path(), &self.server, &["fix", word]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    /// Until they are what they were.
    fn waits_for_settings(&mut self) {
        measure::wait_until("the settings' return", || {
            Ok(settings(&mut self.connection) == self.before)
        })
        .unwrap();
    }

    fn ends_with(mut self, code: i32) -> String {
        let output = self.run.end();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert_eq!(settings(&mut self.connection), self.before);
        text(&output)
    }
}

#[test]
fn another_terminal_pauses_and_resumes() {
    if !require(Kind::Redis6) {
        return;
    }
    let mut defrag = Defragmenting::begin();
    defrag.tell("--pause");
    defrag.run.release();
    defrag.waits_for_settings();
    defrag.tell("--resume");
    let said = defrag.ends_with(0);
    assert!(said.contains("paused"), "{said}");
}

/// While it waits for a fork it is asked to pause: it would wait on with everything set.
#[test]
fn a_pause_beside_a_fork_puts_the_settings_back_as_well() {
    if !require(Kind::Redis6) {
        return;
    }
    let mut defrag = Defragmenting::begin();
    // The child sleeps after each key.
    set(&mut defrag.connection, "rdb-key-save-delay", "150");
    redis::cmd("BGSAVE").exec(&mut defrag.connection).unwrap();
    // Beside its looks, these are counted as well.
    let mut asked = || {
        let info = measure::info(&mut defrag.connection).unwrap();
        let calls = info["cmdstat_info"].trim_start_matches("calls=").split(',').next().unwrap();
        calls.parse::<u64>().unwrap()
    };
    let (first, mut own) = (asked(), 0);
    defrag.run.release();
    // The first may have been under way before the child was there; by the fourth it has been said.
    measure::wait_until("looks beside the fork", || {
        own += 1;
        Ok(asked() >= first + own + 4)
    })
    .unwrap();
    defrag.tell("--pause");
    defrag.waits_for_settings();
    defrag.tell("--resume");
    set(&mut defrag.connection, "rdb-key-save-delay", "0");
    let said = defrag.ends_with(0);
    assert!(said.contains("a fork child is at work"), "{said}");
}

#[test]
fn another_terminal_aborts() {
    if !require(Kind::Redis6) {
        return;
    }
    let defrag = Defragmenting::begin();
    defrag.tell("--abort");
    defrag.ends_with(7);
}
