//! [`sample`]: everything the rules need from one server, in at most 12 commands after the connection stands.
//!
//! The order is: INFO, then the optional readings, each in a file of its own, then INFO commandstats, which tells what
//! the readings cost the server. None of them walks the keyspace. Only INFO is indispensable; what else cannot be had
//! is recorded in [`Sample::unread`] with the server's reason.

mod clients;
mod command_cost;
mod config;
mod info;
mod latency;
mod malloc_stats;
mod memory_stats;
mod refresh;

pub use clients::MAX_CLIENTS_LISTED;
pub use refresh::refresh;

use crate::topology::{self, Mode};
use crate::{ClientError, Connection, host};
use redis::Value;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use unfrag_model::Sample;
use unfrag_model::sample::{Source, Unread};

/// What to read besides the server's own word.
#[derive(Debug, Clone)]
pub struct SampleOptions {
    /// Read procfs and cgroups when the server is a process of this machine.
    pub host: bool,
    /// Sample a server that is still loading its dataset, whose figures mean little; otherwise that is an error.
    pub allow_loading: bool,
    /// Where the host's `proc` and `sys` hang; `/` but in tests.
    pub host_root: PathBuf,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { host: true, allow_loading: false, host_root: PathBuf::from("/") }
    }
}

/// Reads one server. An error means that there is no sample at all; anything less is in [`Sample::unread`].
pub async fn sample(
    connection: &mut Connection,
    options: &SampleOptions,
) -> Result<Sample, ClientError> {
    let mut reader = Reader::new(connection);
    reader.sample.info = info::read(&mut reader, options).await?;
    if topology::mode(&reader.sample.info) == Mode::Sentinel {
        // It holds no data and knows none of the other commands; what it watches is for `topology`.
        return Ok(reader.sample);
    }
    let costs = command_cost::Costs::before(&reader);
    memory_stats::read(&mut reader).await;
    let costs = costs.between(&mut reader).await;
    malloc_stats::read(&mut reader).await;
    config::read(&mut reader).await;
    clients::read(&mut reader).await;
    latency::read(&mut reader).await;
    if options.host {
        let local = reader.connection.is_local();
        host::read(&mut reader.sample, local, &options.host_root, &reader.ends);
    }
    costs.after(&mut reader).await;
    Ok(reader.sample)
}

/// Asks one connection and keeps the account: what was sent, what it cost, what could not be had.
struct Reader<'a> {
    connection: &'a mut Connection,
    sample: Sample,
    /// Why the connection answers no more. Nothing is sent after that.
    lost: Option<String>,
    /// Of our own connections, as the server sees them.
    ends: Vec<host::Ends>,
}

impl<'a> Reader<'a> {
    fn new(connection: &'a mut Connection) -> Self {
        let taken_at = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let sample = Sample {
            target: connection.name().to_owned(),
            source: Source::Live,
            taken_at_unix_ms: taken_at.and_then(|t| u64::try_from(t.as_millis()).ok()),
            commands: connection.handshake().to_vec(),
            ..Sample::default()
        };
        Self { connection, sample, lost: None, ends: vec![] }
    }

    /// Sends a command that the sample can do without. A failure is recorded under `what`.
    async fn ask(&mut self, what: &str, words: &[&str]) -> Option<Value> {
        match self.ask_or_tell(what, words).await {
            Ok(value) => Some(value),
            Err(why) => {
                self.unread(what, why);
                None
            }
        }
    }

    /// As [`Reader::ask`], with the failure left to the caller.
    async fn ask_or_tell(&mut self, label: &str, words: &[&str]) -> Result<Value, String> {
        if let Some(why) = &self.lost {
            return Err(why.clone());
        }
        let (result, mut cost) = self.connection.read(words).await;
        label.clone_into(&mut cost.command);
        self.sample.commands.push(cost);
        result.map_err(|error| {
            let why = error.problem.to_string();
            if !error.is_reply() {
                self.lost = Some(why.clone());
            }
            why
        })
    }

    fn unread(&mut self, what: &str, why: impl Into<String>) {
        self.sample.unread.push(Unread { what: what.to_owned(), why: why.into() });
    }
}
