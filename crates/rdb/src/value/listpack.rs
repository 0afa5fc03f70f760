//! Listpack: a header of six bytes, entries that end in their own length, a terminator. Read [`Entries`]
//! first.

use super::{Encoding, Event, Place, Visitor, blob, intset, scored};
use crate::input::{Input, Scratch};
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

/// Bytes before the first entry.
pub const HEADER_BYTES: usize = 6;
/// In the header: too many entries for sixteen bits.
pub const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xff;

pub(super) fn set<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Listpack, input, scratch, visitor, |bytes, place, visitor| {
        let mut entries = Entries::new(bytes, place)?;
        while let Some(member) = entries.next()? {
            visitor.on(Event::Member(member));
        }
        entries.not_empty()
    })
}

pub(super) fn hash<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Listpack, input, scratch, visitor, |bytes, place, visitor| {
        let mut entries = Entries::new(bytes, place)?;
        while let Some(field) = entries.next()? {
            visitor.on(Event::Field(field));
            visitor.on(Event::Value(entries.partner()?));
        }
        entries.not_empty()
    })
}

pub(super) fn zset<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Listpack, input, scratch, visitor, |bytes, place, visitor| {
        let mut entries = Entries::new(bytes, place)?;
        let mut last = f64::NEG_INFINITY;
        while let Some(member) = entries.next()? {
            let at = entries.at;
            let score = entries.partner()?;
            scored(visitor, member, score, &mut last, |kind| place.flaw(at, kind));
        }
        entries.not_empty()
    })
}

/// Elements of a list node; returns how many.
pub(super) fn items<V: Visitor>(bytes: &[u8], place: Place, visitor: &mut V) -> Result<u64, Flaw> {
    let mut entries = Entries::new(bytes, place)?;
    while let Some(item) = entries.next()? {
        visitor.on(Event::Item(item));
    }
    Ok(entries.seen)
}

/// Entries of a listpack in order. Every rule of the format is checked on the way.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    place: Place,
    at: usize,
    seen: u64,
    stated: u16,
}

impl<'a> Entries<'a> {
    /// Checks the header and stands before the first entry.
    pub fn new(bytes: &'a [u8], place: Place) -> Result<Self, Flaw> {
        let wrong = |what| place.flaw(0, FlawKind::BadListpack(what));
        let (total, rest) =
            bytes.split_first_chunk::<4>().ok_or(wrong("shorter than its header"))?;
        let stated = rest.first_chunk::<2>().ok_or(wrong("shorter than its header"))?;
        if u64::from(u32::from_le_bytes(*total)) != bytes.len() as u64 {
            return Err(wrong("stated length is not the real one"));
        }
        if bytes.len() <= HEADER_BYTES || bytes.last() != Some(&END) {
            return Err(wrong("no terminator"));
        }
        Ok(Self { bytes, place, at: HEADER_BYTES, seen: 0, stated: u16::from_le_bytes(*stated) })
    }

    /// The next entry; `None` at a proper end.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "an error is final, unlike an iterator's item"
    )]
    pub fn next(&mut self) -> Result<Option<Text<'a>>, Flaw> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(&first) = rest.first() else {
            return Err(self.wrong("an entry runs past the end"));
        };
        if first == END {
            return self.finish(rest.len()).map(|()| None);
        }
        let (text, size) = match entry(first, rest) {
            Ok(parsed) => parsed,
            Err(what) => return Err(self.wrong(what)),
        };
        let back_bytes = back_length_bytes(size);
        let back = rest.get(size..size + back_bytes).unwrap_or_default();
        if !is_back_length(back, size) {
            return Err(self.wrong("length behind an entry is not that of the entry"));
        }
        self.at += size + back_bytes;
        self.seen += 1;
        Ok(Some(text))
    }

    /// The entry that must follow, as a value follows its field.
    #[inline]
    pub fn partner(&mut self) -> Result<Text<'a>, Flaw> {
        self.next()?.ok_or_else(|| self.wrong("an element lacks its partner"))
    }

    /// The integer that must follow.
    pub(super) fn integer(&mut self) -> Result<i64, Flaw> {
        let at = self.at;
        let wrong = self.place.flaw(at, FlawKind::BadListpack("an integer is missing"));
        self.next()?.and_then(|text| text.as_int()).ok_or(wrong)
    }

    pub(super) fn flaw(&self, kind: FlawKind) -> Flaw {
        self.place.flaw(self.at, kind)
    }

    fn not_empty(&self) -> Result<(), Flaw> {
        if self.seen == 0 { Err(self.flaw(FlawKind::EmptyKey)) } else { Ok(()) }
    }

    fn finish(&self, left: usize) -> Result<(), Flaw> {
        if left != 1 {
            return Err(self.wrong("terminator before the end"));
        }
        if self.stated != COUNT_UNKNOWN && u64::from(self.stated) != self.seen {
            return Err(self.wrong("stated number of entries is not the real one"));
        }
        Ok(())
    }

    #[cold]
    fn wrong(&self, what: &'static str) -> Flaw {
        self.flaw(FlawKind::BadListpack(what))
    }
}

