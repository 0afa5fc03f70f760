//! Real snapshots: each reads as its expected output says, and damage in them is found.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use unfrag_rdb::format::DataType;
use unfrag_rdb::input::{Scratch, Slice};
use unfrag_rdb::problem::{Flaw, FlawKind};
use unfrag_rdb::reader::{Item, Reader};
use unfrag_rdb::size::{SERVERS, SizeFor, size_each, size_file};
use unfrag_rdb::text::{Need, Text};
use unfrag_rdb::value::{Event, Visitor};
use unfrag_rdb::{Checksum, VerifyOptions, verify_file, verify_payload};

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is wrong with the real files, by name. All others are sound.
fn expected_problems(name: &str) -> &'static [&'static str] {
    match name {
        "corrupt_empty_keys.rdb" => &["empty-key"],
        "corrupt_ziplist.rdb" => &["bad-ziplist"],
        // Left behind by a transfer, as its producer made it.
        "redis_40_with_module.rdb" => &["eof-mark"],
        // Written by a 5.0 that miscounted while trimming; 8.8 refuses it.
        "stream_listpacks_1.rdb" => &["stream-count"],
        _ => &[],
    }
}

#[test]
fn every_snapshot_reads_to_its_end() {
    let Some(root) = support::corpus() else { return };
    let snapshots = files(&root, "rdb");
    assert!(snapshots.len() >= 90, "{} snapshots", snapshots.len());
    for path in snapshots {
        let report = verify_file(&path, &VerifyOptions::default()).unwrap();
        let mut kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
        kinds.dedup();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(kinds, expected_problems(name), "{}: {:?}", path.display(), report.problems);
        assert_ne!(report.checksum, Checksum::Mismatch, "{name}");
    }
}

#[test]
fn captures_of_replication_are_read() {
    let Some(root) = support::corpus() else { return };
    let captures = files(&root, "bin");
    assert!(!captures.is_empty());
    for path in captures {
        let report = verify_file(&path, &VerifyOptions::default()).unwrap();
        // One capture holds two keep-alive bytes and no more: its server gave up.
        let is_whole = std::fs::metadata(&path).unwrap().len() > 2;
        assert_eq!(report.ok, is_whole, "{}: {:?}", path.display(), report.problems);
    }
    for path in files(&root, "aof").iter().filter(|path| path.ends_with("rdb-preamble.aof")) {
        let report = verify_file(path, &VerifyOptions::default()).unwrap();
        assert_eq!((report.ok, report.keys), (true, 2));
        assert_eq!(report.tail.map(|tail| tail.commands), Some(2));
    }
}

#[test]
fn every_snapshot_is_sized_for_every_server() {
    let Some(root) = support::corpus() else { return };
    for path in files(&root, "rdb") {
        for (server, name) in SERVERS {
            let mut keys = 0;
            let report = size_each(&path, &SizeFor::new(server), |_| keys += 1).unwrap();
            assert_eq!(size_file(&path, &SizeFor::new(server)).unwrap(), report);
            assert_eq!(report.total.keys, keys, "{} for {name}", path.display());
            assert!(report.problem.is_none(), "{} for {name}", path.display());
            assert!(report.total.bytes >= 40 * keys, "{} for {name}", path.display());
        }
    }
}

/// Everything in a value, as the expected outputs have it.
#[derive(Default)]
struct Contents {
    items: Vec<Json>,
    pairs: BTreeMap<String, Json>,
    last: String,
    entries: u64,
    flaws: Vec<Flaw>,
}

fn text(text: Text<'_>) -> String {
    String::from_utf8_lossy(text.bytes(&mut Scratch::default()).unwrap()).into_owned()
}

impl Visitor for Contents {
    const NAMES: Need = Need::Bytes;
    const VALUES: Need = Need::Bytes;
    const BLOBS: Need = Need::Bytes;

