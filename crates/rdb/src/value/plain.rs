//! Values written element by element: types 1 to 5, and `KeyDB`'s scheduled scripts.

use super::{Event, Visitor, score_from_ascii, string};
use crate::input::Input;
use crate::length;
use crate::problem::{Flaw, FlawKind};

pub(super) fn list<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 1)? {
        string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::Item(text)))?;
    }
    Ok(())
}

pub(super) fn set<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 1)? {
        string(input, V::NAMES, visitor, |visitor, text| visitor.on(Event::Member(text)))?;
    }
    Ok(())
}

pub(super) fn hash<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 2)? {
        pair(input, visitor)?;
    }
    Ok(())
}

pub(super) fn zset<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 9)? {
        string(input, V::NAMES, visitor, |visitor, text| visitor.on(Event::Scored(text)))?;
        let offset = input.offset();
        score(f64::from_le_bytes(input.array()?), offset, visitor);
    }
    Ok(())
}

pub(super) fn zset_ascii<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 2)? {
        string(input, V::NAMES, visitor, |visitor, text| visitor.on(Event::Scored(text)))?;
        let offset = input.offset();
        if let Some(value) = ascii_double(input)? {
            score(value, offset, visitor);
        } else {
            visitor.flaw(Flaw::new(offset, FlawKind::BadScore));
            visitor.on(Event::Score(0.0));
        }
    }
    Ok(())
}

pub(super) fn cron<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::String(text)))?;
    let start_ms = i64::from_le_bytes(input.array()?);
    let interval_ms = i64::from_le_bytes(input.array()?);
    visitor.on(Event::Schedule { start_ms, interval_ms });
    for _ in 0..2 {
        for _ in 0..length::count(input, 1)? {
            string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::Item(text)))?;
        }
    }
    Ok(())
}

/// A field and its value.
#[inline]
pub(super) fn pair<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    string(input, V::NAMES, visitor, |visitor, text| visitor.on(Event::Field(text)))?;
    string(input, V::VALUES, visitor, |visitor, text| visitor.on(Event::Value(text)))
}

/// The number of elements; none is worth a word, because servers never write that.
#[inline]
pub(super) fn count<I: Input, V: Visitor>(
    input: &mut I,
    visitor: &mut V,
    bytes_min: u64,
) -> Result<u64, Flaw> {
    let offset = input.offset();
    let count = length::count(input, bytes_min)?;
    if count == 0 {
        visitor.flaw(Flaw::new(offset, FlawKind::EmptyKey));
    }
    visitor.on(Event::Count(count));
    Ok(count)
}

fn score<V: Visitor>(value: f64, offset: u64, visitor: &mut V) {
    if value.is_nan() {
        visitor.flaw(Flaw::new(offset, FlawKind::NanScore));
    }
    visitor.on(Event::Score(value));
}

/// One length byte, of which three values are numbers themselves; then text.
fn ascii_double<I: Input>(input: &mut I) -> Result<Option<f64>, Flaw> {
    Ok(match input.byte()? {
        253 => Some(f64::NAN),
        254 => Some(f64::INFINITY),
        255 => Some(f64::NEG_INFINITY),
        length => score_from_ascii(input.take(u64::from(length))?),
    })
}
