//! Names that are made to fill memory. `UNFRAG_TEMPLATES=10000000 cargo test --release -p unfrag-keys --test bounded` is the
//! long version.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read;
use unfrag_keys::{Analysis, Options};
use unfrag_rdb::SizeFor;
use unfrag_rdb::size::Server;

/// Peak memory allowed, whatever the number of keys.
const PEAK_KIB_MAX: u64 = 300 << 10;

/// A snapshot of `keys` strings, each with a template of its own, made while it is read.
struct Templates {
    keys: u64,
    made: u64,
    pending: Vec<u8>,
}

impl Templates {
    fn new(keys: u64) -> Self {
        Self { keys, made: 0, pending: b"REDIS0011\xfe\x00".to_vec() }
    }

    /// Words between marks, both different each time.
    fn name(&self) -> String {
        let mut state = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut name = String::new();
        for _ in 0..6 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            for shift in 0..5 {
                name.push(char::from(
                    b'a' + u8::try_from((state >> (30 + 5 * shift)) % 26).unwrap(),
                ));
            }
            let marks = b":/.|,=@;#";
            let at = usize::try_from((state >> 20) % marks.len() as u64).unwrap();
            name.push(char::from(*marks.get(at).unwrap()));
        }
        name
    }
}

impl Read for Templates {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        while self.pending.len() < room.len() && self.made < self.keys {
            let name = self.name();
            self.pending.extend([0, u8::try_from(name.len()).unwrap()]);
            self.pending.extend(name.as_bytes());
            self.pending.extend(b"\x01v");
            self.made += 1;
            if self.made == self.keys {
                self.pending.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
        let taken = room.len().min(self.pending.len());
        room.get_mut(..taken).unwrap().copy_from_slice(self.pending.get(..taken).unwrap());
        self.pending.drain(..taken);
        Ok(taken)
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn templates_without_end_are_folded_and_none_is_lost() {
    let keys = std::env::var("UNFRAG_TEMPLATES").map_or(150_000, |n| n.parse().unwrap());
    let size_for = SizeFor::new(Server::Redis82);
    let analysis =
        Analysis::of_reader("templates", Templates::new(keys), &size_for, Options::default());
    let report = analysis.unwrap().report(None);
    assert_eq!(report.total.keys, keys);
    assert_eq!(report.tree.keys, keys);
    let listed: u64 = report.patterns.iter().map(|p| p.keys).sum();
    assert_eq!(listed + report.patterns_omitted.keys, keys);
    assert!(report.is_folded_for_room);
    let peak = peak_kib();
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}

#[test]
fn a_claim_reserves_nothing() {
    // A name of 512 MiB, a set of a billion members, in a stream that ends after the claim.
    let claims: [&[u8]; 2] = [
        b"REDIS0011\xfe\x00\x00\x80\x20\x00\x00\x00abc",
        b"REDIS0011\xfe\x00\x02\x01s\x80\x3b\x9a\xca\x00\x01a",
    ];
    for bytes in claims {
        let size_for = SizeFor::new(Server::Redis82);
        let analysis = Analysis::of_reader("claim", bytes, &size_for, Options::default()).unwrap();
        let report = analysis.report(None);
        assert!(report.sources.iter().all(|s| s.problem.is_some()));
    }
    assert!(peak_kib() < PEAK_KIB_MAX);
}
