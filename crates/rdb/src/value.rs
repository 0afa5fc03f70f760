//! Values: one walk for every question. Read [`Visitor`] first, then [`walk`].
//!
//! A value is walked once, part by part, and each part handed to a [`Visitor`] as an [`Event`]. Constants of the
//! visitor say how much of each string it needs, so that walking to find the end of a value, to size it
//! and to verify it are the same code compiled thrice. One file below per layout.

mod array;
mod hash_ttl;
pub mod intset;
pub mod listpack;
pub mod module;
mod plain;
mod quicklist;
pub mod stream;
pub mod ziplist;
pub mod zipmap;

pub(crate) use module::items as module_items;

use crate::format::ValueType;
use crate::input::{Input, Scratch};
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::{self, Need, Text};

/// What walks along a value.
pub trait Visitor {
    /// What is needed of strings that are unique in their value: members and fields.
    const NAMES: Need;
    /// What is needed of all other strings.
    const VALUES: Need;
    /// What is needed of packed encodings: [`Need::Bytes`] to look inside, else [`Need::Nothing`].
    const BLOBS: Need;

    /// A packed encoding is about to be decoded; false leaves it closed.
    fn blob(&mut self, encoding: Encoding, text: &Text<'_>) -> bool {
        let _ = (encoding, text);
        true
    }

    /// The next part of the value.
    fn on(&mut self, event: Event<'_>);

    /// Damage that leaves the end of the value known: inside a packed encoding nothing more comes of it, the walk goes on
    /// behind it.
    fn flaw(&mut self, flaw: Flaw);
}

/// Packed encodings: one string that holds many elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Since 7.0.
    Listpack,
    /// Before.
    Ziplist,
    /// Sorted integers.
    Intset,
    /// Before 2.6.
    Zipmap,
    /// Stream entries under one master entry.
    StreamListpack,
    /// An element of a list large enough for a node of its own.
    PlainNode,
}

