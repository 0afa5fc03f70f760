//! [`Stop`]: the wish to end a run, or to hold it, from a signal or from another terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What another terminal asked for, in a small file beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Hold still until resumed; settings that cost the server something are put back meanwhile.
    Pause,
    /// Go on.
    Resume,
    /// Stop, put everything back.
    Abort,
}

impl Order {
    const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
        }
    }
}

/// Shared by whoever may stop a run and the run itself. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    file: Option<PathBuf>,
}

impl Stop {
    /// With a file that other processes can write orders into.
    #[must_use]
    pub fn with_file(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    /// Ends the run at its next safe point.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// True once the run should end.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.ordered(Order::Abort)
    }

    /// True while the run should hold still.
    pub fn is_paused(&self) -> bool {
        !self.is_set() && self.ordered(Order::Pause)
    }

    fn ordered(&self, order: Order) -> bool {
        self.file
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
            .is_some_and(|text| text.trim() == order.word())
    }
}

/// Writes an order for the run whose journal this is.
pub fn give(journal: &Path, order: Order) -> std::io::Result<()> {
    std::fs::write(file_of(journal), order.word())
}

/// Where orders for a journal's run are looked for.
pub fn file_of(journal: &Path) -> PathBuf {
    journal.with_extension("order")
}
