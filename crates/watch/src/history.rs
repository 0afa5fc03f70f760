//! [`History`]: what was seen, kept in SQLite by one thread of its own.
//!
//! Points go into a journal table at once (in the write-ahead log within two seconds, so that `kill -9` costs no more) and,
//! every few minutes, packed, into chunks of 360 points at three levels: as they came, by the minute, by the hour. A full
//! disk stops the writing, never the watching: jobs wait in memory up to a bound, the oldest go first, and writing is
//! tried again.
//!
//! Read [`store::Store`] for the tables, [`query`] for the reading side.

pub mod prometheus;
pub mod query;
pub mod store;

use crate::event::Event;
use crate::point::Point;
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::Store;
use unfrag_model::malloc_stats::Bin;

/// How long what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Seconds that points are kept as they came.
    pub raw_s: i64,
    /// Seconds that minutes are kept.
    pub minute_s: i64,
    /// Seconds that hours and events are kept.
    pub hour_s: i64,
    /// Bytes of the file; the oldest and finest go first.
    pub max_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY_S: i64 = 86400;
        Self { raw_s: 2 * DAY_S, minute_s: 30 * DAY_S, hour_s: 800 * DAY_S, max_bytes: 4 << 30 }
    }
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder cannot be made.
    #[error("cannot make the folder `{}` for the history", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be opened, read or written.
    #[error("the history `{}` cannot be {what}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// `opened`, `read`, `written`.
        what: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another watch has it.
    #[error("another `unfrag watch` keeps its history in `{}`; `--data` takes another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It was written by a later release.
    #[error("the history `{}` was written by a later release of unfrag (form {found}, known {known})", path.display())]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Its form.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// One thing to write down.
#[derive(Debug, Clone)]
pub enum Job {
    /// A point of a server.
    Point(i64, Box<Point>),
    /// jemalloc's bins of a server, at a time.
    Bins(i64, i64, Arc<[Bin]>),
    /// Something happened to a server.
    Event(i64, Event),
    /// A remedy's outcome, as JSON (`unfrag.fix/1`), with its time and who asked for it.
    Outcome(i64, i64, String, String),
    /// A decision of the policy: server, time, remedy, whether to act, reason.
    Decision(i64, i64, String, bool, String),
    /// These points of a server go into packs; they are in the journal already.
    Pack(i64, Vec<Point>),
}

enum Order {
    Write(Job),
    /// The key of a server's name.
    Key(String, Sender<Result<(i64, bool), HistoryError>>),
    /// Writes everything and says so.
    Flush(Sender<()>),
}

/// Figures about the history itself.
#[derive(Debug, Default)]
pub struct Health {
    /// Bytes of the file.
    pub bytes: AtomicU64,
    /// Writes that failed.
    pub errors: AtomicU64,
    /// Jobs that were given up because too many waited.
    pub dropped: AtomicU64,
    /// Why the last write failed; empty when it did not.
    trouble: Mutex<String>,
}

