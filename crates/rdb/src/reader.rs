//! Pull one item after another out of a snapshot. Read [`Reader`] first.
//!
//! Order is not assumed: AUX fields, module data and slot records may stand between keys. What an item
//! borrows lives until the next call. A key's value is read by [`Reader::value`], or passed over.

use crate::format::{Dialect, HEADER_BYTES, Header, ValueType, opcode};
use crate::input::{Input, Scratch, Slice};
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::{self, Need, Text};
use crate::value::{self, Event, Visitor};

/// Something in a snapshot.
#[derive(Debug)]
pub enum Item<'r> {
    /// Metadata: about the file, or between keys about a neighbour.
    Aux {
        /// Name.
        name: &'r [u8],
        /// Value.
        value: &'r [u8],
    },
    /// Keys that follow are in this database.
    SelectDb(u64),
    /// Announced numbers for the database.
    ResizeDb {
        /// Keys.
        keys: u64,
        /// Keys with an expiry.
        expires: u64,
    },
    /// Keys that follow are in this slot.
    SlotInfo {
        /// Slot, 0 to 16383.
        slot: u64,
        /// Announced keys.
        keys: u64,
        /// Announced keys with an expiry.
        expires: u64,
    },
    /// A library of functions.
    Function(Text<'r>),
    /// Data of a module outside the keyspace, passed over.
    ModuleAux {
        /// Module's id: nine letters and a version.
        id: u64,
    },
    /// A slot import under way (Valkey), passed over.
    SlotImport,
    /// A record of Redis Enterprise, passed over.
    Vendor {
        /// Its opcode.
        code: u8,
    },
    /// A key. Its value is next.
    Key(Key<'r>),
    /// The end.
    End(End),
}

/// A key and what is attached to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'r> {
    /// Offset of the first byte that belongs to it, be that an attribute.
    pub offset: u64,
    /// Offset of its type.
    pub type_offset: u64,
    /// Layout of its value.
    pub kind: ValueType,
    /// Database, if one was selected.
    pub db: Option<u64>,
    /// The key itself.
    pub name: &'r [u8],
    /// When it expires, in Unix milliseconds; may be negative in old files.
    pub expires_ms: Option<i64>,
    /// Seconds since last access, where the server kept them.
    pub idle_s: Option<u64>,
    /// Access frequency, where the server kept it.
    pub frequency: Option<u8>,
    /// Classes of module metadata attached.
    pub meta_classes: u64,
}

impl<'r> Key<'r> {
    /// A key without attributes whose value is a string.
    #[inline]
    pub(crate) fn plain_string(offset: u64, db: Option<u64>, name: &'r [u8]) -> Self {
        Self {
            offset,
            type_offset: offset,
            kind: ValueType::String,
            db,
            name,
            expires_ms: None,
            idle_s: None,
            frequency: None,
            meta_classes: 0,
        }
    }
}

/// The end of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Offset after the end opcode: what the checksum covers.
    pub covered: u64,
    /// Stored checksum; `None` before version 5.
    pub stored: Option<u64>,
    /// Checksum of what was read, where the input keeps one.
    pub computed: Option<u64>,
}

/// Damage kept for the caller per item; more says nothing new.
const FLAWS_MAX: usize = 64;
/// Key metadata classes that Redis can register.
const META_CLASSES_MAX: u64 = 7;
const SLOT_MAX: u64 = 16_383;
/// Servers count databases in 32 signed bits.
const DB_MAX: u64 = (1 << 31) - 1;

/// Reads a snapshot item by item.
#[derive(Debug)]
pub struct Reader<I> {
    input: I,
    header: Header,
    db: Option<u64>,
    open: Option<ValueType>,
    ended: bool,
    flaws: Vec<Flaw>,
    name: Scratch,
    text: Scratch,
    blob: Scratch,
}

#[derive(Debug, Default)]
struct Attributes {
    start: Option<u64>,
    expires_ms: Option<i64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
    meta_classes: u64,
}

impl<I: Input> Reader<I> {
    /// Reads magic and version.
    pub fn new(mut input: I) -> Result<Self, Flaw> {
        let header = Header::parse(first_bytes(&mut input)?)?;
        let mut reader = Self::resume(input, header, None);
        if !header.is_known() {
            reader.flaws.push(Flaw::new(0, FlawKind::BadVersion(header.version)));
        }
        Ok(reader)
    }

    /// Goes on in the middle: `input` stands before an item of a snapshot that began with `header`.
    pub fn resume(input: I, header: Header, db: Option<u64>) -> Self {
        Self {
            input,
            header,
            db,
            open: None,
            ended: false,
            flaws: Vec::new(),
            name: Scratch::default(),
            text: Scratch::default(),
            blob: Scratch::default(),
        }
    }

