//! Mutates snapshots, their values, packed encodings and compressed strings for a number of seconds and feeds each to
//! the fuzz body that reads it. Usage: fuzz SECONDS SNAPSHOT…; an input that panics is written to
//! fuzz-crash-NAME and the run stops; else fuzz-runs says how many there were.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use unfrag_rdb::fuzz::TARGETS;
use unfrag_rdb::input::{Scratch, Slice};
use unfrag_rdb::problem::Flaw;
use unfrag_rdb::reader::{Item, Reader};
use unfrag_rdb::text::{Need, Text};
use unfrag_rdb::value::{Encoding, Event, Visitor};

/// A small generator (xorshift): a run is repeatable from its seed, printed at the start.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % sides.max(1)
    }
}

/// Bytes that lie well: lengths, encodings, ends.
const LIES: [u8; 12] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xf0, 0xfe, 0xff];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes.truncate(at + 1),
            1 => {
                let from = dice.roll(other.len());
                let piece =
                    other.get(from..(from + dice.roll(64)).min(other.len())).unwrap_or_default();
                bytes.splice(at..at, piece.iter().copied());
            }
            2 => drop(bytes.drain(at..(at + dice.roll(16)).min(bytes.len()))),
            kind => {
                let lie = LIES.get(dice.roll(LIES.len())).copied().unwrap_or_default();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if kind == 3 { *byte ^ 1 << dice.roll(8) } else { lie };
                }
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

/// Folder of the seeds of `name` in memory: what of a snapshot that body reads.
fn seeds_for(name: &str, snapshots: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for snapshot in snapshots {
        match name {
            "snapshot" => seeds.push(snapshot.clone()),
            // What breaks off has given its seeds by then.
            _ => drop(pieces(name, snapshot, &mut seeds)),
        }
    }
    seeds.sort();
    seeds.dedup();
    seeds
}

/// Each value of `snapshot` as a DUMP payload, or its packed encodings, as they stand or decompressed.
fn pieces(name: &str, snapshot: &[u8], seeds: &mut Vec<Vec<u8>>) -> Result<(), Flaw> {
    let mut reader = Reader::new(Slice::new(snapshot, 0))?;
    let version = u8::try_from(reader.header().version).unwrap_or_default();
    while let Some(item) = reader.next_item()? {
        let Item::Key(key) = item else { continue };
        let type_byte = snapshot.get(index(key.type_offset)).copied().unwrap_or_default();
        let start = index(reader.offset());
        let mut blobs = Blobs::default();
        reader.value(&mut blobs)?;
        let value = snapshot.get(start..index(reader.offset())).unwrap_or_default();
        match name {
            "payload" if value.len() <= SEED_BYTES_MAX => {
                seeds.push([&[type_byte], value, &[version, 0], &[0; 8]].concat());
            }
            "packed" => seeds.append(&mut blobs.open),
            "compressed" => seeds.append(&mut blobs.closed),
            _ => {}
        }
    }
    Ok(())
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Larger seeds cost runs and say no more.
const SEED_BYTES_MAX: usize = 4096;

/// Packed encodings in the form of the bodies' inputs.
#[derive(Default)]
struct Blobs {
    open: Vec<Vec<u8>>,
    closed: Vec<Vec<u8>>,
}

impl Blobs {
    fn lzf(&mut self, text: &Text<'_>) {
        if let Text::Packed(packed) = text
            && let Ok(length) = u16::try_from(packed.length)
        {
            self.closed.push([&length.to_le_bytes(), packed.lzf].concat());
        }
    }
}

impl Visitor for Blobs {
    const NAMES: Need = Need::Bytes;
    const VALUES: Need = Need::Bytes;
    const BLOBS: Need = Need::Bytes;

    fn blob(&mut self, encoding: Encoding, text: &Text<'_>) -> bool {
        self.lzf(text);
        let choice = match encoding {
            Encoding::Listpack | Encoding::StreamListpack | Encoding::PlainNode => 0,
            Encoding::Ziplist => 1,
            Encoding::Intset => 2,
            Encoding::Zipmap => 3,
        };
        let mut scratch = Scratch::default();
        if let Ok(bytes) = text.bytes(&mut scratch)
            && bytes.len() <= SEED_BYTES_MAX
        {
            self.open.push([&[choice], bytes].concat());
        }
        true
    }

    fn on(&mut self, event: Event<'_>) {
        if let Event::String(text) | Event::Member(text) | Event::Value(text) = event {
            self.lzf(&text);
        }
    }

    fn flaw(&mut self, _: Flaw) {}
}

/// A body's turn: the bodies share the time, whatever an input takes them.
const TURN: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().ok_or("usage: fuzz SECONDS SEED-FILE…")?.parse()?;
    let snapshots: Vec<Vec<u8>> = arguments.map(std::fs::read).collect::<Result<_, _>>()?;
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
    let mut dice = Dice(u64::from(nanos) | 1);
    let mut bodies: Vec<_> = TARGETS
        .iter()
        .map(|&(name, target)| (name, target, seeds_for(name, &snapshots), 0_u64, Duration::ZERO))
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for (name, target, seeds, runs, spent) in &mut bodies {
            let start = Instant::now();
            while start.elapsed() < TURN {
                let other = seeds.get(dice.roll(seeds.len())).ok_or("no seeds")?;
                let mut bytes = seeds.get(dice.roll(seeds.len())).cloned().unwrap_or_default();
                mutate(&mut bytes, other, &mut dice);
                if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                    std::fs::write(format!("fuzz-crash-{name}"), &bytes)?;
                    return Err(format!("{name} panicked after {runs} runs").into());
                }
                *runs += 1;
            }
            *spent += start.elapsed();
        }
    }
    let mut told = String::new();
    for (name, _, seeds, runs, spent) in &bodies {
        let _ = writeln!(
            told,
            "{name}: {runs} inputs from {} seeds in {} s",
            seeds.len(),
            spent.as_secs()
        );
    }
    std::fs::write("fuzz-runs", told)?;
    Ok(())
}
