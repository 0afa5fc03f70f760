//! A snapshot over the replication protocol: [`snapshot`] asks as a replica would, [`SnapshotStream`] hands out the bytes
//! of the RDB file as they come. [`SnapshotReader`] does the same for who reads without async.
//!
//! The server forks once and its child writes; nothing runs on its command path. Without replicas it also allocates a
//! replication backlog (1 MB, 10 MB in Valkey) and keeps it for `repl-backlog-ttl`. Memory here does not grow with the
//! file. What is in the bytes is not looked at: that is crate `rdb`'s.

mod framing;
mod reader;

pub use reader::SnapshotReader;

use crate::connect::{CLIENT_NAME, Wire, reach};
use crate::error::{ClientError, Problem, Stranger};
use crate::target::Address;
use crate::{ConnectOptions, Secret};
use framing::{Body, Framing};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 256 << 10;
/// Longest line before the snapshot; the longest real one is `+FULLRESYNC` with an id and an offset.
const MAX_LINE_BYTES: usize = 4096;
/// A server that waits for its fork sends a newline a second; `repl-timeout` is 60 by default, and it may be blocked.
const QUIET_MOST: Duration = Duration::from_secs(60);
/// What we say we understand: Valkey 9 writes RDB 11 for who says nothing, and fails on field TTLs.
const VERSION: &str = "9.1.0";
/// The command in errors.
const LABEL: &str = "PSYNC";

/// The bytes of an RDB file on their way.
pub struct SnapshotStream {
    wire: Box<dyn Wire>,
    name: String,
    password: Option<Secret>,
    /// Read from the socket and not yet handed out, from `begin` on.
    buffer: Vec<u8>,
    begin: usize,
    filled: usize,
    body: Body,
    received: u64,
    waited: Duration,
}

impl std::fmt::Debug for SnapshotStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotStream")
            .field("name", &self.name)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Asks a server for a snapshot and returns when it begins to come. The wait is that for a fork, and up to
/// `repl-diskless-sync-delay` (5 s by default) before.
pub async fn snapshot(
    address: &Address,
    options: &ConnectOptions,
) -> Result<SnapshotStream, ClientError> {
    let reached = reach(address, options).await?;
    let mut stream = SnapshotStream {
        wire: reached.wire,
        name: address.to_string(),
        password: options.password.clone(),
        buffer: vec![0; READ_BYTES],
        begin: 0,
        filled: 0,
        body: Body::done(),
        received: 0,
        waited: Duration::ZERO,
    };
    stream.introduce(options).await?;
    let begun = Instant::now();
    stream.body = stream.ask().await?;
    stream.waited = begun.elapsed();
    Ok(stream)
}

impl SnapshotStream {
    /// Bytes of the file, where the server tells: not when it streams without a disk.
    pub fn length(&self) -> Option<u64> {
        self.body.length()
    }

