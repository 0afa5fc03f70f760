//! `swap`.
use crate::ActError;
use crate::restart::execute::Work;
pub(super) async fn run(_work: &mut Work<'_>) -> Result<(), ActError> {
    Err(ActError::Unsafe("not yet".to_owned()))
}
