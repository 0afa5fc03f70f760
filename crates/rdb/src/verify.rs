//! Verification: everything that is wrong with a snapshot, not only the first thing. Read [`verify_file`]
//! first, [`VerifyReport`] for what comes out.
//!
//! Two passes over the same bytes run side by side. The *outline* walks from key to key without looking inside
//! values and keeps the accounts that span keys; the *depth* decodes values and sums the checksum, in pieces of the file
//! that any core can take. A stream does both at once, in order.

mod elements;
mod function;
mod keys;
mod ledger;
mod outline;
mod segment;
mod value;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;

pub use keys::KEYS_REMEMBERED;

use crate::container::{self, Framing, Source, Tail, Wrapper};
use crate::format::Dialect;
use crate::input::{Input, Slice, Stream};
use crate::problem::{Flaw, FlawKind, Problem};

/// Problems kept in a report; the rest are counted.
const PROBLEMS_MAX: usize = 10_000;

/// How to verify.
#[derive(Clone, Copy)]
pub struct VerifyOptions<'o> {
    /// Cores to use on a mapped file; 0 for as many as help.
    pub threads: usize,
    /// Keys remembered to find repeated ones, at 9 to 18 bytes each. Snapshots that announce more are not
    /// searched for them, and the report says so.
    pub keys_remembered: u64,
    /// Called now and then with bytes done and, where known, bytes in all.
    pub progress: Option<&'o (dyn Fn(u64, Option<u64>) + Sync)>,
}

impl Default for VerifyOptions<'_> {
    fn default() -> Self {
        Self { threads: 0, keys_remembered: KEYS_REMEMBERED, progress: None }
    }
}

impl fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("threads", &self.threads)
            .field("keys_remembered", &self.keys_remembered)
            .finish_non_exhaustive()
    }
}

/// What the checksum says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// Stored and computed agree. After damage to the layout: the file is as its producer wrote it.
    Ok,
    /// Version before 5, or switched off by the producer, or cut away.
    Absent,
    /// They differ.
    Mismatch,
}

/// Form of the reports as JSON.
pub const SCHEMA: &str = "unfrag.rdb/1";

/// The result, as `unfrag rdb verify -o json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of what was read.
    pub file: String,
    /// No problems at all.
    pub ok: bool,
    /// Dialect, if the magic was readable.
    pub magic: Option<Dialect>,
    /// Format version, if the magic was readable.
    pub version: Option<u32>,
    /// What the checksum says.
    pub checksum: Checksum,
    /// Keys found, up to where the layout was readable.
    pub keys: u64,
    /// Of those, keys with an expiry.
    pub expires: u64,
    /// Bytes of the (unwrapped) source that were read as a snapshot.
    pub bytes: u64,
    /// Compression that was removed; offsets then count decompressed bytes.
    pub wrapper: Option<Wrapper>,
    /// Append-only commands after the snapshot.
    pub tail: Option<Tail>,
    /// What was found, by offset.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub problems_omitted: u64,
    /// What was not checked, and why.
    pub unchecked: Vec<&'static str>,
}

/// Verifies the file at `path`; `-` is standard input.
///
/// # Errors
/// Only when the file cannot be opened or mapped; whatever is wrong inside it is in the report.
pub fn verify_file(path: &Path, options: &VerifyOptions<'_>) -> io::Result<VerifyReport> {
    let name = path.display().to_string();
    match container::open(path) {
        Ok(Source::Mapped(map)) => Ok(verify_bytes(&name, map.bytes(), options)),
        Ok(source @ Source::Streamed { .. }) => Ok(verify_source(&name, source, options)),
        Err(error) => Err(error),
    }
}

/// Verifies what `source` yields, in memory that depends neither on its length nor on its largest key.
pub fn verify_reader<'s>(
    name: &str,
    source: impl Read + Send + 's,
    options: &VerifyOptions<'_>,
) -> VerifyReport {
    match container::streamed(source) {
        Ok(source) => verify_source(name, source, options),
        Err(error) => {
            let is_unread = error.kind() == io::ErrorKind::Unsupported;
            let kind = if is_unread { FlawKind::UnreadWrapper } else { FlawKind::BadWrapper };
            Findings::default().broken(name, Flaw::new(0, kind))
        }
    }
}

/// Verifies a snapshot that is all in memory.
pub fn verify_bytes(name: &str, bytes: &[u8], options: &VerifyOptions<'_>) -> VerifyReport {
    if Wrapper::sniff(bytes).is_some() {
        return verify_reader(name, bytes, options);
    }
    let framing = Framing::parse(bytes.get(..4096).unwrap_or(bytes));
    let snapshot = bytes.get(framing.before..).unwrap_or_default();
    outline::of_slice(snapshot, framing, options).report(name)
}

fn verify_source(name: &str, source: Source<'_>, options: &VerifyOptions<'_>) -> VerifyReport {
    match source {
        Source::Mapped(map) => verify_bytes(name, map.bytes(), options),
        Source::Streamed { bytes, framing, wrapper } => {
            let input = Stream::new(bytes, framing.before as u64);
            let mut findings = outline::of_stream(input, framing, options);
            findings.wrapper = wrapper;
            if wrapper.is_some() {
                findings.blame_wrapper();
            }
            findings.report(name)
        }
    }
}

