//! Laying text into columns of a terminal.

/// `text` wrapped at `width`, each line after the first starting with `indent` blanks.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in figures_whole(text) {
        let taken = lines.last().map_or(0, |l| columns(l));
        let room = width.saturating_sub(indent).max(20);
        if taken > 0 && taken + 1 + columns(&word) > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// Facts in a row, `a · b · c`, each whole on its line where it fits there.
pub fn row(facts: &[String], width: usize) -> String {
    let mut lines = vec![String::new()];
    for fact in facts {
        let taken = lines.last().map_or(0, |l| columns(l));
        if taken > 0 && taken + 3 + columns(fact) > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push_str(" · ");
            }
            line.push_str(fact);
        }
    }
    lines.join("\n")
}

/// Words that end up on one line with the number before them.
const UNITS: &[&str] =
    &["B", "KiB", "MiB", "GiB", "TiB", "%", "us", "ms", "s", "min", "h", "d", "x", "keys"];

/// The words of a text, a number and its unit as one.
fn figures_whole(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    for word in text.split_whitespace() {
        let unit = word.trim_end_matches([',', ';', '.', ':', ')']);
        match words.last_mut() {
            Some(last) if UNITS.contains(&unit) && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let mut out = digits.get(..head).unwrap_or("").to_owned();
    for chunk in digits.as_bytes().get(head..).unwrap_or(&[]).chunks(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.extend(chunk.iter().map(|b| char::from(*b)));
    }
    out
}

/// `1 key`, `1,234 keys`.
pub fn counted(number: u64, one: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {one}{end}", grouped(number))
}

/// Columns that `text` takes; every glyph unfrag prints is one column wide.
pub fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `text` cut to `width` columns.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        text.to_owned()
    } else {
        text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
    }
}

/// Text from outside, made safe for a terminal: control characters become `\xNN`, and what cannot be seen or turns the
/// order of what is around it becomes `\u{NNNN}`.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else if is_invisible(c) {
            safe.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Format characters of Unicode (general category Cf) that hide text or reorder it, and separators of lines.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A name for people: what is no text becomes `\xNN`.
pub fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "key"), counted(0, "user")), ("1 key".into(), "0 users".into()));
    }

    #[test]
    fn a_row_breaks_between_its_facts() {
        let facts = ["127.0.0.1:6379", "142,548 keys", "up 9 s"].map(str::to_owned);
        assert_eq!(row(&facts, 32), "127.0.0.1:6379 · 142,548 keys\nup 9 s");
        assert_eq!(row(&facts, 80), "127.0.0.1:6379 · 142,548 keys · up 9 s");
        assert_eq!(row(&facts, 5).lines().count(), 3);
    }

    #[test]
    fn wrapping_keeps_every_word_and_the_width() {
        let wrapped = wrap("one two three four five six seven", 24, 4);
        assert_eq!(wrapped, "one two three four\n    five six seven");
    }

    #[test]
    fn a_number_keeps_its_unit() {
        assert_eq!(
            wrap("primary and in use 142,548 keys", 26, 0),
            "primary and in use\n142,548 keys"
        );
        assert_eq!(
            wrap("a server that is up 9 s, no more", 22, 0),
            "a server that is up\n9 s, no more"
        );
    }

    #[test]
    fn escape_sequences_from_outside_are_disarmed() {
        assert_eq!(printable("a\u{1b}[31mb"), "a\\x1b[31mb");
        assert_eq!(printable("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
        assert_eq!(shown(b"a\x9b\xffb"), "a\\x9b\\xffb");
    }
}
