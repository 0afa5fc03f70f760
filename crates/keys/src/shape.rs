//! A key's shape: what varies from key to key replaced by what it is. Read [`Shape::of`] first.
//!
//! `user:1042:cart` has the shape `user:{id}:cart`. Recognised by form alone: ids, uuids, hashes, dates, times, tokens,
//! addresses, bytes that are no text. Words stay; which of them are names is learnt from their number ([`crate::tree`]).
//! A shape is a string in which one control byte stands for each placeholder: real control bytes never get in.

/// What stands for varying text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Placeholder {
    /// Decimal digits.
    Id = 1,
    /// `8-4-4-4-12` hexadecimal digits.
    Uuid = 2,
    /// Hexadecimal digits with letters among them, eight or more.
    Hash = 3,
    /// `2026-11-23` or `20261123`.
    Date = 4,
    /// Seconds or milliseconds since 1970.
    Time = 5,
    /// Letters and digits mixed, as generators of tokens write them.
    Token = 6,
    /// Four decimal numbers with dots.
    Ip = 7,
    /// Bytes that are not printable text.
    Binary = 8,
    /// A word that is one of many: learnt.
    Name = 9,
    /// All that follows: too deep, too long, or too many different.
    Rest = 10,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Id,
        Self::Uuid,
        Self::Hash,
        Self::Date,
        Self::Time,
        Self::Token,
        Self::Ip,
        Self::Binary,
        Self::Name,
        Self::Rest,
    ];

    /// The placeholder that `byte` of a shape stands for.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    /// Its byte in a shape.
    #[inline]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// How reports write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Id => "{id}",
            Self::Uuid => "{uuid}",
            Self::Hash => "{hash}",
            Self::Date => "{date}",
            Self::Time => "{time}",
            Self::Token => "{token}",
            Self::Ip => "{ip}",
            Self::Binary => "{binary}",
            Self::Name => "{name}",
            Self::Rest => "{...}",
        }
    }

    /// Of two that stand at the same place of one family of keys, the one that covers both.
    #[must_use]
    pub fn widest(self, other: Self) -> Self {
        let rank = |p: Self| match p {
            Self::Date | Self::Time | Self::Ip | Self::Uuid => 0,
            Self::Id => 1,
            Self::Hash => 2,
            Self::Token => 3,
            Self::Name => 4,
            Self::Binary => 5,
            Self::Rest => 6,
        };
        if rank(self) >= rank(other) { self } else { other }
    }
}

/// Parts that a shape may have; what follows is one placeholder. No key scheme in use is deeper.
pub const PARTS_MAX: usize = 16;
/// Bytes of a key that are looked at.
const KEY_BYTES_MAX: usize = 512;
/// A word longer than this is content, not a name in a scheme.
const WORD_BYTES_MAX: usize = 48;

/// The shape of one key, in buffers that are used again.
#[derive(Debug, Default, Clone)]
pub struct Shape {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    /// Joins words of one part.
    Joint,
    /// Ends a part.
    Cut,
    Control,
}

const CLASSES: [Class; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, in bounds")]
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
const fn classes() -> [Class; 256] {
    let mut table = [Class::Cut; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' | 0x80..=0xff => Class::Letter,
            b'-' | b'_' => Class::Joint,
            0..=0x1f | 0x7f => Class::Control,
            _ => Class::Cut,
        };
        byte += 1;
    }
    table
}

#[inline]
fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Cut)
}

