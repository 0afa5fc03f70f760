//! Undoing what chat windows, ticket systems and mail do to a server's output before it reaches us.
//!
//! [`lines`] turns pasted text into clean lines. It never invents text; a line it cannot improve comes out as
//! it went in. [`info_lines`] reads what is not in lines of a server's own form at all.

mod forms;

pub use forms::info_lines;

use std::borrow::Cow;

/// The clean lines of `text`: CR and BOM dropped, literal `\r\n` split, quote marks, list bullets, bold,
/// code fences and escaped underscores removed.
pub fn lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.split('\n').flat_map(|physical| {
        let plain = plain(physical);
        let parts = if plain.is_none() { repaired(physical) } else { vec![] };
        plain.map(Cow::Borrowed).into_iter().chain(parts.into_iter().map(Cow::Owned))
    })
}

/// The line without its end, when it is one that needs no repair: what a server itself answered. A watch of a thousand
/// servers reads twenty thousand of them a second.
fn plain(physical: &str) -> Option<&str> {
    let line = physical.trim();
    let first = line.bytes().next()?;
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && !b"\\*`\"';".contains(&b);
    ((first.is_ascii_alphanumeric() || first == b'#') && line.bytes().all(is_plain)).then_some(line)
}

fn repaired(physical: &str) -> Vec<String> {
    // A JSON- or redis-cli-quoted reply holds its line ends as the two characters \ and n.
    physical.replace("\\r\\n", "\n").replace("\\n", "\n").split('\n').map(clean).collect()
}

fn clean(line: &str) -> String {
    let mut rest = line.trim().trim_start_matches('\u{feff}').trim();
    loop {
        let before = rest;
        rest = strip_marker(rest).trim();
        if rest == before {
            break;
        }
    }
    let rest = rest.trim_end_matches(['"', '\'', '`', ';']).trim_end_matches("**").trim();
    // An input method for Chinese or Japanese writes its own colon.
    rest.replace("\\_", "_").replace("**", "").replace('\u{a0}', " ").replace('\u{ff1a}', ":")
}

/// Takes one leading quote mark, bullet or fence away. `- ` and `* ` need their space: `-1` is a value.
fn strip_marker(line: &str) -> &str {
    for marker in ["> ", "* ", "- ", "+ ", "• ", "· ", "| "] {
        if let Some(rest) = line.strip_prefix(marker) {
            return rest;
        }
    }
    for marker in ["**", "```", "`", "\"", "'", ">", "•", "\u{feff}"] {
        if let Some(rest) = line.strip_prefix(marker) {
            return rest;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disguise_of_one_line() {
        for disguised in [
            "used_memory:123\r",
            "> used_memory:123",
            ">> used_memory:123",
            "* used_memory:123",
            "  - `used_memory:123`",
            "**used_memory:123**",
            "\"used_memory:123\"",
            "used\\_memory:123",
            "\u{feff}used_memory:123",
            "• **used\\_memory:123**",
            "used_memory：123",
        ] {
            assert_eq!(lines(disguised).collect::<Vec<_>>(), ["used_memory:123"], "{disguised:?}");
        }
    }

    #[test]
    fn a_plain_line_is_what_repairing_it_would_make_of_it() {
        let info = include_str!("../../cli/tests/data/fragmented/info.txt");
        let more = "used_memory:1\r\n# Memory \n a:b\nx:**\nx:y;\nmodule:name=a,ver=1\n#\n1. a\nk:\ta\nname: \\_x";
        let mut plain_ones = 0;
        for physical in info.split('\n').chain(more.split('\n')) {
            if let Some(line) = plain(physical) {
                plain_ones += 1;
                assert_eq!(repaired(physical), [line]);
            }
        }
        assert!(plain_ones > 30, "{plain_ones}");
    }

    #[test]
    fn a_quoted_reply_is_split() {
        let got: Vec<_> = lines("\"# Memory\\r\\nused_memory:1\\r\\n\"").collect();
        assert_eq!(got, ["# Memory", "used_memory:1", ""]);
    }
}
