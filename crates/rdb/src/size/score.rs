//! Scores as servers write them into packed sorted sets: an integer where it is one, else decimal text, whose form has
//! changed with releases. Read [`text`] first.

use std::io::{Cursor, Write};

use super::server::Server;
use crate::text::Text;

/// Where the text of a score is written: the longest has 25 characters.
#[derive(Debug)]
pub(super) struct Room {
    bytes: [u8; 40],
    length: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 40], length: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn zeros(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(b"0"));
    }

    fn text(&self) -> Text<'_> {
        Text::Bytes(self.bytes.get(..self.length).unwrap_or_default())
    }
}

/// From 7.0 on whole numbers within this are integers (`double2ll`).
const WHOLE_MAX: f64 = (1_u64 << 62) as f64;
/// Before, text is parsed as an integer, and whole numbers from this on are written with an exponent.
const WHOLE_MAX_62: f64 = 1e17;
/// Digits that `%.17g` asks for.
const DIGITS_ASKED: usize = 17;

/// The entry that `server` makes of `score`.
pub(super) fn text(server: Server, score: f64, room: &mut Room) -> Text<'_> {
    let is_old = server == Server::Redis62;
    let whole_max = if is_old { WHOLE_MAX_62 } else { WHOLE_MAX };
    #[expect(clippy::cast_possible_truncation, reason = "compared with the original right after")]
    let whole = score as i64;
    let is_whole = (whole as f64 - score).abs() == 0.0 && score.abs() < whole_max;
    if is_whole && !(is_old && whole == 0 && score.is_sign_negative()) {
        return Text::Int(whole);
    }
    room.length = 0;
    if score.is_sign_negative() {
        room.push(b"-");
    }
    if score == 0.0 {
        room.push(b"0");
    } else if !score.is_finite() {
        room.push(if score.is_nan() { b"nan" } else { b"inf" });
    } else if server.is_before_72() {
        seventeen(score.abs(), room);
    } else {
        shortest(score.abs(), room);
    }
    room.text()
}

/// Significant digits, the first not 0, and the power of ten of the first.
struct Decimal {
    digits: [u8; 24],
    count: usize,
    exponent: i32,
}

impl Decimal {
    /// Of `d.ddde-x`, as Rust writes it.
    fn parse(scientific: &[u8]) -> Self {
        let mut decimal = Self { digits: [0; 24], count: 0, exponent: 0 };
        let mut parts = scientific.splitn(2, |&byte| byte == b'e');
        for &digit in parts.next().unwrap_or_default().iter().filter(|byte| **byte != b'.') {
            if let Some(slot) = decimal.digits.get_mut(decimal.count) {
                *slot = digit;
                decimal.count += 1;
            }
        }
        let exponent = parts.next().and_then(|bytes| std::str::from_utf8(bytes).ok());
        decimal.exponent = exponent.and_then(|text| text.parse().ok()).unwrap_or_default();
        decimal
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }

    /// `0.000ddd`, `dd.ddd` or `ddd000`.
    fn fixed(&self, room: &mut Room) {
        let digits = self.digits();
        let before = self.exponent + 1;
        match usize::try_from(before) {
            Ok(before) if before > 0 => {
                let (whole, fraction) = digits.split_at(before.min(digits.len()));
                room.push(whole);
                room.zeros(before - whole.len());
                if !fraction.is_empty() {
                    room.push(b".");
                    room.push(fraction);
                }
            }
            _ => {
                room.push(b"0.");
                room.zeros(usize::try_from(-before).unwrap_or_default());
                room.push(digits);
            }
        }
    }

