//! Accounts across keys: announced counts against found ones, slots, repeated keys. Read [`Ledger`] first.

use super::function::Libraries;
use super::keys::{Keys, Repeated};
use crate::format::ValueType;
use crate::problem::{Flaw, FlawKind};
use crate::reader::{Item, Key};
use crate::slot;

/// A count announced at an offset, and what has been found since.
#[derive(Debug, Clone, Copy)]
struct Section {
    offset: u64,
    stated_keys: u64,
    stated_expires: u64,
    /// Keys some of whose fields expire: Valkey 9.1 states them for each slot.
    stated_field_expires: Option<u64>,
    slot: u64,
    keys: u64,
    expires: u64,
    field_expires: u64,
}

/// Totals of a snapshot and the sections open at this point.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) keys: u64,
    pub(super) expires: u64,
    seen: Keys,
    libraries: Libraries,
    db: Option<Section>,
    slot: Option<Section>,
    /// Keys that the snapshot has room for; an announcement of more is no reason to stop looking for repeated ones.
    keys_max: u64,
}

/// A type and two lengths: no key takes less.
const KEY_LEAST_BYTES: u64 = 3;

impl Ledger {
    /// Accounts that remember keys in `seen`, of a snapshot of so many bytes, where that is known.
    pub(super) fn new(seen: Keys, bytes: Option<u64>) -> Self {
        let keys_max = bytes.map_or(u64::MAX, |bytes| bytes / KEY_LEAST_BYTES);
        let libraries = Libraries::default();
        Self { keys: 0, expires: 0, seen, libraries, db: None, slot: None, keys_max }
    }

    /// What is known of repeated keys now that all were seen.
    pub(super) fn into_repeated(self) -> Repeated {
        self.seen.into_repeated()
    }

    /// Whether repeated keys would have been missed.
    pub(super) fn has_forgotten(&self) -> bool {
        self.seen.is_full()
    }

    /// Accounts for a key; damage goes to `flaw`.
    #[inline]
    pub(super) fn key(&mut self, key: &Key<'_>, flaw: &mut impl FnMut(Flaw)) {
        let expires = u64::from(key.expires_ms.is_some());
        self.keys += 1;
        self.expires += expires;
        if let Some(section) = &mut self.db {
            section.keys += 1;
            section.expires += expires;
        }
        if let Some(section) = &mut self.slot {
            section.keys += 1;
            section.expires += expires;
            section.field_expires += u64::from(key.kind == ValueType::HashTtlValkey);
            let actual = slot::of(key.name);
            if actual != section.slot {
                flaw(Flaw::new(key.offset, FlawKind::WrongSlot(section.slot, actual)));
            }
        }
        if self.seen.is_repeated(key.db.unwrap_or_default(), key.name) {
            flaw(Flaw::new(key.offset, FlawKind::DuplicateKey));
        }
    }

    /// Accounts for anything but a key, which starts at `offset`.
    pub(super) fn item(&mut self, item: &Item<'_>, offset: u64, flaw: &mut impl FnMut(Flaw)) {
        match *item {
            Item::SelectDb(_) | Item::End(_) => {
                self.close_slot(flaw);
                self.close_db(flaw);
            }
            Item::ResizeDb { keys, expires } => {
                self.close_db(flaw);
                if keys <= self.keys_max {
                    self.seen.expect(keys);
                }
                self.db = Some(section(offset, keys, expires, 0));
            }
            Item::SlotInfo { slot, keys, expires } => {
                self.close_slot(flaw);
                self.slot = Some(section(offset, keys, expires, slot));
            }
            // Valkey 8 writes slot records as AUX; a malformed one stops its loader.
            Item::Aux { name: b"slot-info", value } => {
                self.close_slot(flaw);
                match slot_info(value) {
                    Some((slot, keys, expires, stated_field_expires)) => {
                        let counts = section(offset, keys, expires, slot);
                        self.slot = Some(Section { stated_field_expires, ..counts });
                    }
                    None => flaw(Flaw::new(offset, FlawKind::BadSlot)),
                }
            }
            Item::Function(source) => {
                if let Err(kind) = self.libraries.add(&source) {
                    flaw(Flaw::new(offset, kind));
                }
            }
            _ => {}
        }
    }

    fn close_db(&mut self, flaw: &mut impl FnMut(Flaw)) {
        let Some(found) = self.db.take() else { return };
        if found.keys != found.stated_keys {
            let kind = FlawKind::ResizedbKeys(found.stated_keys, found.keys);
            flaw(Flaw::new(found.offset, kind));
        }
        if found.expires != found.stated_expires {
            let kind = FlawKind::ResizedbExpires(found.stated_expires, found.expires);
            flaw(Flaw::new(found.offset, kind));
        }
    }

    fn close_slot(&mut self, flaw: &mut impl FnMut(Flaw)) {
        let Some(found) = self.slot.take() else { return };
        if found.keys != found.stated_keys {
            let kind = FlawKind::SlotKeys(found.stated_keys, found.keys);
            flaw(Flaw::new(found.offset, kind));
        }
        if found.expires != found.stated_expires {
            let kind = FlawKind::SlotExpires(found.stated_expires, found.expires);
            flaw(Flaw::new(found.offset, kind));
        }
        if let Some(stated) = found.stated_field_expires.filter(|s| *s != found.field_expires) {
            let kind = FlawKind::SlotFieldExpires(stated, found.field_expires);
            flaw(Flaw::new(found.offset, kind));
        }
    }
}

fn section(offset: u64, stated_keys: u64, stated_expires: u64, slot: u64) -> Section {
    let (keys, expires, field_expires) = (0, 0, 0);
    let stated_field_expires = None;
    Section {
        offset,
        stated_keys,
        stated_expires,
        stated_field_expires,
        slot,
        keys,
        expires,
        field_expires,
    }
}

/// `slot,keys,expires` of Valkey 8; 9.1 appends the keys with fields that expire. More numbers behind are let pass: a
/// later version may append its own.
fn slot_info(value: &[u8]) -> Option<(u64, u64, u64, Option<u64>)> {
    let text = std::str::from_utf8(value).ok()?;
    let numbers = text.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let &[slot, keys, expires, ref more @ ..] = numbers.as_slice() else { return None };
    (slot < 16_384).then(|| (slot, keys, expires, more.first().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_records_are_three_numbers_or_more() {
        assert_eq!(slot_info(b"5,2,1"), Some((5, 2, 1, None)));
        assert_eq!(slot_info(b"7233,3,1,1"), Some((7233, 3, 1, Some(1))));
        assert_eq!(slot_info(b"5,2,1,0,9"), Some((5, 2, 1, Some(0))));
        assert_eq!(slot_info(b"16384,2,1"), None);
        assert_eq!(slot_info(b"5,2"), None);
        assert_eq!(slot_info(b"5,2,"), None);
        assert_eq!(slot_info(b"5,2,1,x"), None);
    }
}
