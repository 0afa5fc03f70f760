//! Byte counts for people: `485.2 MiB`. Units are powers of 1024, as in every INFO `_human` field.

/// Above any memory and any counter of a running server: what is larger wrapped around, or was never a figure.
pub const PLAUSIBLE_MAX: u64 = 1 << 60;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `bytes` with a unit and one decimal under 100, none above: `1.6 GiB`, `485 MiB`, `12 B`.
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    // 999.5 would print as "1000", which is wider and reads worse than the next unit's "0.98".
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    match unit {
        0 => format!("{bytes} {name}"),
        _ if value < 9.995 => format!("{value:.2} {name}"),
        _ if value < 99.95 => format!("{value:.1} {name}"),
        _ => format!("{value:.0} {name}"),
    }
}

/// Like [`human`] with the sign of a difference: `-12.0 MiB`.
pub fn signed_human(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", human(bytes.unsigned_abs()))
}

/// Reads a count as people and servers write it: `1073741824`, `1,073,741,824`, `1_073_741_824`,
/// `24.69M`, `1.5GB`, `512 MiB`, `4kb`, `0B`. Units are powers of 1024 except a redis.conf `k`, `m`, `g`
/// (see [`crate::config`]). `None` when it is no count.
pub fn parse_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | '_' | ' ')))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits_end)?;
    let number = number.trim();
    let factor = unit_factor(unit.trim())?;
    if let Some(whole) = parse_whole(number) {
        return whole.checked_mul(factor);
    }
    let value: f64 = number.parse().ok()?;
    let scaled = value * factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
    (0.0..9.0e18).contains(&scaled).then_some(scaled.round() as u64)
}

fn unit_factor(unit: &str) -> Option<u64> {
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" | "byte" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    Some(1u64 << (10 * power))
}

/// A whole number, with or without thousands separators (comma, underscore, space or, in groups of
/// three more than once, a dot).
fn parse_whole(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    ['_', ',', ' ', '.'].into_iter().find_map(|separator| {
        let groups: Vec<&str> = text.split(separator).collect();
        // "1.024" is a fraction; only "1.024.000" is certainly grouped by dots.
        let enough = if separator == '.' { groups.len() > 2 } else { groups.len() > 1 };
        let (first, rest) = groups.split_first()?;
        let grouped = enough
            && (1..=3).contains(&first.len())
            && rest.iter().all(|g| g.len() == 3)
            && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_digit()));
        grouped.then(|| groups.concat().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_people_write_them() {
        for (text, want) in [
            ("1073741824", Some(1_073_741_824)),
            ("1,073,741,824", Some(1_073_741_824)),
            ("1.073.741.824", Some(1_073_741_824)),
            ("1_073_741_824", Some(1_073_741_824)),
            ("1 073 741 824", Some(1_073_741_824)),
            ("24.5M", Some(25_690_112)),
            ("1.5GB", Some(1_610_612_736)),
            ("512 MiB", Some(536_870_912)),
            ("0B", Some(0)),
            ("1.024", Some(1)),
            ("", None),
            ("yes", None),
            ("12:30", None),
            ("-5", None),
            ("99999999999999999999G", None),
        ] {
            assert_eq!(parse_count(text), want, "{text:?}");
        }
    }

    #[test]
    fn human_never_prints_four_digits_before_the_point() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1.00 KiB");
        assert_eq!(human(1_048_576), "1.00 MiB");
        assert_eq!(human(508_559_360), "485 MiB");
        assert_eq!(human(u64::MAX), "16384 PiB");
        assert_eq!(signed_human(-2_400_256), "-2.29 MiB");
    }
}
