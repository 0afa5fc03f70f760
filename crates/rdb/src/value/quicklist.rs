//! Lists of nodes: ziplists before 7.0 (type 14), listpacks and single large elements since (type 18).

use super::plain::count;
use super::{Encoding, Event, Place, Visitor, blob, listpack, ziplist};
use crate::input::{Input, Scratch};
use crate::length;
use crate::problem::{Flaw, FlawKind};
use crate::text::Text;

const PLAIN: u64 = 1;
const PACKED: u64 = 2;

pub(super) fn of_ziplists<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    let offset = input.offset();
    let mut items = Items::default();
    for _ in 0..count(input, visitor, 1)? {
        blob(Encoding::Ziplist, input, scratch, visitor, |bytes, place, visitor| {
            ziplist::items(bytes, place, visitor).map(|found| items.add(found))
        })?;
    }
    items.judge(offset, visitor);
    Ok(())
}

pub(super) fn of_listpacks<I: Input, V: Visitor>(
    input: &mut I,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<(), Flaw> {
    let start = input.offset();
    let mut items = Items::default();
    for _ in 0..count(input, visitor, 2)? {
        let offset = input.offset();
        match length::number(input)? {
            PACKED => {
                blob(Encoding::Listpack, input, scratch, visitor, |bytes, place, visitor| {
                    listpack::items(bytes, place, visitor).map(|found| items.add(found))
                })?;
            }
            PLAIN => {
                items.add(1);
                blob(Encoding::PlainNode, input, scratch, visitor, plain_node)?;
            }
            _ => {
                // The node itself is still one string: its end is known.
                visitor.flaw(Flaw::new(offset, FlawKind::BadQuicklist("unknown kind of node")));
                items.add(1);
                crate::text::read(input, crate::text::Need::Nothing)?;
            }
        }
    }
    items.judge(start, visitor);
    Ok(())
}

/// Elements of the nodes that were opened. Servers drop a node without elements without a word, but not a
/// list without any.
#[derive(Default)]
struct Items {
    opened: bool,
    found: u64,
}

impl Items {
    fn add(&mut self, found: u64) {
        self.opened = true;
        self.found += found;
    }

    fn judge<V: Visitor>(&self, offset: u64, visitor: &mut V) {
        if self.opened && self.found == 0 {
            visitor.flaw(Flaw::new(offset, FlawKind::EmptyKey));
        }
    }
}

fn plain_node<V: Visitor>(bytes: &[u8], place: Place, visitor: &mut V) -> Result<(), Flaw> {
    if bytes.is_empty() {
        return Err(place.flaw(0, FlawKind::BadQuicklist("a plain node is empty")));
    }
    visitor.on(Event::Item(Text::Bytes(bytes)));
    Ok(())
}
