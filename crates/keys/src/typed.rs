//! Patterns as arguments of `unfrag reshape`, to be typed in single quotes. `None` where a pattern cannot be written so: a
//! command that would do something else than was said is worse than none.

use crate::shape::Placeholder;

/// The template by which `reshape hash` takes names of this shape apart. A brace itself is written twice, and a
/// placeholder that comes again gets a number.
pub fn template(shape: &[u8]) -> Option<String> {
    let mut seen = [0_u32; Placeholder::ALL.len()];
    let mut text = String::new();
    let mut follows_slot = false;
    for piece in pieces(shape)? {
        match piece {
            Piece::Text(literal) => {
                text.push_str(&literal.replace('{', "{{").replace('}', "}}"));
                follows_slot = false;
            }
            // Nothing would tell where one ends and the other begins.
            Piece::Slot(_) if follows_slot => return None,
            // Of what follows, only that it does is known.
            Piece::Slot(Placeholder::Rest) => return None,
            Piece::Slot(slot) => {
                let times = seen.get_mut(usize::from(slot.byte()).checked_sub(1)?)?;
                *times += 1;
                let name = slot.text().trim_end_matches('}');
                text.push_str(name);
                if *times > 1 {
                    text.push_str(&times.to_string());
                }
                text.push('}');
                follows_slot = true;
            }
        }
    }
    Some(text)
}

/// The glob by which SCAN, and `reshape compress`, find names of this shape; it may find others, too.
pub fn glob(shape: &[u8]) -> Option<String> {
    let mut text = String::new();
    for piece in pieces(shape)? {
        match piece {
            Piece::Text(literal) => {
                for letter in literal.chars() {
                    if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
                        text.push('\\');
                    }
                    text.push(letter);
                }
            }
            Piece::Slot(_) if text.ends_with('*') && !text.ends_with("\\*") => {}
            Piece::Slot(_) => text.push('*'),
        }
    }
    Some(text)
}

enum Piece<'s> {
    Text(&'s str),
    Slot(Placeholder),
}

/// Text and placeholders in turn; `None` if the text cannot be typed.
fn pieces(shape: &[u8]) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let is_slot = |byte: &u8| Placeholder::from_byte(*byte).is_some();
    let mut rest = shape;
    while let Some(first) = rest.first() {
        if let Some(slot) = Placeholder::from_byte(*first) {
            pieces.push(Piece::Slot(slot));
            rest = rest.get(1..)?;
            continue;
        }
        let end = rest.iter().position(is_slot).unwrap_or(rest.len());
        let text = std::str::from_utf8(rest.get(..end)?).ok()?;
        let can_be_typed =
            text.chars().all(|c| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ');
        if !can_be_typed || text.contains('\'') {
            return None;
        }
        pieces.push(Piece::Text(text));
        rest = rest.get(end..)?;
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    fn typed(key: &str) -> (Option<String>, Option<String>) {
        let mut shape = Shape::default();
        shape.of(key.as_bytes());
        (template(shape.bytes()), glob(shape.bytes()))
    }

    #[test]
    fn patterns_become_arguments() {
        for (key, as_template, as_glob) in [
            ("user:17:mail", Some("user:{id}:mail"), Some("user:*:mail")),
            ("{user:17}:cart", Some("{{user:{id}}}:cart"), Some("{user:*}:cart")),
            ("order:1:22", Some("order:{id}:{id2}"), Some("order:*:*")),
            ("a[1]*?", Some("a[{id}]*?"), Some("a\\[*\\]\\*\\?")),
            ("it's:1", None, None),
            ("a:\u{1}\u{2}", Some("a:{binary}"), Some("a:*")),
            ("", Some(""), Some("")),
        ] {
            let want = (as_template.map(str::to_owned), as_glob.map(str::to_owned));
            assert_eq!(typed(key), want, "{key}");
        }
        let two = [b'a', Placeholder::Id.byte(), Placeholder::Hash.byte()];
        assert_eq!((template(&two), glob(&two).as_deref()), (None, Some("a*")));
        assert_eq!(template(&[b'a', Placeholder::Rest.byte()]), None);
        assert_eq!((template(b"\xff:"), glob(b"\xff:")), (None, None));
    }
}
