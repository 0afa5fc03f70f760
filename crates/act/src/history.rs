//! [`History`]: every outcome, kept, so that predictions are scored against what was measured. Read [`Record`] first.
//!
//! JSON lines in `outcomes.jsonl` beside the journals. It is not the journal: losing it loses no safety.

use crate::{Outcome, RemedyName, Status};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// What is kept of one run on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since 1970 when it ended.
    pub at_unix_ms: u64,
    /// The server, without secrets.
    pub target: String,
    /// `Redis 8.2.3`.
    pub server: String,
    /// How it ended.
    pub status: Status,
    /// RSS before, in bytes.
    pub rss_before_bytes: Option<u64>,
    /// RSS after, in bytes.
    pub rss_after_bytes: Option<u64>,
    /// Bytes it was to give back.
    pub predicted_bytes: u64,
    /// Bytes of RSS given back; negative when RSS grew.
    pub reclaimed_bytes: i64,
    /// The remedies that ran.
    pub remedies: Vec<RemedyName>,
}

impl Record {
    /// Of an outcome that came about at this moment.
    pub fn of(outcome: &Outcome, server: &str, at_unix_ms: u64) -> Self {
        Self {
            at_unix_ms,
            target: outcome.target.clone(),
            server: server.to_owned(),
            // What a refused step was to give says nothing of the prediction either.
            status: if outcome.has_refused() { Status::Refused } else { outcome.status },
            rss_before_bytes: outcome.before.rss,
            rss_after_bytes: outcome.after.rss,
            predicted_bytes: outcome.predicted_bytes,
            reclaimed_bytes: outcome.reclaimed_bytes,
            remedies: outcome.steps.iter().map(|s| s.remedy).collect(),
        }
    }

    /// How far the prediction was off, as a share of what was measured; `None` for a run that did not come to its own
    /// end, which says nothing about the prediction.
    pub fn error(&self) -> Option<f64> {
        let is_whole = self.status == Status::Done && self.reclaimed_bytes > 0;
        let measured = self.reclaimed_bytes as f64;
        is_whole.then(|| (self.predicted_bytes as f64 - measured).abs() / measured)
    }
}

/// How good the predictions were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// Runs that came to their own end.
    pub runs: usize,
    /// Of these, predicted within 10 %.
    pub within_tenth: usize,
}

/// Scores records. Pure.
pub fn score(records: &[Record]) -> Score {
    let errors: Vec<f64> = records.iter().filter_map(Record::error).collect();
    Score { runs: errors.len(), within_tenth: errors.iter().filter(|e| **e <= 0.1).count() }
}

/// The file.
#[derive(Debug, Clone)]
pub struct History {
    path: PathBuf,
}

/// Half a megabyte: some 2,000 runs. Beyond that the older half is dropped.
const MOST_BYTES: u64 = 512 << 10;

impl History {
    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { path: folder.into().join("outcomes.jsonl") }
    }

    /// The user's, where the journals are.
    pub fn of_user() -> Self {
        Self::at(crate::journal::folder_of_user())
    }

    /// All that is kept, oldest first. A line that was cut off is left out.
    pub fn read(&self) -> io::Result<Vec<Record>> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(e) => Err(e),
        }
    }

    /// Keeps one more. One write, so that two at once do not mix.
    pub fn append(&self, record: &Record) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        self.shorten()?;
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&line)
    }

    fn shorten(&self) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|m| m.len() > MOST_BYTES) {
            let text = std::fs::read_to_string(&self.path)?;
            let lines: Vec<&str> = text.lines().collect();
            let kept = lines.iter().skip(lines.len() / 2).map(|l| format!("{l}\n"));
            let shorter = self.path.with_extension("new");
            std::fs::write(&shorter, kept.collect::<String>())?;
            std::fs::rename(&shorter, &self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: Status, predicted_bytes: u64, reclaimed_bytes: i64) -> Record {
        Record {
            at_unix_ms: 1,
            target: "here".to_owned(),
            server: "Redis 8.2.3".to_owned(),
            status,
            rss_before_bytes: Some(300),
            rss_after_bytes: Some(200),
            predicted_bytes,
            reclaimed_bytes,
            remedies: vec![RemedyName::Purge],
        }
    }

    #[test]
    fn only_runs_that_came_to_their_end_are_scored() {
        let records = [
            record(Status::Done, 100, 95),
            record(Status::Done, 100, 50),
            record(Status::Stopped, 100, 1),
            record(Status::Done, 100, -5),
        ];
        assert_eq!(score(&records), Score { runs: 2, within_tenth: 1 });
    }

    #[test]
    fn what_is_kept_is_read_again_and_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::at(folder.path());
        assert_eq!(history.read().unwrap(), []);
        let one = record(Status::Done, 100, 95);
        history.append(&one).unwrap();
        OpenOptions::new()
            .append(true)
            .open(folder.path().join("outcomes.jsonl"))
            .and_then(|mut f| f.write_all(b"{\"at_unix"))
            .unwrap();
        assert_eq!(history.read().unwrap(), std::slice::from_ref(&one));
        std::fs::write(
            folder.path().join("outcomes.jsonl"),
            (serde_json::to_string(&one).unwrap() + "\n").repeat(4000),
        )
        .unwrap();
        history.append(&one).unwrap();
        assert_eq!(history.read().unwrap().len(), 2001);
    }
}
