//! What stands around a snapshot: compression, replication framing, and what may follow its end.
//! Read [`Framing`] first, then [`open`].

mod lz4;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::input::{Input, Map};
use crate::problem::{Flaw, FlawKind};

/// Bytes looked at to tell what a source is: the longest framing, with room for the empty lines that a primary
/// sends while it waits (one a second).
const SNIFF_BYTES: usize = 4096;
/// Bytes of the mark that ends a diskless transfer.
pub const MARK_BYTES: usize = 40;
/// zstd windows beyond this are refused: what `zstd -d` accepts without asking is 128 MiB, ours must fit
/// beside everything else.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Why, and what to do, where a snapshot was compressed with a larger one. Levels 20 to 22 and `--long` make such.
const ZSTD_WINDOW_TOO_LARGE: &str = "it was compressed by zstd with a window of more than 8 MiB, which is more memory than \
     is taken here: pipe it in from `zstd -dc --long=31`";
/// The same for Valkey's envelope.
const VKCS_UNKNOWN: &str =
    "its envelope (VKCS) names a version or a compression that is not known here";

/// How the snapshot is set in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Bytes before the snapshot.
    pub before: usize,
    /// How its end is marked.
    pub ending: Ending,
}

/// How the end of a snapshot is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Bare,
    /// By these bytes again, as announced by `$EOF:`.
    Mark([u8; MARK_BYTES]),
    /// By its length, as announced by `$<length>`.
    Length(u64),
}

/// Compression around a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wrapper {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// LZ4 frame.
    Lz4,
    /// Valkey's own envelope around an LZ4 frame.
    Vkcs,
}

impl Wrapper {
    /// The wrapper that starts with `bytes`.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            [b'V', b'K', b'C', b'S', ..] => Some(Self::Vkcs),
            _ => None,
        }
    }

    /// `source`, which begins with `start`, without the wrapper. Decoders hold a window of a few MiB, whatever the size.
    fn remove<'s>(
        self,
        start: &[u8],
        mut source: impl Read + Send + 's,
    ) -> io::Result<Box<dyn Read + Send + 's>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Zstd => {
                if zstd_window_bytes(start).is_some_and(|bytes| bytes > 1 << ZSTD_WINDOW_LOG_MAX) {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, ZSTD_WINDOW_TOO_LARGE));
                }
                let mut decoder = zstd::Decoder::new(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Lz4 => Box::new(lz4::Frames::new(source)),
            Self::Vkcs => {
                // Magic, version, codec, flags, kind. Codec 1 is the only one written so far.
                let mut envelope = [0; 8];
                if let Err(error) = source.read_exact(&mut envelope) {
                    return Ok(Box::new(Failed(Some(error))));
                }
                let [.., version, codec, _, _] = envelope;
                if version != 1 || codec != 1 {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, VKCS_UNKNOWN));
                }
                Box::new(lz4::Frames::new(source))
            }
        })
    }
}

/// The window that decoding the zstd frame at `start` takes (RFC 8878, 3.1.1.1); `None` where the header is cut.
fn zstd_window_bytes(start: &[u8]) -> Option<u64> {
    let [_, _, _, _, descriptor, rest @ ..] = start else { return None };
    let is_one_segment = descriptor & 0x20 != 0;
    if !is_one_segment {
        let &window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The content is the window; its length stands behind a dictionary's number.
    let dictionary_bytes = (1 << (descriptor & 3)) >> 1;
    let length = rest.get(dictionary_bytes..)?.get(..1 << (descriptor >> 6))?;
    Some(length.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

impl Framing {
    /// Reads what precedes a snapshot: nothing, or what a primary sends before one.
    pub fn parse(start: &[u8]) -> Self {
        let bare = Self { before: 0, ending: Ending::Bare };
        let mut rest = start;
        loop {
            if let [b'\n', after @ ..] = rest {
                rest = after;
            } else if rest.starts_with(b"+FULLRESYNC ") || rest.starts_with(b"+CONTINUE") {
                let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return bare };
                rest = rest.get(end + 1..).unwrap_or_default();
            } else {
                break;
            }
        }
        let before = |rest: &[u8]| start.len().saturating_sub(rest.len());
        let Some(after) = rest.strip_prefix(b"$") else { return bare };
        let Some(end) = after.windows(2).position(|pair| pair == b"\r\n") else { return bare };
        let (line, after) = after.split_at_checked(end).unwrap_or((after, &[]));
        let before = before(after) + 2;
        if let Some(mark) = line.strip_prefix(b"EOF:") {
            return match mark.try_into() {
                Ok(mark) => Self { before, ending: Ending::Mark(mark) },
                Err(_) => bare,
            };
        }
        match std::str::from_utf8(line).ok().and_then(|digits| digits.parse().ok()) {
            Some(length) => Self { before, ending: Ending::Length(length) },
            None => bare,
        }
    }
}

/// A snapshot to read.
#[expect(missing_debug_implementations, reason = "holds a boxed reader")]
pub enum Source<'s> {
    /// A file, mapped; what [`Framing::parse`] finds at its start is still there.
    Mapped(Map),
    /// Anything read in order.
    Streamed {
        /// The bytes, unwrapped.
        bytes: Box<dyn Read + Send + 's>,
        /// Framing at their start, already passed.
        framing: Framing,
        /// Compression that was removed.
        wrapper: Option<Wrapper>,
    },
}

/// True for a file that may be opened again: what is read of a pipe, or of standard input (`-`), is gone.
pub fn is_plain_file(path: &Path) -> bool {
    path.as_os_str() != "-" && path.metadata().is_ok_and(|m| m.is_file())
}

/// Opens `path`; `-` is standard input.
pub fn open(path: &Path) -> io::Result<Source<'static>> {
    if path.as_os_str() == "-" {
        return streamed(io::stdin());
    }
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return streamed(file);
    }
    let mut start = [0; 4];
    let is_wrapped = file.read_exact(&mut start).is_ok() && Wrapper::sniff(&start).is_some();
    if is_wrapped {
        let file = File::open(path)?;
        return streamed(io::BufReader::with_capacity(64 << 10, file));
    }
    Map::of(&file).map(Source::Mapped)
}

