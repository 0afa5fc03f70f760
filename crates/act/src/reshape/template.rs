//! Templates of key names, `user:{id}:{field}`: [`Pattern`] takes a name apart, [`Form`] puts one together. Pure.
//!
//! A placeholder ends where the text after it first occurs, the last one at the end of the name: so a name is taken apart
//! in at most one way, and putting the parts back gives the same name. `{{` and `}}` stand for braces themselves, which
//! is how a Cluster's hash tag is written: `user:{{{id}}}:{field}`.

use std::fmt;

/// Why a template is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}`: {why}")]
pub struct TemplateError {
    /// As written.
    pub template: String,
    /// For people.
    pub why: String,
}

/// What is done with a placeholder's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sum {
    /// `{id}`: as it is.
    Whole,
    /// `{id/100}`: the number divided.
    Over(u64),
    /// `{id%100}`: what the division leaves.
    Rest(u64),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(String),
    /// A placeholder.
    Slot {
        /// Its name.
        name: String,
        /// What is done with it.
        sum: Sum,
    },
}

/// A template that puts names together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    text: String,
    parts: Vec<Part>,
}

/// A template that takes names apart: every placeholder whole, each once, with text between any two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Form);

/// The text of each placeholder, by its place in a [`Pattern`].
pub type Captures<'k> = Vec<&'k [u8]>;

impl Form {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let fail = |why: &str| TemplateError { template: text.to_owned(), why: why.to_owned() };
        let mut parts = vec![];
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, rest.peek()) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    rest.next();
                    plain.push(c);
                }
                ('}', _) => {
                    return Err(fail("a `}` without its `{` (a brace itself is written `}}`)"));
                }
                ('{', _) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    let (mut inside, mut is_closed) = (String::new(), false);
                    for c in rest.by_ref() {
                        if c == '}' {
                            is_closed = true;
                            break;
                        }
                        inside.push(c);
                    }
                    if !is_closed {
                        let why = "a `{` without its `}` (a brace itself is written `{{`)";
                        return Err(fail(why));
                    }
                    parts.push(slot(&inside).map_err(|why| fail(&why))?);
                }
                _ => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Of parts, written out.
    pub fn of(parts: Vec<Part>) -> Self {
        Self { text: parts.iter().map(ToString::to_string).collect(), parts }
    }

    /// Its pieces.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Names and sums of its placeholders.
    pub fn slots(&self) -> impl Iterator<Item = (&str, Sum)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Slot { name, sum } => Some((name.as_str(), *sum)),
            Part::Text(_) => None,
        })
    }

    /// Appends the name made of `value_of`; `None` when a value is missing or is no number where one is wanted.
    pub fn write<'v>(
        &self,
        out: &mut Vec<u8>,
        value_of: impl Fn(&str) -> Option<&'v [u8]>,
    ) -> Option<()> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Slot { name, sum: Sum::Whole } => out.extend_from_slice(value_of(name)?),
                Part::Slot { name, sum: Sum::Over(by) } => {
                    out.extend_from_slice((number(value_of(name)?)? / by).to_string().as_bytes());
                }
                Part::Slot { name, sum: Sum::Rest(by) } => {
                    out.extend_from_slice((number(value_of(name)?)? % by).to_string().as_bytes());
                }
            }
        }
        Some(())
    }

    /// The same template with every placeholder whole and under the name its own text has, to take such names apart.
    pub fn as_pattern(&self) -> Result<Pattern, TemplateError> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Slot { name, sum } => {
                let name = match sum {
                    Sum::Whole => name.clone(),
                    Sum::Over(_) => format!("{name}/"),
                    Sum::Rest(_) => format!("{name}%"),
                };
                Part::Slot { name, sum: Sum::Whole }
            }
            text @ Part::Text(_) => text.clone(),
        });
        Pattern::of(Self { text: self.text.clone(), parts: parts.collect() })
    }

    /// The pattern for SCAN's MATCH: at least every name this template can make.
    pub fn glob(&self) -> String {
        let mut glob = String::new();
        for part in &self.parts {
            match part {
                Part::Slot { .. } => glob.push('*'),
                Part::Text(text) => {
                    for c in text.chars() {
                        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                            glob.push('\\');
                        }
                        glob.push(c);
                    }
                }
            }
        }
        glob
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Self::Slot { name, sum: Sum::Whole } => write!(f, "{{{name}}}"),
            Self::Slot { name, sum: Sum::Over(by) } => write!(f, "{{{name}/{by}}}"),
            Self::Slot { name, sum: Sum::Rest(by) } => write!(f, "{{{name}%{by}}}"),
        }
    }
}

fn slot(inside: &str) -> Result<Part, String> {
    let at = inside.find(['/', '%']).unwrap_or(inside.len());
    let (name, sum) = inside.split_at_checked(at).unwrap_or((inside, ""));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(is_name)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!("`{{{inside}}}` is no placeholder: write a name such as {{id}}"));
    }
    let by = sum.get(1..).map(str::parse::<u64>);
    let sum = match (sum.chars().next(), by) {
        (None, _) => Sum::Whole,
        (Some('/'), Some(Ok(by))) if by > 1 => Sum::Over(by),
        (Some('%'), Some(Ok(by))) if by > 1 => Sum::Rest(by),
        _ => {
            return Err(format!("`{{{inside}}}`: divide by a whole number above 1, as {{id/100}}"));
        }
    };
    Ok(Part::Slot { name: name.to_owned(), sum })
}

/// A decimal number as a counter writes it: no sign, no leading zero, so that it is made again from its value.
pub fn number(text: &[u8]) -> Option<u64> {
    let has_form =
        matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| has_form)?.parse().ok()
}

