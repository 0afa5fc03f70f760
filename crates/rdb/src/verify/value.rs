//! Checks inside one value that its layout alone does not make: repeated elements, and a stream's groups against
//! their own pending lists. Read [`ValueCheck`] first.

use super::elements::{Seen, Sight};
use crate::input::Scratch;
use crate::problem::{Flaw, FlawKind};
use crate::text::{Need, Text, write_decimal};
use crate::value::stream::{Id, Part};
use crate::value::{Event, Visitor};

/// Problems kept per value: the first say what is wrong, thousands say no more.
const FLAWS_MAX: usize = 32;
/// Pending entries of one group that are held to be looked up: 4 MiB. More are not, and the report says so.
const PENDING_MAX: usize = 1 << 18;

/// The visitor that verifies. [`ValueCheck::begin`] before each value.
#[derive(Debug)]
pub(super) struct ValueCheck {
    pub(super) flaws: Vec<Flaw>,
    /// Whether something was too large to be checked for repetition.
    pub(super) has_untold: bool,
    offset: u64,
    elements: Seen,
    groups: Seen,
    consumers: Seen,
    scratch: Scratch,
    pending: Pending,
    /// In a vector set: integers of its head met so far.
    vector_head: Option<u8>,
}

/// Unacknowledged entries of the group at hand.
#[derive(Debug, Default)]
struct Pending {
    ids: Vec<Id>,
    owned: Vec<bool>,
    is_complete: bool,
}

impl ValueCheck {
    pub(super) fn new() -> Self {
        Self {
            flaws: Vec::new(),
            has_untold: false,
            offset: 0,
            elements: Seen::new(),
            groups: Seen::new(),
            consumers: Seen::new(),
            scratch: Scratch::default(),
            pending: Pending::default(),
            vector_head: None,
        }
    }

    /// A value starts at `offset`.
    #[inline]
    pub(super) fn begin(&mut self, offset: u64) {
        self.offset = offset;
        self.flaws.clear();
        self.elements.clear();
        self.groups.clear();
        self.vector_head = None;
    }

    /// The head of a vector set: dimensions, elements, then quantization in the low byte (0 none, 1 eight bits, 2 binary)
    /// (redis:modules/vector-sets/vset.c:VectorSetRdbSave). Other modules' integers mean nothing to us.
    fn module_int(&mut self, value: u64) {
        let Some(position) = self.vector_head else { return };
        match position {
            0 if value == 0 => self.wrong(FlawKind::BadModule("a vector set has no dimensions")),
            2 if value & 0xff > 2 => {
                self.wrong(FlawKind::BadModule("a vector set has an unknown quantization"));
            }
            _ => {}
        }
        self.vector_head = (position < 2).then_some(position + 1);
    }

    fn element(&mut self, text: Text<'_>) {
        let sight = match look(&mut self.elements, text, &mut self.scratch) {
            Ok(sight) => sight,
            Err(kind) => return self.wrong(kind),
        };
        self.judge(sight, FlawKind::DuplicateElement);
    }

    fn judge(&mut self, sight: Sight, kind: FlawKind) {
        match sight {
            Sight::New => {}
            Sight::Again => self.wrong(kind),
            Sight::Untold => self.has_untold = true,
        }
    }

    #[cold]
    fn wrong(&mut self, kind: FlawKind) {
        self.flaw(Flaw::new(self.offset, kind));
    }

    fn stream(&mut self, part: Part<'_>) {
        match part {
            Part::Group { name } => {
                match look(&mut self.groups, name, &mut self.scratch) {
                    Ok(sight) => self.judge(sight, FlawKind::BadGroup("two groups share a name")),
                    Err(kind) => self.wrong(kind),
                }
                self.consumers.clear();
                self.pending.clear();
            }
            Part::Pending { id, .. } => self.add_pending(id),
            Part::Consumer(name) => match look(&mut self.consumers, name, &mut self.scratch) {
                Ok(sight) => self.judge(sight, FlawKind::BadGroup("two consumers share a name")),
                Err(kind) => self.wrong(kind),
            },
            Part::ConsumerPending(id) => self.claim(id, "two consumers hold the same entry"),
            Part::Returned(id) => self.claim(id, "a returned entry is also held by a consumer"),
            Part::GroupEnd => {
                if self.pending.is_complete && self.pending.owned.contains(&false) {
                    self.wrong(FlawKind::BadGroup("a pending entry belongs to no consumer"));
                }
                self.has_untold |= !self.pending.is_complete;
            }
            _ => {}
        }
    }

    fn add_pending(&mut self, id: Id) {
        let pending = &mut self.pending;
        if pending.ids.len() >= PENDING_MAX {
            pending.is_complete = false;
            return;
        }
        let is_after = pending.ids.last().is_none_or(|&last| id > last);
        pending.ids.push(id);
        pending.owned.push(false);
        if !is_after {
            self.wrong(FlawKind::BadGroup("pending entries repeat or are out of order"));
        }
    }

    fn claim(&mut self, id: Id, taken: &'static str) {
        if !self.pending.is_complete {
            return;
        }
        let place = self.pending.ids.binary_search(&id).ok();
        match place.and_then(|place| self.pending.owned.get_mut(place)) {
            None => {
                self.wrong(FlawKind::BadGroup("a consumer holds an entry unknown to its group"));
            }
            Some(owned) if *owned => self.wrong(FlawKind::BadGroup(taken)),
            Some(owned) => *owned = true,
        }
    }
}

impl Pending {
    fn clear(&mut self) {
        self.ids.clear();
        self.owned.clear();
        self.is_complete = true;
    }
}

fn look(seen: &mut Seen, text: Text<'_>, scratch: &mut Scratch) -> Result<Sight, FlawKind> {
    match text {
        Text::Bytes(bytes) => Ok(seen.see(bytes)),
        Text::Int(value) => {
            let mut digits = [0; crate::text::DIGITS_MAX];
            Ok(seen.see(write_decimal(value, &mut digits)))
        }
        text => Ok(seen.see(text.bytes(scratch)?)),
    }
}

impl Visitor for ValueCheck {
    const NAMES: Need = Need::Bytes;
    const VALUES: Need = Need::Soundness;
    const BLOBS: Need = Need::Bytes;

    #[inline]
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Member(text) | Event::Scored(text) | Event::Field(text) => self.element(text),
            Event::Stream(part) => self.stream(part),
            Event::ModuleId(id) => {
                self.vector_head = (crate::value::module::name(id) == "vectorset").then_some(0);
            }
            Event::ModuleInt(value) => self.module_int(value),
            _ => {}
        }
    }

    #[cold]
    fn flaw(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}
