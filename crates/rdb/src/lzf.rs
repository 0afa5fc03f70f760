//! LZF, the compression of strings in a snapshot: decode, check without decoding, and compress.
//! Read [`decode`] first.
//!
//! The stream is a list of runs: a control byte below 32 announces that many plus one literal bytes; any
//! other a copy of earlier output, 3 to 264 bytes long, 1 to 8192 back.

/// No run yields more than 264 bytes from 3: a stated length beyond that cannot be true.
const EXPANSION_MAX: u64 = 88;
/// Bytes copied at a time where there is room to write too many.
const STRIDE: usize = 16;
/// Longest literal run.
const LITERAL_MAX: usize = 32;
/// Longest copy.
const MATCH_MAX: usize = 264;
/// Room behind the output with which decoding is fastest: runs are then copied in whole strides.
pub const SLACK_BYTES: usize = MATCH_MAX + LITERAL_MAX + STRIDE;

/// Whether `packed` bytes can decode to `length`: the check before anything is reserved.
pub const fn is_plausible(packed: u64, length: u64) -> bool {
    packed > 0 && length > 0 && length <= length_max(packed)
}

/// The longest output of `packed` bytes.
pub(crate) const fn length_max(packed: u64) -> u64 {
    packed.saturating_mul(EXPANSION_MAX)
}

/// Decodes `packed` into the first `length` bytes of `out`, exactly; `None` where it does not fit. What lies
/// behind them may be overwritten; [`SLACK_BYTES`] of it make this fast.
pub fn decode(packed: &[u8], out: &mut [u8], length: usize) -> Option<()> {
    let (from, to) = decode_fast(packed, out)?;
    if to > length {
        return None;
    }
    decode_exact(packed, from, out.get_mut(..length)?, to)
}

/// Decodes while there is room on both sides to copy whole strides; returns how far that was.
#[inline]
fn decode_fast(packed: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (mut from, mut to) = (0_usize, 0_usize);
    let from_end = packed.len().saturating_sub(LITERAL_MAX + 1);
    let to_end = out.len().saturating_sub(SLACK_BYTES);
    while from < from_end && to < to_end {
        let control = usize::from(*packed.get(from)?);
        if control < LITERAL_MAX {
            let run = packed.get(from + 1..)?.first_chunk::<LITERAL_MAX>()?;
            *out.get_mut(to..)?.first_chunk_mut::<LITERAL_MAX>()? = *run;
            from += control + 2;
            to += control + 1;
            continue;
        }
        let &[second, third] = packed.get(from + 1..)?.first_chunk::<2>()?;
        let is_long = control >= 224;
        let long = if is_long { usize::from(second) } else { 0 };
        let low = if is_long { third } else { second };
        let length = (control >> 5) + 2 + long;
        let source = to.checked_sub(((control & 31) << 8 | usize::from(low)) + 1)?;
        from += 2 + usize::from(is_long);
        copy_strides(out, source, to, length)?;
        to += length;
    }
    Some((from, to))
}

/// Copies at least `length` bytes, a stride at a time where source and target are that far apart.
#[inline]
fn copy_strides(out: &mut [u8], source: usize, to: usize, length: usize) -> Option<()> {
    if to - source < STRIDE {
        return copy_exact(out, source, to, length);
    }
    let mut done = 0;
    loop {
        let stride = *out.get(source + done..)?.first_chunk::<STRIDE>()?;
        *out.get_mut(to + done..)?.first_chunk_mut::<STRIDE>()? = stride;
        done += STRIDE;
        if done >= length {
            return Some(());
        }
    }
}

/// Decodes from `from` on with every copy exact.
fn decode_exact(packed: &[u8], mut from: usize, out: &mut [u8], mut to: usize) -> Option<()> {
    while let Some(&control) = packed.get(from) {
        let control = usize::from(control);
        from += 1;
        if control < LITERAL_MAX {
            let run = packed.get(from..=from + control)?;
            out.get_mut(to..=to + control)?.copy_from_slice(run);
            from += control + 1;
            to += control + 1;
            continue;
        }
        let mut length = (control >> 5) + 2;
        if control >= 224 {
            length += usize::from(*packed.get(from)?);
            from += 1;
        }
        let source = to.checked_sub(((control & 31) << 8 | usize::from(*packed.get(from)?)) + 1)?;
        from += 1;
        copy_exact(out, source, to, length)?;
        to += length;
    }
    (to == out.len()).then_some(())
}

/// Copies `length` bytes that may overlap, byte order kept: what was just written is source again.
#[inline]
fn copy_exact(out: &mut [u8], source: usize, to: usize, length: usize) -> Option<()> {
    let room = out.get_mut(source..to + length)?;
    let back = to - source;
    for position in back..back + length {
        let byte = *room.get(position - back)?;
        *room.get_mut(position)? = byte;
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
            for slack in [0, SLACK_BYTES, 2000] {
                let mut out = vec![0; data.len() + slack];
                prop_assert_eq!(decode(&packed, &mut out, data.len()), Some(()));
                prop_assert_eq!(&out[..data.len()], &data);
            }
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
        fn checking_agrees_with_decoding(packed in proptest::collection::vec(prop_oneof![0_u8..40, any::<u8>()], 1..80), length in 1_usize..400, cuts in proptest::collection::vec(0_usize..80, 0..4)) {
            let decodes = decode(&packed, &mut vec![0; length], length).is_some();
            let decodes_fast = decode(&packed, &mut vec![0; length + 2 * SLACK_BYTES], length).is_some();
            prop_assert_eq!(decodes, decodes_fast);
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
        assert_eq!(decode(&[0x20, 0], &mut [0; 3], 3), None);
        assert!(!is_sound(&[0x20, 0], 3));
    }
}
