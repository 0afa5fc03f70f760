//! Structured logs on stderr: text for people, JSON for machines.

use tracing::Level;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line for people; without its time under systemd, whose journal has one.
    Text,
    /// A JSON object a line.
    Json,
}

/// Begins to log. Only the first call counts.
pub fn init(form: Form, level: Level, color: bool) {
    let base = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let base = base.with_target(false).with_ansi(color);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // A second daemon in one process (tests) logs where the first does.
    let _ = match (form, journal) {
        (Form::Json, _) => base.json().flatten_event(true).try_init(),
        (Form::Text, true) => base.without_time().try_init(),
        (Form::Text, false) => base.try_init(),
    };
}
