//! Plain data of unfrag, and the text forms in which servers print it.
//!
//! Nothing here opens a file or a socket or reads a clock: text goes in, values come out. Start with
//! [`Sample`] (everything read from one server at one time) and [`Report`] (what follows from it).

pub mod bytes;
pub mod config;
pub mod finding;
pub mod host;
pub mod info;
pub mod log;
pub mod malloc_stats;
pub mod memory_stats;
pub mod paste;
pub mod report;
pub mod sample;
pub mod size_class;
pub mod text;
pub mod version;

pub use bytes::{human, signed_human};
pub use config::Config;
pub use finding::{Cause, Evidence, Finding, Remedy, RemedyKind, Severity};
pub use host::Host;
pub use info::Info;
pub use malloc_stats::MallocStats;
pub use memory_stats::MemoryStats;
pub use report::{Estimate, Layers, Reclaim, Report, SafeLimits, Verdict};
pub use sample::Sample;
pub use version::{Engine, Flavor, Version};
