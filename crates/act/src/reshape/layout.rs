//! [`Layout`]: which hash and field a key becomes, and back. Pure.

use super::template::{Form, Part, Pattern, Sum, TemplateError, number};
use serde::{Deserialize, Serialize};

/// Keys of one form as fields of hashes of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Takes keys apart.
    pub keys: Pattern,
    /// Makes the hash's name.
    pub into: Form,
    /// Makes the field's name.
    pub field: Form,
    hashes: Pattern,
    fields: Pattern,
}

/// A layout as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wording {
    /// `--match`.
    pub keys: String,
    /// `--into`.
    pub into: String,
    /// `--field`, or what is left over of the key.
    pub field: Option<String>,
}

/// A key's place: hash and field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The hash's name.
    pub hash: Vec<u8>,
    /// The field's.
    pub field: Vec<u8>,
}

impl Layout {
    /// Reads the three templates and makes sure that every placeholder of the key can be had back.
    pub fn parse(wording: &Wording) -> Result<Self, TemplateError> {
        let keys = Pattern::parse(&wording.keys)?;
        let into = Form::parse(&wording.into)?;
        let fail =
            |template: &str, why: String| TemplateError { template: template.to_owned(), why };
        if keys.names().is_empty() {
            let why = "a placeholder is needed, as in user:{id}:{field}".to_owned();
            return Err(fail(&wording.keys, why));
        }
        let field = match &wording.field {
            Some(text) => Form::parse(text)?,
            None => left_over(&keys, &into)?,
        };
        for (template, form) in [(&wording.into, &into), (&field.to_string(), &field)] {
            if let Some((name, _)) = form.slots().find(|(name, _)| !keys.names().contains(name)) {
                return Err(fail(template, format!("{{{name}}} is not in {}", wording.keys)));
            }
        }
        for name in keys.names() {
            let sums: Vec<Sum> = into
                .slots()
                .chain(field.slots())
                .filter(|(n, _)| *n == name)
                .map(|(_, s)| s)
                .collect();
            if !comes_back(&sums) {
                let why =
                    format!("{{{name}}} would be lost: neither the hash nor the field tells it");
                return Err(fail(&wording.keys, why));
            }
        }
        let (hashes, fields) = (into.as_pattern()?, field.as_pattern()?);
        Ok(Self { keys, into, field, hashes, fields })
    }

    /// Where a key goes; `None` when it has another form, or could not be told from another key there.
    pub fn place(&self, key: &[u8]) -> Option<Place> {
        let captures = self.keys.captures(key)?;
        let mut place = Place { hash: vec![], field: vec![] };
        self.into.write(&mut place.hash, |name| self.keys.value(&captures, name))?;
        self.field.write(&mut place.field, |name| self.keys.value(&captures, name))?;
        // A value that holds the text which ends its placeholder in the hash's name would come back as another.
        (self.key(&place.hash, &place.field).as_deref() == Some(key)).then_some(place)
    }

    /// The key that a field of a hash was; `None` when it was none of these.
    pub fn key(&self, hash: &[u8], field: &[u8]) -> Option<Vec<u8>> {
        let (of_hash, of_field) = (self.hashes.captures(hash)?, self.fields.captures(field)?);
        let part = |name: &str| {
            let value = self.hashes.value(&of_hash, name);
            value.or_else(|| self.fields.value(&of_field, name))
        };
        let mut values = vec![];
        for name in self.keys.names() {
            let value = match part(name) {
                Some(whole) => whole.to_vec(),
                None => self.total(name, &part)?.to_string().into_bytes(),
            };
            values.push((name, value));
        }
        let value = |name: &str| values.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_slice());
        let mut key = vec![];
        self.keys.form().write(&mut key, value)?;
        // Every copy of a placeholder must say the same.
        let (mut again, mut again_field) = (vec![], vec![]);
        self.into.write(&mut again, value)?;
        self.field.write(&mut again_field, value)?;
        let same = again == hash && again_field == field && self.keys.captures(&key).is_some();
        same.then_some(key)
    }

    /// A number from its quotient and its remainder.
    fn total<'k>(&self, name: &str, part: &impl Fn(&str) -> Option<&'k [u8]>) -> Option<u64> {
        let over = number(part(&format!("{name}/"))?)?;
        let rest = number(part(&format!("{name}%"))?)?;
        let by = self.into.slots().chain(self.field.slots()).find_map(|(n, sum)| match sum {
            Sum::Over(by) if n == name => Some(by),
            _ => None,
        })?;
        over.checked_mul(by)?.checked_add(rest)
    }

    /// Whether the hash's own name has the form of a key: then hashes and keys could not be told apart.
    pub fn is_ambiguous(&self, hash: &[u8]) -> bool {
        self.keys.captures(hash).is_some()
    }

    /// Takes hash names apart, for SCAN.
    pub fn hashes(&self) -> &Pattern {
        &self.hashes
    }
}

