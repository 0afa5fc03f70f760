//! What can be wrong with a snapshot. Read [`Flaw`] (where and what) first; [`Problem`] adds whose it is.
//!
//! A flaw is found by a decoder that knows bytes only; the verifier adds database and key. Two roads
//! lead out of a decoder: `Err(Flaw)` when the end of the value can no longer be known, and
//! `Visitor::flaw` when the damage stays inside a value whose extent is known.

use serde::Serialize;

/// Something wrong at an offset of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at offset {offset}")]
pub struct Flaw {
    /// Bytes from the start of the snapshot (of the decompressed one where a wrapper was removed). Inside
    /// a compressed value: where that value starts.
    pub offset: u64,
    /// What is wrong.
    pub kind: FlawKind,
}

impl Flaw {
    /// A flaw of `kind` at `offset`.
    pub const fn new(offset: u64, kind: FlawKind) -> Self {
        Self { offset, kind }
    }
}

macro_rules! flaw_kinds {
    ($($(#[$doc:meta])* $variant:ident $(($($field:ident : $ty:ty),+))? => $name:literal, $message:literal;)+) => {
        /// What is wrong, as a closed list; [`FlawKind::name`] is what programs read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FlawKind { $($(#[$doc])* $variant $(($($ty),+))?,)+ }

        impl FlawKind {
            /// Stable name, as in the JSON report.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant $(($(flaw_kinds!(@ignore $field)),+))? => $name,)+ }
            }
        }

        impl std::fmt::Display for FlawKind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self { $(Self::$variant $(($($field),+))? => write!(f, $message),)+ }
            }
        }
    };
    (@ignore $field:ident) => { _ };
}

