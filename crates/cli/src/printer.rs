//! The one place that writes: data to stdout, talk to stderr.

use crate::exit::LeftBehind;
use crate::render::paint::Paint;
use clap::ValueEnum;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use unfrag_model::text::{columns, wrap};

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
    /// Data could not be written, and not because nobody reads any more.
    has_lost: AtomicBool,
}

#[expect(clippy::unused_self, reason = "who writes must have been handed the printer")]
impl Printer {
    pub(crate) fn new(color: ColorChoice) -> Self {
        Self { color, has_lost: AtomicBool::new(false) }
    }

    /// What stdout can show.
    pub(crate) fn paint(&self) -> Paint {
        self.paint_on(std::io::stdout().is_terminal())
    }

    /// What stderr can show: it may go to a file while stdout is a terminal, and the other way round.
    pub(crate) fn talk_paint(&self) -> Paint {
        self.paint_on(std::io::stderr().is_terminal())
    }

    fn paint_on(&self, terminal: bool) -> Paint {
        let color = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        };
        Paint { color, unicode: is_utf8(), width: width(terminal) }
    }

    /// Data. A reader that has gone away ends the output, not the program; a full disk is told, once.
    pub(crate) fn data(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
            && !self.has_lost.swap(true, Ordering::Relaxed)
        {
            self.talk(&format!("error: standard output cannot be written: {error}"));
        }
    }

    /// Whether data was lost: what was done is done, but who reads the output has not all of it.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Relaxed)
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

    /// An error with its causes, each once, a line each.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.error_within(error, usize::MAX);
    }

    /// As [`Self::error`], in as many lines as the terminal's width asks for: where errors are sentences.
    pub(crate) fn error_in_columns(&self, error: &anyhow::Error) {
        self.error_within(error, width(std::io::stderr().is_terminal()));
    }

    fn error_within(&self, error: &anyhow::Error, width: usize) {
        let say = |word: &str, text: &str| self.talk(&in_columns(word, text, width));
        say("error: ", &error.to_string());
        let mut last = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !last.contains(&cause) {
                say("  caused by: ", &cause);
            }
            last = cause;
        }
        if let Some(hint) = hint_of(error) {
            say("hint: ", &hint);
        }
    }
}

/// A sentence in as many lines as it takes, a short command in it whole. What comes in lines already has a layout of its
/// own.
fn in_columns(word: &str, text: &str, width: usize) -> String {
    /// In no message: control characters are made printable.
    const GLUE: &str = "\u{1}";
    if text.contains('\n') || width == usize::MAX {
        return format!("{word}{text}");
    }
    let room = width.saturating_sub(columns(word) + 2);
    let parts = text.split('`').enumerate().map(|(n, part)| {
        if n % 2 == 1 && columns(part) < room { part.replace(' ', GLUE) } else { part.to_owned() }
    });
    let text = parts.collect::<Vec<_>>().join("`");
    format!("{word}{}", wrap(&text, width, columns(word)).replace(GLUE, " "))
}

fn width(terminal: bool) -> usize {
    terminal_size::terminal_size()
        .filter(|_| terminal)
        .map_or(DEFAULT_WIDTH, |(terminal_size::Width(w), _)| usize::from(w).clamp(40, MAX_WIDTH))
}

/// What to do about an error, where somebody knows.
pub(crate) fn hint_of(error: &anyhow::Error) -> Option<String> {
    let left = error.chain().find_map(|e| e.downcast_ref::<LeftBehind>());
    let known = || error.chain().find_map(hint).map(str::to_owned);
    left.map(|left| left.left.clone()).or_else(known)
}

/// What the errors that have one say to do.
fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let client = cause
        .downcast_ref::<unfrag_client::ClientError>()
        .and_then(unfrag_client::ClientError::hint);
    let file = || cause.downcast_ref::<unfrag_client::files::FileError>()?.hint();
    let snapshot = || cause.downcast_ref::<crate::commands::rdb::Unreadable>()?.hint();
    client.or_else(file).or_else(snapshot)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_columns_keeps_commands_whole() {
        let text =
            "an earlier run was interrupted: first run `unfrag undo 10.0.0.1:6379`, then this";
        let shown = in_columns("error: ", text, 52);
        assert_eq!(
            shown,
            "error: an earlier run was interrupted: first run\n       `unfrag undo 10.0.0.1:6379`, then this"
        );
        assert_eq!(in_columns("error: ", "in\n  lines", 20), "error: in\n  lines");
    }
}
