//! The one place that writes: data to stdout, talk to stderr.

use crate::render::paint::Paint;
use clap::ValueEnum;
use std::io::{IsTerminal, Write};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Widest line worth reading.
const MAX_WIDTH: usize = 100;
/// What pipes and unknown terminals get.
const DEFAULT_WIDTH: usize = 80;

/// Writes, and knows what the terminal can show.
#[derive(Debug)]
pub(crate) struct Printer {
    color: ColorChoice,
}

#[expect(clippy::unused_self, reason = "who writes must have been handed the printer")]
impl Printer {
    pub(crate) fn new(color: ColorChoice) -> Self {
        Self { color }
    }

    /// What stdout can show.
    pub(crate) fn paint(&self) -> Paint {
        let terminal = std::io::stdout().is_terminal();
        let color = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        };
        let width = terminal_size::terminal_size()
            .filter(|_| terminal)
            .map_or(DEFAULT_WIDTH, |(terminal_size::Width(w), _)| {
                usize::from(w).clamp(40, MAX_WIDTH)
            });
        Paint { color, unicode: is_utf8(), width }
    }

    /// Data. A reader that has gone away ends the output, not the program.
    pub(crate) fn data(&self, text: &str) {
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    /// Talk: progress and warnings.
    pub(crate) fn talk(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Talk that replaces the line before it on a terminal; a line of its own elsewhere.
    pub(crate) fn progress(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = if stderr.is_terminal() {
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    /// True when somebody can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks on stderr; only `y` or `yes` is a yes.
    pub(crate) fn ask(&self, question: &str) -> bool {
        let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// An error with its causes, each once.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.talk(&format!("error: {error}"));
        let mut last = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !last.contains(&cause) {
                self.talk(&format!("  caused by: {cause}"));
            }
            last = cause;
        }
        if let Some(hint) = error.chain().find_map(hint) {
            self.talk(&format!("hint: {hint}"));
        }
    }
}

/// What the errors that have one say to do.
fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let client = cause
        .downcast_ref::<unfrag_client::ClientError>()
        .and_then(unfrag_client::ClientError::hint);
    client.or_else(|| cause.downcast_ref::<unfrag_client::files::FileError>()?.hint())
}

/// The locale says UTF-8, or says nothing (a pipe, a container).
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    locale.is_none_or(|l| {
        let lower = l.to_ascii_lowercase();
        lower.contains("utf-8") || lower.contains("utf8")
    })
}