/// Verifies a DUMP payload: type, value, version and checksum, without magic or key.
pub fn verify_payload(bytes: &[u8]) -> Vec<Flaw> {
    outline::of_payload(bytes)
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Findings {
    magic: Option<(Dialect, u32)>,
    checksum: Option<Checksum>,
    keys: u64,
    expires: u64,
    bytes: u64,
    wrapper: Option<Wrapper>,
    tail: Option<Tail>,
    problems: Vec<Problem>,
    omitted: u64,
    unchecked: Vec<&'static str>,
}

impl Findings {
    fn add(&mut self, flaw: Flaw, db: Option<u64>, key: Option<&[u8]>) {
        self.keep(Problem::new(flaw, db, key));
    }

    fn keep(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    fn broken(mut self, name: &str, flaw: Flaw) -> VerifyReport {
        self.add(flaw, None, None);
        self.report(name)
    }

    /// Reading that failed below a wrapper is the wrapper's fault, as far as anyone can tell.
    fn blame_wrapper(&mut self) {
        for problem in self.problems.iter_mut().filter(|problem| problem.kind == "io") {
            problem.kind = FlawKind::BadWrapper.name();
            problem.message = FlawKind::BadWrapper.to_string();
        }
    }

    fn report(mut self, name: &str) -> VerifyReport {
        self.problems.sort_by_key(|problem| problem.offset);
        VerifyReport {
            schema: SCHEMA,
            file: name.to_owned(),
            ok: self.problems.is_empty(),
            magic: self.magic.map(|(dialect, _)| dialect),
            version: self.magic.map(|(_, version)| version),
            checksum: self.checksum.unwrap_or(Checksum::Absent),
            keys: self.keys,
            expires: self.expires,
            bytes: self.bytes,
            wrapper: self.wrapper,
            tail: self.tail,
            problems: self.problems,
            problems_omitted: self.omitted,
            unchecked: self.unchecked,
        }
    }
}

/// Chunks in flight between a feeder and its verifier: with chunks of 64 KiB, 1 MiB.
const CHUNKS_IN_FLIGHT: usize = 16;

/// A verifier that is handed bytes as they arrive, for who receives a snapshot rather than reads one.
#[derive(Debug)]
pub struct Feed {
    chunks: SyncSender<Vec<u8>>,
    verifier: JoinHandle<VerifyReport>,
}

impl Feed {
    /// Starts a verifier named `name` in the report.
    pub fn start(name: &str, keys_remembered: u64) -> Self {
        let (chunks, received) = sync_channel(CHUNKS_IN_FLIGHT);
        let name = name.to_owned();
        let verifier = std::thread::spawn(move || {
            let mut source = Chunks { received, chunk: Vec::new(), read: 0 };
            let options = VerifyOptions { keys_remembered, ..VerifyOptions::default() };
            let report = verify_reader(&name, &mut source, &options);
            // What follows damage is still taken, so that the feeder can finish writing it.
            let _ = io::copy(&mut source, &mut io::sink());
            report
        });
        Self { chunks, verifier }
    }

    /// Hands on the next bytes; waits where the verifier is behind.
    pub fn push(&self, bytes: &[u8]) {
        for chunk in bytes.chunks(64 << 10) {
            // A verifier that is gone has its report ready; nothing is lost by not feeding it.
            let _ = self.chunks.send(chunk.to_vec());
        }
    }

    /// No more bytes: the report. `None` if the verifier itself died, which is a bug.
    pub fn finish(self) -> Option<VerifyReport> {
        drop(self.chunks);
        self.verifier.join().ok()
    }
}

struct Chunks {
    received: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Chunks {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            match self.received.recv() {
                Ok(chunk) => (self.chunk, self.read) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let mut rest = self.chunk.get(self.read..).unwrap_or_default();
        let read = rest.read(room)?;
        self.read += read;
        Ok(read)
    }
}

/// What the stored checksum says about the computed one.
fn judge(stored: Option<u64>, computed: Option<u64>) -> Checksum {
    match (stored, computed) {
        (None | Some(0), _) | (_, None) => Checksum::Absent,
        (stored, computed) if stored == computed => Checksum::Ok,
        _ => Checksum::Mismatch,
    }
}

/// The last eight bytes against the rest: all that is left to ask after the layout broke.
fn judge_whole(snapshot: &[u8], computed: u64) -> Checksum {
    judge(snapshot.last_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)), Some(computed))
}

/// What is left of a slice from `offset` on, given where the slice starts.
fn rest_from(snapshot: &[u8], base: u64, offset: u64) -> Slice<'_> {
    let skipped = crate::input::index(offset.saturating_sub(base)).min(snapshot.len());
    Slice::new(snapshot.get(skipped..).unwrap_or_default(), base.saturating_add(skipped as u64))
}

/// Reads what follows the end and notes it.
fn finish_tail<I: Input>(findings: &mut Findings, input: &mut I, framing: Framing) {
    let mut flaws = Vec::new();
    match container::after_end(input, framing.ending, framing.before as u64, &mut flaws) {
        Ok(tail) => findings.tail = tail,
        Err(flaw) => flaws.push(flaw),
    }
    for flaw in flaws {
        findings.add(flaw, None, None);
    }
}
