//! Colour and glyphs: what the terminal can show. Colour never carries meaning alone.

use anstyle::{AnsiColor, Color, Style};
use unfrag_model::Verdict;

/// What may be used. Plain is always right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    /// ANSI colours.
    pub(crate) color: bool,
    /// Block characters and arrows; ASCII otherwise.
    pub(crate) unicode: bool,
    /// Columns to fill.
    pub(crate) width: usize,
}

impl Paint {
    /// `text` in `style`, or as it is without colour.
    pub(crate) fn style(self, style: Style, text: &str) -> String {
        if self.color { format!("{}{text}{}", style.render(), style.render_reset()) } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.style(Style::new().bold(), text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.style(Style::new().dimmed(), text)
    }

    /// The verdict as a word, in its colour.
    pub(crate) fn verdict(self, verdict: Verdict) -> String {
        let (word, color) = match verdict {
            Verdict::Healthy => ("HEALTHY", AnsiColor::Green),
            Verdict::Watch => ("WATCH", AnsiColor::Cyan),
            Verdict::Act => ("ACT", AnsiColor::Yellow),
            Verdict::Urgent => ("URGENT", AnsiColor::Red),
        };
        self.style(Style::new().bold().fg_color(Some(Color::Ansi(color))), word)
    }

    /// A mark in front of what to type.
    pub(crate) fn arrow(self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    /// A value that is not there.
    pub(crate) fn none(self) -> &'static str {
        if self.unicode { "—" } else { "-" }
    }
}
