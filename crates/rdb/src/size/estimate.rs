//! What a key would take if it were laid out otherwise. Read [`Estimator`] first.

use super::keyspace;
use super::server::SizeFor;
use super::value::{self, ValueSize};
use crate::format::ValueType;
use crate::text::Text;
use crate::value::{Event, Visitor};

/// Prices keys that do not exist yet, for one server.
#[derive(Debug)]
pub struct Estimator {
    size_for: SizeFor,
    value: ValueSize,
}

/// A key that was priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes, tables of the database not counted.
    pub bytes: u64,
    /// Its encoding.
    pub encoding: &'static str,
}

impl Estimator {
    /// For keys in a server like this.
    pub fn new(size_for: &SizeFor) -> Self {
        Self { size_for: *size_for, value: ValueSize::new(size_for) }
    }

    /// Whom it prices for.
    pub fn size_for(&self) -> &SizeFor {
        &self.size_for
    }

    /// A string under a key of `name` bytes.
    pub fn string(&self, name: u64, expires: bool, text: Text<'_>) -> Estimate {
        let sized = value::string(text);
        let whole = keyspace::key(&self.size_for, &self.value.cost, name, expires, sized);
        Estimate { bytes: whole.bytes, encoding: whole.encoding }
    }

    /// A hash of these fields under a key of `name` bytes.
    pub fn hash<'t>(
        &mut self,
        name: u64,
        expires: bool,
        pairs: impl IntoIterator<Item = (Text<'t>, Text<'t>)>,
    ) -> Estimate {
        self.value.begin(ValueType::Hash);
        for (field, text) in pairs {
            self.value.on(Event::Field(field));
            self.value.on(Event::Value(text));
        }
        self.whole(name, expires)
    }

    /// The same where fields may expire one by one, each at the Unix milliseconds given.
    pub fn hash_of_expiring<'t>(
        &mut self,
        name: u64,
        fields: impl IntoIterator<Item = (Text<'t>, Text<'t>, Option<u64>)>,
    ) -> Estimate {
        self.value.begin(ValueType::Hash);
        for (field, text, expires_ms) in fields {
            self.value.on(Event::Field(field));
            self.value.on(Event::Value(text));
            self.value.on(Event::FieldExpiry(expires_ms));
        }
        self.whole(name, false)
    }

    fn whole(&mut self, name: u64, expires: bool) -> Estimate {
        let sized = self.value.finish();
        let whole = keyspace::key(&self.size_for, &self.value.cost, name, expires, sized);
        Estimate { bytes: whole.bytes, encoding: whole.encoding }
    }

    /// Tables of a database of `keys`, of which `expires` expire: what fewer keys save besides themselves.
    pub fn tables(&self, keys: u64, expires: u64) -> u64 {
        keyspace::tables(&self.value.cost, keyspace::Db { keys, expires, volatile: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Server;

    #[test]
    fn a_packed_hash_takes_less_than_its_strings() {
        let mut estimator = Estimator::new(&SizeFor::new(Server::Redis70));
        let text = Text::Bytes(b"some value here");
        let strings = 100 * estimator.string(12, false, text).bytes;
        let pairs = (0..100).map(|n| (Text::Int(n), text));
        let hash = estimator.hash(8, false, pairs);
        assert_eq!(hash.encoding, "listpack");
        assert!(hash.bytes * 3 < strings, "{} and {strings}", hash.bytes);
    }
}
