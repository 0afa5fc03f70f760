//! The daemon and `top` as people run them: real servers, real signals, real HTTP; and beside them the programs that others
//! wrote: a real Prometheus, a real browser, a real terminal. Skipped, and said so, where those are not installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "a test that misses a field has failed")]
#![expect(clippy::panic, reason = "a test that waited in vain says for what")]
#![expect(clippy::print_stderr, reason = "a skip is said")]

mod access;
mod alerts;
mod history;
mod page;
mod prometheus;
mod remedies;
mod remote_write;
mod running;
mod service;
mod targets;
mod top;
