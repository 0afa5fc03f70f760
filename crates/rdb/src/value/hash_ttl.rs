//! Hashes whose fields expire: types 22 to 25 of Redis and 22 of Valkey.
//!
//! Redis keeps times as distances to the earliest one, Valkey keeps them absolute and after the value.

use super::plain::{count, pair};
use super::{Encoding, Event, Place, Visitor, blob, listpack};
use crate::input::{Input, Scratch};
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

/// Latest time that Redis accepts: 48 bits of milliseconds.
const TIME_MAX: u64 = (1 << 48) - 1;

const LATE: &str = "a time is beyond 48 bits of milliseconds";
const WRONG_MINIMUM: &str = "stated earliest time is not that of any field";
const LATE_MINIMUM: &str = "stated earliest time is later than that of a field";

/// The time stated for a packed hash is the one its server's index of hashes has, which is not kept exact: fields that are
/// deleted or persisted leave it too early, and a field set to expire less than this much earlier leaves it too late
/// (redis:src/t_hash.c:hashTypeSetExDone, `HASH_NEW_EXPIRE_DIFF_THRESHOLD`).
const STALE_MS: u64 = 4000;

/// Type 24: each field's distance to the earliest time, plus one; zero for none.
pub(super) fn redis<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let offset = input.offset();
    let earliest = u64::from_le_bytes(input.array()?);
    let mut nearest = u64::MAX;
    let count = count(input, visitor, 3)?;
    for _ in 0..count {
        let at = input.offset();
        let distance = length::number(input)?;
        pair(input, visitor)?;
        let time = distance.checked_sub(1).map(|past| earliest.saturating_add(past));
        if let Some(time) = time {
            nearest = nearest.min(time);
            check_time(time, at, visitor);
        }
        visitor.on(Event::FieldExpiry(time));
    }
    if count > 0 && nearest != earliest {
        visitor.flaw(Flaw::new(offset, FlawKind::BadFieldTtl(WRONG_MINIMUM)));
    }
    Ok(())
}

/// Type 22 of release candidates: absolute time before each field; zero for none.
pub(super) fn pre_ga<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    for _ in 0..count(input, visitor, 3)? {
        let at = input.offset();
        let time = length::number(input)?;
        pair(input, visitor)?;
        check_time(time, at, visitor);
        visitor.on(Event::FieldExpiry((time != 0).then_some(time)));
    }
    Ok(())
}

/// Type 22 of Valkey: absolute time after each value; -1 for none.
pub(super) fn valkey<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let offset = input.offset();
    let mut expiring = 0_u64;
    let count = count(input, visitor, 10)?;
    for _ in 0..count {
        pair(input, visitor)?;
        let at = input.offset();
        let time = i64::from_le_bytes(input.array()?);
        if time < -1 {
            visitor.flaw(Flaw::new(at, FlawKind::BadFieldTtl("a time is negative")));
        }
        let time = u64::try_from(time).ok();
        expiring += u64::from(time.is_some());
        visitor.on(Event::FieldExpiry(time));
    }
    if count > 0 && expiring == 0 {
        let kind = FlawKind::BadFieldTtl("no field expires, yet the type is for those that do");
        visitor.flaw(Flaw::new(offset, kind));
    }
    Ok(())
}

/// Type 25: the earliest time, zero for none, then a listpack of field, value, time. A time that is stated too early costs
/// the server a look; one stated too late leaves expired fields in memory until then.
pub(super) fn listpack<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    let offset = input.offset();
    let earliest = u64::from_le_bytes(input.array()?);
    triples(input, scratch, visitor, |first, visitor| {
        let is_late = first != 0 && (earliest == 0 || earliest >= first.saturating_add(STALE_MS));
        if is_late {
            visitor.flaw(Flaw::new(offset, FlawKind::BadFieldTtl(LATE_MINIMUM)));
        }
        check_time(earliest, offset, visitor);
    })
}

/// Type 23 of release candidates: the same without the earliest time.
pub(super) fn listpack_pre_ga<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    triples(input, scratch, visitor, |_, _| ())
}

/// Walks field, value, time; `check` sees the first time, zero where nothing expires.
fn triples<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
    check: impl FnOnce(u64, &mut V),
) -> Result<(), Flaw> {
    blob(Encoding::Listpack, input, scratch, visitor, |bytes, place, visitor| {
        let first = walk_triples(bytes, place, visitor)?;
        check(first, visitor);
        Ok(())
    })
}

fn walk_triples<V: Visitor>(bytes: &[u8], place: Place, visitor: &mut V) -> Result<u64, Flaw> {
    let mut entries = listpack::Entries::new(bytes, place)?;
    let (mut first, mut last) = (None, 0);
    while let Some(field) = entries.next()? {
        visitor.on(Event::Field(field));
        visitor.on(Event::Value(entries.partner()?));
        let wrong = |what| entries.flaw(FlawKind::BadFieldTtl(what));
        let not_a_time = wrong("a time is not an integer");
        let (late, unsorted) = (wrong(LATE), wrong("times are not in ascending order"));
        let Text::Int(time) = entries.partner()? else { return Err(not_a_time) };
        let time = u64::try_from(time).map_err(|_| not_a_time)?;
        if time > TIME_MAX {
            return Err(late);
        }
        // Fields that never expire stand last, with time zero.
        if first.is_some() && time != 0 && (last == 0 || time < last) {
            return Err(unsorted);
        }
        first = first.or(Some(time));
        last = time;
        visitor.on(Event::FieldExpiry((time != 0).then_some(time)));
    }
    first.ok_or_else(|| entries.flaw(FlawKind::EmptyKey))
}

fn check_time<V: Visitor>(time: u64, offset: u64, visitor: &mut V) {
    if time > TIME_MAX {
        visitor.flaw(Flaw::new(offset, FlawKind::BadFieldTtl(LATE)));
    }
}
