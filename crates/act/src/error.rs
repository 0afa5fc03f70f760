//! What can go wrong while acting: [`ActError`].

use std::path::PathBuf;
use unfrag_client::ClientError;

/// Why a run did not do what was planned.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The server could not be reached, or refused a command.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The journal cannot be kept, and without it nothing is changed.
    #[error("cannot keep the journal `{path}`: {source}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another unfrag is at work on this server.
    #[error("another unfrag is at work on this server ({who}): let it finish, or {how}")]
    Busy {
        /// What is known of it.
        who: String,
        /// How it is ended in order.
        how: &'static str,
    },
    /// An earlier run was interrupted and its changes are still in place.
    #[error(
        "an earlier run on this server was interrupted (`{path}`): first run `unfrag undo {target}`"
    )]
    Interrupted {
        /// The server, as it was named.
        target: String,
        /// Its journal.
        path: PathBuf,
    },
    /// The server is not the one that was looked at when the plan was made.
    #[error("the server changed since the plan was made: {what}")]
    Changed {
        /// What differs.
        what: String,
    },
    /// A setting did not take.
    #[error("`{name}` was set to `{wanted}` and the server says it is `{got}`")]
    NotTaken {
        /// The setting.
        name: String,
        /// What was sent.
        wanted: String,
        /// What was read back.
        got: String,
    },
    /// A template of key names is none.
    #[error(transparent)]
    Template(#[from] crate::reshape::TemplateError),
    /// A condition for going on is not met any more.
    #[error("{0}")]
    Unsafe(String),
}

impl ActError {
    /// True when the connection is of no use any more.
    pub(crate) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Client(error) if !error.is_reply())
    }
}
