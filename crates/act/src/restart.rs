//! `restart`: a fresh process with the same data, when only that helps. Nothing acknowledged is lost, or it refuses.
//!
//! [`preflight::look`] reads what the server, its files and its supervisor say ([`Facts`]); [`plan::make`] (pure) makes
//! the [`RestartPlan`] or says why not; [`execute()`] carries it out, each step in the journal before it is done, and
//! answers with a [`RestartOutcome`]. Three modes, a file or a folder each: `plain` stops and starts, `swap` hands over
//! to a second process beside it, `rolling` goes through a deployment node by node.
//!
//! What is safe is `plan`'s business, and in no other place.

mod acl;
mod boot;
mod configuration;
mod execute;
pub mod facts;
mod launch;
mod outcome;
mod plain;
pub mod plan;
mod preflight;
mod process;
mod record;
mod rights;
mod rolling;
mod save_first;
mod snapshot;
pub mod supervisor;
mod swap;
mod undo;
mod verify;

pub use execute::{RestartEvent, RestartRun, execute};
pub use facts::Facts;
pub use outcome::{NodeOutcome, RestartOutcome, RestartStatus, StepDone};
pub use plan::{Mode, Objection, RestartPlan, Wish};
pub use preflight::look;
pub use record::{Phase, RestartRecord, SecondRecord, SupervisedRecord};
pub use rights::rules;
pub use supervisor::Supervisor;
pub(crate) use undo::{finish, keep_settings};
pub use verify::Verified;
