//! Where a password or a token comes from: a flag, `REDISCLI_AUTH`, or a file. Asking at the terminal is the CLI's.

use crate::Secret;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The variable that redis-cli and valkey-cli read.
pub const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";

/// Longest password file; the servers themselves take passwords of at most 512 bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// A secret that was promised and is not there. The message never holds it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    Unreadable {
        /// What it is called where it was asked for.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("the {what} `{}` {reason}", path.display())]
    NoPassword {
        /// What it is called where it was asked for.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set, or is no text")]
    NoVariable(String),
}

/// The password in a file, without the line end that editors and `echo` leave.
pub fn from_file(path: &Path) -> Result<Secret, SecretError> {
    from_file_called("password file", path)
}

/// The same for a file that people know under another name, such as `token file`.
pub fn from_file_called(what: &'static str, path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { what, path: path.to_owned(), source };
    let mut bytes = vec![];
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let bad = |reason| SecretError::NoPassword { what, path: path.to_owned(), reason };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(bad("is too large to be one"));
    }
    let text = String::from_utf8(bytes).map_err(|_| bad("is not text"))?;
    let password = without_line_end(&text);
    if password.is_empty() {
        return Err(bad("is empty"));
    }
    // A second line would be sent as part of the password, and fail for a reason nobody sees.
    if password.contains(['\n', '\r']) {
        return Err(bad("has more than one line"));
    }
    Ok(Secret::new(password))
}

/// The password in an environment variable.
pub fn from_variable(name: &str) -> Result<Secret, SecretError> {
    match std::env::var(name) {
        Ok(text) => Ok(Secret::new(without_line_end(&text))),
        Err(_) => Err(SecretError::NoVariable(name.to_owned())),
    }
}

/// The password in [`PASSWORD_VARIABLE`], when it is set and not empty.
pub fn from_environment() -> Option<Secret> {
    from_variable(PASSWORD_VARIABLE).ok().filter(|secret| !secret.is_empty())
}

/// `text` without trailing CR and LF; spaces stay, they may be meant.
pub fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Secret, SecretError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        from_file(file.path())
    }

    #[test]
    fn line_ends_are_not_part_of_a_password() {
        for bytes in [b"pa ss".as_slice(), b"pa ss\n", b"pa ss\r\n", b"pa ss\n\n"] {
            assert_eq!(read(bytes).expect("a password").expose(), "pa ss", "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_password_is_said_without_showing_it() {
        for (bytes, reason) in [
            (b"\n".to_vec(), "is empty"),
            (b"canary\nsecond".to_vec(), "more than one line"),
            (b"canary\xff".to_vec(), "is not text"),
            (b"canary".repeat(1000), "too large"),
        ] {
            let error = read(&bytes).expect_err("no password");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(reason) && !shown.contains("canary"), "{shown}");
        }
        let missing = from_file_called("token file", Path::new("/nonexistent"));
        let error = missing.expect_err("no file").to_string();
        assert_eq!(error, "cannot read the token file `/nonexistent`");
    }
}
