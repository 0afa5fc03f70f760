//! One remedy a page: each changes something within the plan's bounds and leaves nothing behind.

pub(crate) mod defrag;
pub(crate) mod purge;
pub(crate) mod repack;

use crate::ActError;
use crate::execute::Ended;
use crate::outcome::Status;

/// A setting that a build or a user's rights do not allow is an answer, and another remedy may follow.
fn refused(error: ActError) -> Result<Ended, ActError> {
    match &error {
        ActError::Client(client) if client.is_reply() => Ok((Status::Refused, error.to_string())),
        _ => Err(error),
    }
}