const CUT: &str = "an entry runs past the end";

/// The entry at the start of `rest`, and its size without the length behind it.
#[inline]
fn entry(first: u8, rest: &[u8]) -> Result<(Text<'_>, usize), &'static str> {
    let string = |header: usize, length: usize| {
        let end = header.checked_add(length).ok_or(CUT)?;
        rest.get(header..end).map(|bytes| (Text::Bytes(bytes), end)).ok_or(CUT)
    };
    let integer = |bytes: usize| {
        let data = rest.get(1..=bytes).ok_or(CUT)?;
        Ok((Text::Int(intset::little_endian(data)), bytes + 1))
    };
    let low = usize::from(first);
    match first {
        0x00..=0x7f => Ok((Text::Int(i64::from(first)), 1)),
        0x80..=0xbf => string(1, low & 0x3f),
        0xc0..=0xdf => {
            let raw = i64::from(first & 0x1f) << 8 | i64::from(*rest.get(1).ok_or(CUT)?);
            Ok((Text::Int(if raw >= 4096 { raw - 8192 } else { raw }), 2))
        }
        0xe0..=0xef => string(2, (low & 0x0f) << 8 | usize::from(*rest.get(1).ok_or(CUT)?)),
        0xf0 => {
            let length = rest.get(1..).and_then(<[u8]>::first_chunk::<4>).ok_or(CUT)?;
            string(5, usize::try_from(u32::from_le_bytes(*length)).map_err(|_| CUT)?)
        }
        0xf1 => integer(2),
        0xf2 => integer(3),
        0xf3 => integer(4),
        0xf4 => integer(8),
        _ => Err("an entry has an unknown encoding"),
    }
}

/// Bytes of the length written behind an entry of `size`.
#[inline]
pub const fn back_length_bytes(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    }
}

/// Whether `back`, read from its end, says `size`: seven bits a byte, the high bit for more to the left.
#[inline]
fn is_back_length(back: &[u8], size: usize) -> bool {
    if let &[only] = back {
        return usize::from(only) == size;
    }
    let mut value = 0_usize;
    for (position, &byte) in back.iter().rev().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * position);
        let has_more = byte & 0x80 != 0;
        if has_more != (position + 1 < back.len()) {
            return false;
        }
    }
    !back.is_empty() && value == size
}

/// Bytes that an element takes in a listpack, with its length behind it.
pub fn entry_bytes(text: &Text<'_>) -> u64 {
    let size = match text.as_int() {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(value) if i16::try_from(value).is_ok() => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(value) if i32::try_from(value).is_ok() => 5,
        Some(_) => 9,
        None => match text.length() {
            length @ 0..=63 => length + 1,
            length @ 64..=4095 => length + 2,
            length => length + 5,
        },
    };
    size + back_length_bytes(crate::input::index(size)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Text<'_>>, Flaw> {
        let mut entries = Entries::new(bytes, Place::at(0))?;
        let mut out = Vec::new();
        while let Some(text) = entries.next()? {
            out.push(text);
        }
        Ok(out)
    }

    #[test]
    fn entries_come_out_and_rules_hold() {
        let good = [13, 0, 0, 0, 2, 0, 0x01, 0x01, 0x82, b'a', b'b', 0x03, 0xff];
        assert_eq!(read(&good), Ok(vec![Text::Int(1), Text::Bytes(b"ab")]));
        for (position, byte, message) in [
            (0, 12, "stated length is not the real one"),
            (4, 3, "stated number of entries is not the real one"),
            (7, 2, "length behind an entry is not that of the entry"),
            (6, 0xf5, "an entry has an unknown encoding"),
            (8, 0xff, "terminator before the end"),
            (12, 0, "no terminator"),
        ] {
            let mut bad = good;
            bad[position] = byte;
            assert_eq!(
                read(&bad).map_err(|flaw| flaw.kind),
                Err(FlawKind::BadListpack(message)),
                "byte {position}"
            );
        }
    }

    #[test]
    fn sizes_of_entries_follow_the_table() {
        for (value, bytes) in [
            (0, 2),
            (127, 2),
            (128, 3),
            (-1, 3),
            (4095, 3),
            (4096, 4),
            (-4097, 4),
            (40_000, 5),
            (1 << 30, 6),
            (1 << 40, 10),
        ] {
            assert_eq!(entry_bytes(&Text::Int(value)), bytes, "{value}");
        }
        for (length, bytes) in [(0, 2), (63, 65), (64, 67), (4095, 4099), (4096, 4103)] {
            assert_eq!(entry_bytes(&Text::Omitted { length }), bytes, "{length}");
        }
    }
}
