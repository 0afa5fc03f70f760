//! [`Configuration`]: every setting of a server, secrets included and never shown; and how two of them differ.

use crate::ActError;
use std::collections::BTreeMap;
use std::fmt;
use unfrag_client::{Connection, resp};
use unfrag_model::config::parse_memory;

/// Name to value, as CONFIG GET gives them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration(BTreeMap<String, String>);

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Configuration({} settings)", self.0.len())
    }
}

/// A setting that differs. Its values are only for sending; [`Difference::shown`] is for people.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) name: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Difference {
    /// `maxmemory 1gb (would be 0)`.
    pub(crate) fn shown(&self) -> String {
        self.in_words("would be")
    }

    /// `maxmemory 1gb (now 0)`.
    pub(crate) fn shown_afterwards(&self) -> String {
        self.in_words("now")
    }

    fn in_words(&self, when: &str) -> String {
        if is_secret(&self.name) {
            return format!("{} (a secret)", self.name);
        }
        let value = |v: &str| if v.is_empty() { "\"\"".to_owned() } else { v.to_owned() };
        format!("{} {} ({when} {})", self.name, value(&self.ours), value(&self.theirs))
    }
}

fn is_secret(name: &str) -> bool {
    ["pass", "auth", "user", "secret"].iter().any(|word| name.contains(word))
}

impl Configuration {
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, ActError> {
        let value = connection.call(&["CONFIG", "GET", "*"]).await?;
        let pairs = resp::pairs(&value);
        Ok(Self(pairs.into_iter().filter_map(|(n, v)| Some((n, resp::text(v)?))).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value; empty when there is no such setting.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn is_yes(&self, name: &str) -> bool {
        self.text(name) == "yes"
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).trim().parse().unwrap_or(0)
    }

    /// Where this one differs from the other, but for the names given and for second names of the same setting.
    pub(crate) fn differences(&self, other: &Self, but: &[&str]) -> Vec<Difference> {
        self.0
            .iter()
            .filter(|(name, _)| !but.contains(&name.as_str()) && !self.is_second_name(name))
            .filter_map(|(name, ours)| {
                let theirs = other.0.get(name)?;
                (!same(ours, theirs)).then(|| Difference {
                    name: name.clone(),
                    ours: ours.clone(),
                    theirs: theirs.clone(),
                })
            })
            .collect()
    }

    /// `slave-priority` beside `replica-priority`.
    fn is_second_name(&self, name: &str) -> bool {
        let firsts = [
            ("min-slaves", "min-replicas"),
            ("slaveof", "replicaof"),
            ("slave", "replica"),
            ("ziplist", "listpack"),
            ("primaryauth", "masterauth"),
            ("primaryuser", "masteruser"),
            ("lua-time-limit", "busy-reply-threshold"),
        ];
        firsts.iter().any(|(second, first)| {
            name.contains(second) && self.0.contains_key(&name.replace(second, first))
        })
    }
}

/// Equal as the server means it: `1mb` is `1048576`.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a == b || parse_memory(a).is_some_and(|bytes| Some(bytes) == parse_memory(b))
}

/// Settings whose value is several words in a configuration file.
const SEVERAL_WORDS: [&str; 5] = [
    "save",
    "client-output-buffer-limit",
    "bind",
    "oom-score-adj-values",
    "latency-tracking-info-percentiles",
];

/// A line of a configuration file.
pub(crate) fn line(name: &str, value: &str) -> String {
    if SEVERAL_WORDS.contains(&name) && !value.is_empty() {
        format!("{name} {value}\n")
    } else {
        format!("{name} {}\n", quoted(value))
    }
}

/// As the server's own `sdssplitargs` reads it back.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Configuration {
        Configuration(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn second_names_and_spellings_are_no_differences() {
        let ours = of(&[
            ("slave-priority", "1"),
            ("replica-priority", "1"),
            ("maxmemory", "1mb"),
            ("requirepass", "canary"),
        ]);
        let theirs = of(&[
            ("slave-priority", "2"),
            ("replica-priority", "2"),
            ("maxmemory", "1048576"),
            ("requirepass", ""),
        ]);
        let found = ours.differences(&theirs, &[]);
        let names: Vec<&str> = found.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["replica-priority", "requirepass"]);
        assert!(!format!("{found:?} {ours:?}").contains("canary"));
    }

    #[test]
    fn any_byte_survives_quoting() {
        assert_eq!(quoted("a\"b\\c\u{e9}\n"), "\"a\\\"b\\\\c\\xc3\\xa9\\x0a\"");
        assert_eq!(line("save", ""), "save \"\"\n");
        assert_eq!(line("bind", "127.0.0.1 -::1"), "bind 127.0.0.1 -::1\n");
    }
}
