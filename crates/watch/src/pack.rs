//! Many [`Point`]s as few bytes: columns of differences, as variable-length integers, under zstd.
//!
//! Memory figures move slowly, so most differences are 0 or small. What was packed by an older release with fewer
//! columns unpacks with the new ones unknown. Unpacking never panics and reserves no more than [`MAX_POINTS`] rows.

use crate::point::{COLUMNS, Point, UNKNOWN};

/// Most rows in one pack; ours hold 360 to 1100.
const MAX_POINTS: usize = 100_000;
/// Bytes of one pack before compression: every value at its longest.
const MAX_BYTES: usize = MAX_POINTS * 64;
/// zstd's own default: more costs processor time and saves little on data this small.
const LEVEL: i32 = 3;

/// Packs rows; they are best in order of time.
pub(crate) fn pack(points: &[Point]) -> Vec<u8> {
    zstd::bulk::compress(&encode(points), LEVEL).unwrap_or_default()
}

/// Unpacks; `None` when the bytes are no pack.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Vec<Point>> {
    let most = MAX_BYTES.min(bytes.len().saturating_mul(20_000));
    decode(&zstd::bulk::decompress(bytes, most).ok()?)
}

/// Rows as bytes without compression: for one row, which has nothing to compress.
pub(crate) fn encode(points: &[Point]) -> Vec<u8> {
    let mut raw = vec![];
    write_unsigned(&mut raw, points.len() as u64);
    write_unsigned(&mut raw, COLUMNS as u64);
    write_column(&mut raw, points.iter().map(|p| p.at_s));
    for column in 0..COLUMNS {
        write_column(
            &mut raw,
            points.iter().map(|p| p.values.get(column).copied().unwrap_or(UNKNOWN)),
        );
    }
    raw
}

/// The other way; `None` when the bytes are no rows.
pub(crate) fn decode(mut input: &[u8]) -> Option<Vec<Point>> {
    let input = &mut input;
    let count = usize::try_from(read_unsigned(input)?).ok().filter(|n| *n <= MAX_POINTS)?;
    let columns = usize::try_from(read_unsigned(input)?).ok()?;
    let mut points = Vec::with_capacity(count);
    read_column(input, count, |_, at_s| points.push(Point::unknown(at_s)))?;
    for column in 0..columns {
        read_column(input, count, |row, value| {
            let slot = points.get_mut(row).and_then(|p: &mut Point| p.values.get_mut(column));
            if let Some(slot) = slot {
                *slot = value;
            }
        })?;
    }
    Some(points)
}

/// A run of equal differences is written as one pair (how many, which).
fn write_column(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let (mut before, mut run, mut length) = (0i64, 0i64, 0u64);
    for value in values {
        let step = value.wrapping_sub(before);
        before = value;
        if length > 0 && step == run {
            length += 1;
            continue;
        }
        if length > 0 {
            write_unsigned(out, length);
            write_signed(out, run);
        }
        (run, length) = (step, 1);
    }
    if length > 0 {
        write_unsigned(out, length);
        write_signed(out, run);
    }
}

fn read_column(input: &mut &[u8], count: usize, mut each: impl FnMut(usize, i64)) -> Option<()> {
    let (mut row, mut value) = (0usize, 0i64);
    while row < count {
        let length = usize::try_from(read_unsigned(input)?).ok()?;
        let step = read_signed(input)?;
        if length == 0 || length > count - row {
            return None;
        }
        for _ in 0..length {
            value = value.wrapping_add(step);
            each(row, value);
            row += 1;
        }
    }
    Some(())
}

fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn read_unsigned(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn read_signed(input: &mut &[u8]) -> Option<i64> {
    let value = read_unsigned(input)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Column;

    fn points(count: i64) -> Vec<Point> {
        (0..count)
            .map(|n| {
                let mut point = Point::unknown(1_700_000_000 + n * 10);
                point.set(Column::Rss, Some(n * 4096 % 100_000_000));
                point.set(Column::Headroom, (n % 7 != 0).then_some(-n * n));
                point.set(Column::Limit, Some(i64::MAX - 1));
                point
            })
            .collect()
    }

    #[test]
    fn what_is_packed_unpacks_the_same() {
        for count in [0, 1, 2, 360, 5000] {
            let points = points(count);
            assert_eq!(unpack(&pack(&points)).as_deref(), Some(points.as_slice()));
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        let mut bytes = pack(&points(50));
        for cut in 0..bytes.len() {
            assert_eq!(unpack(bytes.get(..cut).unwrap_or_default()), None);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let _ = unpack(&bytes);
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn a_constant_server_costs_next_to_nothing() {
        let mut hour = vec![points(2)[1]; 360];
        for (point, at_s) in hour.iter_mut().zip((0..).step_by(10)) {
            point.at_s = at_s;
        }
        assert!(pack(&hour).len() < 200, "{}", pack(&hour).len());
    }
}
