//! CRC-64 "Jones" of a snapshot. Read [`Crc`] first.
//!
//! The carry-less multiplication is `crc-fast`'s; parts summed on different cores are combined, because
//! the code is linear.

use crc_fast::{CrcAlgorithm, Digest};

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// A running checksum.
#[derive(Debug, Clone)]
pub struct Crc(Digest);

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Digest::new(ALGORITHM))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of `bytes`.
pub fn of(bytes: &[u8]) -> u64 {
    crc_fast::checksum(ALGORITHM, bytes)
}

/// The checksum of two parts joined, from theirs and the length of the second.
pub fn joined(first: u64, second: u64, second_length: u64) -> u64 {
    crc_fast::checksum_combine(ALGORITHM, first, second, second_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_check_value_of_redis() {
        assert_eq!(of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(joined(of(b"1234"), of(b"56789"), 5), of(b"123456789"));
        let mut crc = Crc::new();
        crc.update(b"12345");
        crc.update(b"6789");
        assert_eq!(crc.value(), of(b"123456789"));
        assert_eq!(of(b""), 0);
    }
}
