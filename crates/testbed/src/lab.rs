//! [`Lab`]: a disposable, really fragmented server for people to try things on.

use crate::workload::Workload;
use crate::{Error, Kind, Options, Server, measure};

/// A running laboratory; dropping it ends it.
#[derive(Debug)]
pub struct Lab {
    /// The server.
    pub server: Server,
    /// `used_memory` when it was ready, in bytes.
    pub used: u64,
    /// `used_memory_rss` then, in bytes.
    pub rss: u64,
    /// Keys in it.
    pub keys: u64,
}

impl Lab {
    /// Starts a server and fragments it.
    pub fn start(
        kind: Kind,
        options: &Options,
        workload: Workload,
        fill_bytes: u64,
    ) -> Result<Self, Error> {
        /// Any seed will do; a fixed one makes labs alike.
        const SEED: u64 = 20_261_123;
        let server = Server::start(kind, options)?;
        let mut connection = server.connection()?;
        workload.run(&mut connection, fill_bytes, SEED)?;
        let (used, rss) = measure::used_and_rss(&mut connection)?;
        let keys = measure::keys(&mut connection)?;
        Ok(Self { server, used, rss, keys })
    }
}
