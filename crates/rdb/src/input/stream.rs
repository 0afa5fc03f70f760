//! Bytes from a pipe or socket through a bounded window. Read [`Stream`] first.

use std::io::Read;

use super::{Input, Scratch, index};
use crate::crc::Crc;
use crate::problem::{Flaw, FlawKind};

/// Bytes asked of the source at a time: large enough to hide system calls, small enough for a cache.
const WINDOW_BYTES: usize = 256 << 10;

/// A source read once, in order. Holds 256 KiB and, when a decoder needs more than that in one
/// piece, a [`Scratch`] of that size.
#[derive(Debug)]
pub struct Stream<R> {
    source: R,
    window: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    digested: usize,
    crc: Crc,
    large: Scratch,
    failed: bool,
}

impl<R: Read> Stream<R> {
    /// Reads `source`, whose next byte has offset `base`.
    pub fn new(source: R, base: u64) -> Self {
        Self {
            source,
            window: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            offset: base,
            digested: 0,
            crc: Crc::new(),
            large: Scratch::default(),
            failed: false,
        }
    }

    /// Whether reading stopped because the source failed rather than ended.
    pub fn source_failed(&self) -> bool {
        self.failed
    }

    /// Reads to the end; the checksum of everything but the last eight bytes, and those. `None` where there are
    /// fewer.
    pub fn checksum_of_whole(&mut self) -> Option<(u64, u64)> {
        loop {
            let spare = self.available().len().saturating_sub(8);
            self.advance(spare);
            if !self.refill() {
                break;
            }
        }
        let spare = self.available().len().saturating_sub(8);
        self.advance(spare);
        self.digest();
        let last = self.available().first_chunk::<8>()?;
        Some((self.crc.value(), u64::from_le_bytes(*last)))
    }

    fn available(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
        self.offset = self.offset.saturating_add(bytes as u64);
    }

    fn digest(&mut self) {
        self.crc.update(self.window.get(self.digested..self.start).unwrap_or_default());
        self.digested = self.start;
    }

    /// Moves what is left to the front and reads more; false at the end of the source.
    fn refill(&mut self) -> bool {
        self.digest();
        self.window.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        self.digested = 0;
        loop {
            let Some(room) = self.window.get_mut(self.end..) else { return false };
            match self.source.read(room) {
                Ok(0) => return false,
                Ok(read) => {
                    self.end = self.end.saturating_add(read).min(self.window.len());
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.failed = true;
                    return false;
                }
            }
        }
    }

    fn ensure(&mut self, bytes: usize) -> Result<(), Flaw> {
        while self.available().len() < bytes {
            if !self.refill() {
                return Err(self.ended());
            }
        }
        Ok(())
    }

    fn ended(&self) -> Flaw {
        let kind = if self.failed { FlawKind::Io } else { FlawKind::Truncated };
        Flaw::new(self.offset.saturating_add(self.available().len() as u64), kind)
    }

    /// Collects more than the window holds. Room doubles as bytes really arrive: a lying length reserves nothing.
    fn take_large(&mut self, length: u64) -> Result<&[u8], Flaw> {
        let start = self.offset;
        let wanted = index(length);
        let mut have = 0_usize;
        let mut capacity = WINDOW_BYTES;
        let mut large = std::mem::take(&mut self.large);
        while have < wanted {
            if self.available().is_empty() && !self.refill() {
                return Err(self.ended());
            }
            if have == capacity {
                capacity = capacity.saturating_mul(2);
                large = grown(&large, have, capacity).map_err(|kind| Flaw::new(start, kind))?;
            }
            let piece = self.available().len().min(wanted - have).min(capacity - have);
            let room = large.room(capacity as u64).map_err(|kind| Flaw::new(start, kind))?;
            if let (Some(to), Some(from)) =
                (room.get_mut(have..have + piece), self.available().get(..piece))
            {
                to.copy_from_slice(from);
            }
            self.advance(piece);
            have += piece;
        }
        self.large = large;
        Ok(self.large.filled(wanted))
    }
}

/// A larger scratch with the first `have` bytes of `old`.
fn grown(old: &Scratch, have: usize, capacity: usize) -> Result<Scratch, FlawKind> {
    let mut new = Scratch::default();
    if let (Some(to), from) = (new.room(capacity as u64)?.get_mut(..have), old.filled(have)) {
        to.copy_from_slice(from);
    }
    Ok(new)
}

impl<R: Read> Input for Stream<R> {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn remaining(&self) -> Option<u64> {
        None
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        if self.available().len() < N {
            self.ensure(N)?;
        }
        let array = self.available().first_chunk::<N>().copied();
        self.advance(N);
        array.ok_or_else(|| self.ended())
    }

    fn take(&mut self, length: u64) -> Result<&[u8], Flaw> {
        let wanted = index(length);
        if wanted > WINDOW_BYTES {
            return self.take_large(length);
        }
        self.ensure(wanted)?;
        let from = self.start;
        self.advance(wanted);
        Ok(self.window.get(from..self.start).unwrap_or_default())
    }

    fn skip(&mut self, length: u64) -> Result<(), Flaw> {
        self.scan(length, |_| ())
    }

    fn scan(&mut self, length: u64, mut see: impl FnMut(&[u8])) -> Result<(), Flaw> {
        let mut left = length;
        while left > 0 {
            if self.available().is_empty() && !self.refill() {
                return Err(self.ended());
            }
            let piece = index(left).min(self.available().len());
            see(self.available().get(..piece).unwrap_or_default());
            self.advance(piece);
            left = left.saturating_sub(piece as u64);
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, Flaw> {
        while self.available().is_empty() {
            if !self.refill() {
                return if self.failed { Err(self.ended()) } else { Ok(None) };
            }
        }
        Ok(self.available().first().copied())
    }

    fn checksum(&mut self) -> Option<u64> {
        self.digest();
        Some(self.crc.value())
    }
}