/// A part of a value. Strings borrow from the input or a buffer that the next part reuses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// Value of a string.
    String(Text<'a>),
    /// Elements that follow one by one, as the file states.
    Count(u64),
    /// Element of a list.
    Item(Text<'a>),
    /// Member of a set.
    Member(Text<'a>),
    /// Member of a sorted set; its score follows.
    Scored(Text<'a>),
    /// Score of the member before.
    Score(f64),
    /// Field of a hash; its value follows.
    Field(Text<'a>),
    /// Value of the field before.
    Value(Text<'a>),
    /// In hashes with expiring fields: when the field before expires, in Unix milliseconds.
    FieldExpiry(Option<u64>),
    /// Part of a stream.
    Stream(stream::Part<'a>),
    /// Module's id: nine letters and a version.
    ModuleId(u64),
    /// Integer stored by a module.
    ModuleInt(u64),
    /// Other number stored by a module.
    ModuleFloat(f64),
    /// String stored by a module.
    ModuleText(Text<'a>),
    /// Index of an array's element; its value follows.
    ArrayIndex(u64),
    /// String in an array.
    ArrayText(Text<'a>),
    /// Integer in an array.
    ArrayInt(i64),
    /// Float in an array.
    ArrayFloat(f64),
    /// Theoretical arrival time of a rate limiter.
    Arrival(u64),
    /// Start and interval of a scheduled script, in milliseconds.
    Schedule {
        /// First run.
        start_ms: i64,
        /// Between runs.
        interval_ms: i64,
    },
}

/// Walks the value of type `kind` at the input's position to its end. `Err` means that the end
/// cannot be found.
#[inline]
pub fn walk<I: Input, V: Visitor>(
    kind: ValueType,
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    match kind {
        ValueType::String => {
            string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::String(text)))
        }
        ValueType::List => plain::list(input, visitor),
        ValueType::Set => plain::set(input, visitor),
        ValueType::Hash => plain::hash(input, visitor),
        ValueType::Zset => plain::zset(input, visitor),
        ValueType::ZsetAscii => plain::zset_ascii(input, visitor),
        ValueType::Module => module::value(input, visitor),
        ValueType::HashZipmap => zipmap::hash(input, scratch, visitor),
        ValueType::ListZiplist => ziplist::list(input, scratch, visitor),
        ValueType::ZsetZiplist => ziplist::zset(input, scratch, visitor),
        ValueType::HashZiplist => ziplist::hash(input, scratch, visitor),
        ValueType::SetIntset => intset::set(input, scratch, visitor),
        ValueType::ListQuicklist => quicklist::of_ziplists(input, scratch, visitor),
        ValueType::ListQuicklist2 => quicklist::of_listpacks(input, scratch, visitor),
        ValueType::HashListpack => listpack::hash(input, scratch, visitor),
        ValueType::ZsetListpack => listpack::zset(input, scratch, visitor),
        ValueType::SetListpack => listpack::set(input, scratch, visitor),
        ValueType::Stream(generation) => stream::value(generation, input, scratch, visitor),
        ValueType::HashTtlPreGa => hash_ttl::pre_ga(input, visitor),
        ValueType::HashListpackTtlPreGa => hash_ttl::listpack_pre_ga(input, scratch, visitor),
        ValueType::HashTtlValkey => hash_ttl::valkey(input, visitor),
        ValueType::HashTtl => hash_ttl::redis(input, visitor),
        ValueType::HashListpackTtl => hash_ttl::listpack(input, scratch, visitor),
        ValueType::Array => array::value(input, visitor),
        ValueType::Gcra => {
            let arrival = length::number(input)?;
            visitor.on(Event::Arrival(arrival));
            Ok(())
        }
        ValueType::Cron => plain::cron(input, visitor),
    }
}

/// Walks to the end of a value without looking at it.
#[inline]
pub fn skip<I: Input>(kind: ValueType, input: &mut I, scratch: &mut Scratch) -> Result<(), Flaw> {
    walk(kind, input, scratch, &mut Passer)
}

/// The visitor that wants nothing.
struct Passer;

impl Visitor for Passer {
    const NAMES: Need = Need::Nothing;
    const VALUES: Need = Need::Nothing;
    const BLOBS: Need = Need::Nothing;

    #[inline]
    fn on(&mut self, _: Event<'_>) {}

    #[inline]
    fn flaw(&mut self, _: Flaw) {}
}

/// Reads one string as far as `need` and hands it on.
#[inline]
fn string<I: Input, V: Visitor>(
    input: &mut I,
    need: Need,
    visitor: &mut V,
    hand: impl FnOnce(&mut V, Text<'_>),
) -> Result<(), Flaw> {
    let (text, flaw) = text::read(input, need)?;
    hand(visitor, text);
    if let Some(flaw) = flaw {
        visitor.flaw(flaw);
    }
    Ok(())
}

/// Where the bytes of a packed encoding stand.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    offset: u64,
    is_packed: bool,
}

impl Place {
    /// Bytes that stand in the input as they are.
    pub const fn at(offset: u64) -> Self {
        Self { offset, is_packed: false }
    }

    /// A flaw at `inner` bytes into the encoding: its own offset, or that of the compressed string around it.
    fn flaw(self, inner: usize, kind: FlawKind) -> Flaw {
        let inner = if self.is_packed { 0 } else { inner as u64 };
        Flaw::new(self.offset.saturating_add(inner), kind)
    }
}

/// Reads a packed encoding and, if the visitor wants it opened, lets `open` walk it. Damage inside is
/// the visitor's to hear of; the walk goes on after the string.
#[inline]
fn blob<I: Input, V: Visitor>(
    encoding: Encoding,
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
    open: impl FnOnce(&[u8], Place, &mut V) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let start = input.offset();
    let (text, data_offset) = text::read_blob(input, V::BLOBS)?;
    if V::BLOBS == Need::Nothing || !visitor.blob(encoding, &text) {
        return Ok(());
    }
    let is_packed = !matches!(text, Text::Bytes(_));
    let offset = if is_packed { start } else { data_offset };
    let result = match text.bytes(scratch) {
        Ok(bytes) => open(bytes, Place { offset, is_packed }, visitor),
        Err(kind) => Err(Flaw::new(start, kind)),
    };
    if let Err(flaw) = result {
        visitor.flaw(flaw);
    }
    Ok(())
}

/// A score as packed encodings hold it: an integer or text.
fn score(text: Text<'_>) -> Option<f64> {
    match text {
        #[expect(clippy::cast_precision_loss, reason = "servers convert in the same way")]
        Text::Int(value) => Some(value as f64),
        Text::Bytes(bytes) => score_from_ascii(bytes),
        Text::Packed(_) | Text::Omitted { .. } => None,
    }
}

fn score_from_ascii(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(bytes).ok()?.trim_start().parse().ok()
}

/// Hands a member and its score on, and tells of a score that no server can use or that breaks the order.
fn scored<V: Visitor>(
    visitor: &mut V,
    member: Text<'_>,
    score_text: Text<'_>,
    last: &mut f64,
    flaw_at: impl Fn(FlawKind) -> Flaw,
) {
    visitor.on(Event::Scored(member));
    let score = score(score_text);
    match score {
        None => visitor.flaw(flaw_at(FlawKind::BadScore)),
        Some(value) if value.is_nan() => visitor.flaw(flaw_at(FlawKind::NanScore)),
        Some(value) if value < *last => visitor.flaw(flaw_at(FlawKind::UnsortedScores)),
        Some(value) => *last = value,
    }
    visitor.on(Event::Score(score.unwrap_or_default()));
}