    /// Magic and version.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Offset of what is read next.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Database selected last.
    pub fn db(&self) -> Option<u64> {
        self.db
    }

    /// The input, for what follows the end.
    pub fn input_mut(&mut self) -> &mut I {
        &mut self.input
    }

    /// Damage in items since the last call that did not hide where they end.
    pub fn take_flaws(&mut self) -> Vec<Flaw> {
        std::mem::take(&mut self.flaws)
    }

    /// Whether [`Reader::take_flaws`] would give any.
    #[inline]
    pub(crate) fn has_flaws(&self) -> bool {
        !self.flaws.is_empty()
    }

    /// Passes over the value of the key that came last.
    #[inline]
    pub fn pass_value(&mut self) -> Result<(), Flaw> {
        match self.open.take() {
            Some(kind) => value::skip(kind, &mut self.input, &mut self.blob),
            None => Ok(()),
        }
    }

    /// The next item; `None` after the end. An error is final: where the next item starts is not known.
    #[inline]
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Flaw> {
        self.pass_value()?;
        if self.ended {
            return Ok(None);
        }
        let mut attributes = Attributes::default();
        loop {
            let offset = self.input.offset();
            let code = self.input.byte()?;
            match code {
                opcode::EXPIRETIME_MS => {
                    attributes.expires_ms = Some(i64::from_le_bytes(self.input.array()?));
                }
                opcode::EXPIRETIME => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    attributes.expires_ms = Some(i64::from(seconds) * 1000);
                }
                opcode::IDLE => attributes.idle_s = Some(length::number(&mut self.input)?),
                opcode::FREQ => attributes.frequency = Some(self.input.byte()?),
                opcode::ENTERPRISE_RAM_LRU => {
                    length::number(&mut self.input)?;
                }
                opcode::KEY_META_OR_SLOT_IMPORT if self.header.dialect == Dialect::Redis => {
                    attributes.meta_classes = self.key_meta(offset)?;
                }
                _ => {
                    if let Some(kind) = ValueType::from_code(self.header.dialect, code) {
                        return self.key(kind, offset, &attributes).map(Some);
                    }
                    if let Some(start) = attributes.start {
                        self.note(Flaw::new(start, FlawKind::StrayAttribute));
                    }
                    return self.other(code, offset).map(Some);
                }
            }
            attributes.start.get_or_insert(offset);
        }
    }

    /// The commonest item of all, passed in a few instructions: a key without attributes whose value is a
    /// string, neither of them encoded. `None`, and nothing moved, if the next item is not that or the input
    /// does not have all bytes at hand.
    #[inline]
    pub(crate) fn next_plain_string(&mut self) -> Option<(&[u8], &[u8])> {
        if self.open.is_some() || self.ended {
            return None;
        }
        self.input.plain_string()
    }

    /// Walks the value of the key that [`Reader::next_item`] returned last. Once per key; without a key before it,
    /// nothing happens.
    #[inline]
    pub fn value<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Flaw> {
        match self.open.take() {
            Some(kind) => value::walk(kind, &mut self.input, &mut self.blob, visitor),
            None => Ok(()),
        }
    }

    #[inline]
    fn key(
        &mut self,
        kind: ValueType,
        type_offset: u64,
        attributes: &Attributes,
    ) -> Result<Item<'_>, Flaw> {
        let offset = self.input.offset();
        self.open = Some(kind);
        let (text, _) = text::read(&mut self.input, Need::Bytes)?;
        let name = match text {
            Text::Bytes(name) => name,
            text => match text.bytes(&mut self.name) {
                Ok(name) => name,
                Err(kind) => {
                    note(&mut self.flaws, Flaw::new(offset, kind));
                    &[]
                }
            },
        };
        Ok(Item::Key(Key {
            offset: attributes.start.unwrap_or(type_offset),
            type_offset,
            kind,
            db: self.db,
            name,
            expires_ms: attributes.expires_ms,
            idle_s: attributes.idle_s,
            frequency: attributes.frequency,
            meta_classes: attributes.meta_classes,
        }))
    }

    #[cold]
    fn other(&mut self, code: u8, offset: u64) -> Result<Item<'_>, Flaw> {
        let is_redis = self.header.dialect == Dialect::Redis;
        match code {
            opcode::EOF => self.end().map(Item::End),
            opcode::SELECTDB => self.select_db(offset),
            opcode::RESIZEDB => Ok(Item::ResizeDb {
                keys: length::number(&mut self.input)?,
                expires: length::number(&mut self.input)?,
            }),
            opcode::AUX => self.aux(),
            opcode::MODULE_AUX => self.module_aux(),
            opcode::FUNCTION2 => self.function(),
            opcode::SLOT_INFO => self.slot_info(offset),
            opcode::KEY_META_OR_SLOT_IMPORT => self.slot_import(offset),
            opcode::ENTERPRISE_SLOT if is_redis => {
                length::number(&mut self.input)?;
                Ok(Item::Vendor { code })
            }
            6 | opcode::FUNCTION_PRE_GA => Err(Flaw::new(offset, FlawKind::Refused(code))),
            _ => Err(Flaw::new(offset, FlawKind::UnknownType(code))),
        }
    }

    fn end(&mut self) -> Result<End, Flaw> {
        self.ended = true;
        let covered = self.input.offset();
        let computed = self.input.checksum();
        let stored = if self.header.has_checksum() {
            Some(u64::from_le_bytes(self.input.array()?))
        } else {
            None
        };
        Ok(End { covered, stored, computed })
    }

    fn select_db(&mut self, offset: u64) -> Result<Item<'_>, Flaw> {
        let db = length::number(&mut self.input)?;
        if db > DB_MAX {
            self.note(Flaw::new(offset, FlawKind::BadDb(db)));
        }
        self.db = Some(db);
        Ok(Item::SelectDb(db))
    }

    fn slot_info(&mut self, offset: u64) -> Result<Item<'_>, Flaw> {
        let slot = length::number(&mut self.input)?;
        let keys = length::number(&mut self.input)?;
        let expires = length::number(&mut self.input)?;
        if slot > SLOT_MAX {
            self.note(Flaw::new(offset, FlawKind::BadSlot));
        }
        Ok(Item::SlotInfo { slot, keys, expires })
    }

    fn aux(&mut self) -> Result<Item<'_>, Flaw> {
        let at = self.input.offset();
        let (name, _) = text::read(&mut self.input, Need::Bytes)?;
        // The value may push the name out of the input's window: keep a copy.
        let name_length = match name.bytes(&mut self.text) {
            Ok(bytes) => copy(bytes, &mut self.name),
            Err(kind) => Err(kind),
        };
        let name_length = self.usable(name_length, at);
        let at = self.input.offset();
        let (value, _) = text::read(&mut self.input, Need::Bytes)?;
        let value = match value.bytes(&mut self.text) {
            Ok(value) => value,
            Err(kind) => {
                note(&mut self.flaws, Flaw::new(at, kind));
                &[]
            }
        };
        Ok(Item::Aux { name: self.name.filled(name_length), value })
    }

    fn usable(&mut self, length: Result<usize, FlawKind>, offset: u64) -> usize {
        length.unwrap_or_else(|kind| {
            self.note(Flaw::new(offset, kind));
            0
        })
    }

    fn function(&mut self) -> Result<Item<'_>, Flaw> {
        let offset = self.input.offset();
        let (text, _) = text::read(&mut self.input, Need::Bytes)?;
        if let Text::Packed(packed) = text
            && let Err(kind) = packed.decode(&mut self.text)
        {
            note(&mut self.flaws, Flaw::new(offset, kind));
        }
        Ok(Item::Function(text))
    }

    fn module_aux(&mut self) -> Result<Item<'_>, Flaw> {
        let id = length::number(&mut self.input)?;
        for _ in 0..2 {
            let offset = self.input.offset();
            // "When" is written as an item, though its kind is fixed.
            let tag_or_when = length::number(&mut self.input)?;
            if tag_or_when > 2 {
                let kind = FlawKind::BadModule("unknown moment of auxiliary data");
                return Err(Flaw::new(offset, kind));
            }
        }
        value::module_items(&mut self.input, &mut Soundness(&mut self.flaws))?;
        Ok(Item::ModuleAux { id })
    }

    fn slot_import(&mut self, offset: u64) -> Result<Item<'_>, Flaw> {
        let (_, flaw) = text::read(&mut self.input, Need::Soundness)?;
        if let Some(flaw) = flaw {
            self.note(flaw);
        }
        for _ in 0..length::count(&mut self.input, 2)? {
            let from = length::number(&mut self.input)?;
            let to = length::number(&mut self.input)?;
            if from > to || to > SLOT_MAX {
                let kind = FlawKind::BadSlotImport("a range is reversed or beyond 16383");
                self.note(Flaw::new(offset, kind));
            }
        }
        Ok(Item::SlotImport)
    }

    fn key_meta(&mut self, offset: u64) -> Result<u64, Flaw> {
        let classes = length::count(&mut self.input, 5)?;
        if classes == 0 || classes > META_CLASSES_MAX {
            let kind = FlawKind::BadKeyMeta("number of classes is not 1 to 7");
            self.note(Flaw::new(offset, kind));
        }
        for _ in 0..classes {
            let _class = self.input.array::<4>()?;
            value::module_items(&mut self.input, &mut Soundness(&mut self.flaws))?;
        }
        Ok(classes)
    }

    fn note(&mut self, flaw: Flaw) {
        note(&mut self.flaws, flaw);
    }
}