impl Shape {
    /// Makes this the shape of `key`.
    #[inline]
    pub fn of(&mut self, key: &[u8]) {
        self.bytes.clear();
        self.ends.clear();
        let looked_at = key.get(..KEY_BYTES_MAX).unwrap_or(key);
        let mut rest = looked_at;
        let mut part_start = 0;
        while !rest.is_empty() {
            if self.ends.len() == PARTS_MAX {
                self.put(Placeholder::Rest);
                break;
            }
            let taken = self.piece(rest, &mut part_start);
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        if looked_at.len() < key.len() {
            self.put(Placeholder::Rest);
        }
        if self.ends.last() != Some(&self.bytes.len()) {
            self.close(part_start);
        }
    }

    /// The whole shape.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its parts, each with what ends it: `user:`, `{id}:`, `cart`.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }

    /// One run of letters and digits, or one byte of another class. Gives the bytes taken.
    #[inline]
    fn piece(&mut self, rest: &[u8], part_start: &mut usize) -> usize {
        let Some(&first) = rest.first() else { return 0 };
        match class(first) {
            Class::Letter | Class::Digit => self.run(rest),
            Class::Joint => {
                self.bytes.push(first);
                1
            }
            Class::Cut => {
                self.bytes.push(first);
                self.close(*part_start);
                *part_start = self.bytes.len();
                1
            }
            Class::Control => {
                self.bytes.truncate(*part_start);
                self.put(Placeholder::Binary);
                rest.iter().position(|&b| class(b) == Class::Cut).unwrap_or(rest.len())
            }
        }
    }

    fn close(&mut self, part_start: usize) {
        if self.bytes.len() - part_start.min(self.bytes.len()) > WORD_BYTES_MAX {
            let cut = self.bytes.last().copied().filter(|&b| class(b) == Class::Cut);
            self.bytes.truncate(part_start);
            self.put(Placeholder::Name);
            self.bytes.extend(cut);
        }
        self.ends.push(self.bytes.len());
    }

    #[inline]
    fn put(&mut self, placeholder: Placeholder) {
        self.bytes.push(placeholder.byte());
    }

    /// A run of letters and digits at the start of `rest`.
    #[inline]
    fn run(&mut self, rest: &[u8]) -> usize {
        let run = Run::at(rest);
        let text = rest.get(..run.length).unwrap_or_default();
        if run.digits == 0 {
            self.bytes.extend_from_slice(text);
            return run.length;
        }
        let follows = rest.get(run.length).copied();
        if follows == Some(b'-') && run.length == 8 && run.is_hex && is_uuid(rest) {
            self.put(Placeholder::Uuid);
            return 36;
        }
        if run.digits == run.length {
            return self.number(text, rest, follows);
        }
        self.mixed(text, &run);
        run.length
    }

    /// Digits only.
    fn number(&mut self, text: &[u8], rest: &[u8], follows: Option<u8>) -> usize {
        let length = text.len();
        if follows == Some(b'-') && length == 4 && is_dashed_date(rest) {
            self.put(Placeholder::Date);
            return 10;
        }
        if follows == Some(b'.')
            && length <= 3
            && let Some(taken) = ip_length(rest)
        {
            self.put(Placeholder::Ip);
            return taken;
        }
        self.put(match length {
            8 if is_plain_date(text) => Placeholder::Date,
            10 | 13 if matches!(text, [b'1', b'4'..=b'9', ..]) => Placeholder::Time,
            _ => Placeholder::Id,
        });
        length
    }

    /// Letters and digits.
    fn mixed(&mut self, text: &[u8], run: &Run) {
        let letters = run.length - run.digits;
        let is_word_and_number = run.changes == 1 && run.first_is_letter;
        let is_short =
            run.length < 8 || (run.length < 16 && (is_word_and_number || run.digits < 2));
        if run.is_hex && !is_short {
            return self.put(Placeholder::Hash);
        }
        if is_word_and_number {
            // `v2` names a version, `user1042` a user.
            if letters == 1 && run.digits <= 2 && text.first().is_some_and(|b| b | 32 == b'v') {
                return self.bytes.extend_from_slice(text);
            }
            self.bytes.extend_from_slice(text.get(..letters).unwrap_or_default());
            return self.put(Placeholder::Id);
        }
        if run.length >= 10 && run.changes >= 3 {
            return self.put(Placeholder::Token);
        }
        self.bytes.extend_from_slice(text);
    }
}

/// A run of letters and digits.
#[derive(Debug)]
struct Run {
    length: usize,
    digits: usize,
    /// Times that letters give way to digits or the other way round.
    changes: usize,
    is_hex: bool,
    first_is_letter: bool,
}

impl Run {
    #[inline]
    fn at(rest: &[u8]) -> Self {
        let mut run = Self {
            length: 0,
            digits: 0,
            changes: 0,
            is_hex: true,
            first_is_letter: rest.first().is_some_and(|&b| class(b) == Class::Letter),
        };
        let mut was_letter = run.first_is_letter;
        for &byte in rest {
            let is_letter = match class(byte) {
                Class::Letter => true,
                Class::Digit => false,
                _ => break,
            };
            run.length += 1;
            run.digits += usize::from(!is_letter);
            run.changes += usize::from(is_letter != was_letter);
            run.is_hex &= !is_letter || matches!(byte | 32, b'a'..=b'f');
            was_letter = is_letter;
        }
        run
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.get(..36).is_some_and(|uuid| {
        let dashes = [8, 13, 18, 23];
        uuid.iter().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) { *byte == b'-' } else { byte.is_ascii_hexdigit() }
        })
    }) && text.get(36).is_none_or(|&b| !matches!(class(b), Class::Letter | Class::Digit))
}

