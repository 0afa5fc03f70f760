//! Mutates seed files for a number of seconds and feeds them to every fuzz body.
//! Usage: fuzz SECONDS SEED-FILE…; an input that panics is written to fuzz-crash-NAME and the run stops.

use std::time::{Duration, Instant};

use unfrag_rdb::fuzz::TARGETS;

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().ok_or("usage: fuzz SECONDS SEED-FILE…")?.parse()?;
    let seeds: Vec<Vec<u8>> = arguments.map(std::fs::read).collect::<Result<_, _>>()?;
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
    let mut dice = Dice(u64::from(nanos) | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut runs = 0_u64;
    while Instant::now() < end {
        let other = seeds.get(dice.roll(seeds.len())).ok_or("no seeds")?;
        let mut bytes = seeds.get(dice.roll(seeds.len())).cloned().unwrap_or_default();
        mutate(&mut bytes, other, &mut dice);
        for (name, target) in TARGETS {
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                std::fs::write(format!("fuzz-crash-{name}"), &bytes)?;
                return Err(format!("{name} panicked after {runs} runs").into());
            }
        }
        runs += 1;
    }
    std::fs::write("fuzz-runs", format!("{runs} runs in {seconds} s\n"))?;
    Ok(())
}