    /// Bytes of the file handed out so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How long the server took until the first byte.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The next bytes of the file; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, ClientError> {
        loop {
            let pending = self.buffer.get(self.begin..self.filled).unwrap_or_default();
            let ready = self.body.ready(pending);
            if ready > 0 {
                let from = self.begin;
                self.begin += ready;
                self.received += ready as u64;
                return Ok(self.buffer.get(from..from + ready));
            }
            if self.body.is_done() {
                return Ok(None);
            }
            self.fill(QUIET_MOST).await?;
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.begin..self.filled).unwrap_or_default()
    }

    fn fail(&self, problem: Problem) -> ClientError {
        ClientError::new(self.name.clone(), problem)
    }

    /// Reads more from the socket behind what is pending.
    async fn fill(&mut self, after: Duration) -> Result<(), ClientError> {
        self.buffer.copy_within(self.begin..self.filled, 0);
        self.filled -= self.begin;
        self.begin = 0;
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = timeout(after, self.wire.read(room)).await;
        let command = LABEL.to_owned();
        match count {
            Err(_) => Err(self.fail(Problem::ResponseTimeout { command, after })),
            Ok(Ok(count)) if count > 0 => {
                self.filled += count;
                Ok(())
            }
            // Closed, or reset: the server's child failed, or somebody killed the connection.
            Ok(_) if self.received > 0 => {
                Err(self.fail(Problem::ClosedHalfWay { command, bytes: self.received }))
            }
            Ok(_) => Err(self.fail(Problem::Closed { command, had_answered: false })),
        }
    }

    /// Sends words as a command.
    async fn say(&mut self, words: &[&str]) -> Result<(), ClientError> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        let sent = self.wire.write_all(&command.get_packed_command()).await;
        let flushed = self.wire.flush().await;
        let had_answered = self.received > 0;
        sent.and(flushed)
            .map_err(|_| self.fail(Problem::Closed { command: LABEL.to_owned(), had_answered }))
    }

    /// The next line, without its end. Newlines alone are a server's sign of life.
    async fn line(&mut self, after: Duration) -> Result<Vec<u8>, ClientError> {
        loop {
            while self.pending().first().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
                self.begin += 1;
            }
            if let Some(end) = self.pending().iter().position(|b| *b == b'\n') {
                let line = self.pending().get(..end).unwrap_or_default().trim_ascii_end().to_vec();
                self.begin += end + 1;
                return Ok(line);
            }
            if self.pending().len() > MAX_LINE_BYTES {
                let speaks = Stranger::from_bytes(self.pending());
                return Err(self.fail(Problem::NotRedis { speaks }));
            }
            self.fill(after).await?;
        }
    }

    /// The problem behind a line that is no success; the server's words are scrubbed.
    fn refusal(&self, label: &str, line: &[u8]) -> ClientError {
        let whole = [line, b"\r\n"].concat();
        let mut problem = match redis::parse_redis_value(&whole) {
            Ok(redis::Value::ServerError(error)) => Problem::from_reply(label, &error),
            _ => Problem::NotRedis { speaks: Stranger::from_bytes(line) },
        };
        if let Some(password) = &self.password {
            problem.scrub(password);
        }
        self.fail(problem)
    }

    /// AUTH, a name for CLIENT LIST, and what we can take. An old server does not know every option and says so.
    async fn introduce(&mut self, options: &ConnectOptions) -> Result<(), ClientError> {
        let after = options.response_timeout;
        if let Some(password) = options.password.as_ref().filter(|p| !p.is_empty()) {
            let user = options.user.as_deref().filter(|u| !u.is_empty());
            let words = [Some("AUTH"), user, Some(password.expose())];
            self.say(&words.into_iter().flatten().collect::<Vec<_>>()).await?;
            let line = self.line(after).await?;
            if line != b"+OK" {
                return Err(self.refusal("AUTH", &line));
            }
        }
        let wishes: [&[&str]; 4] = [
            &["CLIENT", "SETNAME", CLIENT_NAME],
            &["REPLCONF", "capa", "eof"],
            &["REPLCONF", "rdb-only", "1"],
            &["REPLCONF", "version", VERSION],
        ];
        for wish in wishes {
            self.say(wish).await?;
            let line = self.line(after).await?;
            match line.first() {
                Some(b'+') => {}
                // Without a password or the right there is no sense in going on; an option it does not know is fine.
                Some(b'-')
                    if !is_refusal(&line)
                        || wish.first() == Some(&"CLIENT") && is_noperm(&line) => {}
                _ => return Err(self.refusal(wish.first().copied().unwrap_or(LABEL), &line)),
            }
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<Body, ClientError> {
        self.say(&["PSYNC", "?", "-1"]).await?;
        loop {
            let line = self.line(QUIET_MOST).await?;
            if line.starts_with(b"+FULLRESYNC") {
                continue;
            }
            return match Framing::parse(&line) {
                Some(framing) => Ok(Body::new(framing)),
                None => Err(self.refusal(LABEL, &line)),
            };
        }
    }
}

fn is_noperm(line: &[u8]) -> bool {
    line.starts_with(b"-NOPERM")
}

fn is_refusal(line: &[u8]) -> bool {
    [&b"-NOAUTH"[..], b"-NOPERM", b"-LOADING", b"-DENIED", b"-MASTERDOWN", b"-BUSY"]
        .iter()
        .any(|prefix| line.starts_with(prefix))
}
