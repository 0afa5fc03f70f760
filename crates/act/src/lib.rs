//! Gives memory back while the server keeps serving, and leaves no trace: plan, guard, journal, act, verify, undo.
//!
//! [`Plan`] names every command before one is sent; [`execute()`] carries it out and answers with an [`Outcome`];
//! [`undo()`] cleans up after a run that was killed. Nothing here changes a server without a [`ChangePermit`].
//!
//! It does not diagnose: what is wrong comes in as an [`unfrag_model::Report`].

pub mod acl;
pub mod control;
mod error;
pub mod execute;
pub mod guard;
pub mod history;
pub mod journal;
mod link;
pub mod outcome;
pub mod permit;
pub mod plan;
pub mod probe;
mod remedy;
pub mod reshape;
pub mod restart;
mod settings;
mod slots;
pub mod undo;

pub use control::Stop;
pub use error::ActError;
pub use execute::{Event, Run, execute};
pub use guard::Refusal;
pub use history::History;
pub use journal::Journals;
pub use outcome::{Outcome, Status};
pub use permit::ChangePermit;
pub use plan::{Bounds, Plan, RemedyName, Step};
pub use settings::Restored;
pub use undo::{Undone, undo};
