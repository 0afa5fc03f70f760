//! Undoing what chat windows, ticket systems and mail do to a server's output before it reaches us.
//!
//! [`lines`] is the only entry: it turns pasted text into clean lines. It never invents text; a line it
//! cannot improve comes out as it went in.

/// The clean lines of `text`: CR and BOM dropped, literal `\r\n` split, quote marks, list bullets, bold,
/// code fences and escaped underscores removed.
pub fn lines(text: &str) -> impl Iterator<Item = String> {
    text.split('\n').flat_map(|physical| {
        // A JSON- or redis-cli-quoted reply holds its line ends as the two characters \ and n.
        let parts: Vec<String> =
            physical.replace("\\r\\n", "\n").replace("\\n", "\n").split('\n').map(clean).collect();
        parts
    })
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
    rest.replace("\\_", "_").replace("**", "").replace('\u{a0}', " ")
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
        ] {
            assert_eq!(lines(disguised).collect::<Vec<_>>(), ["used_memory:123"], "{disguised:?}");
        }
    }

    #[test]
    fn a_quoted_reply_is_split() {
        let got: Vec<_> = lines("\"# Memory\\r\\nused_memory:1\\r\\n\"").collect();
        assert_eq!(got, ["# Memory", "used_memory:1", ""]);
    }
}
