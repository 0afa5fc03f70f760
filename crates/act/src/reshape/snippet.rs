//! The application's side of a reshape: functions to paste, for five clients. Pure.
//!
//! They are right while both layouts are about, in any order of deployment and reshape: a read looks in both places in one
//! transaction, a write writes the new one and removes the old one in one transaction, so that a merge at the same moment
//! can neither lose nor bring back anything. One text a client, under `snippet/`; `@WORDS@` in it are filled in here.

use super::codec::Codec;
use super::layout::Layout;
use super::spec::Shape;
use super::template::{Form, Part, Sum};

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python.
    RedisPy,
    /// JavaScript.
    NodeRedis,
    /// Go.
    GoRedis,
    /// Java.
    Jedis,
    /// Rust.
    RedisRs,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::RedisPy, Self::NodeRedis, Self::GoRedis, Self::Jedis, Self::RedisRs];

    /// The client's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedisPy => "redis-py",
            Self::NodeRedis => "node-redis",
            Self::GoRedis => "go-redis",
            Self::Jedis => "jedis",
            Self::RedisRs => "redis-rs",
        }
    }

    const fn hash(self) -> &'static str {
        match self {
            Self::RedisPy => include_str!("snippet/hash.py.txt"),
            Self::NodeRedis => include_str!("snippet/hash.mjs.txt"),
            Self::GoRedis => include_str!("snippet/hash.go.txt"),
            Self::Jedis => include_str!("snippet/hash.java.txt"),
            Self::RedisRs => include_str!("snippet/hash.rs.txt"),
        }
    }

    const fn compress(self) -> &'static str {
        match self {
            Self::RedisPy => include_str!("snippet/compress.py.txt"),
            Self::NodeRedis => include_str!("snippet/compress.mjs.txt"),
            Self::GoRedis => include_str!("snippet/compress.go.txt"),
            Self::Jedis => include_str!("snippet/compress.java.txt"),
            Self::RedisRs => include_str!("snippet/compress.rs.txt"),
        }
    }

    /// What a line of its comments begins with.
    const fn comment(self) -> &'static str {
        if matches!(self, Self::RedisPy) { "#" } else { "//" }
    }
}

/// The functions for a change; empty for a layout that is none.
pub fn of(language: Language, shape: &Shape) -> String {
    match shape {
        Shape::Hash(wording) => {
            Layout::parse(wording).map(|layout| hash(language, &layout)).unwrap_or_default()
        }
        Shape::Compress { codec, min_bytes, .. } => compress(language, *codec, *min_bytes),
    }
}

fn hash(language: Language, layout: &Layout) -> String {
    let names = layout.keys.names();
    let numbers: Vec<&str> = layout
        .into
        .slots()
        .chain(layout.field.slots())
        .filter(|(_, sum)| *sum != Sum::Whole)
        .map(|(name, _)| name)
        .collect();
    let (mut params, mut args) = (vec![], vec![]);
    for name in names {
        let (safe, is_number) = (safe_name(name), numbers.contains(&name));
        params.push(match (language, is_number) {
            (Language::RedisPy | Language::NodeRedis, _) => safe.clone(),
            (Language::GoRedis, true) => format!("{safe} uint64"),
            (Language::GoRedis, false) => format!("{safe} string"),
            (Language::Jedis, true) => format!("long {safe}"),
            (Language::Jedis, false) => format!("String {safe}"),
            (Language::RedisRs, true) => format!("{safe}: u64"),
            (Language::RedisRs, false) => format!("{safe}: &str"),
        });
        args.push(safe);
    }
    language
        .hash()
        .replace("@PARAMS@", &params.join(", "))
        .replace("@ARGS@", &args.join(", "))
        .replace("@HASH@", &expression(language, &layout.into))
        .replace("@FIELD@", &expression(language, &layout.field))
        .replace("@KEY@", &expression(language, layout.keys.form()))
}

/// Words that are no names in one of the languages.
const KEYWORDS: &[&str] = &[
    "type",
    "class",
    "map",
    "range",
    "func",
    "fn",
    "for",
    "in",
    "is",
    "if",
    "else",
    "def",
    "do",
    "int",
    "long",
    "char",
    "byte",
    "short",
    "float",
    "double",
    "case",
    "const",
    "var",
    "let",
    "use",
    "mod",
    "ref",
    "self",
    "super",
    "this",
    "new",
    "package",
    "import",
    "from",
    "as",
    "and",
    "or",
    "not",
    "match",
    "loop",
    "move",
    "pub",
    "enum",
    "struct",
    "trait",
    "impl",
    "where",
    "while",
    "return",
    "static",
    "public",
    "private",
    "default",
    "switch",
    "goto",
    "select",
    "chan",
    "go",
    "defer",
    "interface",
    "import",
    "lambda",
    "with",
    "yield",
    "async",
    "await",
    "try",
    "catch",
    "final",
    "value",
    "key",
    "redis",
    "r",
    "con",
    "ctx",
    "db",
    "jedis",
    "client",
    "hash",
    "hash_field",
    "crate",
    "dyn",
    "extern",
    "mut",
    "unsafe",
    "true",
    "false",
    "null",
    "nil",
    "assert",
    "global",
    "pass",
    "raise",
    "del",
    "except",
    "finally",
    "break",
    "continue",
    "fallthrough",
    "function",
    "export",
    "delete",
    "void",
    "typeof",
    "instanceof",
    "throw",
    "throws",
    "abstract",
    "boolean",
    "extends",
    "implements",
    "native",
    "protected",
    "synchronized",
    "transient",
    "volatile",
    "strictfp",
    "box",
    "gen",
    "abstract",
    "become",
    "final",
    "macro",
    "override",
    "priv",
    "unsized",
    "virtual",
    "from",
    "None",
    "True",
    "False",
    "Self",
    "elif",
    "nonlocal",
    "arguments",
    "eval",
];

