//! [`Fields`]: names and values in one text, sorted by name. A reading has two hundred of them, and a watch of a thousand
//! servers makes a hundred readings a second: two strings and a tree's node for each took a third of its processor time.

use std::fmt;

/// Names that are all different, each with its value.
#[derive(Clone, Default)]
pub(super) struct Fields {
    text: String,
    places: Vec<Place>,
}

/// Where a field is in the text; its value follows its name.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    key: usize,
    value: usize,
}

impl Place {
    fn key(self, text: &str) -> &str {
        text.get(self.at..self.at + self.key).unwrap_or_default()
    }

    fn value(self, text: &str) -> &str {
        let at = self.at + self.key;
        text.get(at..at + self.value).unwrap_or_default()
    }
}

impl Fields {
    /// Room for the fields of a text of so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        // INFO's lines have 26 bytes on average, on every version from 2.8 to 9.
        Self { text: String::with_capacity(bytes), places: Vec::with_capacity(bytes / 24) }
    }

    fn write(&mut self, key: &str, value: &str) -> Place {
        let place = Place { at: self.text.len(), key: key.len(), value: value.len() };
        self.text.push_str(key);
        self.text.push_str(value);
        place
    }

    /// Adds a field, wherever it belongs: [`Fields::settle`] has to follow before anything is asked.
    pub(super) fn push(&mut self, key: &str, value: &str) {
        let place = self.write(key, value);
        self.places.push(place);
    }

    /// Sorts; of fields with one name the last one stays.
    pub(super) fn settle(&mut self) {
        let text = self.text.as_str();
        // Stable: those of one name stay in their order.
        self.places.sort_by(|a, b| a.key(text).cmp(b.key(text)));
        self.places.dedup_by(|later, kept| {
            let same = later.key(text) == kept.key(text);
            if same {
                *kept = *later;
            }
            same
        });
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.places.binary_search_by(|place| place.key(&self.text).cmp(key))
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let place = self.places.get(self.find(key).ok()?)?;
        Some(place.value(&self.text))
    }

    /// Sets a field, whether it is there or not.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        let place = self.write(key, value);
        match self.find(key) {
            Ok(at) => {
                if let Some(old) = self.places.get_mut(at) {
                    *old = place;
                }
            }
            Err(at) => self.places.insert(at, place),
        }
    }

    /// Those whose names begin with `prefix`, sorted.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let first = self.places.partition_point(|place| place.key(&self.text) < prefix);
        let from = self.places.get(first..).unwrap_or_default();
        from.iter()
            .map(|p| (p.key(&self.text), p.value(&self.text)))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Only those whose names begin with `prefix`, in no more memory than they need.
    pub(super) fn only(&self, prefix: &str) -> Self {
        let mut kept = Self::default();
        for (key, value) in self.with_prefix(prefix) {
            kept.push(key, value);
        }
        kept.text.shrink_to_fit();
        kept.places.shrink_to_fit();
        kept
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|p| (p.key(&self.text), p.value(&self.text)))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn they_are_a_map(pushed in prop::collection::vec(("[a-c_é]{0,3}", "[x-zü]{0,2}"), 0..40), set in prop::collection::vec(("[a-c_é]{0,3}", "[x-z]{0,2}"), 0..8), prefix in "[a-c]{0,2}") {
            let mut fields = Fields::with_room(8);
            let mut map = BTreeMap::new();
            for (key, value) in &pushed {
                fields.push(key, value);
                map.insert(key.as_str(), value.as_str());
            }
            fields.settle();
            for (key, value) in &set {
                fields.set(key, value);
                map.insert(key, value);
            }
            prop_assert!(fields.iter().eq(map.iter().map(|(k, v)| (*k, *v))));
            prop_assert_eq!(fields.len(), map.len());
            for key in pushed.iter().chain(&set).map(|(key, _)| key.as_str()).chain(["none"]) {
                prop_assert_eq!(fields.get(key), map.get(key).copied());
            }
            map.retain(|key, _| key.starts_with(prefix.as_str()));
            let only = fields.only(&prefix);
            prop_assert!(only.iter().eq(map.into_iter()));
            prop_assert_eq!(only.clone(), only);
        }
    }
}
