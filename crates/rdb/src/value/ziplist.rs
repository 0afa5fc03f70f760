//! Ziplist: listpack's predecessor, each entry preceded by the length of the one before. Read [`Entries`] first.

use super::{Encoding, Event, Place, Visitor, blob, intset, scored};
use crate::input::{Input, Scratch};
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

/// Bytes before the first entry.
pub const HEADER_BYTES: usize = 10;
/// In the header: too many entries for sixteen bits.
pub const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xff;
const LONG_LENGTH: u8 = 0xfe;

pub(super) fn list<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Ziplist, input, scratch, visitor, |bytes, place, visitor| {
        if items(bytes, place, visitor)? == 0 {
            return Err(place.flaw(0, FlawKind::EmptyKey));
        }
        Ok(())
    })
}

pub(super) fn hash<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Ziplist, input, scratch, visitor, |bytes, place, visitor| {
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
    blob(Encoding::Ziplist, input, scratch, visitor, |bytes, place, visitor| {
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

/// Entries of a ziplist in order. Every rule of the format is checked on the way.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    place: Place,
    at: usize,
    last_at: usize,
    last_size: usize,
    seen: u64,
    stated_tail: u64,
    stated: u16,
}

impl<'a> Entries<'a> {
    /// Checks the header and stands before the first entry.
    pub fn new(bytes: &'a [u8], place: Place) -> Result<Self, Flaw> {
        let wrong = |what| place.flaw(0, FlawKind::BadZiplist(what));
        let short = wrong("shorter than its header");
        let (total, rest) = bytes.split_first_chunk::<4>().ok_or(short)?;
        let (tail, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let stated = rest.first_chunk::<2>().ok_or(short)?;
        if u64::from(u32::from_le_bytes(*total)) != bytes.len() as u64 {
            return Err(wrong("stated length is not the real one"));
        }
        if bytes.len() <= HEADER_BYTES || bytes.last() != Some(&END) {
            return Err(wrong("no terminator"));
        }
        Ok(Self {
            bytes,
            place,
            at: HEADER_BYTES,
            last_at: HEADER_BYTES,
            last_size: 0,
            seen: 0,
            stated_tail: u64::from(u32::from_le_bytes(*tail)),
            stated: u16::from_le_bytes(*stated),
        })
    }

    /// The next entry; `None` at a proper end.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "an error is final, unlike an iterator's item"
    )]
    pub fn next(&mut self) -> Result<Option<Text<'a>>, Flaw> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest {
            [] => return Err(self.wrong(CUT)),
            [END] => return self.finish().map(|()| None),
            [END, ..] => return Err(self.wrong("terminator before the end")),
            _ => {}
        }
        let (text, previous, size) = match entry(rest) {
            Ok(parsed) => parsed,
            Err(what) => return Err(self.wrong(what)),
        };
        if previous != self.last_size as u64 {
            return Err(self.wrong("length of the previous entry is not its own"));
        }
        self.last_at = self.at;
        self.last_size = size;
        self.at += size;
        self.seen += 1;
        Ok(Some(text))
    }

    /// The entry that must follow, as a value follows its field.
    pub fn partner(&mut self) -> Result<Text<'a>, Flaw> {
        self.next()?.ok_or_else(|| self.wrong("an element lacks its partner"))
    }

    fn not_empty(&self) -> Result<(), Flaw> {
        if self.seen == 0 {
            return Err(self.place.flaw(self.at, FlawKind::EmptyKey));
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Flaw> {
        if self.stated_tail != self.last_at as u64 {
            return Err(self.wrong("stated last entry is not the real one"));
        }
        if self.stated != COUNT_UNKNOWN && u64::from(self.stated) != self.seen {
            return Err(self.wrong("stated number of entries is not the real one"));
        }
        Ok(())
    }

    #[cold]
    fn wrong(&self, what: &'static str) -> Flaw {
        self.place.flaw(self.at, FlawKind::BadZiplist(what))
    }
}

const CUT: &str = "an entry runs past the end";

/// The entry at the start of `rest`: content, stated length of the previous one, own size.
#[inline]
fn entry(rest: &[u8]) -> Result<(Text<'_>, u64, usize), &'static str> {
    let &first = rest.first().ok_or(CUT)?;
    let (previous, header) = if first == LONG_LENGTH {
        let long = rest.get(1..).and_then(<[u8]>::first_chunk::<4>).ok_or(CUT)?;
        (u64::from(u32::from_le_bytes(*long)), 5)
    } else {
        (u64::from(first), 1)
    };
    let data = rest.get(header..).ok_or(CUT)?;
    let (text, size) = content(data)?;
    Ok((text, previous, header + size))
}

#[inline]
fn content(data: &[u8]) -> Result<(Text<'_>, usize), &'static str> {
    let &first = data.first().ok_or(CUT)?;
    let string = |header: usize, length: usize| {
        let end = header.checked_add(length).ok_or(CUT)?;
        data.get(header..end).map(|bytes| (Text::Bytes(bytes), end)).ok_or(CUT)
    };
    let integer = |bytes: usize| {
        let digits = data.get(1..=bytes).ok_or(CUT)?;
        Ok((Text::Int(intset::little_endian(digits)), bytes + 1))
    };
    match first {
        0x00..=0x3f => string(1, usize::from(first)),
        0x40..=0x7f => {
            string(2, usize::from(first & 0x3f) << 8 | usize::from(*data.get(1).ok_or(CUT)?))
        }
        0x80..=0xbf => {
            let length = data.get(1..).and_then(<[u8]>::first_chunk::<4>).ok_or(CUT)?;
            string(5, usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CUT)?)
        }
        0xc0 => integer(2),
        0xd0 => integer(4),
        0xe0 => integer(8),
        0xf0 => integer(3),
        0xfe => integer(1),
        0xf1..=0xfd => Ok((Text::Int(i64::from(first & 0x0f) - 1), 1)),
        _ => Err("an entry has an unknown encoding"),
    }
}

/// Bytes that an element takes in a ziplist, behind one of less than 254 bytes.
pub fn entry_bytes(text: &Text<'_>) -> u64 {
    1 + match text.as_int() {
        Some(0..=12) => 1,
        Some(value) if i8::try_from(value).is_ok() => 2,
        Some(value) if i16::try_from(value).is_ok() => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(value) if i32::try_from(value).is_ok() => 5,
        Some(_) => 9,
        None => match text.length() {
            length @ 0..=63 => length + 1,
            length @ 64..=16_383 => length + 2,
            length => length + 5,
        },
    }
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
        let good = [17, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0xf3, 2, 0x02, b'a', b'b', 0xff];
        assert_eq!(read(&good), Ok(vec![Text::Int(2), Text::Bytes(b"ab")]));
        for (position, byte, message) in [
            (0, 12, "stated length is not the real one"),
            (4, 10, "stated last entry is not the real one"),
            (8, 3, "stated number of entries is not the real one"),
            (12, 3, "length of the previous entry is not its own"),
            (11, 0xc1, "an entry has an unknown encoding"),
            (12, 0xff, "terminator before the end"),
            (16, 0, "no terminator"),
        ] {
            let mut bad = good;
            bad[position] = byte;
            assert_eq!(
                read(&bad).map_err(|flaw| flaw.kind),
                Err(FlawKind::BadZiplist(message)),
                "byte {position}"
            );
        }
    }
}