flaw_kinds! {
    /// The input ends inside a structure.
    Truncated => "truncated", "the snapshot ends in the middle of a structure";
    /// Not `REDIS` or `VALKEY` and digits.
    BadMagic => "bad-magic", "no REDIS or VALKEY magic: not a snapshot";
    /// A version nobody has written.
    BadVersion(version: u32) => "bad-version", "format version {version} is not known";
    /// A value type that this dialect does not have.
    UnknownType(code: u8) => "unknown-type", "value type or opcode {code} is not known in this dialect";
    /// A type or opcode of release candidates that every server refuses.
    Refused(code: u8) => "refused-type", "code {code} was only written by release candidates; every server refuses it";
    /// First byte of a length is none of the five forms.
    BadLength(byte: u8) => "bad-length", "byte {byte:#04x} does not start a length";
    /// A length stands where the format wants a number but carries the string-encoding flag.
    EncodedLength(byte: u8) => "encoded-length", "byte {byte:#04x} is a string encoding where a plain length belongs";
    /// A length that cannot fit in what follows.
    LengthTooLarge(length: u64) => "length-too-large", "length {length} exceeds what can follow";
    /// Unknown special string encoding.
    BadStringEncoding(code: u8) => "bad-string-encoding", "string encoding {code} does not exist";
    /// LZF data does not decode to its stated length.
    BadLzf => "bad-lzf", "compressed string does not decode to its stated length";
    /// ASCII score that is not a number.
    BadScore => "bad-score", "score is not a number";
    /// NaN is never a score.
    NanScore => "nan-score", "score is NaN";
    /// Scores of a packed sorted set run backwards.
    UnsortedScores => "unsorted-scores", "members are not in order of score";
    /// Aggregate without elements: servers drop it.
    EmptyKey => "empty-key", "the value has no elements; servers drop such a key";
    /// An element twice in a set, hash or sorted set.
    DuplicateElement => "duplicate-element", "the same element occurs twice in the value";
    /// A key twice in a database: servers refuse to start.
    DuplicateKey => "duplicate-key", "the key occurs twice in this database; servers refuse to load that";
    /// Ziplist damage.
    BadZiplist(what: &'static str) => "bad-ziplist", "ziplist: {what}";
    /// Listpack damage.
    BadListpack(what: &'static str) => "bad-listpack", "listpack: {what}";
    /// Intset damage.
    BadIntset(what: &'static str) => "bad-intset", "intset: {what}";
    /// Zipmap damage.
    BadZipmap(what: &'static str) => "bad-zipmap", "zipmap: {what}";
    /// Quicklist damage.
    BadQuicklist(what: &'static str) => "bad-quicklist", "quicklist: {what}";
    /// Stream damage.
    BadStream(what: &'static str) => "bad-stream", "stream: {what}";
    /// A consumer group or its pending entries contradict themselves.
    BadGroup(what: &'static str) => "bad-group", "consumer group: {what}";
    /// Length of a stream against the entries found.
    StreamCount(stated: u64, found: u64) => "stream-count", "stream states {stated} entries and holds {found}";
    /// Hash-field expiry times.
    BadFieldTtl(what: &'static str) => "bad-field-ttl", "hash field expiry: {what}";
    /// Module framing.
    BadModule(what: &'static str) => "bad-module", "module data: {what}";
    /// Array damage.
    BadArray(what: &'static str) => "bad-array", "array: {what}";
    /// A library of functions that no server would load.
    BadFunction(what: &'static str) => "bad-function", "function library: {what}; servers refuse to load that";
    /// Metadata attached to a key.
    BadKeyMeta(what: &'static str) => "bad-key-meta", "key metadata: {what}";
    /// Slot import record.
    BadSlotImport(what: &'static str) => "bad-slot-import", "slot import: {what}";
    /// RESIZEDB keys against keys found.
    ResizedbKeys(stated: u64, found: u64) => "resizedb-keys", "RESIZEDB announces {stated} keys and {found} follow";
    /// RESIZEDB expires against those found.
    ResizedbExpires(stated: u64, found: u64) => "resizedb-expires", "RESIZEDB announces {stated} keys with expiry and {found} follow";
    /// Slot record keys against keys found.
    SlotKeys(stated: u64, found: u64) => "slot-keys", "the slot record announces {stated} keys and {found} follow";
    /// Slot record expires against those found.
    SlotExpires(stated: u64, found: u64) => "slot-expires", "the slot record announces {stated} keys with expiry and {found} follow";
    /// Slot record's keys with fields that expire against those found.
    SlotFieldExpires(stated: u64, found: u64) => "slot-field-expires", "the slot record announces {stated} keys with fields that expire and {found} follow";
    /// Slot out of 0..16383 or malformed slot AUX.
    BadSlot => "bad-slot", "slot record is malformed or outside 0-16383";
    /// Key in the wrong slot section.
    WrongSlot(expected: u64, actual: u64) => "wrong-slot", "key belongs to slot {actual} but stands under slot {expected}";
    /// Attributes with no key after them.
    StrayAttribute => "stray-attribute", "expiry, eviction or metadata opcode with no key after it";
    /// Database number beyond what servers accept.
    BadDb(db: u64) => "bad-db", "database number {db} is beyond what any server has";
    /// Stored and computed checksum differ.
    ChecksumMismatch => "checksum-mismatch", "the stored checksum is not that of the data";
    /// Bytes after the end that are neither a mark nor commands.
    TrailingBytes(bytes: u64) => "trailing-bytes", "bytes that follow the end of the snapshot: {bytes}";
    /// Length announced by a transfer against that of the snapshot.
    FramedLength(stated: u64, found: u64) => "framed-length", "the transfer announces {stated} bytes and the snapshot has {found}";
    /// End mark of a diskless transfer left in the file, or wrong in a capture.
    EofMark => "eof-mark", "end mark of a replication transfer is missing, wrong or left in the file";
    /// Commands after an RDB preamble are damaged.
    BadAofTail => "bad-aof-tail", "append-only commands after the snapshot are cut or damaged";
    /// Wrapper (gzip, zstd, lz4) is damaged or unreadable.
    BadWrapper => "bad-wrapper", "compressed container is damaged";
    /// Wrapper that is sound as far as can be told, and needs more than is spent on it here.
    UnreadWrapper => "unread-wrapper", "compressed with a window or in a way that is not read here: decompress it first";
    /// A format that only looks like RDB.
    ForeignFormat(what: &'static str) => "foreign-format", "{what}";
    /// Reading failed below us.
    Io => "io", "reading failed";
}

/// A flaw with the key it belongs to, as reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, in bytes from the start of the snapshot.
    pub offset: u64,
    /// Database, if one was selected.
    pub db: Option<u64>,
    /// Key whose value or attributes are affected, printable (see [`key_text`]).
    pub key: Option<String>,
    /// Stable name of the kind.
    pub kind: &'static str,
    /// The same for people.
    pub message: String,
}

impl Problem {
    /// `flaw` as found at `key` of `db`.
    pub fn new(flaw: Flaw, db: Option<u64>, key: Option<&[u8]>) -> Self {
        Self {
            offset: flaw.offset,
            db,
            key: key.map(key_text),
            kind: flaw.kind.name(),
            message: flaw.kind.to_string(),
        }
    }
}

/// Longest key text in a report: enough to find the key, whatever its size.
const KEY_TEXT_BYTES_MAX: usize = 1024;

/// A key as text that loses nothing up to 1024 bytes: valid printable UTF-8 stays, a
/// backslash is doubled and any other byte becomes `\xNN`.
pub fn key_text(key: &[u8]) -> String {
    let shown = key.get(..KEY_TEXT_BYTES_MAX).unwrap_or(key);
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                letter if letter.is_control() => {
                    let mut buffer = [0; 4];
                    for byte in letter.encode_utf8(&mut buffer).bytes() {
                        push_escaped(&mut text, byte);
                    }
                }
                letter => text.push(letter),
            }
        }
        for &byte in chunk.invalid() {
            push_escaped(&mut text, byte);
        }
    }
    if shown.len() < key.len() {
        text.push('…');
    }
    text
}

fn push_escaped(text: &mut String, byte: u8) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_text_keeps_letters_and_escapes_bytes() {
        assert_eq!(key_text("naïve:1".as_bytes()), "naïve:1");
        assert_eq!(key_text(b"a\\b\x00\xff"), "a\\\\b\\x00\\xff");
        assert!(key_text(&[b'k'; 5000]).ends_with('…'));
    }

    #[test]
    fn a_flaw_says_where_and_what() {
        let flaw = Flaw::new(7, FlawKind::UnknownType(99));
        assert_eq!(flaw.kind.name(), "unknown-type");
        assert_eq!(
            flaw.to_string(),
            "value type or opcode 99 is not known in this dialect at offset 7"
        );
    }
}
