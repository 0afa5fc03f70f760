//! Sharing a mapped file among cores: pieces that start before an item and end after one. Read [`Segment`] first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of a segment: many times what handing it over costs, few enough to share out evenly.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;
/// Cores beyond these wait for the walk or for memory, and each holds up to 20 MiB.
const THREADS_MAX: usize = 3;

/// Cores to use on `bytes`, where `wanted` were asked for, or 0 for as many as help.
pub(crate) fn threads(wanted: usize, bytes: usize) -> usize {
    if bytes as u64 <= SEGMENT_BYTES {
        return 1;
    }
    if wanted > 0 {
        return wanted;
    }
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// A piece of the file that starts before an item and ends after one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) db: Option<u64>,
    /// Whether any value in it needs decoding; if not, only the checksum is summed.
    pub(crate) has_depth: bool,
}

/// Work waiting, shared by all cores. The outline takes from it too when it is far ahead, so that it neither idles
/// nor runs so far ahead that its pages have left the cache.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Segment>,
    is_closed: bool,
}

/// Segments that may wait: a mebibyte each, they stay in the page cache.
const WAITING_MAX: usize = 32;

impl Queue {
    /// Adds a segment; the oldest comes back where too many wait, for the caller to check.
    pub(crate) fn add(&self, segment: Segment) -> Option<Segment> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back(segment);
        self.arrived.notify_one();
        if state.waiting.len() > WAITING_MAX { state.waiting.pop_front() } else { None }
    }

    /// No more will be added.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.arrived.notify_all();
    }

    /// The next segment; waits for one until the queue is closed.
    pub(crate) fn next(&self) -> Option<Segment> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(segment) = state.waiting.pop_front() {
                return Some(segment);
            }
            if state.is_closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
