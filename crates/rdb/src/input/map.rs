//! Files as memory: the one module with `unsafe`. Read [`Map`] first.
//!
//! A file that another process cuts while it is mapped raises SIGBUS on access: snapshots are written under
//! another name and renamed, so a finished one is not cut in practice. A pipe is the way to read one that may be.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe by nature, and so is advice; nothing else here is"
)]

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions, UncheckedAdvice};

/// A whole file, read-only, as bytes.
#[derive(Debug)]
pub struct Map(Mmap);

impl Map {
    /// Maps `file` as it is now.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private to this value and read-only. Another process that changes the
        // file changes bytes we read, which decoders treat as untrusted anyway; see the head on cuts.
        let map = unsafe { MmapOptions::new().map(file) }?;
        // Advice only: a refusal changes speed, not results.
        let _ = map.advise(Advice::Sequential);
        Ok(Self(map))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes from `start` up to `end` have been read for good: their pages need not stay resident here. They may
    /// be read again all the same; they come from the file then.
    pub(crate) fn release(&self, start: usize, end: usize) {
        let length = end.min(self.0.len()).saturating_sub(start);
        if length == 0 {
            return;
        }
        // SAFETY: the mapping is shared with its file and read-only, so no page of it holds anything that the file
        // does not; what is dropped is read from there again on the next access. Advice only, as above.
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) };
    }
}

/// `length` writable bytes backed by an unlinked temporary file rather than by memory.
pub(super) fn backed_by_disk(length: u64) -> io::Result<MmapMut> {
    let file = tempfile::tempfile()?;
    file.set_len(length)?;
    // SAFETY: the file has no name and this process alone holds it, so nobody can cut or change it.
    unsafe { MmapOptions::new().map_mut(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_released_can_be_read_again() {
        let mut file = tempfile::tempfile().unwrap();
        let written: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&written).unwrap();
        let map = Map::of(&file).unwrap();
        assert_eq!(map.bytes(), written);
        for (start, end) in [(0, written.len()), (5000, 5001), (7, 70_000), (9, 3), (1, usize::MAX)]
        {
            map.release(start, end);
            assert_eq!(map.bytes(), written);
        }
        map.release(usize::MAX, usize::MAX);
    }
}
