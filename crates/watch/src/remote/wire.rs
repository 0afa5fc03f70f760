//! Remote-write 1.0 on the wire: the text of `/metrics` as `WriteRequest` messages, each a snappy block. Pure.
//!
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>: a `WriteRequest` is `1: repeated TimeSeries`, one of which is
//! `1: repeated Label { 1: name, 2: value }` in the order of their names and `2: repeated Sample { 1: double value,
//! 2: int64 milliseconds }`. Four messages of two fields do not need a generator of code. What is sent is made of the page
//! itself, so that a store that is written to and one that scrapes know the same.

use hyper::body::Bytes;
use std::borrow::Cow;
use std::collections::HashSet;

/// Samples of a request: what Prometheus itself sends at once by default.
const MOST_SAMPLES: usize = 2000;
/// The value that says that a series has ended; without it a store shows its last value for five minutes more.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A request to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) samples: u64,
}

/// The samples of a page, all taken at `at_ms`; series of the page `before` that this one lacks are ended. Each has the
/// labels `own` besides.
pub(super) fn batches(page: &str, before: &str, own: &[(&str, &str)], at_ms: u64) -> Vec<Batch> {
    let mut made = Maker::new(own, at_ms);
    let mut now = HashSet::new();
    for (head, value) in samples(page) {
        let Ok(value) = value.parse::<f64>() else { continue };
        made.add(head, value);
        if !before.is_empty() {
            now.insert(head);
        }
    }
    for (head, _) in samples(before).filter(|(head, _)| !now.contains(head)) {
        made.add(head, f64::from_bits(STALE));
    }
    made.close();
    made.done
}

/// The lines of a page that are samples: the series, and its value.
fn samples(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '))
}

/// Requests in the making; buffers are used again.
struct Maker<'a> {
    own: &'a [(&'a str, &'a str)],
    at_ms: u64,
    request: Vec<u8>,
    samples: usize,
    series: Vec<u8>,
    message: Vec<u8>,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    snappy: snap::raw::Encoder,
    done: Vec<Batch>,
}

impl<'a> Maker<'a> {
    fn new(own: &'a [(&'a str, &'a str)], at_ms: u64) -> Self {
        Self {
            own,
            at_ms,
            request: vec![],
            samples: 0,
            series: vec![],
            message: vec![],
            labels: vec![],
            snappy: snap::raw::Encoder::new(),
            done: vec![],
        }
    }

    fn add(&mut self, head: &'a str, value: f64) {
        read_labels(head, &mut self.labels);
        self.labels.extend(self.own.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))));
        self.labels.sort_unstable_by_key(|label| label.0);
        self.series.clear();
        // An empty value is the same as no label, and may not be sent.
        for (name, value) in self.labels.iter().filter(|label| !label.1.is_empty()) {
            self.message.clear();
            put_bytes(&mut self.message, 1, name.as_bytes());
            put_bytes(&mut self.message, 2, value.as_bytes());
            put_bytes(&mut self.series, 1, &self.message);
        }
        self.message.clear();
        self.message.push(1 << 3 | 1);
        self.message.extend(value.to_le_bytes());
        self.message.push(2 << 3);
        put_number(&mut self.message, self.at_ms);
        put_bytes(&mut self.series, 2, &self.message);
        put_bytes(&mut self.request, 1, &self.series);
        self.samples += 1;
        if self.samples == MOST_SAMPLES {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.samples == 0 {
            return;
        }
        // It fails only beyond 4 GB.
        if let Ok(body) = self.snappy.compress_vec(&self.request) {
            self.done.push(Batch { body: body.into(), samples: self.samples as u64 });
        }
        self.request.clear();
        self.samples = 0;
    }
}

/// The labels of `name{label="value",…}`, `__name__` first.
fn read_labels<'a>(head: &'a str, labels: &mut Vec<(&'a str, Cow<'a, str>)>) {
    labels.clear();
    let (name, mut rest) = head.split_once('{').unwrap_or((head, ""));
    labels.push(("__name__", Cow::Borrowed(name)));
    while let Some((label, behind)) = rest.split_once("=\"") {
        let Some(end) = end_of_value(behind) else { return };
        let (value, more) = behind.split_at_checked(end).unwrap_or((behind, ""));
        labels.push((label.trim_start_matches(','), unescaped(value)));
        rest = more.strip_prefix('"').unwrap_or("");
    }
}

