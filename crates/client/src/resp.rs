//! Replies to plain values, alike for RESP2 and RESP3.
//!
//! RESP3 sends INFO as a verbatim string, MEMORY STATS as a map and ratios as doubles; RESP2 sends bulk strings and flat
//! arrays of alternating names and values.

use redis::Value;

/// Text of any string-like reply. Bytes that are not UTF-8 become replacement marks.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Attribute { data, .. } => text(data),
        _ => None,
    }
}

/// As [`text`], without a copy where that can be had: for the large replies.
pub fn into_text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        other => text(&other),
    }
}

/// A number, however it was sent.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        Value::BulkString(_) | Value::SimpleString(_) => text(value)?.trim().parse().ok(),
        Value::Attribute { data, .. } => number(data),
        _ => None,
    }
}

/// A whole number that is not negative.
pub fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => text(value)?.trim().parse().ok(),
    }
}

/// Elements of an array or a set.
pub fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(all) | Value::Set(all) => Some(all),
        Value::Attribute { data, .. } => elements(data),
        _ => None,
    }
}

/// Names and values of a map, or of a flat array of alternating names and values. Empty for anything else; names that
/// are no text are left out.
pub fn pairs(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Map(all) => {
            all.iter().filter_map(|(name, value)| Some((text(name)?, value))).collect()
        }
        Value::Array(all) => all
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [name, value] => Some((text(name)?, value)),
                _ => None,
            })
            .collect(),
        Value::Attribute { data, .. } => pairs(data),
        _ => vec![],
    }
}

/// Every number in a nested map, under names joined with dots: `db.0.overhead.hashtable.main`.
pub fn flat_numbers(value: &Value) -> Vec<(String, f64)> {
    let mut all = vec![];
    for (name, value) in pairs(value) {
        match number(value) {
            Some(number) => all.push((name, number)),
            // One level is what MEMORY STATS has; deeper nesting is not ours to follow.
            None => all.extend(
                pairs(value)
                    .into_iter()
                    .filter_map(|(inner, value)| Some((format!("{name}.{inner}"), number(value)?))),
            ),
        }
    }
    all
}

/// What kind of reply this is, for an error message.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing (nil)",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::VerbatimString { .. } => "a text",
        Value::Okay => "OK",
        Value::Array(_) | Value::Set(_) => "an array",
        Value::Map(_) => "a map",
        _ => "a reply of another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::parse_redis_value;

    fn reply(bytes: &[u8]) -> Value {
        parse_redis_value(bytes).expect("a reply")
    }

    #[test]
    fn both_protocols_give_the_same() {
        let resp2 = reply(
            b"*4\r\n$1\r\na\r\n:7\r\n$4\r\ndb.0\r\n*4\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n$3\r\n1.5\r\n",
        );
        let resp3 =
            reply(b"%2\r\n+a\r\n:7\r\n$4\r\ndb.0\r\n%2\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n,1.5\r\n");
        let want = vec![("a".into(), 7.0), ("db.0.x".into(), 1.0), ("db.0.y".into(), 1.5)];
        assert_eq!(flat_numbers(&resp2), want);
        assert_eq!(flat_numbers(&resp3), want);
        assert_eq!(text(&reply(b"=6\r\ntxt:ab\r\n")), Some("ab".into()));
        assert_eq!(text(&reply(b"$2\r\nab\r\n")), Some("ab".into()));
    }

    #[test]
    fn what_is_no_value_is_none() {
        assert_eq!(text(&reply(b"$-1\r\n")), None);
        assert_eq!(number(&reply(b"$2\r\nab\r\n")), None);
        assert_eq!(count(&reply(b":-1\r\n")), None);
        assert!(pairs(&reply(b"*3\r\n:1\r\n:2\r\n:3\r\n")).len() == 1);
        assert!(pairs(&reply(b"+OK\r\n")).is_empty());
    }
}
