//! MEMORY STATS as a flat map of names to numbers; nested maps become `db.0.overhead.hashtable.main`.

use crate::bytes::PLAUSIBLE_MAX;
use crate::paste;
use std::collections::BTreeMap;

/// Name to value; bytes, counts, ratios and percentages alike, as the server prints them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryStats(BTreeMap<String, f64>);

impl MemoryStats {
    /// From name-value pairs.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, f64)>) -> Self {
        Self(pairs.into_iter().filter(|(_, v)| v.is_finite()).collect())
    }

    /// From redis-cli's output, piped (bare lines) or on a terminal (numbered, typed).
    pub fn parse(text: &str) -> Self {
        let mut stats = BTreeMap::new();
        let mut name: Option<String> = None;
        let mut database: Option<String> = None;
        for line in paste::lines(text) {
            for token in tokens(&line) {
                match (token.parse::<f64>(), name.take()) {
                    (Ok(value), Some(key)) if value.is_finite() => {
                        let nested = key.starts_with("overhead.hashtable");
                        let full = match database.as_ref().filter(|_| nested) {
                            Some(db) => format!("{db}.{key}"),
                            None => key,
                        };
                        stats.insert(full, value);
                    }
                    (Err(_), _) if is_database(token) => database = Some(token.to_owned()),
                    (Err(_), _) if is_stat(token) => name = Some(token.to_owned()),
                    _ => {}
                }
            }
        }
        Self(stats)
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value as printed.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A whole count or a byte count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|v| (0.0..=PLAUSIBLE_MAX as f64).contains(v)).map(|v| v as u64)
    }

    /// Sum of a per-database figure (`overhead.hashtable.main`) over all databases.
    pub fn sum_databases(&self, name: &str) -> Option<u64> {
        let values: Vec<u64> = self
            .0
            .keys()
            .filter(|k| k.starts_with("db.") && k.ends_with(name))
            .filter_map(|k| self.count(k))
            .collect();
        (!values.is_empty()).then(|| values.iter().fold(0, |sum: u64, v| sum.saturating_add(*v)))
    }

    /// All values, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(k, v)| (k.as_str(), *v))
    }
}

/// The words of a line, without reply numbers and type marks: ` 2) (integer) 5` is `5`.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '=']).filter(|t| !t.is_empty()).filter_map(|t| {
        let numbering = t.strip_suffix(')').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let typed = t.starts_with('(') && t.ends_with(')');
        (!numbering && !typed).then(|| t.trim_matches(['"', ',', ':', '#']))
    })
}

fn is_database(token: &str) -> bool {
    token
        .strip_prefix("db.")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn is_stat(token: &str) -> bool {
    token == "fragmentation"
        || (token.contains('.')
            && token.starts_with(|c: char| c.is_ascii_alphabetic())
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_and_typed_forms_agree() {
        let piped = "total.allocated\n10\ndb.0\noverhead.hashtable.main\n7\noverhead.hashtable.expires\n2\nkeys.count\n3\nfragmentation\n1.5\n";
        let typed = " 1) \"total.allocated\"\n 2) (integer) 10\n 3) \"db.0\"\n 4) 1) \"overhead.hashtable.main\"\n    2) (integer) 7\n    3) \"overhead.hashtable.expires\"\n    4) (integer) 2\n 5) \"keys.count\"\n 6) (integer) 3\n 7) \"fragmentation\"\n 8) \"1.5\"\n";
        let (a, b) = (MemoryStats::parse(piped), MemoryStats::parse(typed));
        assert_eq!(a, b);
        assert_eq!(a.sum_databases("overhead.hashtable.main"), Some(7));
        assert_eq!(a.count("keys.count"), Some(3));
        assert_eq!(a.number("fragmentation"), Some(1.5));
    }
}
