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
        let mut store = Store::open(&path)?;
        if let Err(error) = store.absorb_journal() {
            // A full disk: what is there can be read, and writing is tried again.
            tracing::error!(%error, "the last minutes of the history cannot be packed now");
        }
        let (orders, inbox) = channel();
        let health = Arc::new(Health::default());
        let mut writer = Writer {
            store,
            retention,
            health: Arc::clone(&health),
            waiting: VecDeque::new(),
            retry_at: None,
            swept: None,
        };
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

struct Writer {
    store: Store,
    retention: Retention,
    health: Arc<Health>,
    waiting: VecDeque<Job>,
    retry_at: Option<Instant>,
    swept: Option<Instant>,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut beat = Instant::now() + BEAT;
        loop {
            match inbox.recv_timeout(beat.saturating_duration_since(Instant::now())) {
                Ok(Order::Write(job)) => self.keep(job),
                Ok(Order::Key(name, answer)) => {
                    let _ = answer.send(self.store.key(&name));
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

    fn keep(&mut self, job: Job) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            self.health.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.push_back(job);
    }

    /// Writes what waits, in one transaction: all of it or nothing.
    fn write(&mut self) {
        if self.waiting.is_empty() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        match self.store.write(self.waiting.make_contiguous()) {
            Ok(()) => {
                self.waiting.clear();
                self.waiting.shrink_to(4096);
                if self.health.trouble().is_some() {
                    tracing::info!("the history is written again");
                    self.health.set_trouble(String::new());
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let error = format!("{error}: {}", cause.unwrap_or_default());
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
        match self.store.sweep(&self.retention, crate::clock::now_s()) {
            Ok(bytes) => self.health.bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "old history cannot be thrown out now"),
        }
    }
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
