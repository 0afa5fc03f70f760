//! Cluster hash slots: which slot a name has, and a short tag for any slot.

/// Slots in a Cluster.
pub(crate) const SLOTS: usize = 16_384;

/// CRC16 as the Cluster specification has it (XMODEM: polynomial 0x1021, from 0).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// The slot of a key: of what is between its first `{` and the next `}`, if that is anything, else of all of it.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let behind = key.get(open + 1..)?;
        let close = behind.iter().position(|b| *b == b'}')?;
        behind.get(..close).filter(|tag| !tag.is_empty())
    });
    // 16384 is a power of two.
    crc16(tag.unwrap_or(key)) & 0x3fff
}

/// For every slot a short text that hashes to it, so that a name `x{tag}y` lives in any slot wanted.
#[derive(Debug)]
pub(crate) struct Tags(Vec<String>);

impl Tags {
    /// Tries numbers in base 36 until every slot has one: some 170,000, a few milliseconds.
    pub(crate) fn new() -> Self {
        let mut tags = vec![String::new(); SLOTS];
        let mut missing = SLOTS;
        // Every slot is found within 250,000; the bound is for the proof that this ends.
        for number in 0..10_000_000u32 {
            let tag = base36(number);
            let slot = usize::from(crc16(tag.as_bytes())) % SLOTS;
            if let Some(entry) = tags.get_mut(slot).filter(|t| t.is_empty()) {
                *entry = tag;
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        Self(tags)
    }

    /// The tag of a slot.
    pub(crate) fn of(&self, slot: u16) -> &str {
        self.0.get(usize::from(slot)).map_or("", String::as_str)
    }
}

fn base36(mut number: u32) -> String {
    let mut digits = vec![];
    loop {
        digits.push(char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_decides_when_there_is_one() {
        // As the Cluster specification has them.
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        for whole in [&b"foo{}{bar}"[..], b"foo{bar", b""] {
            assert_eq!(slot_of(whole), crc16(whole) & 0x3fff);
        }
    }

    #[test]
    fn every_slot_has_a_tag_and_the_checksum_is_the_specifications() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let tags = Tags::new();
        for slot in 0..16_384u16 {
            assert_eq!(crc16(tags.of(slot).as_bytes()) % 16_384, slot);
        }
    }
}
