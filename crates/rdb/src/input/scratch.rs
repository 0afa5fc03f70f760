//! A reusable buffer that stays small: memory up to `MEMORY_MAX`, a mapped temporary file above.
//! Read [`Scratch::room`] first.

use memmap2::MmapMut;

use super::{index, map};
use crate::problem::FlawKind;

/// Largest buffer held in memory. The packed encodings that must be seen in one piece are 64 KiB at most in
/// any server's defaults; a few MiB hold what people configure, and larger ones go to disk.
pub(super) const MEMORY_MAX: usize = 4 << 20;

/// Largest buffer at all: no packed encoding can state more bytes than 32 bits count.
const DISK_MAX: u64 = (1 << 32) + (1 << 20);

/// Bytes of changing size, reused from value to value.
#[derive(Debug, Default)]
pub struct Scratch {
    memory: Vec<u8>,
    disk: Option<MmapMut>,
}

impl Scratch {
    /// `length` writable bytes of unspecified content, at least as many as asked for.
    pub fn room(&mut self, length: u64) -> Result<&mut [u8], FlawKind> {
        let wanted = index(length);
        if wanted <= MEMORY_MAX {
            self.disk = None;
            if self.memory.len() < wanted {
                self.memory.resize(wanted.next_power_of_two().max(4096), 0);
            }
            return Ok(&mut self.memory);
        }
        if length > DISK_MAX {
            return Err(FlawKind::LengthTooLarge(length));
        }
        if self.disk.as_ref().is_none_or(|disk| disk.len() < wanted) {
            self.disk = Some(map::backed_by_disk(length).map_err(|_| FlawKind::Io)?);
        }
        self.disk.as_deref_mut().ok_or(FlawKind::Io)
    }

    /// The first `length` bytes of the last [`Scratch::room`].
    pub fn filled(&self, length: usize) -> &[u8] {
        let whole = self.disk.as_deref().unwrap_or(&self.memory);
        whole.get(..length).unwrap_or(whole)
    }
}
