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

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        let [high, _] = crc.to_be_bytes();
        crc << 8 ^ TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default()
    })
}

/// What each byte makes of an empty register.
const TABLE: [u16; 256] = table();

#[expect(clippy::indexing_slicing, reason = "the loop ends with the table, while compiling")]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut start = 0_u16;
    while byte < table.len() {
        let mut crc = start;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
        start = start.wrapping_add(1 << 8);
    }
    table
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
