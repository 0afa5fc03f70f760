//! What can fail here.

use std::path::PathBuf;

/// Why a server did not start or answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its binary is not here.
    #[error("{name} is not at {path}: run `make servers`")]
    NoBinary {
        /// The server.
        name: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The process could not be started, or its folder made.
    #[error("failed to start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended or stayed silent.
    #[error("{program} did not come up: {what}; its log ends: {log}")]
    NotUp {
        /// The program.
        program: PathBuf,
        /// How it ended, or how long it was silent.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A command failed.
    #[error("failed to {what}: {source}")]
    Command {
        /// What was to be done.
        what: &'static str,
        /// The server's answer.
        source: redis::RedisError,
    },
    /// A condition did not come true in time.
    #[error("{0} did not happen in time")]
    Late(&'static str),
}
