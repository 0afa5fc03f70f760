//! jemalloc's size classes and slabs, for 4 KiB pages. Read [`Allocator`] first.
//!
//! Source: jemalloc's `size_classes.sh`/`sc.c`: multiples of the quantum up to eight of them, then four
//! classes per power of two; a small class's slab is the least number of whole pages that an integral
//! number of regions fills exactly (checked here against tables printed by servers).

/// Bytes in a page on every platform jemalloc is tuned for here.
pub const PAGE_BYTES: u64 = 4096;
/// Largest small (slab) class: above it an allocation has pages of its own and nothing to defragment.
pub const LARGEST_SMALL_BYTES: u64 = 14336;

/// What rounds a request up to what is really taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// jemalloc as Redis and Valkey bundle it (`--with-lg-quantum=3`): 39 small classes.
    Jemalloc8,
    /// jemalloc as distributions package it (quantum 16): 36 small classes.
    Jemalloc16,
    /// glibc malloc: multiples of 16 with an 8-byte header, at least 32.
    Libc,
}

impl Allocator {
    /// Bytes taken by a request of `bytes`.
    pub fn usable(self, bytes: u64) -> u64 {
        match self {
            Self::Jemalloc8 => jemalloc_class(bytes, 8),
            Self::Jemalloc16 => jemalloc_class(bytes, 16),
            Self::Libc => bytes.saturating_add(8).next_multiple_of(16).max(32) - 8,
        }
    }
}

fn jemalloc_class(bytes: u64, quantum: u64) -> u64 {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= quantum * 8 {
        return bytes.next_multiple_of(quantum);
    }
    if bytes > 1 << 62 {
        return bytes;
    }
    // Four classes between 2^k (exclusive) and 2^(k+1): steps of 2^(k-2).
    let group = 63 - u64::from((bytes - 1).leading_zeros());
    bytes.next_multiple_of(1 << (group - 2))
}

/// Regions and pages of the slab that serves small class `class_bytes`; `None` for a large class.
pub fn slab(class_bytes: u64) -> Option<(u64, u64)> {
    if class_bytes == 0 || class_bytes > LARGEST_SMALL_BYTES {
        return None;
    }
    // Spacing of four classes a doubling bounds it: at most seven pages (class 7 * 2^k).
    let pages = (1..=7).find(|pages| (pages * PAGE_BYTES).is_multiple_of(class_bytes))?;
    Some((pages * PAGE_BYTES / class_bytes, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_classes_match_a_servers_table() {
        let small = [
            8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448,
            512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144,
            7168, 8192, 10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768, 40960,
        ];
        for pair in small.windows(2) {
            assert_eq!(Allocator::Jemalloc8.usable(pair[0] + 1), pair[1]);
            assert_eq!(Allocator::Jemalloc8.usable(pair[1]), pair[1]);
        }
        assert_eq!(Allocator::Jemalloc16.usable(17), 32);
        assert_eq!(Allocator::Jemalloc16.usable(33), 48);
        assert_eq!(Allocator::Libc.usable(1), 24);
        assert_eq!(Allocator::Libc.usable(25), 40);
    }

    #[test]
    fn slabs_match_a_servers_table() {
        for (class, want) in [
            (8, (512, 1)),
            (24, (512, 3)),
            (112, (256, 7)),
            (320, (64, 5)),
            (1024, (4, 1)),
            (1280, (16, 5)),
            (4096, (1, 1)),
            (7168, (4, 7)),
            (14336, (2, 7)),
        ] {
            assert_eq!(slab(class), Some(want), "{class}");
        }
        assert_eq!(slab(16384), None);
    }
}
