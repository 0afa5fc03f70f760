//! Strings of a snapshot, in whichever of their forms. Read [`Text`] first.
//!
//! A string may stand as bytes, as a small integer or compressed. It is handed on in the form found: most
//! questions (how long? is it sound?) never need the bytes.

use crate::input::{Input, Scratch, index};
use crate::length::{self, Length};
use crate::lzf;
use crate::problem::{Flaw, FlawKind};

/// What a reader of strings needs of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: pass over.
    Nothing,
    /// The length, and the bytes of short ones.
    Length,
    /// The length, and the bytes of all but very long ones.
    Sample,
    /// That it is sound.
    Soundness,
    /// Its bytes.
    Bytes,
}

/// Longest string whose bytes come along when only lengths are needed: all that can be an integer, with room.
const SHORT_BYTES: u64 = 64;
/// Longest string that comes along as a sample: within a stream's window, and much longer than most values.
pub const SAMPLE_BYTES: u64 = 64 << 10;

/// A string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// As it stands.
    Bytes(&'a [u8]),
    /// The decimal form of an integer.
    Int(i64),
    /// Compressed, not yet checked.
    Packed(Packed<'a>),
    /// Passed over.
    Omitted {
        /// Its (decompressed) length.
        length: u64,
    },
}

/// LZF data and the length it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Compressed bytes.
    pub lzf: &'a [u8],
    /// Stated length of the string.
    pub length: u64,
}

impl Packed<'_> {
    /// The string itself, in `scratch`.
    pub fn decode<'s>(&self, scratch: &'s mut Scratch) -> Result<&'s [u8], FlawKind> {
        if !lzf::is_plausible(self.lzf.len() as u64, self.length) {
            return Err(FlawKind::BadLzf);
        }
        let length = index(self.length);
        let room = scratch.room(self.length.saturating_add(lzf::SLACK_BYTES as u64))?;
        lzf::decode(self.lzf, room, length).ok_or(FlawKind::BadLzf)?;
        Ok(scratch.filled(length))
    }
}

impl<'a> Text<'a> {
    /// Bytes of the string.
    #[inline]
    pub fn length(&self) -> u64 {
        match *self {
            Text::Bytes(bytes) => bytes.len() as u64,
            Text::Int(value) => decimal_digits(value),
            Text::Packed(packed) => packed.length,
            Text::Omitted { length } => length,
        }
    }

    /// The string's bytes, decoded into `scratch` where they do not stand in the input.
    /// What was passed over gives none.
    pub fn bytes<'s>(&self, scratch: &'s mut Scratch) -> Result<&'s [u8], FlawKind>
    where
        'a: 's,
    {
        match *self {
            Text::Bytes(bytes) => Ok(bytes),
            Text::Packed(packed) => packed.decode(scratch),
            Text::Omitted { .. } => Ok(&[]),
            Text::Int(value) => {
                let mut digits = [0; DIGITS_MAX];
                let digits = write_decimal(value, &mut digits);
                let room = scratch.room(digits.len() as u64)?;
                if let Some(room) = room.get_mut(..digits.len()) {
                    room.copy_from_slice(digits);
                }
                Ok(scratch.filled(digits.len()))
            }
        }
    }

    /// The value a server would store instead of the text: canonical decimal in 64 bits.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Text::Int(value) => Some(value),
            Text::Bytes(bytes) => canonical_int(bytes),
            Text::Packed(_) | Text::Omitted { .. } => None,
        }
    }
}

/// Digits and sign of the longest 64-bit integer.
pub const DIGITS_MAX: usize = 20;

/// `value` in decimal, at the end of `room`.
pub fn write_decimal(value: i64, room: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut left = value.unsigned_abs();
    let mut start = DIGITS_MAX;
    for (position, slot) in room.iter_mut().enumerate().rev() {
        *slot = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        start = position;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        start = start.saturating_sub(1);
        if let Some(slot) = room.get_mut(start) {
            *slot = b'-';
        }
    }
    room.get(start..).unwrap_or_default()
}

fn decimal_digits(value: i64) -> u64 {
    let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| u64::from(log) + 1);
    digits + u64::from(value < 0)
}

