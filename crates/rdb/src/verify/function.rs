//! Libraries of functions: what a server asks of the first line before it compiles the rest. Read [`Libraries`] first.
//!
//! Whether the code compiles only the engine knows; a library that it refuses stops the whole load.

use std::collections::HashSet;

use crate::input::Scratch;
use crate::problem::FlawKind;
use crate::text::Text;

/// Names remembered; nobody has more libraries.
const NAMES_MAX: usize = 10_000;
/// Longest name remembered.
const NAME_BYTES_MAX: usize = 1024;

/// The libraries met so far.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    names: HashSet<Vec<u8>>,
    scratch: Scratch,
}

impl Libraries {
    /// What is wrong with a library's source, if anything is.
    pub(super) fn add(&mut self, source: &Text<'_>) -> Result<(), FlawKind> {
        // A string that does not decode has been told of where it was read.
        let Ok(source) = source.bytes(&mut self.scratch) else { return Ok(()) };
        let name = name(source).map_err(FlawKind::BadFunction)?;
        let is_known = self.names.contains(name);
        if !is_known && self.names.len() < NAMES_MAX && name.len() <= NAME_BYTES_MAX {
            self.names.insert(name.to_vec());
        }
        if is_known { Err(FlawKind::BadFunction("its name is another library's")) } else { Ok(()) }
    }
}

/// The name in `#!engine name=NAME`.
fn name(source: &[u8]) -> Result<&[u8], &'static str> {
    let rest = source.strip_prefix(b"#!").ok_or("its first line does not start with #!")?;
    let end = rest.iter().position(|&byte| byte == b'\n').ok_or("its first line does not end")?;
    let line = rest.get(..end).unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut found = None;
    // The first word is the engine, which a module may have brought.
    for word in words.skip(usize::from(!line.first().is_some_and(u8::is_ascii_whitespace))) {
        let word = unquoted(word);
        let (key, value) = word.split_at_checked(5).unwrap_or((word, &[]));
        if !key.eq_ignore_ascii_case(b"name=") {
            return Err("its first line has something besides engine and name");
        }
        if found.replace(unquoted(value)).is_some() {
            return Err("its first line has two names");
        }
    }
    let name = found.ok_or("its first line has no name")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if name.is_empty() || !name.iter().all(is_plain) {
        return Err("its name has characters besides letters, digits and underscores, or none");
    }
    Ok(name)
}

/// Without the quotes that servers take off a word.
fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        word => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_engine_and_name() {
        let sound: [&[u8]; 3] =
            [b"#!lua name=one\nredis...", b"#!LUA  NAME=\"two\"\r\n", b"#!js name=a_1\n"];
        for source in sound {
            assert!(name(source).is_ok(), "{:?}", name(source));
        }
        let refused: [&[u8]; 8] = [
            b"",
            b"-- lua\n",
            b"#!lua name=one",
            b"#!lua\n",
            b"#!lua name=\n",
            b"#!lua name=a-b\n",
            b"#!lua name=a name=b\n",
            b"#!lua name=a more\n",
        ];
        for source in refused {
            assert!(name(source).is_err(), "{source:?}");
        }
    }

    #[test]
    fn a_name_stands_for_one_library() {
        let mut libraries = Libraries::default();
        let library = |name: &str| format!("#!lua name={name}\n");
        for (name, is_new) in [("one", true), ("two", true), ("one", false)] {
            let source = library(name);
            assert_eq!(libraries.add(&Text::Bytes(source.as_bytes())).is_ok(), is_new);
        }
    }
}