impl<'a> Reader<Slice<'a>> {
    /// The bytes of the value of the key that came last, borrowing from the snapshot itself, and their
    /// offset. [`value::walk`] reads them.
    pub fn value_bytes(&mut self) -> Result<(&'a [u8], u64), Flaw> {
        let offset = self.input.offset();
        let before = self.input.rest();
        self.pass_value()?;
        let length = before.len().saturating_sub(self.input.rest().len());
        Ok((before.get(..length).unwrap_or_default(), offset))
    }

    /// First byte of the value of the key that came last.
    #[inline]
    pub(crate) fn value_starts_with(&self, byte: u8) -> bool {
        self.input.rest().first() == Some(&byte)
    }
}

/// Magic and version. What ends before them and does not begin like them was never a snapshot, cut or not.
fn first_bytes<I: Input>(input: &mut I) -> Result<[u8; HEADER_BYTES], Flaw> {
    let start = input.offset();
    let (mut bytes, mut read) = ([0; HEADER_BYTES], 0);
    let failed = bytes.iter_mut().find_map(|place| {
        *place = match input.byte() {
            Ok(byte) => byte,
            Err(flaw) => return Some(flaw),
        };
        read += 1;
        None
    });
    let is_begun = Header::is_begun(bytes.get(..read).unwrap_or_default());
    match failed {
        None => Ok(bytes),
        Some(flaw) if flaw.kind == FlawKind::Truncated && !is_begun => {
            Err(Flaw::new(start, FlawKind::BadMagic))
        }
        Some(flaw) => Err(flaw),
    }
}

