//! Laws of verification on generated snapshots: sound ones pass, a cut or changed byte never panics, and a stream
//! read in any pieces says what the whole file says.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::io::Read;

use proptest::prelude::*;
use support::{Cell, Encoder, every_type, listpack, valkey_types};
use unfrag_rdb::size::{Server, SizeFor, size_bytes, size_reader};
use unfrag_rdb::{
    Checksum, Feed, VerifyOptions, VerifyReport, verify_bytes, verify_payload, verify_reader,
};

fn whole(bytes: &[u8]) -> VerifyReport {
    verify_bytes("t", bytes, &VerifyOptions::default())
}

/// Yields its bytes in pieces of changing size.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].max(1);
        self.turn += 1;
        let end = size.min(room.len()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(end);
        room[..end].copy_from_slice(piece);
        self.bytes = rest;
        Ok(end)
    }
}

fn streamed(bytes: &[u8], sizes: &[usize]) -> VerifyReport {
    let pieces = Pieces { bytes, sizes: sizes.to_vec(), turn: 0 };
    verify_reader("t", pieces, &VerifyOptions::default())
}

/// Kinds and offsets: what two readings of one file must agree on.
fn summary(report: &VerifyReport) -> (u64, Checksum, Vec<(u64, &'static str)>) {
    let mut problems: Vec<_> = report.problems.iter().map(|p| (p.offset, p.kind)).collect();
    problems.sort_unstable();
    (report.keys, report.checksum, problems)
}

#[test]
fn every_type_and_opcode_is_sound() {
    for (bytes, keys) in [every_type(), valkey_types()] {
        let report = whole(&bytes);
        assert_eq!(report.problems, []);
        assert_eq!((report.keys, report.checksum), (keys, Checksum::Ok));
        assert_eq!(report.bytes, bytes.len() as u64);
        assert_eq!(summary(&streamed(&bytes, &[1])), summary(&report));
    }
}

#[test]
fn a_cut_anywhere_is_told_and_never_panics() {
    for (bytes, keys) in [every_type(), valkey_types()] {
        for cut in 0..bytes.len() {
            let report = whole(&bytes[..cut]);
            assert!(!report.ok, "cut at {cut}");
            assert!(report.keys <= keys, "cut at {cut}");
            let last = streamed(&bytes[..cut], &[7]);
            assert!(!last.ok, "cut at {cut}, streamed");
            assert_eq!(last.keys, report.keys, "cut at {cut}");
        }
    }
}

#[test]
fn damage_in_a_value_is_told_though_the_file_ends_right_behind_it() {
    let sound = b"REDIS0011\xfe\x00\x00\x01a\xc3\x03\x03\x00a\x00\x00\x01b\x05w";
    let report = whole(sound);
    let found: Vec<_> = report.problems.iter().map(|p| (p.kind, p.key.as_deref())).collect();
    assert_eq!(found, [("bad-lzf", Some("a")), ("truncated", Some("b"))]);
    assert_eq!(summary(&streamed(sound, &[1])).2[0], summary(&report).2[0]);
}

#[test]
fn libraries_that_no_server_would_load_are_told() {
    let library = |source: &[u8]| {
        let mut bytes = vec![0xf5, u8::try_from(source.len()).unwrap()];
        bytes.extend_from_slice(source);
        bytes
    };
    let mut file = b"REDIS0004".to_vec();
    for source in [&b"#!lua name=one\nreturn"[..], b"return 1\n", b"#!lua name=one\nreturn 2"] {
        file.extend(library(source));
    }
    file.push(0xff);
    let report = whole(&file);
    let found: Vec<_> = report.problems.iter().map(|p| (p.offset, p.kind)).collect();
    assert_eq!(found, [(32, "bad-function"), (43, "bad-function")]);
    assert_eq!(summary(&streamed(&file, &[3])), summary(&report));
}

/// Redis 8.2.3 saved the like of each of the sound ones: after HPERSIST, after HDEL of the field that expires first, and
/// after an HPEXPIRE two seconds earlier than the first.
#[test]
fn the_earliest_time_of_a_packed_hash_may_be_stale_but_not_late() {
    let told = |earliest: u64, first: u64| {
        let first = Cell::Int(i64::try_from(first).unwrap());
        let triple = listpack(&[Cell::Text("f"), Cell::Text("v"), first]);
        let bytes = Encoder::new("REDIS0012").byte(254).length(0);
        let bytes = bytes.key(25, "h").raw(&earliest.to_le_bytes()).string(triple).end();
        whole(&bytes).problems.iter().map(|p| p.kind).collect::<Vec<_>>()
    };
    let time = 1_800_000_000_000;
    let sound = [(time, time), (time - 90_000, time), (time + 3999, time), (time, 0), (0, 0)];
    for (earliest, first) in sound {
        assert_eq!(told(earliest, first), [""; 0], "{earliest} {first}");
    }
    for (earliest, first) in [(time + 4000, time), (0, time), (1 << 50, 0)] {
        assert_eq!(told(earliest, first), ["bad-field-ttl"], "{earliest} {first}");
    }
}

#[test]
fn an_announced_length_that_is_not_the_snapshots_is_told_as_such() {
    let bytes = every_type().0;
    for (length, wrong) in [(bytes.len(), false), (bytes.len() - 1, true), (bytes.len() + 5, true)]
    {
        let framed = [format!("${length}\r\n").as_bytes(), &bytes].concat();
        let kinds: Vec<_> = whole(&framed).problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, if wrong { vec!["framed-length"] } else { vec![] });
        assert_eq!(summary(&streamed(&framed, &[5])), summary(&whole(&framed)));
    }
}

