//! Streams, generations 1 to 5: entries in listpacks under master ids, then groups, consumers and what they
//! have not acknowledged. Read [`Part`] first.

use super::{Encoding, Event, Place, Visitor, blob, listpack, string};
use crate::input::{Input, Scratch};
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::{Need, Text};

/// Id of an entry: milliseconds and a sequence number, compared in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    /// Unix milliseconds, as a rule.
    pub ms: u64,
    /// Number within the millisecond.
    pub sequence: u64,
}

impl Id {
    /// From the sixteen bytes of keys and pending lists, both halves big-endian.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let wide = u128::from_be_bytes(bytes);
        let low = u64::try_from(wide & u128::from(u64::MAX)).unwrap_or_default();
        Self { ms: u64::try_from(wide >> 64).unwrap_or_default(), sequence: low }
    }

    /// The same sixteen bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.sequence)).to_be_bytes()
    }
}

/// What follows the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Live entries, as stated.
    pub length: u64,
    /// Id of the last entry ever added.
    pub last: Id,
    /// First live entry (generation 2 on).
    pub first: Id,
    /// Largest id deleted (generation 2 on).
    pub deleted_max: Id,
    /// Entries ever added (generation 2 on).
    pub added: u64,
}

/// A part of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part<'a> {
    /// Listpacks that follow.
    Nodes(u64),
    /// Master id of the next listpack.
    Node(Id),
    /// Field name of the master entry.
    MasterField(Text<'a>),
    /// Entry; its fields and values follow. Entries of the same fields as the master bring values only.
    Entry {
        /// Its id.
        id: Id,
        /// Deleted, not yet removed.
        deleted: bool,
    },
    /// Field of an entry that has its own.
    Field(Text<'a>),
    /// Value in an entry.
    Value(Text<'a>),
    /// Counts and ids of the whole.
    Meta(Meta),
    /// A consumer group.
    Group {
        /// Its name.
        name: Text<'a>,
    },
    /// Where the group before stands.
    GroupState {
        /// Last id delivered.
        last: Id,
        /// Entries read, all ones where not known (generation 2 on).
        entries_read: Option<u64>,
        /// Unacknowledged entries that follow.
        pending: u64,
    },
    /// Unacknowledged entry of the group.
    Pending {
        /// Its id.
        id: Id,
        /// Times delivered.
        deliveries: u64,
    },
    /// A consumer of the group.
    Consumer(Text<'a>),
    /// Unacknowledged entries of the consumer before that follow.
    ConsumerState(u64),
    /// Unacknowledged entry of that consumer.
    ConsumerPending(Id),
    /// Entry given back by its consumer (generation 5).
    Returned(Id),
    /// All of the group has been seen.
    GroupEnd,
    /// Producer whose messages are checked for repetition (generation 4 on).
    Producer(Text<'a>),
    /// Message remembered for that producer.
    Remembered(Text<'a>),
}

const FLAG_DELETED: i64 = 1;
const FLAG_SAME_FIELDS: i64 = 2;

pub(super) fn value<I: Input, V: Visitor>(
    generation: u8,
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    let mut newest = None;
    let live = nodes(input, scratch, visitor, &mut newest)?;
    let offset = input.offset();
    let meta = meta(generation, input)?;
    visitor.on(Event::Stream(Part::Meta(meta)));
    // XADD would take ids that are there already; XSETID refuses to make such a stream.
    if newest.is_some_and(|newest| newest > meta.last) {
        visitor.flaw(bad(offset, "its last id is below an entry's"));
    }
    // Only a visitor that opened every node knows the true count.
    if let Some(live) = live.filter(|&live| live != meta.length) {
        visitor.flaw(Flaw::new(offset, FlawKind::StreamCount(meta.length, live)));
    }
    for _ in 0..length::count(input, 5)? {
        group(generation, input, visitor)?;
    }
    if generation >= 4 {
        producers(input, visitor)?;
    }
    Ok(())
}

/// The listpacks; returns the live entries if all of them were opened and sound. `newest` becomes the last id in them.
fn nodes<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
    newest: &mut Option<Id>,
) -> Result<Option<u64>, Flaw> {
    let count = length::count(input, 2)?;
    visitor.on(Event::Stream(Part::Nodes(count)));
    let mut live = Some(0_u64);
    let mut last: Option<Id> = None;
    for _ in 0..count {
        let offset = input.offset();
        let master = master_id(input, visitor)?;
        if last.is_some_and(|last| master <= last) {
            visitor.flaw(bad(offset, "master ids are not ascending"));
        }
        last = Some(master);
        let mut found = None;
        visitor.on(Event::Stream(Part::Node(master)));
        blob(Encoding::StreamListpack, input, scratch, visitor, |bytes, place, visitor| {
            found = Some(node(bytes, place, master, visitor, newest)?);
            Ok(())
        })?;
        live = live.zip(found).map(|(live, found)| live.saturating_add(found));
    }
    Ok(live)
}

fn bad(offset: u64, what: &'static str) -> Flaw {
    Flaw::new(offset, FlawKind::BadStream(what))
}

fn master_id<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<Id, Flaw> {
    let offset = input.offset();
    let (text, _) = crate::text::read(input, Need::Bytes)?;
    let mut unpacked = Scratch::default();
    let id = text.bytes(&mut unpacked).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    if id.is_none() {
        visitor.flaw(bad(offset, "a master id is not 16 bytes"));
    }
    Ok(id.map(Id::from_bytes).unwrap_or_default())
}

/// One listpack of entries; returns how many of them live.
fn node<V: Visitor>(
    bytes: &[u8],
    place: Place,
    master: Id,
    visitor: &mut V,
    newest: &mut Option<Id>,
) -> Result<u64, Flaw> {
    let mut entries = listpack::Entries::new(bytes, place)?;
    let wrong = |entries: &listpack::Entries<'_>, what| entries.flaw(FlawKind::BadStream(what));
    let live = natural(&mut entries)?;
    let mut deleted = natural(&mut entries)?;
    let fields = natural(&mut entries)?;
    for _ in 0..fields {
        visitor.on(Event::Stream(Part::MasterField(entries.partner()?)));
    }
    if entries.integer()? != 0 {
        return Err(wrong(&entries, "the master entry does not end in zero"));
    }
    // Servers take a node away with its last live entry; 8.8 refuses one that was left.
    if live == 0 {
        return Err(wrong(&entries, "a node has no live entries"));
    }
    for _ in 0..live.saturating_add(deleted) {
        let (id, is_deleted) = entry(&mut entries, master, fields, visitor)?;
        if newest.is_some_and(|newest| id <= newest) {
            return Err(wrong(&entries, "entries are not ascending"));
        }
        *newest = Some(id);
        if is_deleted {
            deleted = deleted
                .checked_sub(1)
                .ok_or_else(|| wrong(&entries, "more entries are deleted than stated"))?;
        }
    }
    if deleted != 0 {
        return Err(wrong(&entries, "fewer entries are deleted than stated"));
    }
    if entries.next()?.is_some() {
        return Err(wrong(&entries, "elements follow the last entry"));
    }
    Ok(live)
}

fn natural(entries: &mut listpack::Entries<'_>) -> Result<u64, Flaw> {
    let wrong = entries.flaw(FlawKind::BadStream("a count is negative"));
    u64::try_from(entries.integer()?).map_err(|_| wrong)
}

fn entry<V: Visitor>(
    entries: &mut listpack::Entries<'_>,
    master: Id,
    master_fields: u64,
    visitor: &mut V,
) -> Result<(Id, bool), Flaw> {
    let flags = entries.integer()?;
    let id = Id {
        ms: master.ms.wrapping_add_signed(entries.integer()?),
        sequence: master.sequence.wrapping_add_signed(entries.integer()?),
    };
    let deleted = flags & FLAG_DELETED != 0;
    visitor.on(Event::Stream(Part::Entry { id, deleted }));
    let elements = if flags & FLAG_SAME_FIELDS != 0 {
        for _ in 0..master_fields {
            visitor.on(Event::Stream(Part::Value(entries.partner()?)));
        }
        master_fields.saturating_add(3)
    } else {
        let fields = natural(entries)?;
        for _ in 0..fields {
            visitor.on(Event::Stream(Part::Field(entries.partner()?)));
            visitor.on(Event::Stream(Part::Value(entries.partner()?)));
        }
        fields.saturating_mul(2).saturating_add(4)
    };
    let wrong = entries.flaw(FlawKind::BadStream("an entry's own element count is wrong"));
    if u64::try_from(entries.integer()?) != Ok(elements) {
        return Err(wrong);
    }
    Ok((id, deleted))
}

fn id<I: Input>(input: &mut I) -> Result<Id, Flaw> {
    Ok(Id { ms: length::number(input)?, sequence: length::number(input)? })
}

fn raw_id<I: Input>(input: &mut I) -> Result<Id, Flaw> {
    input.array().map(Id::from_bytes)
}

fn meta<I: Input>(generation: u8, input: &mut I) -> Result<Meta, Flaw> {
    let mut meta = Meta { length: length::number(input)?, last: id(input)?, ..Meta::default() };
    if generation >= 2 {
        meta.first = id(input)?;
        meta.deleted_max = id(input)?;
        meta.added = length::number(input)?;
    }
    Ok(meta)
}

fn group<I: Input, V: Visitor>(generation: u8, input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    string(input, V::NAMES, visitor, |visitor, name| {
        visitor.on(Event::Stream(Part::Group { name }));
    })?;
    let last = id(input)?;
    let entries_read = if generation >= 2 { Some(length::number(input)?) } else { None };
    let pending = length::count(input, 25)?;
    visitor.on(Event::Stream(Part::GroupState { last, entries_read, pending }));
    for _ in 0..pending {
        let id = raw_id(input)?;
        let _delivered_ms = input.array::<8>()?;
        let deliveries = length::number(input)?;
        visitor.on(Event::Stream(Part::Pending { id, deliveries }));
    }
    for _ in 0..length::count(input, 10)? {
        consumer(generation, input, visitor)?;
    }
    if generation >= 5 {
        for _ in 0..length::count(input, 16)? {
            let id = raw_id(input)?;
            visitor.on(Event::Stream(Part::Returned(id)));
        }
    }
    visitor.on(Event::Stream(Part::GroupEnd));
    Ok(())
}

fn consumer<I: Input, V: Visitor>(
    generation: u8,
    input: &mut I,
    visitor: &mut V,
) -> Result<(), Flaw> {
    string(input, V::NAMES, visitor, |visitor, name| {
        visitor.on(Event::Stream(Part::Consumer(name)));
    })?;
    let _seen_ms = input.array::<8>()?;
    if generation >= 3 {
        let _active_ms = input.array::<8>()?;
    }
    let count = length::count(input, 16)?;
    visitor.on(Event::Stream(Part::ConsumerState(count)));
    if V::NAMES == Need::Nothing {
        return input.skip(count.saturating_mul(16));
    }
    for _ in 0..count {
        let id = raw_id(input)?;
        visitor.on(Event::Stream(Part::ConsumerPending(id)));
    }
    Ok(())
}

/// Idempotent production: remembered message ids per producer, and two counters.
fn producers<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let _duration_s = length::number(input)?;
    let _entries_max = length::number(input)?;
    for _ in 0..length::count(input, 2)? {
        string(input, V::NAMES, visitor, |visitor, text| {
            visitor.on(Event::Stream(Part::Producer(text)));
        })?;
        for _ in 0..length::count(input, 3)? {
            string(input, V::NAMES, visitor, |visitor, text| {
                visitor.on(Event::Stream(Part::Remembered(text)));
            })?;
            id(input)?;
        }
    }
    let _added = length::number(input)?;
    let _duplicates = length::number(input)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_bytes_and_order() {
        let id = Id { ms: 1 << 40, sequence: 7 };
        assert_eq!(Id::from_bytes(id.to_bytes()), id);
        assert!(Id { ms: 1, sequence: u64::MAX } < Id { ms: 2, sequence: 0 });
    }
}
