//! [`Queue`]: requests that wait for their turn, in order, in bounded memory. Pure.

use super::wire::Batch;
use std::collections::VecDeque;

/// Bytes that wait at most. A hundred servers (the stand-in of `make bench-watch`) make 9,000 samples in 93 kB a round: at the
/// usual interval a thousand fill it in nine minutes, ten in fifteen hours.
const MOST_BYTES: usize = 32 << 20;

/// The oldest is first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Batch>,
    bytes: usize,
}

impl Queue {
    /// Adds requests; returns how many samples had to go for them. The first stays: it may be on its way.
    pub(super) fn add(&mut self, batches: Vec<Batch>) -> u64 {
        self.bytes += batches.iter().map(|b| b.body.len()).sum::<usize>();
        self.waiting.extend(batches);
        let mut lost = 0;
        while self.bytes > MOST_BYTES
            && let Some(gone) = self.waiting.remove(1)
        {
            self.bytes -= gone.body.len();
            lost += gone.samples;
        }
        lost
    }

    pub(super) fn first(&self) -> Option<Batch> {
        self.waiting.front().cloned()
    }

    pub(super) fn remove_first(&mut self) {
        if let Some(gone) = self.waiting.pop_front() {
            self.bytes -= gone.body.len();
        }
        if self.waiting.is_empty() {
            // It was large once.
            self.waiting.shrink_to(64);
        }
    }

    /// Samples that wait.
    pub(super) fn samples(&self) -> u64 {
        self.waiting.iter().map(|b| b.samples).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(samples: u64, bytes: usize) -> Batch {
        Batch { body: vec![0; bytes].into(), samples }
    }

    #[test]
    fn when_it_is_full_the_oldest_go_but_for_the_one_on_its_way() {
        let mut queue = Queue::default();
        for n in 1..=4 {
            assert_eq!(queue.add(vec![batch(n, MOST_BYTES / 4)]), 0);
        }
        assert_eq!(queue.samples(), 10);
        assert_eq!(queue.add(vec![batch(5, MOST_BYTES / 2)]), 2 + 3);
        let mut left = vec![];
        while let Some(first) = queue.first() {
            left.push(first.samples);
            queue.remove_first();
        }
        assert_eq!(left, [1, 4, 5]);
        assert_eq!((queue.bytes, queue.samples()), (0, 0));
    }
}