/// Prepares `source` to be read in order.
pub fn streamed<'s>(mut source: impl Read + Send + 's) -> io::Result<Source<'s>> {
    let start = read_start(&mut source)?;
    let wrapper = Wrapper::sniff(&start);
    let Some(kind) = wrapper else { return framed(Cursor::new(start).chain(source), None) };
    let whole = Cursor::new(start.clone()).chain(source);
    framed(kind.remove(&start, whole)?, Some(kind))
}

fn framed<'s>(
    mut bytes: impl Read + Send + 's,
    wrapper: Option<Wrapper>,
) -> io::Result<Source<'s>> {
    let mut start = Vec::with_capacity(SNIFF_BYTES);
    let read = bytes.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut start);
    // A wrapper that is cut off or damaged so early is a problem of the snapshot, told where its bytes end.
    let failed = match read {
        Err(error) if wrapper.is_some() => Some(error),
        other => other.map(|_| None)?,
    };
    let framing = Framing::parse(&start);
    let mut start = Cursor::new(start);
    start.set_position(framing.before as u64);
    let bytes = start.chain(Failed(failed)).chain(bytes);
    Ok(Source::Streamed { bytes: Box::new(bytes), framing, wrapper })
}

/// An error that was met ahead of its time; nothing without one.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn read_start(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(SNIFF_BYTES);
    source.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// What follows the end of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Tail {
    /// Where the commands start.
    pub offset: u64,
    /// Complete commands found.
    pub commands: u64,
}

/// Reads what follows the end of a snapshot that started at `start`: a mark, commands of an append-only file
/// or replication stream, or bytes that do not belong there.
pub fn after_end<I: Input>(
    input: &mut I,
    ending: Ending,
    start: u64,
    flaws: &mut Vec<Flaw>,
) -> Result<Option<Tail>, Flaw> {
    let offset = input.offset();
    match ending {
        Ending::Bare => {}
        Ending::Mark(mark) => match input.take(MARK_BYTES as u64) {
            Ok(found) if found == mark => {}
            Err(flaw) if flaw.kind == FlawKind::Io => return Err(flaw),
            _ => return Err(Flaw::new(offset, FlawKind::EofMark)),
        },
        Ending::Length(length) => {
            let real = offset.saturating_sub(start);
            if real != length {
                flaws.push(Flaw::new(offset, FlawKind::FramedLength(length, real)));
                return Ok(None);
            }
        }
    }
    let offset = input.offset();
    match input.peek()? {
        None => Ok(None),
        Some(b'*' | b'#') => commands(input, offset, flaws).map(Some),
        Some(_) => {
            flaws.push(strangers(input, offset)?);
            Ok(None)
        }
    }
}

/// Bytes that are no commands: a forgotten mark of a transfer, or anything else.
fn strangers<I: Input>(input: &mut I, offset: u64) -> Result<Flaw, Flaw> {
    let mut is_hex = true;
    let mut bytes = 0_u64;
    while input.peek()?.is_some() {
        let byte = input.byte()?;
        is_hex &= byte.is_ascii_hexdigit();
        bytes += 1;
    }
    let is_mark = is_hex && bytes == MARK_BYTES as u64;
    let kind = if is_mark { FlawKind::EofMark } else { FlawKind::TrailingBytes(bytes) };
    Ok(Flaw::new(offset, kind))
}

