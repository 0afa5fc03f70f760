//! What people and programs read: one renderer a form, all from the same [`Outcome`]s.
//!
//! Renderers return text; [`crate::printer`] alone writes it.

pub(crate) mod fix;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod ladder;
pub(crate) mod markdown;
pub(crate) mod paint;
pub(crate) mod reshape;
pub(crate) mod restart;
pub(crate) mod snapshot;

use crate::exit::Exit;
use unfrag_model::sample::CommandCost;
use unfrag_model::{Report, sample::Unread};

/// What became of one target.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few hundred at most, and nearly all are the large one"
)]
pub(crate) enum Outcome {
    /// It was read and diagnosed.
    Diagnosed { report: Report, commands: Vec<CommandCost> },
    /// It could not be read.
    Failed { target: String, error: String, hint: String, exit: Exit },
}

/// An error in a document for programs.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Failure {
    /// With its causes, and what to do about it.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut message = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        Self { message, hint: crate::printer::hint_of(error).unwrap_or_default() }
    }
}

/// All targets of one run, and what was missing while finding them.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) problems: Vec<Unread>,
}
