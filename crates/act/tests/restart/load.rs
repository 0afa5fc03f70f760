//! [`Load`]: busy clients that count what was answered, and come back as real clients do.

use crate::site::try_connection;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the clients saw.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// Increments that were answered.
    pub(crate) acknowledged: u64,
    /// Answers that counted less than an answer before: writes that were lost.
    pub(crate) lost: u64,
    /// Longest time without an answered write, of any client.
    pub(crate) longest: Duration,
}

/// Twenty clients, each with a counter of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
    answered: Arc<AtomicU64>,
}

/// Where the primary is at the moment: a client asks whoever knows before it connects.
pub(crate) type Where = Arc<Mutex<Box<dyn FnMut(&str) -> Option<u16> + Send>>>;

impl Load {
    pub(crate) const CLIENTS: usize = 20;

    pub(crate) fn start(port: u16, password: Option<&str>) -> Self {
        Self::start_where(&Arc::new(Mutex::new(Box::new(move |_| Some(port)))), password)
    }

    pub(crate) fn start_where(primary: &Where, password: Option<&str>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let threads = (0..Self::CLIENTS).map(|n| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let (primary, password) = (Arc::clone(primary), password.map(str::to_owned));
            std::thread::spawn(move || client(n, &primary, password.as_deref(), &stop, &answered))
        });
        let threads = threads.collect();
        let load = Self { stop, threads, answered };
        load.wait_for(500);
        load
    }

    /// Waits until so many more writes were answered.
    pub(crate) fn wait_for(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + unfrag_testbed::measure::PATIENCE;
        while self.answered.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "clients are not answered any more");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the clients and holds their counts against what `read` finds.
    pub(crate) fn end(self, mut read: impl FnMut(&str) -> u64) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for (n, thread) in self.threads.into_iter().enumerate() {
            let seen = thread.join().unwrap();
            let kept = read(&key(n));
            all.acknowledged += seen.acknowledged;
            all.lost += seen.lost + seen.acknowledged.saturating_sub(kept);
            all.longest = all.longest.max(seen.longest);
        }
        all
    }
}

fn key(client: usize) -> String {
    format!("counter:{client}")
}

fn client(
    number: usize,
    primary: &Where,
    password: Option<&str>,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Seen {
    let mut seen = Seen::default();
    let (mut connection, mut last, mut counted) = (None, Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        let Some(link) = connection.as_mut() else {
            let port = (primary.lock().unwrap())(&key(number));
            connection = port.and_then(|port| try_connection(port, password));
            if connection.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            continue;
        };
        let Ok(count) = redis::cmd("INCR").arg(key(number)).query::<u64>(link) else {
            // Closed, READONLY, MOVED, LOADING: a client asks again where the primary is.
            connection = None;
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        seen.longest = seen.longest.max(last.elapsed());
        last = Instant::now();
        seen.acknowledged += 1;
        answered.fetch_add(1, Ordering::Relaxed);
        seen.lost += (counted + 1).saturating_sub(count);
        counted = count;
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}
