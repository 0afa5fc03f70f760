//! Arrays (type 28, Redis 8.8): indexed elements of four kinds.

use super::{Event, Visitor, string};
use crate::input::Input;
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

/// Longest string that 64-bit servers keep inside the slot.
const SMALL_BYTES_MAX: u64 = 7;

pub(super) fn value<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let offset = input.offset();
    let count = length::count(input, 3)?;
    if count == 0 {
        visitor.flaw(Flaw::new(offset, FlawKind::EmptyKey));
    }
    let offset = input.offset();
    match length::number(input)? {
        0 => {}
        1 => drop(length::number(input)?),
        _ => return Err(Flaw::new(offset, FlawKind::BadArray("flag is neither 0 nor 1"))),
    }
    visitor.on(Event::Count(count));
    for _ in 0..count {
        element(input, visitor)?;
    }
    Ok(())
}

fn element<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let offset = input.offset();
    let index = length::number(input)?;
    if index == u64::MAX {
        visitor.flaw(Flaw::new(offset, FlawKind::BadArray("index is out of range")));
    }
    visitor.on(Event::ArrayIndex(index));
    let offset = input.offset();
    match length::number(input)? {
        0 => string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::ArrayText(text))),
        1 => {
            let value = i64::from_le_bytes(input.array()?);
            visitor.on(Event::ArrayInt(value));
            Ok(())
        }
        2 => {
            let value = f64::from_le_bytes(input.array()?);
            visitor.on(Event::ArrayFloat(value));
            Ok(())
        }
        3 => string(input, V::VALUES, visitor, |visitor, text| small(visitor, text, offset)),
        _ => Err(Flaw::new(offset, FlawKind::BadArray("unknown kind of element"))),
    }
}

fn small<V: Visitor>(visitor: &mut V, text: Text<'_>, offset: u64) {
    if text.length() > SMALL_BYTES_MAX {
        visitor.flaw(Flaw::new(offset, FlawKind::BadArray("a small string is not small")));
    }
    visitor.on(Event::ArrayText(text));
}
