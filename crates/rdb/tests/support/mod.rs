//! An encoder of snapshots for tests: every type and opcode, also those of which no real file is at hand.
//! Read [`every_type`] first.
#![expect(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an encoder cuts numbers to their fields"
)]
#![expect(clippy::indexing_slicing, reason = "an encoder knows what it has written")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::path::PathBuf;

/// The corpus of real snapshots, or `None` with a printed reason.
pub fn corpus() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/rdb-corpus");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: no corpus at {}", root.display());
    None
}

/// Bytes of a snapshot under construction.
#[derive(Debug, Clone, Default)]
pub struct Encoder(pub Vec<u8>);

impl Encoder {
    pub fn new(magic: &str) -> Self {
        Self(magic.as_bytes().to_vec())
    }

    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn length(self, value: u64) -> Self {
        match value {
            0..=63 => self.byte(value as u8),
            64..=16383 => self.byte(0x40 | (value >> 8) as u8).byte(value as u8),
            _ if u32::try_from(value).is_ok() => self.byte(0x80).raw(&(value as u32).to_be_bytes()),
            _ => self.byte(0x81).raw(&value.to_be_bytes()),
        }
    }

    pub fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        self.length(bytes.as_ref().len() as u64).raw(bytes.as_ref())
    }

    /// LZF of a run of one byte: one literal, then copies.
    pub fn compressed_run(self, byte: u8, length: usize) -> Self {
        let mut packed = vec![0, byte];
        let mut left = length - 1;
        while left > 0 {
            let run = left.min(264);
            match run {
                1 | 2 => {
                    packed.push(run as u8 - 1);
                    packed.extend(std::iter::repeat_n(byte, run));
                }
                3..=8 => packed.extend([((run - 2) << 5) as u8, 0]),
                _ => packed.extend([0xe0, (run - 9) as u8, 0]),
            }
            left -= run;
        }
        self.byte(0xc3).length(packed.len() as u64).length(length as u64).raw(&packed)
    }

    pub fn id(self, ms: u64, sequence: u64) -> Self {
        self.raw(&ms.to_be_bytes()).raw(&sequence.to_be_bytes())
    }

    pub fn key(self, code: u8, name: &str) -> Self {
        self.byte(code).string(name)
    }

    /// End opcode and checksum.
    pub fn end(mut self) -> Vec<u8> {
        self.0.push(0xff);
        let crc = unfrag_rdb::crc::of(&self.0);
        self.0.extend_from_slice(&crc.to_le_bytes());
        self.0
    }
}

/// An element of a packed encoding.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    Int(i64),
    Text(&'a str),
}

use Cell::{Int, Text};

pub fn listpack(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut out = vec![0; 6];
    for cell in cells {
        let mut entry = Vec::new();
        match *cell {
            Int(value @ 0..=127) => entry.push(value as u8),
            Int(value @ -4096..=4095) => {
                let raw = (value as u16) & 0x1fff;
                entry.extend([0xc0 | (raw >> 8) as u8, raw as u8]);
            }
            Int(value) if i16::try_from(value).is_ok() => {
                entry.push(0xf1);
                entry.extend((value as i16).to_le_bytes());
            }
            Int(value) if (-(1 << 23)..1 << 23).contains(&value) => {
                entry.push(0xf2);
                entry.extend(&(value as i32).to_le_bytes()[..3]);
            }
            Int(value) if i32::try_from(value).is_ok() => {
                entry.push(0xf3);
                entry.extend((value as i32).to_le_bytes());
            }
            Int(value) => {
                entry.push(0xf4);
                entry.extend(value.to_le_bytes());
            }
            Text(text) => {
                match text.len() {
                    n @ 0..=63 => entry.push(0x80 | n as u8),
                    n @ 64..=4095 => entry.extend([0xe0 | (n >> 8) as u8, n as u8]),
                    n => {
                        entry.push(0xf0);
                        entry.extend((n as u32).to_le_bytes());
                    }
                }
                entry.extend_from_slice(text.as_bytes());
            }
        }
        let size = entry.len();
        let back = unfrag_rdb::value::listpack::back_length_bytes(size);
        for position in (0..back).rev() {
            let more = if position + 1 < back { 0x80 } else { 0 };
            entry.push((size >> (7 * (back - 1 - position)) & 0x7f) as u8);
            let last = entry.len() - 1;
            entry[last] |= more;
        }
        // Written from the highest group to the lowest, the mark on all but the first.
        let (body, tail) = entry.split_at(size);
        let mut tail = tail.to_vec();
        tail.reverse();
        for (position, byte) in tail.iter_mut().enumerate() {
            *byte = (*byte & 0x7f) | if position > 0 { 0x80 } else { 0 };
        }
        out.extend_from_slice(body);
        out.extend_from_slice(&tail);
    }
    out.push(0xff);
    let total = (out.len() as u32).to_le_bytes();
    out[..4].copy_from_slice(&total);
    out[4..6].copy_from_slice(&(cells.len() as u16).to_le_bytes());
    out
}