#[test]
fn a_few_bytes_of_something_else_are_no_snapshot_that_was_cut() {
    for text in ["hi\n", "hello, t", "+OK\r\n", "REDIT", "REDIS00x", "VALKEY0 "] {
        let report = whole(text.as_bytes());
        assert_eq!(summary(&report).2, [(0, "bad-magic")], "{text}");
        assert_eq!(summary(&streamed(text.as_bytes(), &[1])), summary(&report), "{text}");
    }
    for text in ["", "R", "REDIS", "REDIS001", "VALKEY08"] {
        let report = whole(text.as_bytes());
        assert_eq!(summary(&report).2, [(text.len() as u64, "truncated")], "{text}");
        assert_eq!(summary(&streamed(text.as_bytes(), &[1])), summary(&report), "{text}");
    }
}

#[test]
fn keys_before_an_unknown_type_are_counted() {
    let bytes = Encoder::new("REDIS0011").byte(254).length(0).key(0, "a").string("b");
    let at = bytes.0.len() as u64;
    let bytes = bytes.key(99, "c").string("d").end();
    let report = whole(&bytes);
    assert_eq!(summary(&report), (1, Checksum::Ok, vec![(at, "unknown-type")]));
    assert_eq!(summary(&streamed(&bytes, &[3])), summary(&report));
}

#[test]
fn all_problems_are_told_with_their_keys() {
    let bytes = Encoder::new("REDIS0012").byte(254).length(2).byte(251).length(9).length(1);
    let bytes = bytes.key(2, "twice").length(2).string("m").string("m");
    let bytes = bytes.key(16, "odd").string(listpack(&[Cell::Int(1)]));
    let bytes = bytes.key(5, "nan").length(1).string("m").raw(&f64::NAN.to_le_bytes());
    let bytes = bytes.key(0, "lzf").raw(&[0xc3, 2, 3, 0x20, 0]);
    let bytes = bytes.key(4, "empty").length(0);
    let bytes = bytes.key(0, "twice").string("v").end();
    let bytes = [bytes, b"garbage".to_vec()].concat();
    let report = whole(&bytes);
    let mut told: Vec<_> =
        report.problems.iter().map(|p| (p.kind, p.db, p.key.as_deref())).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("bad-listpack", Some(2), Some("odd")),
            ("bad-lzf", Some(2), Some("lzf")),
            ("duplicate-element", Some(2), Some("twice")),
            ("duplicate-key", Some(2), Some("twice")),
            ("empty-key", Some(2), Some("empty")),
            ("nan-score", Some(2), Some("nan")),
            ("resizedb-expires", Some(2), None),
            ("resizedb-keys", Some(2), None),
            ("trailing-bytes", None, None),
        ]
    );
    assert_eq!((report.checksum, report.keys), (Checksum::Ok, 6));
    assert_eq!(summary(&streamed(&bytes, &[5])), summary(&report));
}

/// What is said of a stream with a changed byte or two.
fn told_of_stream(change: &dyn Fn(&mut Vec<u8>)) -> Vec<String> {
    let mut bytes =
        support::stream(Encoder::new("REDIS0011").byte(254).length(0).key(21, "s"), 3).end();
    change(&mut bytes);
    whole(&bytes).problems.iter().map(|p| p.message.clone()).collect()
}

#[test]
fn ids_of_a_stream_ascend_to_its_last() {
    let tell = |found: &[u8], at: usize, byte: u8| {
        told_of_stream(&|bytes| {
            let places: Vec<usize> =
                (0..bytes.len()).filter(|&n| bytes[n..].starts_with(found)).collect();
            assert_eq!(places.len(), 1, "{found:?}");
            bytes[places[0] + at] = byte;
        })
    };
    // Two live entries, and 1005-0 as the last id: one less.
    let told = tell(&[2, 0x43, 0xed, 0], 2, 0xec);
    assert!(told.iter().any(|message| message.contains("last id is below")), "{told:?}");
    // The third entry, 1005-0 with a field `g` of its own: 1000-0, behind 1000-1.
    let told = tell(&[0, 1, 5, 1, 0, 1, 1, 1, 0x81, b'g'], 2, 0);
    assert!(told.iter().any(|message| message.contains("not ascending")), "{told:?}");
}

