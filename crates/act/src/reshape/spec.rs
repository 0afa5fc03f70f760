//! [`Spec`]: what a reshape is to do, as typed and as journaled.

use super::codec::Codec;
use super::layout::Wording;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub use unfrag_model::text::shown;

/// The change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Shape {
    /// Keys become fields of hashes.
    Hash(Wording),
    /// Values are compressed.
    Compress {
        /// Glob pattern of the keys.
        keys: String,
        /// How.
        codec: Codec,
        /// Shorter values are left alone.
        min_bytes: u64,
    },
}

/// A change and its direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// What.
    pub shape: Shape,
    /// Back to how it was.
    pub reverse: bool,
}

impl Spec {
    /// `hash` or `compress`.
    pub const fn kind(&self) -> &'static str {
        match self.shape {
            Shape::Hash(_) => "hash",
            Shape::Compress { .. } => "compress",
        }
    }

    /// The same change the other way.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { shape: self.shape.clone(), reverse: !self.reverse }
    }
}

/// A name of the server's, any bytes; in JSON in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub Vec<u8>);

impl Name {
    /// For people: what is no text becomes `\xNN`.
    pub fn shown(&self) -> String {
        shown(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = |byte: u8| [byte >> 4, byte & 15].map(|n| char::from_digit(n.into(), 16));
        let text: String = self.0.iter().flat_map(|byte| digits(*byte)).flatten().collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("no hexadecimal digits"))
    }
}

/// What one atomic step works on: a hash with its fields, or a key to compress, which has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The hash, or the key.
    pub name: Name,
    /// The hash's fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_json() {
        let job = Job { name: Name(b"\0\xff\"\n*".to_vec()), fields: vec![Name(vec![])] };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
        assert_eq!(job.name.shown(), "\0\\xff\"\n*");
    }
}
