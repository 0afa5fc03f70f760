//! Workloads that fragment a server, one a file. All are deterministic for a seed, and bounded.

mod churn;
mod collections;
mod large;
mod random;
mod strings;
mod ttl;

use crate::Error;
use random::Random;
use redis::Connection;

/// Ways in which servers fragment in the wild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Ten sizes of strings, 70 % deleted at random.
    Strings,
    /// Values overwritten by ever larger ones, generation after generation.
    Churn,
    /// Hashes, lists, sets and sorted sets, grown and then thinned.
    Collections,
    /// 65 % of the keys expire.
    Ttl,
    /// Values of 15 to 160 KB, half of them deleted.
    Large,
}

impl Workload {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Strings, Self::Churn, Self::Collections, Self::Ttl, Self::Large];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strings => "strings",
            Self::Churn => "churn",
            Self::Collections => "collections",
            Self::Ttl => "ttl",
            Self::Large => "large",
        }
    }

    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.name() == name)
    }

    /// Runs it: about `fill_bytes` of values are written before they are thinned.
    pub fn run(self, connection: &mut Connection, fill_bytes: u64, seed: u64) -> Result<(), Error> {
        let random = &mut Random::new(seed);
        match self {
            Self::Strings => strings::run(connection, fill_bytes, random),
            Self::Churn => churn::run(connection, fill_bytes, random),
            Self::Collections => collections::run(connection, fill_bytes, random),
            Self::Ttl => ttl::run(connection, fill_bytes, random),
            Self::Large => large::run(connection, fill_bytes, random),
        }
    }
}

/// Commands sent together; replies are read and dropped.
struct Batch<'a> {
    connection: &'a mut Connection,
    pipe: redis::Pipeline,
    bytes: usize,
    what: &'static str,
}

/// Bytes of one pipeline: large enough to be fast, small enough not to grow the query buffers.
const BATCH_BYTES: usize = 256 << 10;

impl<'a> Batch<'a> {
    fn new(connection: &'a mut Connection, what: &'static str) -> Self {
        Self { connection, pipe: redis::pipe(), bytes: 0, what }
    }

    fn push(&mut self, cmd: redis::Cmd, bytes: usize) -> Result<(), Error> {
        self.pipe.add_command(cmd).ignore();
        self.bytes += bytes + 64;
        if self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let pipe = std::mem::replace(&mut self.pipe, redis::pipe());
        if self.bytes > 0 {
            self.bytes = 0;
            pipe.exec(self.connection)
                .map_err(|source| Error::Command { what: self.what, source })?;
        }
        Ok(())
    }
}

/// A command of these words.
fn words(name: &str, args: &[&[u8]]) -> redis::Cmd {
    let mut cmd = redis::cmd(name);
    for arg in args {
        cmd.arg(*arg);
    }
    cmd
}
