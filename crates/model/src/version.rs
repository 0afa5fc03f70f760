//! Which program answered, and which version of it. Read [`Engine`] first.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A released version, ordered as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 when it was not given.
    pub patch: u32,
}

impl Version {
    /// `Version::new(7, 4, 0)`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads `7.2.5`, `7.2`, `v8.1.0-rc1`, `2.8.6.1` (the fourth number is dropped).
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim().trim_start_matches(['v', 'V']);
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let mut numbers = text.get(..end).unwrap_or("").split('.').map(str::parse::<u32>);
        let major = numbers.next().and_then(Result::ok).ok_or(())?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Ok(Self { major, minor: next(), patch: next() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The code base a server descends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// redis/redis, and vendors' services that present themselves as it.
    Redis,
    /// valkey-io/valkey. It reports `redis_version:7.2.4` for ever; `valkey_version` is the true one.
    Valkey,
    /// `KeyDB`, a fork of Redis 6.
    KeyDb,
    /// Dragonfly: not Redis code; its allocator and eviction differ.
    Dragonfly,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::KeyDb => "KeyDB",
            Self::Dragonfly => "Dragonfly",
        })
    }
}

/// Flavor and version together. The version is absent when a pasted INFO did not hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// Code base.
    pub flavor: Flavor,
    /// Version in that code base's own numbering.
    pub version: Option<Version>,
}

impl Engine {
    /// True when this is Redis `redis` or later, or Valkey `valkey` or later. Unknown versions count as
    /// old: what a newer formula says must not be believed of a server that may not have it.
    pub fn at_least(&self, redis: Version, valkey: Version) -> bool {
        self.version.is_some_and(|v| match self.flavor {
            Flavor::Redis => v >= redis,
            Flavor::Valkey => v >= valkey,
            Flavor::KeyDb | Flavor::Dragonfly => false,
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{} {version}", self.flavor),
            None => write!(f, "{} (version unknown)", self.flavor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_numbers() {
        let v = |t: &str| t.parse::<Version>().unwrap();
        assert!(v("7.10.0") > v("7.9.9"));
        assert_eq!(v("v8.1.0-rc1"), Version::new(8, 1, 0));
        assert_eq!(v("2.8.6.1"), Version::new(2, 8, 6));
        assert_eq!(v("7.2"), Version::new(7, 2, 0));
        assert!("unstable".parse::<Version>().is_err());
    }
}
