//! A guard between the socket and the RESP parser: it reads the lengths first, and believes none of them.
//!
//! The parser of the redis crate buffers whatever a header announces and has no limit, and a vector may be reserved for
//! the announced number of elements. [`Guarded`] follows the framing of every reply as bytes come in and cuts the
//! stream with a typed [`Fault`] at the first byte that is not RESP or at the first announced length over the limit.
//! It does not interpret replies.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest line: a simple string, an error, a number. Servers' longest is an error that echoes arguments, 128 bytes of
/// each; everything long travels with a length.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Elements in one reply, nested ones included. CONFIG GET * has 400, CLUSTER SLOTS of a thousand nodes 20,000; each
/// costs the parser 56 bytes before its content arrives.
const MAX_ELEMENTS: u64 = 128 << 10;
/// How much of a stranger's answer is kept to say who it is.
const KEPT_BYTES: usize = 80;

/// Why the stream was cut.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Bytes that no RESP reply begins with; the first few of them.
    NotResp(Vec<u8>),
    /// A reply over the limit: bytes announced or received.
    TooLarge {
        /// Bytes announced or received.
        bytes: u64,
    },
    /// An array announced more elements than any command we send returns.
    TooManyElements {
        /// Elements announced.
        elements: u64,
    },
    /// TLS failed after the handshake (a TLS 1.3 server refuses a client certificate only then).
    Tls(rustls::Error),
}

/// What the guard saw, shared with the connection that owns it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    bytes_read: AtomicU64,
    at_end: AtomicBool,
    fault: OnceLock<Fault>,
    last_error: Mutex<Option<Vec<u8>>>,
}

impl Record {
    /// Bytes received since the connection stood.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// True when the server closed its side.
    pub(crate) fn at_end(&self) -> bool {
        self.at_end.load(Ordering::Relaxed)
    }

    /// The last error reply, as it came. A server that turns a client away says why before anything was asked, and the
    /// client library drops answers that nobody waits for.
    pub(crate) fn last_error(&self) -> Option<Vec<u8>> {
        self.last_error.lock().ok()?.clone()
    }

    /// The last error has been dealt with.
    pub(crate) fn forget_error(&self) {
        if let Ok(mut last) = self.last_error.lock() {
            *last = None;
        }
    }

    /// Why the stream was cut, if it was.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// A stream whose incoming bytes are checked.
pub(crate) struct Guarded<S> {
    stream: S,
    frames: Frames,
    record: Arc<Record>,
}

impl<S> Guarded<S> {
    /// Wraps `stream`; replies over `max_reply_bytes` cut it.
    pub(crate) fn new(stream: S, max_reply_bytes: u64) -> (Self, Arc<Record>) {
        let record = Arc::new(Record::default());
        let frames = Frames::new(max_reply_bytes);
        (Self { stream, frames, record: Arc::clone(&record) }, record)
    }

    fn cut(&self, fault: Fault) -> io::Error {
        // Only the first reason counts.
        let _ = self.record.fault.set(fault);
        io::Error::new(io::ErrorKind::ConnectionAborted, "the stream was cut by unfrag")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut this.stream).poll_read(cx, buf)) {
            return Poll::Ready(Err(match tls_error(&error) {
                Some(tls) => this.cut(Fault::Tls(tls)),
                None => error,
            }));
        }
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            this.record.at_end.store(true, Ordering::Relaxed);
        }
        this.record.bytes_read.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        match this.frames.feed(fresh) {
            Ok(()) => {
                if let (Some(line), Ok(mut last)) =
                    (this.frames.error.take(), this.record.last_error.lock())
                {
                    *last = Some(line);
                }
                Poll::Ready(Ok(()))
            }
            Err(fault) => Poll::Ready(Err(this.cut(fault))),
        }
    }
}

/// The TLS error inside an I/O error, if that is what it is.
pub(crate) fn tls_error(error: &io::Error) -> Option<rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Follows reply framing through any chunking.
#[derive(Debug)]
struct Frames {
    max_reply_bytes: u64,
    state: State,
    /// The line being read, without its end.
    line: Vec<u8>,
    /// Values still to come in the reply being read; 0 between replies.
    outstanding: u64,
    /// Bytes of that reply so far, announced ones included.
    reply_bytes: u64,
    /// Elements announced in it.
    elements: u64,
    /// The last whole error line, with its `-`.
    error: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next byte tells the type of a value.
    Type,
    /// Inside a value's first line.
    Line(u8),
    /// Inside a payload with a known length, its line end included.
    Payload(u64),
}

