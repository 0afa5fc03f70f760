//! Where bytes come from: one trait, a slice (a mapped file) and a stream. Read [`Input`] first.
//!
//! Decoders are written once against [`Input`]. For a [`Slice`] everything inlines to pointer moves and
//! what is taken borrows from the file; a [`Stream`] keeps a window, so memory stays bounded
//! whatever the file or its largest key.

mod map;
mod scratch;
mod stream;

pub use map::Map;
pub use scratch::Scratch;
pub use stream::Stream;

use crate::problem::{Flaw, FlawKind};

/// Bytes read in order, with the offset of the next one.
pub trait Input {
    /// Offset of the next byte from the start of the snapshot.
    fn offset(&self) -> u64;

    /// Most bytes that can follow, if that is known: bounds counts before anything is reserved.
    fn remaining(&self) -> Option<u64>;

    /// The next byte.
    fn byte(&mut self) -> Result<u8, Flaw>;

    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw>;

    /// The next `length` bytes in one piece.
    fn take(&mut self, length: u64) -> Result<&[u8], Flaw>;

    /// Passes over `length` bytes.
    fn skip(&mut self, length: u64) -> Result<(), Flaw>;

    /// Passes over `length` bytes, showing them to `see` in pieces.
    fn scan(&mut self, length: u64, see: impl FnMut(&[u8])) -> Result<(), Flaw>;

    /// The next byte without taking it; `None` at the end.
    fn peek(&mut self) -> Result<Option<u8>, Flaw>;

    /// CRC-64 of everything read so far, where the input keeps one.
    fn checksum(&mut self) -> Option<u64>;

    /// Type byte 0, then two strings with one or two length bytes: a short key with a short value, at a fraction of
    /// the usual cost. `None`, and nothing moved, where that is not what comes next or not all of it is at hand.
    fn plain_string(&mut self) -> Option<(&[u8], &[u8])> {
        None
    }
}

/// `value` as an index; larger than any slice where it does not fit.
#[inline]
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Bytes that are all there.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    rest: &'a [u8],
    end: u64,
}

impl<'a> Slice<'a> {
    /// All of `data`, whose first byte has offset `base`.
    pub fn new(data: &'a [u8], base: u64) -> Self {
        Self { rest: data, end: base.saturating_add(data.len() as u64) }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// As [`Input::take`], borrowing from the data and not from the reader.
    #[inline]
    pub fn take_borrowed(&mut self, length: u64) -> Result<&'a [u8], Flaw> {
        match self.rest.split_at_checked(index(length)) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated()),
        }
    }

    #[cold]
    fn truncated(&self) -> Flaw {
        Flaw::new(self.offset(), FlawKind::Truncated)
    }
}

impl Input for Slice<'_> {
    #[inline]
    fn offset(&self) -> u64 {
        self.end.wrapping_sub(self.rest.len() as u64)
    }

    #[inline]
    fn remaining(&self) -> Option<u64> {
        Some(self.rest.len() as u64)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Flaw> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => Err(self.truncated()),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        match self.rest.split_first_chunk::<N>() {
            Some((&array, rest)) => {
                self.rest = rest;
                Ok(array)
            }
            None => Err(self.truncated()),
        }
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&[u8], Flaw> {
        self.take_borrowed(length)
    }

    #[inline]
    fn skip(&mut self, length: u64) -> Result<(), Flaw> {
        self.take_borrowed(length).map(drop)
    }

    #[inline]
    fn scan(&mut self, length: u64, mut see: impl FnMut(&[u8])) -> Result<(), Flaw> {
        see(self.take_borrowed(length)?);
        Ok(())
    }

    #[inline]
    fn peek(&mut self) -> Result<Option<u8>, Flaw> {
        Ok(self.rest.first().copied())
    }

    fn checksum(&mut self) -> Option<u64> {
        None
    }

    #[inline]
    fn plain_string(&mut self) -> Option<(&[u8], &[u8])> {
        let (&0, rest) = self.rest.split_first()? else { return None };
        let (name, rest) = short_bytes(rest)?;
        let (value, rest) = short_bytes(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// A string of one or two length bytes, and what follows it.
#[inline]
fn short_bytes(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = rest.split_first()?;
    match first >> 6 {
        0 => rest.split_at_checked(usize::from(first)),
        1 => {
            let (&second, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(first & 63) << 8 | usize::from(second))
        }
        _ => None,
    }
}