/// The integer of which `text` is the only spelling that servers write.
#[inline]
pub fn canonical_int(text: &[u8]) -> Option<i64> {
    if text.len() > DIGITS_MAX {
        return None;
    }
    let (digits, negative) = match text.split_first()? {
        (b'-', digits) => (digits, true),
        _ => (text, false),
    };
    let (&first, rest) = digits.split_first()?;
    if !first.is_ascii_digit() || (first == b'0' && (negative || !rest.is_empty())) {
        return None;
    }
    let mut value = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Reads a string as far as `need` goes. The second value is damage inside a string whose extent is known.
#[inline]
pub fn read<I: Input>(input: &mut I, need: Need) -> Result<(Text<'_>, Option<Flaw>), Flaw> {
    let start = input.offset();
    match length::read(input)? {
        Length::Plain(length) => match need {
            Need::Bytes => input.take(length).map(|bytes| (Text::Bytes(bytes), None)),
            Need::Sample if length <= SAMPLE_BYTES => {
                input.take(length).map(|bytes| (Text::Bytes(bytes), None))
            }
            _ if length <= SHORT_BYTES && need != Need::Nothing => {
                input.take(length).map(|bytes| (Text::Bytes(bytes), None))
            }
            _ => input.skip(length).map(|()| (Text::Omitted { length }, None)),
        },
        Length::Encoded(3) => compressed(input, need, start),
        Length::Encoded(code) => integer(input, code, start).map(|value| (Text::Int(value), None)),
    }
}

/// Reads a packed encoding: as [`read`], with the offset of its first byte where that stands in the input.
#[inline]
pub fn read_blob<I: Input>(input: &mut I, need: Need) -> Result<(Text<'_>, u64), Flaw> {
    let start = input.offset();
    match length::read(input)? {
        Length::Plain(length) => {
            let data_offset = input.offset();
            if need == Need::Bytes {
                return input.take(length).map(|bytes| (Text::Bytes(bytes), data_offset));
            }
            input.skip(length)?;
            Ok((Text::Omitted { length }, data_offset))
        }
        Length::Encoded(3) => compressed(input, need, start).map(|(text, _)| (text, start)),
        Length::Encoded(code) => integer(input, code, start).map(|value| (Text::Int(value), start)),
    }
}

fn integer<I: Input>(input: &mut I, code: u8, start: u64) -> Result<i64, Flaw> {
    match code {
        0 => input.array().map(|bytes| i64::from(i8::from_le_bytes(bytes))),
        1 => input.array().map(|bytes| i64::from(i16::from_le_bytes(bytes))),
        2 => input.array().map(|bytes| i64::from(i32::from_le_bytes(bytes))),
        _ => Err(Flaw::new(start, FlawKind::BadStringEncoding(code))),
    }
}

#[inline]
fn compressed<I: Input>(
    input: &mut I,
    need: Need,
    start: u64,
) -> Result<(Text<'_>, Option<Flaw>), Flaw> {
    let packed = length::number(input)?;
    // More than that is no more plausible, and sums of it could overflow.
    let length = length::number(input)?.min(lzf::length_max(packed).saturating_add(1));
    if input.remaining().is_some_and(|left| packed > left) {
        return Err(Flaw::new(input.offset(), FlawKind::Truncated));
    }
    let flaw = Flaw::new(start, FlawKind::BadLzf);
    let plausible = lzf::is_plausible(packed, length);
    match need {
        Need::Bytes => input.take(packed).map(|lzf| (Text::Packed(Packed { lzf, length }), None)),
        Need::Sample if packed <= SAMPLE_BYTES => {
            input.take(packed).map(|lzf| (Text::Packed(Packed { lzf, length }), None))
        }
        Need::Soundness if plausible => {
            let mut check = lzf::Check::new();
            input.scan(packed, |piece| check.feed(piece))?;
            let flaw = (!check.finish(length)).then_some(flaw);
            Ok((Text::Omitted { length }, flaw))
        }
        Need::Soundness | Need::Length | Need::Sample | Need::Nothing => {
            input.skip(packed)?;
            Ok((Text::Omitted { length }, (!plausible && need != Need::Nothing).then_some(flaw)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::Slice;

    #[test]
    fn only_the_servers_spelling_is_an_integer() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            ("", None),
            ("-", None),
            ("1a", None),
            ("000000000000000000001", None),
        ] {
            assert_eq!(canonical_int(text.as_bytes()), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decimal_is_what_rust_prints(value in any::<i64>()) {
            let mut room = [0; DIGITS_MAX];
            let text = value.to_string();
            prop_assert_eq!(write_decimal(value, &mut room), text.as_bytes());
            prop_assert_eq!(Text::Int(value).length(), value.to_string().len() as u64);
            prop_assert_eq!(canonical_int(value.to_string().as_bytes()), Some(value));
        }
    }

    #[test]
    fn every_form_is_read() {
        let mut input =
            Slice::new(b"\x02ab\xc0\xff\xc1\x00\x80\xc2\x01\x00\x00\x00\xc3\x02\x03\x20\x00", 0);
        assert_eq!(read(&mut input, Need::Bytes).unwrap().0, Text::Bytes(b"ab"));
        assert_eq!(read(&mut input, Need::Bytes).unwrap().0, Text::Int(-1));
        assert_eq!(read(&mut input, Need::Bytes).unwrap().0, Text::Int(-32768));
        assert_eq!(read(&mut input, Need::Bytes).unwrap().0, Text::Int(1));
        let at = input.offset();
        let mut checked = input;
        let (_, flaw) = read(&mut checked, Need::Soundness).unwrap();
        assert_eq!(flaw, Some(Flaw::new(at, FlawKind::BadLzf)));
        let (text, _) = read(&mut input, Need::Bytes).unwrap();
        assert_eq!(text.bytes(&mut Scratch::default()), Err(FlawKind::BadLzf));
    }
}