fn is_dashed_date(text: &[u8]) -> bool {
    let after = text.get(10).is_none_or(|b| !b.is_ascii_digit());
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text.first_chunk().unwrap_or(&[0; 10])
    else {
        return false;
    };
    after && is_plain_date(&[y0, y1, y2, y3, m0, m1, d0, d1])
}

/// `yyyymmdd` of this century or the end of the last.
fn is_plain_date(text: &[u8]) -> bool {
    let &[y0, y1, _, _, m0, m1, d0, d1] = text else { return false };
    let two = |tens: u8, ones: u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit())
            .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
    };
    matches!((y0, y1), (b'1', b'9') | (b'2', b'0'))
        && two(m0, m1).is_some_and(|month| (1..=12).contains(&month))
        && two(d0, d1).is_some_and(|day| (1..=31).contains(&day))
}

/// Bytes of a dotted address at the start of `text`.
fn ip_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for number in 0..4 {
        let digits = text.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        at += digits;
        if number < 3 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    let goes_on = text.get(at).is_some_and(|&b| class(b) == Class::Letter || b == b'.');
    (!goes_on).then_some(at)
}

/// A shape, or part of one, as reports write it: placeholders in braces, text printable.
pub fn text(shape: &[u8]) -> String {
    let mut text = String::with_capacity(shape.len() + 8);
    let mut literal = Vec::new();
    for &byte in shape {
        if let Some(placeholder) = Placeholder::from_byte(byte) {
            text.push_str(&unfrag_rdb::problem::key_text(&literal));
            literal.clear();
            text.push_str(placeholder.text());
        } else {
            literal.push(byte);
        }
    }
    text.push_str(&unfrag_rdb::problem::key_text(&literal));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(key: &str) -> String {
        let mut shape = Shape::default();
        shape.of(key.as_bytes());
        text(shape.bytes())
    }

    #[test]
    fn what_varies_is_recognised() {
        for (key, want) in [
            ("user:1042:cart", "user:{id}:cart"),
            ("user1042", "user{id}"),
            ("session:3f2504e0-4f89-41d3-9a0c-0305e82c3301", "session:{uuid}"),
            ("file-3f2504e0-4f89-41d3-9a0c-0305e82c3301.jpg", "file-{uuid}.jpg"),
            ("sha:da39a3ee5e6b4b0d3255bfef95601890afd80709", "sha:{hash}"),
            ("visits:2026-11-23:home", "visits:{date}:home"),
            ("visits_20261123", "visits_{date}"),
            ("lock:1732358400", "lock:{time}"),
            ("rate:10.0.0.17", "rate:{ip}"),
            ("{user:77}:cart", "{user:{id}}:cart"),
            ("tok:aB3dE5fG7hJ9k", "tok:{token}"),
            ("cache:v2:page", "cache:v2:page"),
            ("user_42_name", "user_{id}_name"),
            ("a:\u{1}\u{2}:b", "a:{binary}:b"),
            ("plain", "plain"),
            ("", ""),
            (":", ":"),
        ] {
            assert_eq!(shape(key), want, "{key}");
        }
    }

    #[test]
    fn a_shape_is_bounded() {
        let deep = "a:".repeat(1000);
        let mut shape = Shape::default();
        shape.of(deep.as_bytes());
        assert!(shape.parts().count() <= PARTS_MAX + 1);
        assert!(shape.bytes().len() < KEY_BYTES_MAX);
        shape.of("x".repeat(5000).as_bytes());
        assert!(shape.bytes().len() < 8);
    }

    proptest! {
        #[test]
        fn parts_are_the_whole(key in proptest::collection::vec(any::<u8>(), 0..700)) {
            let mut shape = Shape::default();
            shape.of(&key);
            prop_assert_eq!(shape.parts().collect::<Vec<_>>().concat(), shape.bytes().to_vec());
        }
    }
}
