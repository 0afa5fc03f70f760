//! LZF, the compression of strings in a snapshot: decode, check without decoding, and compress.
//! Read [`decode`] first.
//!
//! The stream is a list of runs: a control byte below 32 announces that many plus one literal bytes; any
//! other a copy of earlier output, 3 to 264 bytes long, 1 to 8192 back.

/// No run yields more than 264 bytes from 3: a stated length beyond that cannot be true.
const EXPANSION_MAX: u64 = 88;
/// Bytes copied at a time where there is room to write too many.
const STRIDE: usize = 16;

/// Whether `packed` bytes can decode to `length`: the check before anything is reserved.
pub const fn is_plausible(packed: u64, length: u64) -> bool {
    packed > 0 && length > 0 && length <= packed.saturating_mul(EXPANSION_MAX)
}

/// Decodes `packed` into exactly `out`; `None` where it does not fit exactly.
pub fn decode(packed: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut from, mut to) = (0_usize, 0_usize);
    while let Some(&control) = packed.get(from) {
        let control = usize::from(control);
        if control < 32 {
            let length = control + 1;
            copy_literal(packed, from + 1, out, to, length)?;
            from += length + 1;
            to += length;
            continue;
        }
        let mut length = control >> 5;
        from += 1;
        if length == 7 {
            length += usize::from(*packed.get(from)?);
            from += 1;
        }
        length += 2;
        let back = ((control & 31) << 8 | usize::from(*packed.get(from)?)) + 1;
        from += 1;
        copy_match(out, to, back, length)?;
        to += length;
    }
    (to == out.len()).then_some(())
}

#[inline]
fn copy_literal(
    packed: &[u8],
    from: usize,
    out: &mut [u8],
    to: usize,
    length: usize,
) -> Option<()> {
    // A run is 32 bytes at most: one fixed copy beats one of a length known too late.
    if let (Some(source), Some(target)) = (packed.get(from..from + 32), out.get_mut(to..to + 32)) {
        target.copy_from_slice(source);
        return Some(());
    }
    out.get_mut(to..to + length)?.copy_from_slice(packed.get(from..from + length)?);
    Some(())
}

#[inline]
fn copy_match(out: &mut [u8], to: usize, back: usize, length: usize) -> Option<()> {
    let source = to.checked_sub(back)?;
    if back >= STRIDE && to + length + STRIDE <= out.len() {
        let mut done = 0;
        while done < length {
            out.copy_within(source + done..source + done + STRIDE, to + done);
            done += STRIDE;
        }
        return Some(());
    }
    let room = out.get_mut(..to + length)?;
    if back == 1 {
        let byte = *room.get(source)?;
        room.get_mut(to..)?.fill(byte);
        return Some(());
    }
    // Overlap repeats the last `back` bytes: copy what exists, which doubles what exists.
    let mut done = 0;
    while done < length {
        let piece = (back + done).min(length - done);
        room.copy_within(source..source + piece, to + done);
        done += piece;
    }
    Some(())
}

/// Checks data that arrives in pieces, without output: runs must add up to the length and
/// copies stay inside what was produced.
#[derive(Debug, Clone)]
pub struct Check {
    produced: u64,
    literal_left: u64,
    pending: [u8; 2],
    pending_bytes: u8,
    sound: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self::new()
    }
}

impl Check {
    /// Before the first byte.
    pub fn new() -> Self {
        Self { produced: 0, literal_left: 0, pending: [0; 2], pending_bytes: 0, sound: true }
    }

    /// The next piece of compressed data.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while self.pending_bytes > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return };
            piece = rest;
            self.resume(byte);
        }
        let skipped = self.literal_left.min(piece.len() as u64);
        self.literal_left -= skipped;
        let rest = piece.get(crate::input::index(skipped)..).unwrap_or_default();
        if self.literal_left == 0 {
            self.runs(rest);
        }
    }

    /// Whether the data was whole and gives exactly `length` bytes.
    pub fn finish(&self, length: u64) -> bool {
        self.sound && self.literal_left == 0 && self.pending_bytes == 0 && self.produced == length
    }

    fn resume(&mut self, byte: u8) {
        let [control, extra] = self.pending;
        let is_long = control >> 5 == 7;
        if is_long && self.pending_bytes == 1 {
            self.pending = [control, byte];
            self.pending_bytes = 2;
            return;
        }
        self.pending_bytes = 0;
        let length = u64::from(control >> 5) + 2 + if is_long { u64::from(extra) } else { 0 };
        self.copied(length, (u64::from(control & 31) << 8 | u64::from(byte)) + 1);
    }

    fn copied(&mut self, length: u64, back: u64) {
        self.sound &= back <= self.produced;
        self.produced = self.produced.wrapping_add(length);
    }

    /// The hot loop: one addition chain per run, no branch on its kind, so that text with mixed runs does not
    /// mispredict.
    fn runs(&mut self, data: &[u8]) {
        let mut at = 0_usize;
        let mut produced = self.produced;
        let mut sound = true;
        // Four bytes from the control byte on hold every header.
        while let Some(&[control, second, third, _]) =
            data.get(at..).and_then(|rest| rest.first_chunk::<4>())
        {
            let control = usize::from(control);
            let (second, third) = (usize::from(second), usize::from(third));
            let is_literal = control < 32;
            let is_long = control >= 224;
            let step = if is_literal { control + 2 } else { 2 + usize::from(is_long) };
            let long = if is_long { second } else { 0 };
            let length = if is_literal { control + 1 } else { (control >> 5) + 2 + long };
            let low = if is_long { third } else { second };
            let back = if is_literal { 0 } else { ((control & 31) << 8) + low + 1 };
            sound &= back as u64 <= produced;
            produced = produced.wrapping_add(length as u64);
            at = at.wrapping_add(step);
        }
        self.produced = produced;
        self.sound &= sound;
        if at > data.len() {
            self.literal_left = (at - data.len()) as u64;
            return;
        }
        self.tail(data.get(at..).unwrap_or_default());
    }

    /// The last bytes of a piece, one at a time; what is incomplete waits for the next piece.
    fn tail(&mut self, mut rest: &[u8]) {
        while let Some((&control, after)) = rest.split_first() {
            rest = after;
            if self.literal_left > 0 {
                self.literal_left -= 1;
            } else if self.pending_bytes > 0 {
                self.resume(control);
            } else if control < 32 {
                self.literal_left = u64::from(control) + 1;
                self.produced = self.produced.wrapping_add(u64::from(control) + 1);
            } else {
                self.pending = [control, 0];
                self.pending_bytes = 1;
            }
        }
    }
}

