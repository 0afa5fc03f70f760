//! Lengths: one to nine bytes, two top bits of the first choose the form. Read [`read`] first.

use crate::input::Input;
use crate::problem::{Flaw, FlawKind};

/// What a length field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A number.
    Plain(u64),
    /// A string in this special encoding follows instead.
    Encoded(u8),
}

/// Reads a length or the mark of an encoded string. Longer forms than needed are accepted, as servers do.
#[inline]
pub fn read<I: Input>(input: &mut I) -> Result<Length, Flaw> {
    let first = input.byte()?;
    match first >> 6 {
        0 => Ok(Length::Plain(u64::from(first))),
        1 => Ok(Length::Plain(u64::from(first & 63) << 8 | u64::from(input.byte()?))),
        2 => wide(input, first).map(Length::Plain),
        _ => Ok(Length::Encoded(first & 63)),
    }
}

/// Reads a length where only a number may stand.
#[inline]
pub fn number<I: Input>(input: &mut I) -> Result<u64, Flaw> {
    let offset = input.offset();
    match read(input)? {
        Length::Plain(value) => Ok(value),
        Length::Encoded(code) => Err(Flaw::new(offset, FlawKind::EncodedLength(code | 0xc0))),
    }
}

/// Reads how many elements follow, each of at least `bytes_min`: a count that cannot fit is refused before
/// anyone reserves room for it.
#[inline]
pub fn count<I: Input>(input: &mut I, bytes_min: u64) -> Result<u64, Flaw> {
    let offset = input.offset();
    let count = number(input)?;
    match input.remaining() {
        Some(left) if count.checked_mul(bytes_min).is_none_or(|bytes| bytes > left) => {
            Err(Flaw::new(offset, FlawKind::LengthTooLarge(count)))
        }
        _ => Ok(count),
    }
}

#[cold]
fn wide<I: Input>(input: &mut I, first: u8) -> Result<u64, Flaw> {
    match first {
        0x80 => input.array().map(|bytes| u64::from(u32::from_be_bytes(bytes))),
        0x81 => input.array().map(u64::from_be_bytes),
        _ => {
            let offset = input.offset().saturating_sub(1);
            Err(Flaw::new(offset, FlawKind::BadLength(first)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Slice;

    fn read_all(bytes: &[u8]) -> Result<Length, Flaw> {
        read(&mut Slice::new(bytes, 0))
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(read_all(&[0x3f]), Ok(Length::Plain(63)));
        assert_eq!(read_all(&[0x41, 0x02]), Ok(Length::Plain(0x102)));
        assert_eq!(read_all(&[0x80, 0, 1, 0, 0]), Ok(Length::Plain(65536)));
        assert_eq!(read_all(&[0x81, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(Length::Plain(1 << 32)));
        assert_eq!(read_all(&[0xc3]), Ok(Length::Encoded(3)));
        assert_eq!(read_all(&[0x82]), Err(Flaw::new(0, FlawKind::BadLength(0x82))));
        assert_eq!(read_all(&[0x40]), Err(Flaw::new(1, FlawKind::Truncated)));
    }

    #[test]
    fn a_count_must_fit() {
        let bytes = [0x05, 0, 0, 0];
        assert!(count(&mut Slice::new(&bytes, 0), 1).is_err());
        assert_eq!(count(&mut Slice::new(&[0x03, 0, 0, 0], 0), 1), Ok(3));
    }
}
