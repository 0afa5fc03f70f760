//! [`Watchdog`]: an end to what a test waits for, where the wait itself has none.
//!
//! A timeout on a socket would be shorter, but Linux answers such a read with EINTR whenever the process was stopped
//! and continued, or its machine was (signal(7)): a test would fail for having been put to sleep.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longer than any test or benchmark needs a server, shorter than anyone waits for a hung one.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Does one thing when its time is up; nothing once it was dropped.
#[derive(Debug)]
pub struct Watchdog {
    /// Its end is what the thread waits for.
    _alive: Sender<()>,
}

impl Watchdog {
    /// Calls `bark` after this long.
    pub fn after(limit: Duration, bark: impl FnOnce() + Send + 'static) -> Self {
        let (alive, dropped) = channel();
        std::thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                bark();
            }
        });
        Self { _alive: alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_barks_only_when_its_time_is_up() {
        let (tell, told) = channel();
        let kept = tell.clone();
        let _late = Watchdog::after(Duration::from_millis(20), move || kept.send("late").unwrap());
        drop(Watchdog::after(Duration::from_millis(500), move || tell.send("dropped").unwrap()));
        assert_eq!(told.recv().unwrap(), "late");
        // Both senders are gone without a second word.
        assert!(told.recv().is_err());
    }
}
