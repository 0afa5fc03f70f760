//! For programs: `unfrag.check/1`, documented in `docs/check-json.md`.

use super::{Outcome, Run};
use serde::Serialize;
use unfrag_model::Report;
use unfrag_model::sample::{CommandCost, Unread};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    targets: Vec<Target<'a>>,
    problems: &'a [Unread],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Target<'a> {
    Diagnosed {
        #[serde(flatten)]
        report: &'a Report,
        commands: &'a [CommandCost],
        error: Option<()>,
    },
    Failed {
        target: &'a str,
        error: Failure<'a>,
    },
}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
    hint: &'a str,
}

/// The whole run, one JSON document, indented.
pub(crate) fn render(run: &Run) -> Result<String, serde_json::Error> {
    let targets = run
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Diagnosed { report, commands } => {
                Target::Diagnosed { report, commands, error: None }
            }
            Outcome::Failed { target, error, hint, .. } => {
                Target::Failed { target, error: Failure { message: error, hint } }
            }
        })
        .collect();
    let document = Document { schema: "unfrag.check/1", targets, problems: &run.problems };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
