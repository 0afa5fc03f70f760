//! Cluster slots. Read [`of`] first.

/// The slot of `key`: CRC-16 of its hash tag, or of all of it.
pub fn of(key: &[u8]) -> u64 {
    let tag = key
        .iter()
        .position(|&byte| byte == b'{')
        .and_then(|open| key.get(open + 1..))
        .and_then(|rest| rest.iter().position(|&byte| byte == b'}').and_then(|end| rest.get(..end)))
        .filter(|tag| !tag.is_empty());
    u64::from(crc16(tag.unwrap_or(key))) & 16_383
}

/// CRC-16/XMODEM, bit by bit: only snapshots with slot records need it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc: u16, _| {
            if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_cluster_keyslot() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12182);
        assert_eq!(of(b"{foo}bar"), 12182);
        assert_eq!(of(b"x{}foo"), u64::from(crc16(b"x{}foo")) & 16_383);
    }
}
