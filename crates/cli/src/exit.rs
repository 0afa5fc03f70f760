//! Exit codes: part of the interface, documented in the README.

use unfrag_act::ActError;
use unfrag_client::fleet::FleetError;
use unfrag_client::secret_source::SecretError;
use unfrag_client::{ClientError, ErrorKind, TargetError, files::FileError};
use unfrag_diagnose::AdvisoryError;
use unfrag_watch::config::ConfigError;
use unfrag_watch::daemon::WatchError;
use unfrag_watch::history::HistoryError;

/// What the shell gets. The numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Fine = 0,
    /// A bug in unfrag.
    Bug = 1,
    /// The command line or a file given on it is wrong.
    Usage = 2,
    /// Findings at or above `--fail-on`.
    Findings = 3,
    /// A server could not be reached, or did not allow it.
    Unreachable = 4,
    /// An input file cannot be read.
    Unreadable = 5,
    /// A guard refused; nothing was changed.
    Refused = 6,
    /// It failed or was stopped, and everything was put back.
    RolledBack = 7,
    /// It failed, and something could not be put back.
    RollBackFailed = 8,
    /// Whoever read a snapshot from standard output went away before its end. No failure of ours and nobody to tell, and
    /// not the whole snapshot either: what shells report of a program that SIGPIPE ended.
    ReaderGone = 141,
}

/// A mistake of the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    pub(crate) message: String,
}

/// A server that is not reached, and that an interrupted run has left something on.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct LeftBehind {
    /// Why it is not reached.
    pub(crate) source: ActError,
    /// What is known of that run, and what to do about it.
    pub(crate) left: String,
}

/// The code for a server that could not be read.
pub(crate) fn of_client(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Usage => Exit::Usage,
        _ => Exit::Unreachable,
    }
}

/// The code for an error, by what is at its root.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<crate::commands::rdb::Unreadable>() {
            return Exit::Unreadable;
        }
        if cause.is::<crate::commands::rdb::Refused>() {
            return Exit::Refused;
        }
        if cause.is::<crate::commands::rdb::Abandoned>() {
            return Exit::RolledBack;
        }
        if let Some(error) = cause.downcast_ref::<ActError>() {
            return if matches!(error, ActError::Client(_)) {
                Exit::Unreachable
            } else {
                Exit::Refused
            };
        }
        if cause.is::<ConfigError>() {
            return Exit::Unreadable;
        }
        if cause.is::<FileError>() || cause.is::<FleetError>() || cause.is::<AdvisoryError>() {
            return Exit::Unreadable;
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return of_client(error.kind());
        }
        match cause.downcast_ref() {
            Some(WatchError::Listen { .. } | WatchError::History(HistoryError::InUse { .. })) => {
                return Exit::Usage;
            }
            Some(WatchError::History(_)) => return Exit::Unreadable,
            _ => {}
        }
        if cause.is::<UsageError>() || cause.is::<TargetError>() || cause.is::<SecretError>() {
            return Exit::Usage;
        }
    }
    Exit::Bug
}
