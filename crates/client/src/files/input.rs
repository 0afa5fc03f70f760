//! One input, a file or standard input, to text within limits. Whatever is no text is said to be what it is.

use super::{FileError, MAX_INPUT_BYTES};
use std::io::{self, Read};
use std::path::Path;

/// An input's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The file, or `standard input`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

pub(super) fn name(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

impl Text {
    /// Reads one input.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let name = name(path);
        let unreadable = |source| FileError::Unreadable { name: name.clone(), source };
        let Some(bytes) = bytes(path).map_err(unreadable)? else {
            return Err(FileError::TooLarge { name });
        };
        match decode(bytes) {
            Err(what) => Err(FileError::NotText { name, what }),
            Ok(text) if text.trim().is_empty() => Err(FileError::Empty { name }),
            Ok(text) => Ok(Self { name, text }),
        }
    }
}

/// All of it, or `None` when it is over the limit; a pipe is read one byte past the limit and no further.
fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![];
    if is_standard_input(path) {
        io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path)?;
        if file.metadata()?.len() > MAX_INPUT_BYTES {
            return Ok(None);
        }
        file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    }
    Ok(Some(bytes).filter(|b| b.len() as u64 <= MAX_INPUT_BYTES))
}

/// Told apart, because another command reads it.
pub(super) const RDB: &str = "an RDB snapshot";

/// UTF-8, or UTF-16 with its mark (what PowerShell's `>` writes). The error is what the bytes are instead.
fn decode(bytes: Vec<u8>) -> Result<String, &'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    match () {
        () if starts(b"REDIS0") || starts(b"VALKEY0") => return Err(RDB),
        () if starts(b"\x1f\x8b") || starts(b"PK\x03\x04") || starts(b"\x28\xb5\x2f\xfd") => {
            return Err("compressed");
        }
        () if starts(b"\xff\xfe") => return Ok(utf16(&bytes, u16::from_le_bytes)),
        () if starts(b"\xfe\xff") => return Ok(utf16(&bytes, u16::from_be_bytes)),
        () if bytes.contains(&0) => return Err("binary"),
        () => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // A stray byte of another encoding in a client's name must not cost the whole paste.
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes());
            let strange = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
            if strange * 20 > text.len() { Err("binary") } else { Ok(text.into_owned()) }
        }
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit));
    char::decode_utf16(units.skip(1)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