impl Pattern {
    /// Reads a template that can take names apart.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::of(Form::parse(text)?)
    }

    fn of(form: Form) -> Result<Self, TemplateError> {
        let fail = |why: String| TemplateError { template: form.text.clone(), why };
        let mut seen: Vec<&str> = vec![];
        for (name, sum) in form.slots() {
            if sum != Sum::Whole {
                return Err(fail(format!("{{{name}}} can be divided in --into, not here")));
            }
            if seen.contains(&name) {
                return Err(fail(format!("{{{name}}} is there twice")));
            }
            seen.push(name);
        }
        let pairs = form.parts.iter().zip(form.parts.iter().skip(1));
        for (one, next) in pairs {
            if matches!((one, next), (Part::Slot { .. }, Part::Slot { .. })) {
                let why = format!("nothing tells where {one} ends and {next} begins");
                return Err(fail(why));
            }
        }
        Ok(Self(form))
    }

    /// The template.
    pub fn form(&self) -> &Form {
        &self.0
    }

    /// Names of the placeholders, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.slots().map(|(name, _)| name).collect()
    }

    /// Takes a name apart; `None` when it has another form.
    pub fn captures<'k>(&self, name: &'k [u8]) -> Option<Captures<'k>> {
        let mut found = vec![];
        let mut rest = name;
        let mut parts = self.0.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match (part, parts.peek()) {
                (Part::Text(text), _) => rest = rest.strip_prefix(text.as_bytes())?,
                (Part::Slot { .. }, Some(Part::Text(text))) => {
                    // The last text must end the name; one before that ends its placeholder where it first occurs.
                    let (value, after) = rest.split_at_checked(find(rest, text.as_bytes())?)?;
                    found.push(value);
                    rest = after;
                }
                (Part::Slot { .. }, _) => found.push(std::mem::take(&mut rest)),
            }
        }
        rest.is_empty().then_some(found)
    }

    /// The value of a placeholder among those that [`Pattern::captures`] gave.
    pub fn value<'k>(&self, captures: &Captures<'k>, name: &str) -> Option<&'k [u8]> {
        let at = self.0.slots().position(|(known, _)| known == name)?;
        captures.get(at).copied()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_taken_apart_at_the_first_place() {
        let pattern = Pattern::parse("user:{id}:{field}").unwrap();
        let name = b"user:7:address:city";
        assert_eq!(pattern.captures(name), Some(vec![&b"7"[..], b"address:city"]));
        assert_eq!(pattern.captures(b"user:7"), None);
        assert_eq!(pattern.captures(b"user::"), Some(vec![&b""[..], b""]));
        let tagged = Pattern::parse("user:{{{id}}}:{field}").unwrap();
        assert_eq!(tagged.captures(b"user:{7}:a"), Some(vec![&b"7"[..], b"a"]));
        assert_eq!(tagged.form().glob(), "user:{*}:*");
        assert_eq!(Pattern::parse("a*[x]?{id}").unwrap().form().glob(), "a\\*\\[x\\]\\?*");
    }

    #[test]
    fn what_is_no_template_is_told_why() {
        for (text, why) in [
            ("{a}{b}", "nothing tells where"),
            ("{a}:{a}", "twice"),
            ("{a/10}", "not here"),
            ("x{", "without its `}`"),
            ("x}", "without its `{`"),
            ("{1}", "is no placeholder"),
            ("{a", "without its `}`"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.why.contains(why), "{text}: {error}");
        }
        assert!(Form::parse("{a/0}").is_err() && Form::parse("{a%1}").is_err());
    }

    #[test]
    fn only_numbers_that_come_back_are_numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "007", "-1", "+1", "1 ", "18446744073709551616", "x"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    fn any_parts() -> impl Strategy<Value = Vec<Part>> {
        let text = "[a-c:{}*\\[-]{1,3}".prop_map(Part::Text);
        (proptest::collection::vec(text, 1..4), any::<bool>(), any::<bool>()).prop_map(
            |(texts, first, last)| {
                let mut parts = vec![];
                let count = texts.len();
                for (at, text) in texts.into_iter().enumerate() {
                    let slot = Part::Slot { name: format!("v{at}"), sum: Sum::Whole };
                    if at > 0 || first {
                        parts.push(slot);
                    }
                    parts.push(text);
                    if at + 1 == count && last {
                        parts.push(Part::Slot { name: "end".to_owned(), sum: Sum::Whole });
                    }
                }
                parts
            },
        )
    }

    proptest! {
        #[test]
        fn a_template_written_out_is_read_again(parts in any_parts()) {
            let form = Form::of(parts);
            prop_assert_eq!(Form::parse(&form.to_string()).unwrap(), form);
        }

        #[test]
        fn what_was_taken_apart_is_put_together_again(
            parts in any_parts(), name in proptest::collection::vec(proptest::sample::select(b"abc:{}*[-\n\0\xff".to_vec()), 0..12)
        ) {
            let pattern = Pattern::of(Form::of(parts)).unwrap();
            if let Some(captures) = pattern.captures(&name) {
                let mut again = vec![];
                pattern.form().write(&mut again, |slot| pattern.value(&captures, slot)).unwrap();
                prop_assert_eq!(again, name);
            }
        }

        #[test]
        fn what_was_put_together_from_clean_values_is_taken_apart(
            parts in any_parts(), values in proptest::collection::vec("[x-z]{0,3}", 5)
        ) {
            let pattern = Pattern::of(Form::of(parts)).unwrap();
            let names = pattern.names();
            let value = |slot: &str| Some(values[names.iter().position(|n| *n == slot)?].as_bytes());
            let mut name = vec![];
            pattern.form().write(&mut name, value).unwrap();
            let captures = pattern.captures(&name).unwrap();
            for slot in &names {
                prop_assert_eq!(pattern.value(&captures, slot), value(slot));
            }
        }
    }
}
