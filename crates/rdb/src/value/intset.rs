//! Intset: a width, a count, and integers of that width in ascending order. Read [`Header`] first.

use super::{Encoding, Event, Place, Visitor, blob};
use crate::input::{Input, Scratch};
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

/// Width in bytes and number of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2, 4 or 8.
    pub width: u32,
    /// Integers that follow.
    pub count: u32,
}

/// Bytes before the first integer.
pub const HEADER_BYTES: usize = 8;

impl Header {
    /// Reads the first eight bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (width, rest) = bytes.split_first_chunk::<4>()?;
        let count = rest.first_chunk::<4>()?;
        Some(Self { width: u32::from_le_bytes(*width), count: u32::from_le_bytes(*count) })
    }
}

pub(super) fn set<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Intset, input, scratch, visitor, |bytes, place, visitor| {
        walk(bytes, place, |value| visitor.on(Event::Member(Text::Int(value))))
    })
}

/// Hands each integer to `each`; an error is the first rule broken.
pub fn walk(bytes: &[u8], place: Place, mut each: impl FnMut(i64)) -> Result<(), Flaw> {
    let wrong = |inner, what| place.flaw(inner, FlawKind::BadIntset(what));
    let header = Header::parse(bytes).ok_or(wrong(0, "shorter than its header"))?;
    let width = match header.width {
        2 => 2_usize,
        4 => 4,
        8 => 8,
        _ => return Err(wrong(0, "width is not 2, 4 or 8")),
    };
    if header.count == 0 {
        return Err(place.flaw(4, FlawKind::EmptyKey));
    }
    let data = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if data.len() as u64 != u64::from(header.count) * width as u64 {
        return Err(wrong(4, "length is not that of its count"));
    }
    let mut last = None;
    for (position, chunk) in data.chunks_exact(width).enumerate() {
        let value = little_endian(chunk);
        if last.is_some_and(|last| last >= value) {
            return Err(wrong(HEADER_BYTES + position * width, "integers are not ascending"));
        }
        last = Some(value);
        each(value);
    }
    Ok(())
}

/// A signed little-endian integer of up to eight bytes.
#[inline]
pub(super) fn little_endian(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    let length = bytes.len().min(8);
    if let (Some(to), Some(from)) = (wide.get_mut(8 - length..), bytes.get(..length)) {
        to.copy_from_slice(from);
    }
    // The bytes stand at the top: shifting down extends the sign.
    i64::from_le_bytes(wide)
        .wrapping_shr(u32::try_from(8 * (8 - length)).unwrap_or_default().min(63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Result<Vec<i64>, Flaw> {
        let mut out = Vec::new();
        walk(bytes, Place::at(100), |value| out.push(value)).map(|()| out)
    }

    #[test]
    fn integers_come_out_in_order() {
        assert_eq!(values(&[2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 1, 0]), Ok(vec![-1, 1]));
    }

    #[test]
    fn each_rule_is_held() {
        for (bytes, offset, message) in [
            (&[2, 0, 0][..], 100, "shorter than its header"),
            (&[3, 0, 0, 0, 1, 0, 0, 0, 0], 100, "width is not 2, 4 or 8"),
            (&[2, 0, 0, 0, 2, 0, 0, 0, 0, 0], 104, "length is not that of its count"),
            (&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0], 110, "integers are not ascending"),
        ] {
            assert_eq!(values(bytes), Err(Flaw::new(offset, FlawKind::BadIntset(message))));
        }
        assert!(values(&[2, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
