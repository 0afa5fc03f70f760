//! Zipmap: the packed hash of Redis before 2.6. Read [`walk`] first.

use super::{Encoding, Event, Place, Visitor, blob};
use crate::input::{Input, Scratch};
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

const END: u8 = 0xff;
/// From here on, lengths take four more bytes and counts are not kept.
const LONG: u8 = 254;

pub(super) fn hash<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    blob(Encoding::Zipmap, input, scratch, visitor, |bytes, place, visitor| {
        walk(bytes, place, |field, value| {
            visitor.on(Event::Field(Text::Bytes(field)));
            visitor.on(Event::Value(Text::Bytes(value)));
        })
    })
}

/// Hands each field and value to `each`; an error is the first rule broken.
pub fn walk(bytes: &[u8], place: Place, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Flaw> {
    let wrong = |rest: &[u8], what| {
        place.flaw(bytes.len().saturating_sub(rest.len()), FlawKind::BadZipmap(what))
    };
    let Some((&stated, mut rest)) = bytes.split_first() else {
        return Err(wrong(bytes, "shorter than its header"));
    };
    let mut seen = 0_u64;
    loop {
        match rest {
            [] => return Err(wrong(rest, "no terminator")),
            [END] => break,
            [END, ..] => return Err(wrong(rest, "terminator before the end")),
            _ => {}
        }
        let (field, value, after) = pair(rest).map_err(|what| wrong(rest, what))?;
        each(field, value);
        seen += 1;
        rest = after;
    }
    if seen == 0 {
        return Err(place.flaw(0, FlawKind::EmptyKey));
    }
    if stated < LONG && u64::from(stated) != seen {
        return Err(wrong(bytes, "stated number of fields is not the real one"));
    }
    Ok(())
}

type Pair<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn pair(rest: &[u8]) -> Result<Pair<'_>, &'static str> {
    let (length, rest) = length(rest)?;
    let (field, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    let (length, rest) = self::length(rest)?;
    let (&free, rest) = rest.split_first().ok_or(CUT)?;
    let (value, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    let (_, rest) = rest.split_at_checked(usize::from(free)).ok_or(CUT)?;
    Ok((field, value, rest))
}

const CUT: &str = "an entry runs past the end";

fn length(rest: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let (&first, rest) = rest.split_first().ok_or(CUT)?;
    if first < LONG {
        return Ok((usize::from(first), rest));
    }
    if first == END {
        return Err("terminator inside a pair");
    }
    let (long, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let length = u32::from_le_bytes(*long);
    if length < u32::from(LONG) {
        return Err("a short length in its long form");
    }
    Ok((usize::try_from(length).map_err(|_| CUT)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(bytes: &[u8]) -> Result<Pairs, Flaw> {
        let mut out = Vec::new();
        walk(bytes, Place::at(0), |field, value| out.push((field.into(), value.into())))?;
        Ok(out)
    }

    #[test]
    fn pairs_come_out_and_rules_hold() {
        let good = [1, 1, b'f', 2, 1, b'v', b'w', 0, 0xff];
        assert_eq!(read(&good), Ok(vec![(b"f".to_vec(), b"vw".to_vec())]));
        for (position, byte, message) in [
            (0, 2, "stated number of fields is not the real one"),
            (1, 200, CUT),
            (3, 0xff, "terminator inside a pair"),
            (4, 0, "no terminator"),
            (8, 0, CUT),
        ] {
            let mut bad = good;
            bad[position] = byte;
            let kind = read(&bad).map_err(|flaw| flaw.kind);
            if position == 4 {
                assert!(kind.is_err());
            } else {
                assert_eq!(kind, Err(FlawKind::BadZipmap(message)), "byte {position}");
            }
        }
        assert!(read(&[0, 0xff]).is_err());
    }
}
