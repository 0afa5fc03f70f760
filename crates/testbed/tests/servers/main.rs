//! The servers come up, fragment, restart without loss, and go away.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod deployments;
mod fakes;
mod lifecycle;
mod workloads;

use unfrag_testbed::{Kind, require};

fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|&k| require(k))
}