fn safe_name(name: &str) -> String {
    if KEYWORDS.contains(&name) || name.starts_with('_') {
        format!("the_{name}")
    } else {
        name.to_owned()
    }
}

/// A name put together, as an expression of the language.
fn expression(language: Language, form: &Form) -> String {
    let (mut text, mut values) = (String::new(), vec![]);
    for part in form.parts() {
        match part {
            Part::Text(plain) => {
                text += &plain.chars().map(|c| literal(language, c)).collect::<String>();
            }
            Part::Slot { name, sum } => {
                let value = term(language, &safe_name(name), *sum);
                text += &match language {
                    Language::RedisPy => format!("{{{value}}}"),
                    Language::NodeRedis => format!("${{{value}}}"),
                    Language::GoRedis => "%v".to_owned(),
                    Language::Jedis => format!("\" + {value} + \""),
                    Language::RedisRs => "{}".to_owned(),
                };
                values.push(value);
            }
        }
    }
    let values = values.iter().fold(String::new(), |all, value| all + ", " + value);
    match language {
        Language::RedisPy => format!("f\"{text}\""),
        Language::NodeRedis => format!("`{text}`"),
        Language::GoRedis => format!("fmt.Sprintf(\"{text}\"{values})"),
        Language::Jedis => format!("\"{text}\""),
        Language::RedisRs => format!("format!(\"{text}\"{values})"),
    }
}

fn term(language: Language, name: &str, sum: Sum) -> String {
    let (sign, by) = match sum {
        Sum::Whole => return name.to_owned(),
        Sum::Over(by) => ("/", by),
        Sum::Rest(by) => ("%", by),
    };
    match language {
        Language::RedisPy => format!("int({name}) {} {by}", if sign == "/" { "//" } else { "%" }),
        Language::NodeRedis => format!("BigInt({name}) {sign} {by}n"),
        Language::GoRedis | Language::RedisRs => format!("{name} {sign} {by}"),
        Language::Jedis => format!("({name} {sign} {by})"),
    }
}

/// A character inside a text of the language.
fn literal(language: Language, c: char) -> String {
    use Language::{GoRedis, NodeRedis, RedisPy, RedisRs};
    match (language, c) {
        (_, '\\') => "\\\\".to_owned(),
        (NodeRedis, '`' | '$') => format!("\\{c}"),
        (NodeRedis, '"') => c.to_string(),
        (_, '"') => "\\\"".to_owned(),
        (RedisPy | RedisRs, '{' | '}') => format!("{c}{c}"),
        (GoRedis, '%') => "%%".to_owned(),
        (RedisRs, c) if c.is_control() => c.escape_unicode().to_string(),
        (_, c) if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    }
}

/// Sections of a compression text begin with a comment `@zlib` and so on, and end with the next; `@all` is for each.
fn compress(language: Language, codec: Codec, min_bytes: u64) -> String {
    let mark = format!("{} @", language.comment());
    let mut taken = true;
    let mut text = String::new();
    for line in language.compress().lines() {
        if let Some(name) = line.trim_start().strip_prefix(&mark) {
            taken = name == "all" || name == codec.name();
        } else if taken {
            text += line;
            text.push('\n');
        }
    }
    text.replace("@MIN_BYTES@", &min_bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::layout::Wording;
    use super::*;

    #[test]
    fn names_are_put_together_as_each_language_does() {
        let wording = Wording {
            keys: "u\"{{{id}}}%:{type}".into(),
            into: "u\"{{{id/100}}}".into(),
            field: None,
        };
        let layout = Layout::parse(&wording).unwrap();
        let of = |language| expression(language, &layout.into);
        assert_eq!(of(Language::RedisPy), r#"f"u\"{{{int(id) // 100}}}""#);
        assert_eq!(of(Language::NodeRedis), r#"`u"{${BigInt(id) / 100n}}`"#);
        assert_eq!(of(Language::GoRedis), r#"fmt.Sprintf("u\"{%v}", id / 100)"#);
        assert_eq!(of(Language::Jedis), r#""u\"{" + (id / 100) + "}""#);
        assert_eq!(of(Language::RedisRs), r#"format!("u\"{{{}}}", id / 100)"#);
        assert_eq!(
            expression(Language::GoRedis, layout.keys.form()),
            r#"fmt.Sprintf("u\"{%v}%%:%v", id, the_type)"#
        );
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let wording = Wording { keys: "u:{id}:{f}".into(), into: "u:{id/10}".into(), field: None };
        for language in Language::ALL {
            let text = of(language, &Shape::Hash(wording.clone()));
            assert!(text.contains("u:") && !text.contains('@'), "{text}");
            for codec in [Codec::Zlib, Codec::Lz4, Codec::Zstd] {
                let text =
                    of(language, &Shape::Compress { keys: "d:*".into(), codec, min_bytes: 77 });
                assert!(text.contains("77") && !text.contains('@'), "{text}");
            }
        }
    }
}
