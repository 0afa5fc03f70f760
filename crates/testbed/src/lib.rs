//! Real servers on loopback, started, fragmented, and stopped again: for tests, benchmarks and `unfrag lab`.
//!
//! Start with [`Server`]; [`workload`] fragments one; [`deployment`] makes replicas, Sentinels and Clusters;
//! [`misbehaving`] holds the few fakes, for what no real server can be made to do.

pub mod deployment;
mod error;
mod kind;
pub mod lab;
pub mod measure;
pub mod misbehaving;
mod server;
mod signal;
pub mod tls;
mod watchdog;
pub mod workload;

pub use error::Error;
pub use kind::{Kind, require};
pub use lab::Lab;
pub use server::{Options, Server};
pub use signal::signal;
pub use watchdog::{LIFETIME, Watchdog};
