//! Which keys hold the memory: a snapshot becomes patterns, biggest keys, and advice with bytes.
//!
//! Bytes go in, a [`Report`] comes out; nothing here knows sockets. [`Analysis`] reads a file on every core or a
//! stream as it arrives; [`tally`] is the hot loop, [`tree`] learns patterns, [`advice`] holds one kind a file.
//!
//! Memory is bounded whatever the keys: patterns, samples, lists and remembered values all have limits, and where a
//! limit changes what is said, the report says so.

pub mod advice;
pub mod diff;
pub mod duplicate;
pub mod histogram;
pub mod owner;
pub mod page;
pub mod pattern;
pub mod report;
pub mod rows;
pub mod sample;
pub mod scanned;
pub mod shape;
pub mod stats;
pub mod tally;
pub mod time;
pub mod top;
pub mod tree;
pub mod typed;

pub use advice::Advice;
pub use report::{Analysis, Report};
pub use rows::{Format, KeyHash, KeyTable, RowError};
pub use scanned::{Scanned, ScannedKey};
pub use tally::Options;
