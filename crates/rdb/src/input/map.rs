//! Files as memory: the one module with `unsafe`. Read [`Map`] first.
//!
//! A file that another process cuts while it is mapped raises SIGBUS on access: snapshots are written under
//! another name and renamed, so a finished one is not cut in practice. A pipe is the way to read one that may be.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; nothing else here is")]

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};

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
}

/// `length` writable bytes backed by an unlinked temporary file rather than by memory.
pub(super) fn backed_by_disk(length: u64) -> io::Result<MmapMut> {
    let file = tempfile::tempfile()?;
    file.set_len(length)?;
    // SAFETY: the file has no name and this process alone holds it, so nobody can cut or change it.
    unsafe { MmapOptions::new().map_mut(&file) }
}
