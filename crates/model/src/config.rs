//! Configuration values, from `CONFIG GET`, a redis.conf, or a paste of either. Read [`Config`] first.
//!
//! Secrets never enter: a name that can hold one is dropped while reading.

use crate::paste;
use std::collections::BTreeMap;

/// Directive name (lower case) to value, as the server gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, String>);

/// Directives whose value is or can hold a secret.
const SECRET: [&str; 12] = [
    "requirepass",
    "masterauth",
    "primaryauth",
    "masteruser",
    "primaryuser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
    "sentinel",
    "user",
    "rename-command",
    "aclfile",
    "cluster-announce-secret",
];

impl Config {
    /// From name-value pairs.
    pub fn from_pairs<I, K, V>(pairs: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: Into<String>,
    {
        let mut config = Self::default();
        for (name, value) in pairs {
            config.insert(name.as_ref(), value.into());
        }
        config
    }

    /// From text: `name value` a line (redis.conf), names and values on alternate lines (redis-cli,
    /// piped), or numbered and quoted (redis-cli, on a terminal).
    pub fn parse(text: &str) -> Self {
        let lines: Vec<String> = paste::lines(text).map(|l| strip_number(&l).to_owned()).collect();
        if is_alternating(&lines) {
            let mut pairs = lines.chunks_exact(2);
            return Self::from_pairs(pairs.by_ref().filter_map(|pair| match pair {
                [name, value] => Some((unquote(name), unquote(value).to_owned())),
                _ => None,
            }));
        }
        let mut config = Self::default();
        for line in lines.iter().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (name, value) = line.split_once([' ', '\t', ':', '=']).unwrap_or((line, ""));
            if is_name(name) {
                config.insert(name, unquote(value.trim()).to_owned());
            }
        }
        config
    }

    fn insert(&mut self, name: &str, value: String) {
        let name = name.to_ascii_lowercase();
        if SECRET.contains(&name.as_str()) {
            return;
        }
        // redis.conf repeats `save` and `client-output-buffer-limit`; CONFIG GET joins them with a space.
        let repeats = matches!(name.as_str(), "save" | "client-output-buffer-limit");
        match self.0.get_mut(&name) {
            Some(old) if repeats && !old.is_empty() => {
                old.push(' ');
                old.push_str(&value);
            }
            _ => {
                self.0.insert(name, value);
            }
        }
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value as given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A yes/no directive.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.text(name)? {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        }
    }

    /// A memory size in bytes. `1k` is 1000 and `1kb` is 1024, as in redis.conf.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        parse_memory(self.text(name)?)
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// All values, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

/// Reads a memory size as the server's own `memtoull` does: `1k` = 1000, `1kb` = 1024, any case.
pub fn parse_memory(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn unquote(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

/// `12) "name"` without its number.
fn strip_number(line: &str) -> &str {
    match line.split_once(')') {
        Some((number, rest))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest.trim().trim_matches('"')
        }
        _ => line,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// True when every other line is a directive's bare name, and no name line holds a value of its own.
fn is_alternating(lines: &[String]) -> bool {
    let names = || lines.iter().step_by(2).filter(|l| !l.is_empty());
    let conf_like = lines
        .iter()
        .any(|l| l.split_once([' ', ':', '=']).is_some_and(|(name, _)| KNOWN.contains(&name)));
    !conf_like && lines.len() >= 2 && names().all(|l| is_name(unquote(l)))
}

/// Names that tell a `name value` line from a bare one.
const KNOWN: [&str; 8] = [
    "maxmemory",
    "maxmemory-policy",
    "save",
    "appendonly",
    "activedefrag",
    "active-defrag-ignore-bytes",
    "active-defrag-threshold-lower",
    "port",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_agree() {
        let forms = [
            "maxmemory 1gb\nmaxmemory-policy allkeys-lru\n",
            "maxmemory\n1gb\nmaxmemory-policy\nallkeys-lru\n",
            "1) \"maxmemory\"\n2) \"1gb\"\n3) \"maxmemory-policy\"\n4) \"allkeys-lru\"\n",
        ];
        for form in forms {
            let config = Config::parse(form);
            assert_eq!(config.bytes("maxmemory"), Some(1 << 30), "{form}");
            assert_eq!(config.text("maxmemory-policy"), Some("allkeys-lru"), "{form}");
        }
    }

    #[test]
    fn an_empty_value_on_its_own_line_keeps_the_pairs_in_step() {
        let config = Config::parse("dbfilename\ndump.rdb\nsave\n\nactivedefrag\nno");
        assert_eq!(config.text("save"), Some(""));
        assert_eq!(config.flag("activedefrag"), Some(false));
    }

    #[test]
    fn secrets_never_enter() {
        let config = Config::parse("requirepass canary\nmasterauth canary\nmaxmemory 1");
        assert!(config.pairs().all(|(_, v)| !v.contains("canary")));
        assert_eq!(config.bytes("maxmemory"), Some(1));
    }

    #[test]
    fn units_are_the_servers() {
        assert_eq!(parse_memory("20M"), Some(20_000_000));
        assert_eq!(parse_memory("3584mb"), Some(3_758_096_384));
        assert_eq!(parse_memory("x"), None);
    }
}
