//! [`Secret`]: text that never prints itself.

use std::fmt;

/// A password. It has no `Display`, and its `Debug` is redacted, so that it cannot reach a log, an error or a
/// report by accident; [`Secret::expose`] is the one way out and is easy to search for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for sending to a server, for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for the empty password, which servers and people use as "none".
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with every occurrence of the secret replaced. Servers echo arguments: `unknown command 'AUTH', with
    /// args beginning with: '…'`.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        text.replace(&self.0, "<redacted>")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_scrub_hide_it() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{:?} {secret:#?}", Some(&secret)), "Some(<redacted>) <redacted>");
        assert_eq!(secret.scrub("args: 'canary'"), "args: '<redacted>'");
        assert_eq!(Secret::default().scrub("as it is"), "as it is");
    }
}
