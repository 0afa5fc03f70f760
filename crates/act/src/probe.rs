//! [`Probe`]: our own measure of what other clients feel, on a connection and a thread of its own.
//!
//! A PING is due every two milliseconds, whatever became of the last one: a stall counts for every PING that fell due
//! in it, as it would for a busy client. Server-side events are no substitute: they miss time spent in the queue.

use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions, connect};

/// Time between two PINGs: 500 a second are a percentile at 99.9 every two seconds, and 1 % of a core.
pub(crate) const INTERVAL: Duration = Duration::from_millis(2);

/// Latency figures in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Worst.
    pub max: u64,
}

/// Buckets an octave: values are kept to within 6 %.
const PER_OCTAVE: usize = 16;
/// From one microsecond to 2^32.
const BUCKETS: usize = 32 * PER_OCTAVE;

/// Counts by size, in a fixed 4 KiB.
#[derive(Debug, Clone)]
struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    fn add(&mut self, us: u64) {
        let us = us.max(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 512")]
        let bucket = ((us as f64).log2() * PER_OCTAVE as f64) as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(us);
    }

    fn at(&self, share: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "below 2^32"
                )]
                let upper = ((bucket + 1) as f64 / PER_OCTAVE as f64).exp2() as u64;
                return upper.min(self.max);
            }
        }
        self.max
    }

    fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.at(0.5), p99: self.at(0.99), p999: self.at(0.999), max: self.max }
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Since [`Probe::start_period`].
    period: Histogram,
    /// Since [`Probe::window`] was last read.
    window: Histogram,
}

/// A running probe; dropping it ends its thread.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Mutex<Shared>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Starts measuring. A server that cannot be reached gives no samples; the run has its own connection to notice.
    pub fn start(address: &Address, options: &ConnectOptions) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let (address, options) = (address.clone(), options.clone());
        let (their_shared, their_end) = (Arc::clone(&shared), Arc::clone(&ended));
        let thread =
            std::thread::spawn(move || measure(&address, &options, &their_shared, &their_end));
        Self { shared, ended, thread: Some(thread) }
    }

    /// Begins a new period: a baseline, a step.
    pub fn start_period(&self) {
        if let Ok(mut shared) = self.shared.lock() {
            *shared = Shared::default();
        }
    }

    /// The period so far.
    pub fn period(&self) -> Percentiles {
        self.shared.lock().map(|s| s.period.percentiles()).unwrap_or_default()
    }

    /// Since the last call.
    pub fn window(&self) -> Percentiles {
        self.shared
            .lock()
            .map(|mut s| std::mem::take(&mut s.window).percentiles())
            .unwrap_or_default()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A probe that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn measure(address: &Address, options: &ConnectOptions, shared: &Mutex<Shared>, end: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    while !end.load(Ordering::Relaxed) {
        runtime.block_on(ping_until_lost(address, options, shared, end));
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn ping_until_lost(
    address: &Address,
    options: &ConnectOptions,
    shared: &Mutex<Shared>,
    end: &AtomicBool,
) {
    let Ok(mut connection) = connect(address, options).await else { return };
    let mut due = Instant::now() + INTERVAL;
    while !end.load(Ordering::Relaxed) {
        // A std sleep: tokio's timer only ticks once a millisecond.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let woke = Instant::now();
        let result = connection.call(&["PING"]).await;
        let done = Instant::now();
        if result.is_err_and(|e| !e.is_reply()) {
            return;
        }
        let Ok(mut shared) = shared.lock() else { return };
        // We may have been woken late; that is our machine's doing, not the server's.
        let took = done.duration_since(woke);
        for missed in 0.. {
            let behind = INTERVAL * missed;
            if missed > 0 && behind >= took {
                break;
            }
            let us = u64::try_from(took.saturating_sub(behind).as_micros()).unwrap_or(u64::MAX);
            shared.period.add(us);
            shared.window.add(us);
        }
        due = (due + INTERVAL).max(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(us));
        let p = histogram.percentiles();
        assert!(p.p50.abs_diff(500) < 40 && p.p99.abs_diff(990) < 60, "{p:?}");
        assert_eq!(p.max, 1000);
    }
}
