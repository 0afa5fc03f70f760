//! One self-contained page with a map of all patterns. Read [`render`] first.
//!
//! Key names are hostile: they reach the page as JSON in which nothing can end the script that holds it, and the
//! script writes them as text nodes only. A content security policy forbids everything that is not in the page.

use serde::Serialize;

use crate::report::Report;

const PAGE: &str = include_str!("page/page.html");
/// Where the data goes.
const PLACE: &str = "/*DATA*/null";

#[derive(Serialize)]
struct Data<'r> {
    source: &'r str,
    sized_for: &'r str,
    allocator: &'r str,
    total: &'r crate::report::Total,
    tree: &'r crate::pattern::Branch,
    patterns: &'r [crate::report::PatternRow],
    biggest: &'r [crate::top::Big],
    advice: &'r [crate::Advice],
    folded: bool,
}

/// The page.
///
/// # Errors
/// Never in practice: the report is plain data.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let json = serde_json::to_string(&Data {
        source: &report.source,
        sized_for: report.sized_for,
        allocator: report.allocator,
        total: &report.total,
        tree: &report.tree,
        patterns: &report.patterns,
        biggest: &report.biggest,
        advice: &report.advice,
        folded: report.is_folded_for_room,
    })?;
    Ok(PAGE.replacen(PLACE, &harmless(&json), 1))
}

/// JSON that can stand in a script: the same data, without a character that HTML or old scripts read.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_key_ends_the_script() {
        let hostile =
            serde_json::to_string("</script><img src=x onerror=alert(1)>&\u{2028}").unwrap();
        let text = harmless(&hostile);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: String = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), hostile);
        assert_eq!(PAGE.matches(PLACE).count(), 1);
    }
}
