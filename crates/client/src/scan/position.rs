//! Where a scan ended: [`Position`], as text that can be given back.

use std::fmt;
use std::str::FromStr;

/// A cursor, and of which process: after a restart it would skip keys without a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub(super) run_id: String,
    pub(super) db: u32,
    pub(super) cursor: String,
}

/// What was given is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position that an earlier run printed")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.run_id, self.db, self.cursor)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split(':');
        let (Some(run_id), Some(db), Some(cursor), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        let is_cursor = !cursor.is_empty() && cursor.bytes().all(|b| b.is_ascii_digit());
        let is_run_id = run_id.len() == 40 && run_id.bytes().all(|b| b.is_ascii_hexdigit());
        match db.parse() {
            Ok(db) if is_cursor && is_run_id => {
                Ok(Self { run_id: run_id.to_owned(), db, cursor: cursor.to_owned() })
            }
            _ => Err(PositionError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_taken_back_and_nothing_else() {
        let position =
            Position { run_id: "a".repeat(40), db: 3, cursor: "18446744073709551615".into() };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in [
            "",
            "1:2:3",
            "::",
            &format!("{}:x:1", "a".repeat(40)),
            &format!("{}:1:-1", "a".repeat(40)),
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