/// Passes over commands; a cut or malformed one is a flaw at its own start.
fn commands<I: Input>(input: &mut I, offset: u64, flaws: &mut Vec<Flaw>) -> Result<Tail, Flaw> {
    let mut tail = Tail { offset, commands: 0 };
    loop {
        let at = input.offset();
        match input.peek()? {
            None => return Ok(tail),
            Some(b'\n') => input.skip(1)?,
            Some(b'#') => drop(line(input)),
            Some(_) if command(input).is_some() => tail.commands += 1,
            Some(_) => {
                flaws.push(Flaw::new(at, FlawKind::BadAofTail));
                return Ok(tail);
            }
        }
    }
}

fn command<I: Input>(input: &mut I) -> Option<()> {
    let arguments = counted(input, b'*')?;
    for _ in 0..arguments {
        let length = counted(input, b'$')?;
        input.skip(length).ok()?;
        if input.array::<2>().ok()? != *b"\r\n" {
            return None;
        }
    }
    Some(())
}

fn counted<I: Input>(input: &mut I, sign: u8) -> Option<u64> {
    if input.byte().ok()? != sign {
        return None;
    }
    let (line, length) = line(input)?;
    std::str::from_utf8(line.get(..length)?).ok()?.parse().ok()
}

/// A line of up to 64 bytes without its end: counts and time stamps are shorter.
fn line<I: Input>(input: &mut I) -> Option<([u8; 64], usize)> {
    let mut line = [0; 64];
    for position in 0..line.len() {
        let byte = input.byte().ok()?;
        if byte == b'\r' {
            return (input.byte().ok()? == b'\n').then_some((line, position));
        }
        *line.get_mut(position)? = byte;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Slice;

    #[test]
    fn framings_of_a_primary_are_recognised() {
        let mark = [b'a'; 40];
        let start = [b"\n\n$EOF:".as_slice(), &mark, b"\r\nREDIS0011"].concat();
        assert_eq!(Framing::parse(&start), Framing { before: 49, ending: Ending::Mark(mark) });
        let start = b"+FULLRESYNC abc 1\r\n\n$429\r\nREDIS0010";
        assert_eq!(Framing::parse(start), Framing { before: 26, ending: Ending::Length(429) });
        assert_eq!(Framing::parse(b"REDIS0010").before, 0);
        assert_eq!(Framing::parse(b"$x").before, 0);
    }

    #[test]
    fn windows_of_zstd_are_read_from_the_header() {
        // By `zstd -c`, `zstd --ultra -22 -c` of a pipe, and `zstd --ultra -22 -c` of a file of 100 MB.
        assert_eq!(zstd_window_bytes(b"\x28\xb5\x2f\xfd\x04\x58"), Some(2 << 20));
        assert_eq!(zstd_window_bytes(b"\x28\xb5\x2f\xfd\x04\x88"), Some(128 << 20));
        assert_eq!(zstd_window_bytes(b"\x28\xb5\x2f\xfd\xa4\x00\xe1\xf5\x05"), Some(100_000_000));
        assert_eq!(zstd_window_bytes(b"\x28\xb5\x2f\xfd\xa4\x00\xe1"), None);
    }

    fn after(bytes: &[u8], ending: Ending) -> (Result<Option<Tail>, Flaw>, Vec<&'static str>) {
        let mut flaws = Vec::new();
        let tail = after_end(&mut Slice::new(bytes, 100), ending, 0, &mut flaws);
        (tail, flaws.iter().map(|flaw| flaw.kind.name()).collect())
    }

    #[test]
    fn what_follows_the_end_is_told_apart() {
        assert_eq!(after(b"", Ending::Bare), (Ok(None), vec![]));
        assert_eq!(after(b"xyz", Ending::Bare), (Ok(None), vec!["trailing-bytes"]));
        assert_eq!(after(&[b'0'; 40], Ending::Bare), (Ok(None), vec!["eof-mark"]));
        assert_eq!(after(&[b'0'; 40], Ending::Mark([b'0'; 40])), (Ok(None), vec![]));
        assert!(after(&[b'1'; 40], Ending::Mark([b'0'; 40])).0.is_err());
        assert!(after(b"", Ending::Mark([b'0'; 40])).0.is_err_and(|f| f.kind == FlawKind::EofMark));
        for length in [99, 101] {
            assert_eq!(after(b"", Ending::Length(length)), (Ok(None), vec!["framed-length"]));
        }
        let commands = b"#TS:1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let tail = Some(Tail { offset: 100, commands: 1 });
        assert_eq!(after(commands, Ending::Bare), (Ok(tail), vec![]));
        let cut = after(&commands[..20], Ending::Bare);
        assert_eq!(cut.1, ["bad-aof-tail"]);
    }
}