pub fn ziplist(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut out = vec![0; 10];
    let (mut last_at, mut last_size) = (10, 0);
    for cell in cells {
        let at = out.len();
        if last_size < 254 {
            out.push(last_size as u8);
        } else {
            out.push(0xfe);
            out.extend((last_size as u32).to_le_bytes());
        }
        match *cell {
            Int(value @ 0..=12) => out.push(0xf1 + value as u8),
            Int(value) if i8::try_from(value).is_ok() => out.extend([0xfe, value as u8]),
            Int(value) if i16::try_from(value).is_ok() => {
                out.push(0xc0);
                out.extend((value as i16).to_le_bytes());
            }
            Int(value) if i32::try_from(value).is_ok() => {
                out.push(0xd0);
                out.extend((value as i32).to_le_bytes());
            }
            Int(value) => {
                out.push(0xe0);
                out.extend(value.to_le_bytes());
            }
            Text(text) => {
                match text.len() {
                    n @ 0..=63 => out.push(n as u8),
                    n @ 64..=16383 => out.extend([0x40 | (n >> 8) as u8, n as u8]),
                    n => {
                        out.push(0x80);
                        out.extend((n as u32).to_be_bytes());
                    }
                }
                out.extend_from_slice(text.as_bytes());
            }
        }
        last_at = at;
        last_size = out.len() - at;
    }
    out.push(0xff);
    let total = (out.len() as u32).to_le_bytes();
    out[..4].copy_from_slice(&total);
    out[4..8].copy_from_slice(&(last_at as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(cells.len() as u16).to_le_bytes());
    out
}

pub fn intset(values: &[i32]) -> Vec<u8> {
    let mut out = 4_u32.to_le_bytes().to_vec();
    out.extend((values.len() as u32).to_le_bytes());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    out
}

/// Three entries, one of them deleted, one with fields of its own.
fn stream_node() -> Vec<u8> {
    listpack(&[
        Int(2),
        Int(1),
        Int(1),
        Text("f"),
        Int(0), // master: live, deleted, fields
        Int(2),
        Int(0),
        Int(0),
        Text("v0"),
        Int(4), // same fields
        Int(3),
        Int(0),
        Int(1),
        Text("v1"),
        Int(4), // same fields, deleted
        Int(0),
        Int(5),
        Int(0),
        Int(1),
        Text("g"),
        Text("v2"),
        Int(6), // its own
    ])
}

/// A stream with one group of two consumers; `generation` 1 to 5.
pub fn stream(out: Encoder, generation: u8) -> Encoder {
    let mut out = out.length(1).byte(16).id(1000, 0).string(stream_node());
    out = out.length(2).length(1005).length(0);
    if generation >= 2 {
        out = out.length(1000).length(0).length(1000).length(1).length(3);
    }
    out = out.length(1).string("group").length(1005).length(0);
    if generation >= 2 {
        out = out.length(u64::MAX);
    }
    out = out.length(2);
    for (ms, sequence) in [(1000, 0), (1005, 0)] {
        out = out.id(ms, sequence).raw(&[0; 8]).length(1);
    }
    out = out.length(2);
    for (name, pending) in [("alice", Some(1000)), ("bob", (generation < 5).then_some(1005))] {
        out = out.string(name).raw(&[0; 8]);
        if generation >= 3 {
            out = out.raw(&[0xff; 8]);
        }
        out = out.length(u64::from(pending.is_some()));
        if let Some(ms) = pending {
            out = out.id(ms, 0);
        }
    }
    if generation >= 5 {
        out = out.length(1).id(1005, 0);
    }
    if generation >= 4 {
        out = out.length(60).length(100).length(1).string("producer").length(1);
        out = out.string("message").length(1000).length(0).length(1).length(0);
    }
    out
}

fn module_items(out: Encoder) -> Encoder {
    let out =
        out.length(1).length(u64::MAX).length(2).length(7).length(3).raw(&1_f32.to_le_bytes());
    out.length(4).raw(&2_f64.to_le_bytes()).length(5).string("text").length(0)
}

const MODULE: u64 = 0x1234_5678_9abc_def0;

#[expect(clippy::too_many_lines, reason = "a table: a line a type")]
/// Keys of every type of the Redis dialect, with every opcode; returns the snapshot and its number of keys.
pub fn every_type() -> (Vec<u8>, u64) {
    let mut out = Encoder::new("REDIS0014").byte(250).string("redis-ver").string("8.8.0");
    out = out.byte(250).string("ctime").byte(0xc2).raw(&1_i32.to_le_bytes());
    out = module_items(out.byte(247).length(MODULE).length(2).length(1));
    out = out.byte(245).string("#!lua name=lib\n");
    let head = out.0.len();
    let mut keys = 0_u64;
    let mut body = Encoder::default();
    let mut add = |make: &dyn Fn(Encoder) -> Encoder| {
        keys += 1;
        body = make(std::mem::take(&mut body));
    };
    add(&|out| {
        out.byte(252).raw(&99_i64.to_le_bytes()).byte(249).byte(5).key(0, "string").string("v")
    });
    add(&|out| {
        out.byte(253)
            .raw(&99_i32.to_le_bytes())
            .byte(248)
            .length(77)
            .key(0, "int")
            .raw(&[0xc1, 1, 2])
    });
    add(&|out| out.key(0, "compressed").compressed_run(b'x', 1000));
    add(&|out| out.byte(0).compressed_run(b'k', 300).string("under a compressed name"));
    add(&|out| out.key(1, "list").length(2).string("a").string("b"));
    add(&|out| out.key(2, "set").length(3).string("a").string("b").raw(&[0xc0, 1]));
    add(&|out| {
        out.key(3, "zset ascii")
            .length(3)
            .string("a")
            .string("1.5")
            .string("b")
            .byte(254)
            .string("c")
            .byte(255)
    });
    add(&|out| out.key(4, "hash").length(1).string("f").compressed_run(b'y', 30));
    add(&|out| out.key(5, "zset").length(1).string("a").raw(&1.5_f64.to_le_bytes()));
    add(&|out| module_items(out.key(7, "module").length(MODULE)));
    add(&|out| out.key(9, "zipmap").string([1, 1, b'f', 1, 0, b'v', 255]));
    add(&|out| out.key(10, "ziplist").string(ziplist(&[Text("a"), Int(300), Int(5)])));
    add(&|out| out.key(11, "intset").string(intset(&[-5, 0, 70000])));
    add(&|out| {
        out.key(12, "zset ziplist").string(ziplist(&[Text("a"), Int(1), Text("b"), Text("1.5")]))
    });
    add(&|out| {
        out.key(13, "hash ziplist").string(ziplist(&[
            Text("f"),
            Text(&"v".repeat(300)),
            Text("g"),
            Int(-1),
        ]))
    });
    add(&|out| {
        out.key(14, "quicklist")
            .length(2)
            .string(ziplist(&[Text("a")]))
            .string(ziplist(&[Int(1 << 40)]))
    });
    for (code, generation, name) in
        [(15, 1, "s1"), (19, 2, "s2"), (21, 3, "s3"), (26, 4, "s4"), (27, 5, "s5")]
    {
        add(&|out| stream(out.key(code, name), generation));
    }
    add(&|out| {
        out.key(16, "hash listpack").string(listpack(&[
            Text("f"),
            Text(&"v".repeat(200)),
            Text("g"),
            Int(-70000),
        ]))
    });
    add(&|out| {
        out.key(17, "zset listpack").string(listpack(&[Text("a"), Int(1), Text("b"), Text("1.5")]))
    });
    add(&|out| {
        out.key(18, "quicklist 2")
            .length(2)
            .length(2)
            .string(listpack(&[Int(1), Text("a")]))
            .length(1)
            .string("plain")
    });
    add(&|out| out.key(20, "set listpack").string(listpack(&[Text("a"), Int(1 << 40)])));
    add(&|out| {
        out.key(22, "hash ttl pre")
            .length(2)
            .length(5000)
            .string("f")
            .string("v")
            .length(0)
            .string("g")
            .string("w")
    });
    add(&|out| {
        out.key(23, "hash listpack ttl pre").string(listpack(&[Text("f"), Text("v"), Int(5000)]))
    });
    add(&|out| {
        out.key(24, "hash ttl")
            .raw(&5000_u64.to_le_bytes())
            .length(3)
            .length(1)
            .string("f")
            .string("v")
            .length(0)
            .string("g")
            .string("w")
            .length(9)
            .string("h")
            .string("x")
    });
    add(&|out| {
        out.key(25, "hash listpack ttl").raw(&5000_u64.to_le_bytes()).string(listpack(&[
            Text("f"),
            Text("v"),
            Int(5000),
            Text("g"),
            Text("w"),
            Int(0),
        ]))
    });
    add(&|out| {
        out.key(28, "array")
            .length(4)
            .length(1)
            .length(9)
            .length(0)
            .length(0)
            .string("long enough")
            .length(1)
            .length(1)
            .raw(&[1; 8])
            .length(2)
            .length(2)
            .raw(&1_f64.to_le_bytes())
            .length(8)
            .length(3)
            .string("tiny")
    });
    add(&|out| out.key(29, "gcra").length(12345));
    add(&|out| {
        module_items(out.byte(243).length(1).raw(&[1, 2, 3, 4])).key(0, "with metadata").string("v")
    });
    add(&|out| {
        out.key(64, "cron").string("return 1").raw(&[0; 16]).length(1).string("k").length(0)
    });
    let tail = Encoder(out.0[..head].to_vec()).byte(254).length(0).byte(251).length(keys).length(2);
    (tail.raw(&body.0).end(), keys)
}

/// The same for what only the Valkey dialect has.
pub fn valkey_types() -> (Vec<u8>, u64) {
    let out = Encoder::new("VALKEY080").byte(250).string("valkey-ver").string("9.1.0");
    let out = out.byte(243).string("job").length(1).length(0).length(100);
    let out = out.byte(254).length(3).byte(251).length(2).length(0);
    let out = out.byte(250).string("slot-info").string("15495,1,0");
    let out = out.key(22, "a").length(2).string("f").string("v").raw(&5000_i64.to_le_bytes());
    let out = out.string("g").string("w").raw(&(-1_i64).to_le_bytes());
    let out = out.byte(244).length(3300).length(1).length(0);
    (out.key(0, "b").string("v").end(), 2)
}