#[test]
fn groups_are_held_against_their_consumers() {
    let tell = told_of_stream;
    assert_eq!(tell(&|_| ()), Vec::<String>::new());
    // The last id belongs to bob: make it one that the group does not know.
    let told = tell(&|bytes| {
        let end = bytes.len() - 9;
        bytes[end - 1] = 9;
    });
    assert!(told.iter().any(|message| message.contains("unknown to its group")), "{told:?}");
    assert!(told.iter().any(|message| message.contains("belongs to no consumer")), "{told:?}");
}

#[test]
fn wrappers_are_removed() {
    use std::io::Write;
    let (bytes, keys) = every_type();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&bytes).unwrap();
    let lz4 = lz4.finish().unwrap();
    let vkcs = [b"VKCS\x01\x01\x00\x00".as_slice(), &lz4].concat();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(&*bytes, 1).unwrap(), lz4, vkcs] {
        let report = whole(&packed);
        assert_eq!((report.keys, report.ok), (keys, true), "{:?}", report.wrapper);
        assert!(report.wrapper.is_some());
        let cut = whole(&packed[..packed.len() / 2]);
        assert!(!cut.ok, "{:?}", report.wrapper);
    }
}

#[test]
fn a_feed_says_what_the_file_says() {
    let (bytes, _) = every_type();
    let mark = [b'e'; 40];
    let capture = [b"\n$EOF:".as_slice(), &mark, b"\r\n", &bytes, &mark].concat();
    let feed = Feed::start("t", 100);
    for piece in capture.chunks(11) {
        feed.push(piece);
    }
    let report = feed.finish().unwrap();
    assert_eq!((report.ok, report.bytes), (true, bytes.len() as u64), "{:?}", report.problems);
    assert_eq!(summary(&report), summary(&whole(&capture)));
}

#[test]
fn a_value_larger_than_any_buffer_streams_through() {
    let large = vec![b'v'; 9 << 20];
    let mut cells = Vec::new();
    let names: Vec<String> = (0..60_000).map(|i| format!("{i:0>100}")).collect();
    cells.extend(names.iter().map(|name| Cell::Text(name)));
    let bytes = Encoder::new("REDIS0011").byte(254).length(0).key(0, "s").string(&large);
    let bytes = bytes.key(2, "set").length(2).string(&large).string("x");
    let bytes = bytes.key(20, "packed").string(listpack(&cells)).end();
    let report = streamed(&bytes, &[100_000]);
    assert_eq!((report.keys, report.ok), (3, true), "{:?}", report.problems);
    assert_eq!(summary(&whole(&bytes)), summary(&report));
}

#[test]
fn many_segments_say_what_one_says() {
    let mut out = Encoder::new("REDIS0011").byte(254).length(0);
    for i in 0..4000_u32 {
        out = out.key(0, &format!("s{i}")).compressed_run(b'a' + (i % 26) as u8, 2000);
        out = out.key(2, &format!("m{i}")).length(3).string("a").string("b");
        out = out.string(if i % 100 == 0 { "a".into() } else { "c".repeat(1500) });
    }
    let bytes = out.end();
    let options = |threads| VerifyOptions { threads, ..VerifyOptions::default() };
    let one = verify_bytes("t", &bytes, &options(1));
    assert_eq!(one.problems.len(), 40);
    assert_eq!(one.checksum, Checksum::Ok);
    assert_eq!(verify_bytes("t", &bytes, &options(3)), one);
    assert_eq!(summary(&streamed(&bytes, &[65_536])), summary(&one));
    let size_for = SizeFor::new(Server::Redis70);
    let on_all_cores = size_bytes("t", &bytes, &size_for);
    assert_eq!(size_reader("t", &*bytes, &size_for, |_| ()).unwrap(), on_all_cores);
    assert_eq!(on_all_cores.total.keys, 8000);
}

proptest! {
    #[test]
    fn a_changed_snapshot_reads_the_same_in_any_pieces(
        at in 0_usize..10_000,
        byte in any::<u8>(),
        valkey in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..300, 1..8),
    ) {
        let (mut bytes, _) = if valkey { valkey_types() } else { every_type() };
        let at = at % bytes.len();
        let is_changed = bytes[at] != byte;
        bytes[at] = byte;
        let report = whole(&bytes);
        prop_assert_eq!(report.ok, !is_changed, "byte {}", at);
        let in_pieces = streamed(&bytes, &sizes);
        prop_assert_eq!(in_pieces.ok, report.ok);
        prop_assert_eq!(in_pieces.keys, report.keys);
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let noise = [b"REDIS0012".as_slice(), &bytes].concat();
        prop_assert!(!whole(&noise).ok);
        prop_assert!(!verify_payload(&bytes).is_empty());
    }
}