/// A placeholder can be had back whole, or from a quotient and a remainder by the same number.
fn comes_back(sums: &[Sum]) -> bool {
    sums.iter().any(|sum| match sum {
        Sum::Whole => true,
        Sum::Over(by) => sums.contains(&Sum::Rest(*by)),
        Sum::Rest(_) => false,
    })
}

/// What `--into` does not say of a key, from the first such placeholder to the last, with the text between.
fn left_over(keys: &Pattern, into: &Form) -> Result<Form, TemplateError> {
    let missing = |part: &Part| match part {
        Part::Slot { name, .. } => !into.slots().any(|(n, sum)| n == name && sum == Sum::Whole),
        Part::Text(_) => false,
    };
    let parts = keys.form().parts();
    let (first, last) = (parts.iter().position(missing), parts.iter().rposition(missing));
    let (Some(first), Some(last)) = (first, last) else {
        let why =
            "it says all of the key, so nothing is left to name the field: see --field".to_owned();
        return Err(TemplateError { template: into.to_string(), why });
    };
    let span = parts.get(first..=last).unwrap_or_default();
    let parts = span.iter().map(|part| match part {
        Part::Slot { name, .. } => {
            let divided = into.slots().find_map(|(n, sum)| match sum {
                Sum::Over(by) if n == name => Some(Sum::Rest(by)),
                _ => None,
            });
            Part::Slot { name: name.clone(), sum: divided.unwrap_or(Sum::Whole) }
        }
        text @ Part::Text(_) => text.clone(),
    });
    Ok(Form::of(parts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(keys: &str, into: &str, field: Option<&str>) -> Layout {
        let wording =
            Wording { keys: keys.into(), into: into.into(), field: field.map(Into::into) };
        Layout::parse(&wording).unwrap()
    }

    fn place(layout: &Layout, key: &str) -> Option<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        layout.place(key.as_bytes()).map(|p| (text(p.hash), text(p.field)))
    }

    #[test]
    fn keys_go_where_people_expect() {
        let plain = layout("user:{id}:{field}", "user:{id}", None);
        assert_eq!(place(&plain, "user:7:name"), Some(("user:7".into(), "name".into())));
        let buckets = layout("session:{id}", "sessions:{id/100}", None);
        assert_eq!(place(&buckets, "session:1234"), Some(("sessions:12".into(), "34".into())));
        assert_eq!(place(&buckets, "session:007"), None);
        let whole = layout("session:{id}", "sessions:{id/100}", Some("{id}"));
        assert_eq!(place(&whole, "session:1234"), Some(("sessions:12".into(), "1234".into())));
        let both = layout("u:{id}:{field}", "us:{id/100}", None);
        assert_eq!(place(&both, "u:1234:a:b"), Some(("us:12".into(), "34:a:b".into())));
    }

    #[test]
    fn what_cannot_come_back_is_refused() {
        let parse = |keys: &str, into: &str, field: Option<&str>| {
            Layout::parse(&Wording {
                keys: keys.into(),
                into: into.into(),
                field: field.map(Into::into),
            })
        };
        assert!(parse("u:{id}:{f}", "u:{id/10}", Some("{f}")).unwrap_err().why.contains("lost"));
        assert!(parse("u:{id}", "u:{id}", None).unwrap_err().why.contains("--field"));
        assert!(parse("u:{id}:{f}", "u:{x}", None).unwrap_err().why.contains("not in"));
        assert!(parse("u", "v", None).unwrap_err().why.contains("placeholder"));
        // The last colon of the hash's name would come back as the end of {a}.
        let swapped = layout("{f}|{a}", "{a}:x{f}", Some("{f}"));
        assert_eq!(place(&swapped, "1|a:x"), None);
    }

    proptest! {
        #[test]
        fn a_key_that_has_a_place_comes_back_from_it(
            which in 0..6usize, key in "(u|s):[0-9a:|]{0,6}(:[a-z:|]{0,3}){0,2}"
        ) {
            let layouts = [
                ("u:{id}:{f}", "u:{id}", None), ("s:{id}", "t:{id/100}", None), ("s:{id}", "t:{id/7}", Some("{id}")),
                ("u:{id}:{f}", "v:{id/10}", None), ("{a}:{b}:{c}", "h:{b}", Some("{a}|{c}")), ("{a}:{b}", "{b}:{a}", Some("{a}")),
            ];
            let (keys, into, field) = layouts[which];
            let layout = layout(keys, into, field);
            if let Some(place) = layout.place(key.as_bytes()) {
                prop_assert_eq!(layout.key(&place.hash, &place.field), Some(key.into_bytes()));
            }
        }

        #[test]
        fn a_field_that_has_a_key_comes_back_from_it(hash in "t:[0-9]{1,4}", field in "[0-9]{1,3}") {
            let layout = layout("s:{id}", "t:{id/100}", None);
            if let Some(key) = layout.key(hash.as_bytes(), field.as_bytes()) {
                let place = layout.place(&key).unwrap();
                prop_assert_eq!((place.hash, place.field), (hash.into_bytes(), field.into_bytes()));
            }
        }
    }
}