impl Frames {
    fn new(max_reply_bytes: u64) -> Self {
        Self {
            max_reply_bytes,
            state: State::Type,
            line: Vec::new(),
            outstanding: 0,
            reply_bytes: 0,
            elements: 0,
            error: None,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::Type => {
                    self.begin(first, bytes)?;
                    rest
                }
                State::Line(kind) => self.take_line(kind, bytes)?,
                State::Payload(left) => self.skip(left, bytes),
            };
        }
        Ok(())
    }

    fn begin(&mut self, kind: u8, bytes: &[u8]) -> Result<(), Fault> {
        const TYPES: &[u8] = b"+-:$*_,#!=(%~>|";
        if !TYPES.contains(&kind) {
            return Err(Fault::NotResp(bytes.iter().copied().take(KEPT_BYTES).collect()));
        }
        if self.outstanding == 0 {
            self.outstanding = 1;
            self.reply_bytes = 0;
            self.elements = 0;
        }
        self.state = State::Line(kind);
        self.line.clear();
        self.count(1)
    }

    fn take_line<'a>(&mut self, kind: u8, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let end = bytes.iter().position(|&b| b == b'\n');
        let (part, rest) =
            bytes.split_at_checked(end.map_or(bytes.len(), |e| e + 1)).unwrap_or_default();
        self.count(part.len() as u64)?;
        self.line.extend_from_slice(part);
        if self.line.len() > MAX_LINE_BYTES {
            return Err(Fault::TooLarge { bytes: self.line.len() as u64 });
        }
        if end.is_some() {
            self.header(kind)?;
        }
        Ok(rest)
    }

    /// A whole first line is here: decides what follows it.
    fn header(&mut self, kind: u8) -> Result<(), Fault> {
        match kind {
            b'$' | b'=' | b'!' => match self.length(kind)? {
                Some(length) => {
                    self.count(length.saturating_add(2))?;
                    self.state = State::Payload(length.saturating_add(2));
                }
                None => self.end_value(),
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let per_entry = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                let elements = self.length(kind)?.unwrap_or(0).saturating_mul(per_entry);
                self.elements = self.elements.saturating_add(elements);
                if self.elements > MAX_ELEMENTS {
                    return Err(Fault::TooManyElements { elements: self.elements });
                }
                self.outstanding += elements;
                self.state = State::Type;
                // An attribute precedes the value it speaks of, and is none itself.
                if kind != b'|' {
                    self.end_value();
                }
            }
            b'-' => {
                self.error = Some([b"-", self.line.as_slice()].concat());
                self.end_value();
            }
            _ => self.end_value(),
        }
        Ok(())
    }

    /// The announced length; `None` for RESP2's null (`-1`).
    fn length(&self, kind: u8) -> Result<Option<u64>, Fault> {
        let text = std::str::from_utf8(&self.line).map(str::trim_end).unwrap_or_default();
        match text.parse::<i64>() {
            Ok(-1) => Ok(None),
            Ok(length) if length >= 0 => Ok(Some(length.unsigned_abs())),
            _ => {
                let line = self.line.iter().copied();
                Err(Fault::NotResp(std::iter::once(kind).chain(line).take(KEPT_BYTES).collect()))
            }
        }
    }

    fn end_value(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.state = State::Type;
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        if left == 0 {
            self.end_value();
        } else {
            self.state = State::Payload(left);
        }
        bytes.get(here..).unwrap_or_default()
    }

    fn count(&mut self, bytes: u64) -> Result<(), Fault> {
        self.reply_bytes = self.reply_bytes.saturating_add(bytes);
        if self.reply_bytes > self.max_reply_bytes {
            return Err(Fault::TooLarge { bytes: self.reply_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict must not depend on how the network cut the bytes.
    fn feed(bytes: &[u8]) -> Result<(), Fault> {
        let whole = Frames::new(1000).feed(bytes);
        for size in 1..7 {
            let mut frames = Frames::new(1000);
            let chunked = bytes.chunks(size).try_for_each(|chunk| frames.feed(chunk));
            assert_eq!(chunked.is_ok(), whole.is_ok(), "{size} bytes at a time: {bytes:?}");
        }
        whole
    }

    #[test]
    fn replies_of_both_protocols_pass() {
        let replies = b"+OK\r\n-ERR x\r\n:1\r\n$3\r\na\nb\r\n$-1\r\n*-1\r\n*2\r\n$1\r\n$\r\n*1\r\n:2\r\n\
            %1\r\n+k\r\n,1.5\r\n=6\r\ntxt:ab\r\n_\r\n#t\r\n(123\r\n~1\r\n+x\r\n>2\r\n+push\r\n+x\r\n\
            |1\r\n+ttl\r\n:3\r\n+value\r\n!3\r\nERR\r\n*0\r\n+OK\r\n";
        assert_eq!(feed(replies), Ok(()));
        let mut frames = Frames::new(1000);
        frames.feed(replies).expect("good replies");
        assert_eq!((frames.outstanding, frames.state), (0, State::Type), "all of them ended");
    }

    #[test]
    fn announced_lengths_are_not_believed() {
        assert!(
            matches!(feed(b"$2147483648\r\n"), Err(Fault::TooLarge { bytes }) if bytes > 2 << 30)
        );
        assert!(matches!(feed(b"*1\r\n=9999999\r\n"), Err(Fault::TooLarge { .. })));
        assert!(matches!(feed(b"*2147483648\r\n"), Err(Fault::TooManyElements { .. })));
        assert!(matches!(feed(b"*100000\r\n*100000\r\n"), Err(Fault::TooManyElements { .. })));
        assert!(matches!(feed(b"%9223372036854775807\r\n"), Err(Fault::TooManyElements { .. })));
        assert!(matches!(feed(b"$99999999999999999999\r\n"), Err(Fault::NotResp(_))));
        assert!(matches!(feed(b"$-2\r\n"), Err(Fault::NotResp(_))));
    }

    #[test]
    fn a_reply_that_never_ends_is_cut_and_many_small_ones_are_not() {
        let endless_line = vec![b'a'; 2000];
        assert!(matches!(
            feed(&[b"+", endless_line.as_slice()].concat()),
            Err(Fault::TooLarge { .. })
        ));
        assert!(matches!(
            feed(&[b"*500\r\n".as_slice(), &b":1\r\n".repeat(400)].concat()),
            Err(Fault::TooLarge { .. })
        ));
        assert_eq!(feed(&b":1\r\n".repeat(400)), Ok(()));
    }

    #[test]
    fn strangers_are_recognised_by_their_first_byte() {
        let got = feed(b"HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(got, Err(Fault::NotResp(b"HTTP/1.1 400 Bad Request\r\n".to_vec())));
        assert!(matches!(feed(b"+OK\r\n\x15\x03\x01"), Err(Fault::NotResp(_))));
    }
}