impl Health {
    /// Why nothing is written now, if so.
    pub fn trouble(&self) -> Option<String> {
        let text = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!text.is_empty()).then_some(text)
    }

    fn set_trouble(&self, text: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// The writing side. Clones share it; the last one to go ends the thread, after it has written everything.
#[derive(Debug, Clone)]
pub struct History {
    orders: Sender<Order>,
    path: PathBuf,
    health: Arc<Health>,
    _thread: Arc<Thread>,
}

#[derive(Debug)]
struct Thread(Mutex<Option<JoinHandle<()>>>);

/// The database's file in the folder of data.
pub const FILE: &str = "history.sqlite";
/// Beside it, locked while a watch runs.
const LOCK: &str = "watch.lock";
/// Jobs that wait while nothing can be written: an hour of a hundred servers, 100 MB at most.
const MAX_WAITING: usize = 400_000;
/// Between two transactions.
const BEAT: Duration = Duration::from_secs(2);
/// Between two tries while nothing can be written.
const RETRY: Duration = Duration::from_secs(5);
/// Between two times that old things are thrown out.
const SWEEP: Duration = Duration::from_secs(300);

impl History {
    /// Opens the history in a folder, or begins one.
    pub fn open(folder: &Path, retention: Retention) -> Result<Self, HistoryError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| HistoryError::Folder { path: folder.to_owned(), source })?;
        let path = folder.join(FILE);
        let lock = only_one(folder)?;
        let store = Store::open(&path)?;
        let trust = Trust::since(store.newest_s()?, Instant::now());
        let (orders, inbox) = channel();
        let health = Arc::new(Health::default());
        let mut writer = Writer {
            store,
            retention,
            health: Arc::clone(&health),
            waiting: VecDeque::new(),
            unnamed: vec![],
            has_absorbed: false,
            trust,
            retry_at: None,
            swept: None,
            _lock: lock,
        };
        writer.absorb();
        let spawned = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(|source| HistoryError::Folder { path: folder.to_owned(), source })?;
        let thread = Arc::new(Thread(Mutex::new(Some(spawned))));
        Ok(Self { orders, path, health, _thread: thread })
    }

    /// Writes something down, soon.
    pub fn write(&self, job: Job) {
        // The thread lives as long as we do; if it died, there is nothing to write with.
        let _ = self.orders.send(Order::Write(job));
    }

    /// The key of a server's name, and whether it is a new one. Waits for the database.
    pub fn key(&self, name: &str) -> Result<(i64, bool), HistoryError> {
        let (answer, inbox) = channel();
        let gone = || HistoryError::Database {
            path: self.path.clone(),
            what: "written",
            source: rusqlite::Error::InvalidQuery,
        };
        self.orders.send(Order::Key(name.to_owned(), answer)).map_err(|_| gone())?;
        inbox.recv().map_err(|_| gone())?
    }

    /// Waits until everything said so far is in the database, or cannot be.
    pub fn flush(&self) {
        let (answer, inbox) = channel();
        if self.orders.send(Order::Flush(answer)).is_ok() {
            let _ = inbox.recv();
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it fares.
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// One watch at a time in a folder: two would take each other's last minutes for left-overs, and tell everything twice.
fn only_one(folder: &Path) -> Result<Option<File>, HistoryError> {
    // Where not even an empty file can be made (a full disk) watching is worth more than the lock.
    let Ok(file) = File::options().create(true).append(true).open(folder.join(LOCK)) else {
        return Ok(None);
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(HistoryError::InUse { path: folder.to_owned() }),
        // A file system without locks is no reason not to begin.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// What time it is for throwing out: a clock that jumps ahead must not cost the history.
#[derive(Debug)]
struct Trust {
    /// The time that was believed last, and when that was; `None` before anything was ever written.
    believed: Option<(i64, Instant)>,
    /// Since when the clock has been ahead of it.
    ahead_since: Option<Instant>,
}

/// A clock may be ahead by this much, in seconds: leap seconds, NTP, a suspended machine.
const AHEAD_S: i64 = 3600;
/// One that stays ahead for this long is right: the watch was off for a while, or the clock was wrong before.
const SETTLED: Duration = Duration::from_secs(86400);

impl Trust {
    fn since(newest_s: Option<i64>, at: Instant) -> Self {
        Self { believed: newest_s.map(|s| (s, at)), ahead_since: None }
    }

    /// The time to go by: the clock's, or what it should be by the monotonic one while it is far ahead of that.
    fn time_s(&mut self, clock_s: i64, at: Instant) -> i64 {
        let passed = |since: Instant| at.saturating_duration_since(since);
        if let Some((believed_s, then)) = self.believed {
            let want_s = believed_s.saturating_add_unsigned(passed(then).as_secs());
            let ahead_since = *self.ahead_since.get_or_insert(at);
            if clock_s > want_s.saturating_add(AHEAD_S) && passed(ahead_since) < SETTLED {
                return want_s;
            }
        }
        self.believed = Some((clock_s, at));
        self.ahead_since = None;
        clock_s
    }
}

struct Writer {
    store: Store,
    retention: Retention,
    health: Arc<Health>,
    waiting: VecDeque<Job>,
    /// Names that were given keys while nothing could be written.
    unnamed: Vec<(i64, String)>,
    /// What the last watch left in the journal is packed.
    has_absorbed: bool,
    trust: Trust,
    retry_at: Option<Instant>,
    swept: Option<Instant>,
    _lock: Option<File>,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut beat = Instant::now() + BEAT;
        loop {
            match inbox.recv_timeout(beat.saturating_duration_since(Instant::now())) {
                Ok(Order::Write(job)) => self.keep(job),
                Ok(Order::Key(name, answer)) => {
                    let _ = answer.send(self.key(name));
                }
                Ok(Order::Flush(answer)) => {
                    self.retry_at = None;
                    self.write();
                    let _ = answer.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.write();
                    self.sweep();
                    beat = Instant::now() + BEAT;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.retry_at = None;
                    self.write();
                    return self.store.close();
                }
            }
        }
    }

    /// A name's key. While nothing can be written a new name is given one that is written down later.
    fn key(&mut self, name: String) -> Result<(i64, bool), HistoryError> {
        if let Some((id, _)) = self.unnamed.iter().find(|(_, n)| *n == name) {
            return Ok((*id, false));
        }
        // Keys that are promised must not be given away by the database.
        if self.unnamed.is_empty()
            && let Ok(found) = self.store.key(&name)
        {
            return Ok(found);
        }
        if let Some(id) = self.store.known(&name)? {
            return Ok((id, false));
        }
        let id = self.store.free_key(&self.unnamed)?;
        self.unnamed.push((id, name));
        Ok((id, true))
    }

    /// Packs what the last watch left; on a full disk that is tried again later.
    fn absorb(&mut self) {
        match self.store.absorb_journal() {
            Ok(()) => self.has_absorbed = true,
            Err(error) => {
                let error = causes(&error);
                tracing::error!(error, "the last minutes of the history cannot be packed now");
                self.health.set_trouble(error);
            }
        }
    }

    fn keep(&mut self, job: Job) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            self.health.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.push_back(job);
    }

    /// Writes what waits, in one transaction: all of it or nothing.
    fn write(&mut self) {
        let nothing = self.waiting.is_empty() && self.unnamed.is_empty();
        if nothing || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        match self.store.write(&self.unnamed, self.waiting.make_contiguous()) {
            Ok(()) => {
                self.unnamed.clear();
                self.waiting.clear();
                self.waiting.shrink_to(4096);
                if !self.has_absorbed {
                    self.absorb();
                }
                if self.has_absorbed && self.health.trouble().is_some() {
                    tracing::info!("the history is written again");
                    self.health.set_trouble(String::new());
                }
            }
            Err(error) => {
                let error = causes(&error);
                if self.health.trouble().is_none() {
                    tracing::error!(error, "watching goes on without history");
                }
                self.health.errors.fetch_add(1, Ordering::Relaxed);
                self.health.set_trouble(error);
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    fn sweep(&mut self) {
        if self.swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return;
        }
        self.swept = Some(Instant::now());
        let now_s = self.trust.time_s(crate::clock::now_s(), Instant::now());
        match self.store.sweep(&self.retention, now_s) {
            Ok(bytes) => self.health.bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "old history cannot be thrown out now"),
        }
    }
}

fn causes(error: &HistoryError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

impl Drop for Thread {
    fn drop(&mut self) {
        let thread = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The channel is closed by the field declared before us: the thread writes what waits and ends.
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use query::Reader;

    const DAY_S: i64 = 86400;

    #[test]
    fn a_clock_that_jumps_ahead_throws_nothing_out_until_it_has_stood_for_a_day() {
        let begun = Instant::now();
        let mut trust = Trust::since(Some(1000), begun);
        let after = |s: u64| begun + Duration::from_secs(s);
        assert_eq!(trust.time_s(1300, after(300)), 1300);
        assert_eq!(trust.time_s(900 * DAY_S, after(600)), 1600, "far ahead: not believed");
        assert_eq!(trust.time_s(1900, after(900)), 1900, "and back");
        let ahead_s = 900 * DAY_S;
        assert_eq!(trust.time_s(ahead_s, after(1200)), 2200);
        assert_eq!(trust.time_s(ahead_s + DAY_S - 1, after(1200 + 86399)), 2200 + 86399);
        assert_eq!(trust.time_s(ahead_s + DAY_S, after(1200 + 86400)), ahead_s + DAY_S);
        // A clock that is set back keeps more than it must: that is no loss.
        assert_eq!(trust.time_s(500, after(90_000)), 500);
        assert_eq!(Trust::since(None, begun).time_s(77, begun), 77);
    }

    #[test]
    fn while_nothing_can_be_written_it_opens_and_gives_keys_that_hold() {
        let folder = tempfile::tempdir().unwrap();
        let opened = || History::open(folder.path(), Retention::default());
        let old = opened().unwrap().key("old").unwrap().0;
        // As a full disk does it, on demand: another connection holds the right to write.
        let other = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let history = opened().unwrap();
        assert_eq!(history.key("old").unwrap(), (old, false));
        let (new, is_new) = history.key("new").unwrap();
        assert!(is_new && new != old);
        assert_eq!(history.key("new").unwrap(), (new, false));
        // Now: an old one would be swept out.
        let (at_s, text) = (crate::clock::now_s(), "x".to_owned());
        history.write(Job::Event(new, Event { at_s, kind: crate::event::Kind::Begun, text }));
        history.flush();
        assert!(history.health().trouble().is_some());
        other.execute_batch("COMMIT").unwrap();
        history.flush();
        assert_eq!(history.health().trouble(), None);
        assert_eq!(Reader::open(history.path()).unwrap().events(new, 0, 9).unwrap().len(), 1);
        drop(history);
        assert_eq!(
            opened().unwrap().key("new").unwrap(),
            (new, false),
            "it is the same name later"
        );
    }

    #[test]
    fn a_folder_has_one_watch_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let opened = || History::open(folder.path(), Retention::default());
        let first = opened().unwrap();
        assert!(matches!(opened(), Err(HistoryError::InUse { .. })));
        drop(first);
        opened().unwrap();
    }
}
