//! What a dry run and a run answer: [`Preview`] and [`Outcome`]; the JSON form `unfrag.reshape/1` is of both.

use super::guard::Hindrance;
use super::spec::Spec;
use crate::Status;
use crate::outcome::Skipped;
use serde::Serialize;

/// How a hash's size sits with the server's thresholds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Fields {
    /// Hashes.
    pub hashes: u64,
    /// Fields of the average one.
    pub mean: f64,
    /// Of the largest one.
    pub most: u64,
    /// `hash-max-listpack-entries`.
    pub limit: u64,
    /// `hash-max-listpack-value`.
    pub value_limit_bytes: u64,
    /// Hashes that would be hash tables instead of listpacks, by the sample.
    pub tables: u64,
}

/// A layout that would fit this server's thresholds better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// `--into`.
    pub into: String,
    /// Fields a hash would have on average.
    pub fields: u64,
    /// Bytes it would save, sized as the layout asked for was.
    pub saves_bytes: u64,
    /// Why.
    pub why: String,
}

/// The dry run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The server.
    pub target: String,
    /// Its process.
    #[serde(skip)]
    pub run_id: String,
    /// `Redis 8.2.3`.
    pub server: String,
    /// What would be done.
    pub spec: Spec,
    /// Keys on the server.
    pub keys_before: u64,
    /// Keys that would be there.
    pub keys_after: u64,
    /// Keys, fields or values that it concerns.
    pub matching: u64,
    /// Of these would change, the others be left alone.
    pub touched: u64,
    /// Of those that match so many were read for the figures.
    pub sampled: u64,
    /// Bytes they take now.
    pub bytes_now: u64,
    /// Bytes they would take.
    pub bytes_after: u64,
    /// Bytes of `used_memory` that would be saved; negative where it would grow.
    pub predicted_bytes: i64,
    /// Not known before it is done.
    pub measured_bytes: Option<i64>,
    /// Of hashes.
    pub fields: Option<Fields>,
    /// A better layout.
    pub suggestion: Option<Suggestion>,
    /// What would be left alone, of the sample.
    pub skipped: Vec<Skipped>,
    /// What speaks against it.
    pub hindrances: Vec<Hindrance>,
    /// What to know.
    pub notes: Vec<String>,
    /// Parts in which a run takes the keys: halvings of all.
    #[serde(skip)]
    pub(crate) halvings: u32,
}

impl Preview {
    /// What forbids it, with or without `--allow`.
    pub fn blocking(&self, allow: bool) -> impl Iterator<Item = &Hindrance> {
        self.hindrances.iter().filter(move |h| !(allow && h.overridable))
    }
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The server.
    pub target: String,
    /// What was done.
    pub spec: Spec,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// Keys before.
    pub keys_before: u64,
    /// Keys after.
    pub keys_after: u64,
    /// Keys merged, fields split off, or values replaced.
    pub done: u64,
    /// Hashes made or added to.
    pub hashes: u64,
    /// Bytes of `used_memory` that were to be saved.
    pub predicted_bytes: i64,
    /// Bytes of `used_memory` that were saved, clients' and replicas' buffers and scripts not counted.
    pub measured_bytes: i64,
    /// Changes that others made to the data meanwhile, about, where the server tells; what they took or gave back is in
    /// `measured_bytes`.
    pub others_changes: Option<u64>,
    /// How long it took.
    pub duration_ms: u64,
    /// What was left alone.
    pub skipped: Vec<Skipped>,
}