fn note(flaws: &mut Vec<Flaw>, flaw: Flaw) {
    if flaws.len() < FLAWS_MAX {
        flaws.push(flaw);
    }
}

fn copy(bytes: &[u8], to: &mut Scratch) -> Result<usize, FlawKind> {
    if let Some(room) = to.room(bytes.len() as u64)?.get_mut(..bytes.len()) {
        room.copy_from_slice(bytes);
    }
    Ok(bytes.len())
}

/// Keeps damage in strings between keys, and nothing else.
struct Soundness<'f>(&'f mut Vec<Flaw>);

impl Visitor for Soundness<'_> {
    const NAMES: Need = Need::Soundness;
    const VALUES: Need = Need::Soundness;
    const BLOBS: Need = Need::Nothing;

    fn on(&mut self, _: Event<'_>) {}

    fn flaw(&mut self, flaw: Flaw) {
        note(self.0, flaw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> (Vec<String>, Option<Flaw>) {
        let mut out = Vec::new();
        let mut reader = match Reader::new(Slice::new(bytes, 0)) {
            Ok(reader) => reader,
            Err(flaw) => return (out, Some(flaw)),
        };
        loop {
            match reader.next_item() {
                Ok(Some(Item::Key(key))) => {
                    let (name, expires) = (key.name.to_vec(), key.expires_ms);
                    let (value, _) = reader.value_bytes().unwrap();
                    out.push(format!("{:?} {expires:?} {value:?}", String::from_utf8(name)));
                }
                Ok(Some(item)) => out.push(format!("{item:?}")),
                Ok(None) => return (out, None),
                Err(flaw) => return (out, Some(flaw)),
            }
        }
    }

    #[test]
    fn items_come_in_file_order_and_attributes_stay_with_their_key() {
        let file = b"REDIS0003\xfe\x00\xfd\x01\x00\x00\x00\x00\x01a\x01b\x00\x01c\xc0\x05\xff";
        let (items, flaw) = items(file);
        assert_eq!(flaw, None);
        assert_eq!(
            items,
            [
                "SelectDb(0)",
                "Ok(\"a\") Some(1000) [1, 98]",
                "Ok(\"c\") None [192, 5]",
                "End(End { covered: 27, stored: None, computed: None })",
            ]
        );
    }

    #[test]
    fn an_unknown_type_stops_with_its_offset_and_keeps_what_came_before() {
        let (items, flaw) = items(b"REDIS0003\xfe\x00\x00\x01a\x01b\x42\x01c");
        assert_eq!(items.len(), 2);
        assert_eq!(flaw, Some(Flaw::new(16, FlawKind::UnknownType(0x42))));
    }
}