/// Where the quote is that is not escaped.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// The opposite of what the page does to a label's value.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let (mut text, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match if c == '\\' { chars.next() } else { None } {
            Some('n') => text.push('\n'),
            Some(escaped) => text.push(escaped),
            None => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// A field whose value has a length.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_number(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A number in groups of seven bits, the lowest first.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels, value's bits, milliseconds.
    type Read = (Vec<(String, String)>, u64, u64);

    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return number;
            }
            shift += 7;
        }
    }

    /// Fields of a message: number, and value or content.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
        let mut found = vec![];
        while !bytes.is_empty() {
            let key = number(&mut bytes);
            let (value, taken) = match key & 7 {
                0 => (number(&mut bytes), 0),
                1 => (u64::from_le_bytes(bytes[..8].try_into().unwrap()), 8),
                _ => (0, usize::try_from(number(&mut bytes)).unwrap()),
            };
            let (content, rest) = bytes.split_at(taken);
            found.push((key >> 3, value, content));
            bytes = rest;
        }
        found
    }

    fn read(batch: &Batch) -> Vec<Read> {
        let plain = snap::raw::Decoder::new().decompress_vec(&batch.body).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let series = fields(&plain).into_iter().map(|(_, _, series)| {
            let (mut labels, mut sample) = (vec![], (0, 0));
            for (field, _, content) in fields(series) {
                let inner = fields(content);
                match field {
                    1 => labels.push((text(inner[0].2), text(inner[1].2))),
                    _ => sample = (inner[0].1, inner[1].1),
                }
            }
            (labels, sample.0, sample.1)
        });
        series.collect()
    }

    fn label(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_page_is_read_whole_and_labels_are_in_order() {
        let page = "# HELP a x\n# TYPE a gauge\na{target=\"h\\\"o\\\\s\\nt, {b} =\\\"\",bound=\"low\",empty=\"\"} -1.5\nb 18446744073709551615\n";
        let made = batches(page, "", &[("job", "unfrag"), ("instance", "i:1")], 1_700_000_000_123);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].samples, 2);
        let found = read(&made[0]);
        let wanted = [
            label("__name__", "a"),
            label("bound", "low"),
            label("instance", "i:1"),
            label("job", "unfrag"),
            label("target", "h\"o\\s\nt, {b} =\""),
        ];
        assert_eq!(found[0], (wanted.to_vec(), (-1.5f64).to_bits(), 1_700_000_000_123));
        assert_eq!(found[1].1, 18_446_744_073_709_551_615f64.to_bits());
        assert_eq!(found[1].0.len(), 3);
    }

    #[test]
    fn a_series_that_is_gone_is_ended_once() {
        let (first, then) = ("a{t=\"1\"} 1\na{t=\"2\"} 1\n", "a{t=\"2\"} 7\n");
        let found = read(&batches(then, first, &[], 5)[0]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0[1].1.as_str(), found[0].1), ("2", 7f64.to_bits()));
        assert_eq!((found[1].0[1].1.as_str(), found[1].1), ("1", STALE));
        assert_eq!(read(&batches(then, then, &[], 5)[0]).len(), 1);
    }

    #[test]
    fn a_large_page_is_many_requests_and_loses_nothing() {
        let lines: Vec<String> = (0..4500).map(|n| format!("a{{n=\"{n}\"}} {n}\n")).collect();
        let page = lines.concat();
        let made = batches(&page, "", &[], 1);
        assert_eq!(made.iter().map(|b| b.samples).collect::<Vec<_>>(), [2000, 2000, 500]);
        let all: Vec<Read> = made.iter().flat_map(read).collect();
        assert!((0u32..4500).zip(&all).all(|(n, read)| read.1 == f64::from(n).to_bits()));
        assert!(batches("# nothing\n", "", &[], 1).is_empty());
    }
}
