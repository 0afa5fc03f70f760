//! Values of modules: tagged items that can be passed over without the module.

use super::{Event, Visitor, string};
use crate::input::Input;
use crate::length;
use crate::problem::{Flaw, FlawKind};

mod tag {
    pub(super) const END: u64 = 0;
    pub(super) const SIGNED: u64 = 1;
    pub(super) const UNSIGNED: u64 = 2;
    pub(super) const FLOAT: u64 = 3;
    pub(super) const DOUBLE: u64 = 4;
    pub(super) const STRING: u64 = 5;
}

pub(super) fn value<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    let id = length::number(input)?;
    visitor.on(Event::ModuleId(id));
    items(input, visitor)
}

/// Items up to and with the end mark.
pub(crate) fn items<I: Input, V: Visitor>(input: &mut I, visitor: &mut V) -> Result<(), Flaw> {
    loop {
        let offset = input.offset();
        match length::number(input)? {
            tag::END => return Ok(()),
            tag::SIGNED | tag::UNSIGNED => {
                let value = length::number(input)?;
                visitor.on(Event::ModuleInt(value));
            }
            tag::FLOAT => {
                let value = f64::from(f32::from_le_bytes(input.array()?));
                visitor.on(Event::ModuleFloat(value));
            }
            tag::DOUBLE => {
                let value = f64::from_le_bytes(input.array()?);
                visitor.on(Event::ModuleFloat(value));
            }
            tag::STRING => string(input, V::VALUES, visitor, |visitor, text| {
                visitor.on(Event::ModuleText(text));
            })?,
            _ => return Err(Flaw::new(offset, FlawKind::BadModule("unknown kind of item"))),
        }
    }
}

/// The nine letters of a module's id.
pub fn name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9_u32)
        .map(|position| id >> (58 - 6 * position) & 63)
        .filter_map(|letter| LETTERS.get(crate::input::index(letter)))
        .map(|&letter| char::from(letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nine_letters_from_the_top() {
        let id = (1_u64 << 58) | (63 << 10) | 3;
        assert_eq!(name(id), "BAAAAAAA_");
    }
}
