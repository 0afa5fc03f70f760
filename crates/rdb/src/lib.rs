//! RDB snapshots of Redis and Valkey: read, verify, size.
//!
//! Bytes go in, reports come out; nothing here knows sockets or a clock. Three doors, widest first:
//!
//! - [`verify_file`] and [`verify_reader`]: everything wrong with a snapshot, as a [`VerifyReport`]; [`Feed`] for
//!   bytes that arrive by themselves.
//! - [`reader::Reader`]: pull items (keys, metadata, slot records) out of a mapped file or any `Read`.
//! - [`value::walk`] with a [`value::Visitor`]: what is inside one value.
//!
//! No input makes this crate panic or reserve memory without bound: lengths are held against what can
//! follow before anything is reserved.

pub mod container;
pub mod crc;
pub mod format;
#[doc(hidden)]
pub mod fuzz;
pub mod input;
pub mod length;
pub mod lzf;
mod parallel;
pub mod problem;
pub mod reader;
pub mod size;
pub mod slot;
pub mod text;
pub mod value;
pub mod verify;

pub use problem::{Flaw, FlawKind, Problem};
pub use size::{Estimator, Observer, Tally, fold_file, fold_reader};
pub use size::{SizeFor, SizeReport, size_bytes, size_each, size_file, size_fold, size_reader};
pub use verify::{
    Checksum, Feed, VerifyOptions, VerifyReport, verify_bytes, verify_file, verify_payload,
    verify_reader,
};