    fn on(&mut self, event: Event<'_>) {
        use unfrag_rdb::value::stream::Part;
        match event {
            Event::String(value) | Event::Item(value) | Event::Member(value) => {
                self.items.push(text(value).into());
            }
            Event::Scored(value) | Event::Field(value) => self.last = text(value),
            Event::Score(score) => {
                let name = std::mem::take(&mut self.last);
                self.pairs.insert(name, json!(score));
            }
            Event::Value(value) => {
                let name = std::mem::take(&mut self.last);
                self.pairs.insert(name, text(value).into());
            }
            Event::Stream(Part::Entry { .. }) => self.entries += 1,
            _ => {}
        }
    }

    fn flaw(&mut self, flaw: Flaw) {
        self.flaws.push(flaw);
    }
}

/// What the expected output says of a key, in the shape of [`Contents`].
fn expected(row: &Json) -> Contents {
    let mut contents = Contents::default();
    let strings = |name: &str| row[name].as_array().cloned().unwrap_or_default();
    contents.items = [strings("values"), strings("members")].concat();
    contents.items.extend(row.get("value").cloned());
    if let Some(hash) = row["hash"].as_object() {
        contents.pairs = hash.clone().into_iter().collect();
    }
    if row["type"] == "zset" {
        for entry in strings("entries") {
            let score = entry["score"].as_f64().unwrap();
            contents.pairs.insert(entry["member"].as_str().unwrap().into(), json!(score));
        }
    } else {
        let messages = strings("entries")
            .iter()
            .map(|entry| entry["msgs"].as_array().map_or(0, Vec::len) as u64)
            .sum();
        contents.entries = messages;
    }
    contents
}

#[test]
fn contents_are_those_of_the_expected_outputs() {
    let Some(root) = support::corpus() else { return };
    let mut compared = 0;
    for path in files(&root.join("HDT3213-rdb/cases"), "json") {
        let Ok(snapshot) = std::fs::read(path.with_extension("rdb")) else { continue };
        let rows: Vec<Json> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let rows: Vec<&Json> = rows
            .iter()
            .filter(|row| {
                row["type"] != "aux" && row["type"] != "functions" && row["type"] != "dbsize"
            })
            .collect();
        let mut reader = Reader::new(Slice::new(&snapshot, 0)).unwrap();
        let mut seen = 0;
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Key(key) = item else { continue };
            let name = String::from_utf8_lossy(key.name).into_owned();
            let (db, kind) = (key.db, key.kind.data_type());
            let mut found = Contents::default();
            reader.value(&mut found).unwrap();
            let row =
                rows.iter().find(|row| row["key"] == *name && row["db"] == json!(db.unwrap_or(0)));
            let Some(row) = row else { panic!("{}: {name} is not expected", path.display()) };
            let mut wanted = expected(row);
            if kind == DataType::Set {
                found.items.sort_by_key(ToString::to_string);
                wanted.items.sort_by_key(ToString::to_string);
            }
            let place = format!("{}: {name}", path.display());
            assert_eq!(row["type"], kind.name(), "{place}");
            assert_eq!(found.items, wanted.items, "{place}");
            assert_eq!(found.pairs, wanted.pairs, "{place}");
            assert_eq!(found.entries, wanted.entries, "{place}");
            seen += 1;
            compared += 1;
        }
        assert_eq!(seen, rows.len(), "{}", path.display());
    }
    assert!(compared > 100, "{compared} keys compared");
}

/// Payloads that real servers refuse or that crashed them, and those that turned out harmless.
#[test]
fn corrupt_payloads_are_found_out() {
    let Some(root) = support::corpus() else { return };
    let table = std::fs::read_to_string(root.join("corrupt-dump-payloads/payloads.tsv")).unwrap();
    let mut missed = Vec::new();
    let mut payloads = 0;
    for line in table.lines().skip(1) {
        let [_, name, hex] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        payloads += 1;
        // Most carry a wrong checksum: that alone would be no feat.
        let is_deep = |flaw: &Flaw| flaw.kind != FlawKind::ChecksumMismatch;
        if !verify_payload(&bytes).iter().any(is_deep) {
            missed.push(name.to_owned());
        }
    }
    assert!(payloads >= 90);
    // Loaded by all five servers with `sanitize-dump-payload yes`: `scripts/check_agreement.py --payloads` tries it.
    assert_eq!(missed, ["corrupt payload: fuzzer findings - hash crash"]);
}
