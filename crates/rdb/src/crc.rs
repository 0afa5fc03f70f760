//! CRC-64 "Jones" of a snapshot. Read [`Crc`] first.
//!
//! The carry-less multiplication is `crc-fast`'s; parts summed on different cores are joined, because
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
///
/// `crc-fast` can do this too, in 150 µs through matrices; a file of thousands of parts needs it in one.
pub fn joined(first: u64, second: u64, second_length: u64) -> u64 {
    // Appending n bytes multiplies by x^(8n): one factor for each bit of n.
    let mut product = first;
    let mut left = second_length;
    for factor in POWERS.iter().skip(3) {
        if left == 0 {
            break;
        }
        if left & 1 != 0 {
            product = multiplied(*factor, product);
        }
        left >>= 1;
    }
    product ^ second
}

/// The polynomial with its bits reversed: the highest bit is the constant term.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// x^(2^n) modulo the polynomial, for n from 0.
const POWERS: [u64; 67] = {
    let mut powers = [1 << 62; 67];
    let mut n = 1;
    while n < powers.len() {
        #[expect(clippy::indexing_slicing, reason = "a constant: checked when compiled")]
        let last = powers[n - 1];
        #[expect(clippy::indexing_slicing, reason = "a constant: checked when compiled")]
        {
            powers[n] = multiplied(last, last);
        }
        n += 1;
    }
    powers
};

/// Product modulo the polynomial.
const fn multiplied(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = 1 << 63;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { b >> 1 ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
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
        let long: Vec<u8> = (0..100_000_u32).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
        for cut in [0, 1, 77, 65_536, 99_999, 100_000] {
            let (first, second) = long.split_at(cut);
            assert_eq!(joined(of(first), of(second), second.len() as u64), of(&long), "{cut}");
        }
    }
}
