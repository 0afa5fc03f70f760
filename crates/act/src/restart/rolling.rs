//! `rolling`.
use crate::ActError;
use crate::restart::execute::Work;
use crate::restart::facts::Facts;
use crate::restart::plan::{PlannedStep, Wish};
pub(super) async fn run(_work: &mut Work<'_>) -> Result<(), ActError> {
    Err(ActError::Unsafe("not yet".to_owned()))
}
pub(super) fn steps(_facts: &Facts, _wish: &Wish) -> Vec<PlannedStep> {
    vec![]
}

pub(super) async fn finish(_run: &crate::journal::Unfinished, _options: &unfrag_client::ConnectOptions) -> Result<Vec<String>, ActError> { Ok(vec![]) }