    /// `d.ddde+xx`, the exponent in at least so many digits.
    fn scientific(&self, width: usize, room: &mut Room) {
        let (first, rest) = self.digits().split_at(self.count.min(1));
        room.push(first);
        if !rest.is_empty() {
            room.push(b".");
            room.push(rest);
        }
        room.push(if self.exponent < 0 { b"e-" } else { b"e+" });
        let power = self.exponent.unsigned_abs();
        let mut digits = Cursor::new([0_u8; 8]);
        // Eight bytes hold any exponent.
        let _ = write!(digits, "{power:0width$}");
        let length = crate::input::index(digits.position());
        room.push(digits.get_ref().get(..length).unwrap_or_default());
    }
}

/// `%.17g`, until 7.2.
fn seventeen(score: f64, room: &mut Room) {
    let mut decimal = scientific(|out| write!(out, "{score:.*e}", DIGITS_ASKED - 1));
    while decimal.count > 1 && decimal.digits().last() == Some(&b'0') {
        decimal.count -= 1;
    }
    if (-4..17).contains(&decimal.exponent) {
        decimal.fixed(room);
    } else {
        decimal.scientific(2, room);
    }
}

/// The fewest digits that read back as the same number, from 7.2 on (`fpconv_dtoa`).
fn shortest(score: f64, room: &mut Room) {
    let decimal = scientific(|out| write!(out, "{score:e}"));
    // Power of ten of the last digit, and of the first.
    let last = decimal.exponent + 1 - i32::try_from(decimal.count).unwrap_or_default();
    let first = decimal.exponent.unsigned_abs() as usize;
    let is_fixed = if last >= 0 { first < decimal.count + 7 } else { last > -7 || first < 4 };
    if is_fixed {
        decimal.fixed(room);
    } else {
        decimal.scientific(1, room);
    }
}

fn scientific(write: impl FnOnce(&mut Cursor<[u8; 40]>) -> std::io::Result<()>) -> Decimal {
    let mut out = Cursor::new([0_u8; 40]);
    // Forty bytes hold seventeen digits with point and exponent.
    let _ = write(&mut out);
    let length = crate::input::index(out.position());
    Decimal::parse(out.get_ref().get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(server: Server, score: f64) -> String {
        let mut room = Room::new();
        match text(server, score, &mut room) {
            Text::Int(value) => format!("int {value}"),
            Text::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn scores_are_written_as_their_release_writes_them() {
        use Server::{Redis62, Redis70, Redis82};
        for (score, old, seventy, new) in [
            (3.0, "int 3", "int 3", "int 3"),
            (-0.0, "-0", "int 0", "int 0"),
            (0.1, "0.10000000000000001", "0.10000000000000001", "0.1"),
            (-2.5, "-2.5", "-2.5", "-2.5"),
            (1e16, "int 10000000000000000", "int 10000000000000000", "int 10000000000000000"),
            (1e18, "1e+18", "int 1000000000000000000", "int 1000000000000000000"),
            (5e18, "5e+18", "5e+18", "5e+18"),
            (1e300, "1.0000000000000001e+300", "1.0000000000000001e+300", "1e+300"),
            (1e-7, "9.9999999999999995e-08", "9.9999999999999995e-08", "1e-7"),
            (1e-5, "1.0000000000000001e-05", "1.0000000000000001e-05", "0.00001"),
            (f64::INFINITY, "inf", "inf", "inf"),
            (f64::NEG_INFINITY, "-inf", "-inf", "-inf"),
            (5e-324, "4.9406564584124654e-324", "4.9406564584124654e-324", "5e-324"),
            (1234.5678, "1234.5678", "1234.5678", "1234.5678"),
        ] {
            let got = [Redis62, Redis70, Redis82].map(|server| written(server, score));
            assert_eq!(got, [old, seventy, new], "{score}");
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_score() {
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let score = f64::from_bits(state);
            if score.is_finite() {
                for server in [Server::Redis62, Server::Redis70, Server::Redis82] {
                    let text = written(server, score);
                    let text = text.trim_start_matches("int ");
                    assert_eq!(text.parse::<f64>().unwrap().to_bits(), score.to_bits(), "{text}");
                }
            }
        }
    }
}