/// Whether `packed` decodes to exactly `length` bytes.
pub fn is_sound(packed: &[u8], length: u64) -> bool {
    if !is_plausible(packed.len() as u64, length) {
        return false;
    }
    let mut check = Check::new();
    check.feed(packed);
    check.finish(length)
}

/// The first bytes of what `packed` decodes to, as far as they fill `out`; returns how many there are.
/// For headers of packed encodings, without decoding the rest.
pub fn decode_prefix(packed: &[u8], out: &mut [u8]) -> usize {
    let mut input = packed.iter().map(|&byte| usize::from(byte));
    let mut to = 0;
    while to < out.len() {
        let Some(control) = input.next() else { return to };
        if control < 32 {
            for _ in 0..=control {
                let (Some(byte), Some(slot)) = (input.next(), out.get_mut(to)) else { return to };
                *slot = u8::try_from(byte).unwrap_or_default();
                to += 1;
            }
            continue;
        }
        let long = if control >= 224 { input.next() } else { Some(0) };
        let (Some(long), Some(low)) = (long, input.next()) else { return to };
        let back = ((control & 31) << 8) + low + 1;
        for _ in 0..(control >> 5) + long + 2 {
            let byte = to.checked_sub(back).and_then(|from| out.get(from).copied());
            let (Some(byte), Some(slot)) = (byte, out.get_mut(to)) else { return to };
            *slot = byte;
            to += 1;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A compressor good enough for tests: greedy, one candidate per three-byte prefix.
    pub(crate) fn compress(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut last = std::collections::BTreeMap::<[u8; 3], usize>::new();
        let (mut at, mut literal_start) = (0, 0);
        let flush = |out: &mut Vec<u8>, literals: &[u8]| {
            for run in literals.chunks(32) {
                out.push(u8::try_from(run.len() - 1).unwrap());
                out.extend_from_slice(run);
            }
        };
        while at + 2 < data.len() {
            let prefix = [data[at], data[at + 1], data[at + 2]];
            let found = last.insert(prefix, at).filter(|&from| at - from <= 8192);
            let Some(from) = found else {
                at += 1;
                continue;
            };
            let length = (0..264.min(data.len() - at))
                .take_while(|&i| data[from + i] == data[at + i])
                .count();
            flush(&mut out, &data[literal_start..at]);
            let back = at - from - 1;
            let short = (length - 2).min(7);
            out.push(u8::try_from(short << 5 | back >> 8).unwrap());
            if short == 7 {
                out.push(u8::try_from(length - 9).unwrap());
            }
            out.push(u8::try_from(back & 255).unwrap());
            at += length;
            literal_start = at;
        }
        flush(&mut out, &data[literal_start..]);
        out
    }

    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec((any::<u8>(), 1_usize..40), 1..60).prop_map(|runs| {
            runs.iter().flat_map(|&(byte, n)| std::iter::repeat_n(byte % 5, n)).collect()
        })
    }

    proptest! {
        #[test]
        fn decoding_undoes_compressing(data in repetitive(), cut in 0_usize..200) {
            let packed = compress(&data);
            let mut out = vec![0; data.len()];
            prop_assert_eq!(decode(&packed, &mut out), Some(()));
            prop_assert_eq!(&out, &data);
            prop_assert!(is_sound(&packed, data.len() as u64));
            prop_assert!(!is_sound(&packed, data.len() as u64 + 1));
            let mut prefix = [0; 10];
            let got = decode_prefix(&packed, &mut prefix);
            prop_assert_eq!(&prefix[..got], &data[..data.len().min(10)]);
            let (first, second) = packed.split_at(cut % packed.len());
            let mut check = Check::new();
            check.feed(first);
            check.feed(second);
            prop_assert!(check.finish(data.len() as u64));
        }

        #[test]
        fn checking_agrees_with_decoding(packed in proptest::collection::vec(any::<u8>(), 1..80), length in 1_usize..400, cuts in proptest::collection::vec(0_usize..80, 0..4)) {
            let mut out = vec![0; length];
            let decodes = decode(&packed, &mut out).is_some();
            let plausible = is_plausible(packed.len() as u64, length as u64);
            prop_assert_eq!(is_sound(&packed, length as u64), decodes && plausible);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % packed.len()).collect();
            cuts.sort_unstable();
            let mut check = Check::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([packed.len()]) {
                check.feed(&packed[from..cut]);
                from = cut;
            }
            prop_assert_eq!(check.finish(length as u64), decodes);
        }
    }

    #[test]
    fn a_copy_from_before_the_start_is_refused() {
        assert_eq!(decode(&[0x20, 0], &mut [0; 3]), None);
        assert!(!is_sound(&[0x20, 0], 3));
    }
}
