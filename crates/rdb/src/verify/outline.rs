//! The walk from key to key, and who checks values meanwhile. Read [`of_slice`] first.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use super::keys::{Keys, Repeated};
use super::ledger::Ledger;
use super::segment::{self, Checked};
use super::value::ValueCheck;
use super::{Checksum, Findings, VerifyOptions, finish_tail, judge, judge_whole, rest_from};
use crate::container::{Ending, Framing};
use crate::crc;
use crate::format::{Dialect, Header, ValueType};
use crate::input::{Input, Scratch, Slice, Stream};
use crate::length;
use crate::parallel::{self, Queue, SEGMENT_BYTES, Segment};
use crate::problem::{Flaw, FlawKind};
use crate::reader::{End, Item, Key, Reader};
use crate::value;

/// A string that starts with this byte is compressed: the only string that has anything to check.
const COMPRESSED: u8 = 0xc3;

const TOO_MANY_KEYS: &str = "repeated keys: more keys than are remembered by default (--all-keys spends 9 to 18 bytes on each)";
const TOO_LARGE: &str = "repeated elements of values too large to remember every element";

/// Verifies a snapshot that is all there.
pub(super) fn of_slice(snapshot: &[u8], framing: Framing, options: &VerifyOptions<'_>) -> Findings {
    let base = framing.before as u64;
    let mut findings = Findings::default();
    let mut reader = match Reader::new(Slice::new(snapshot, base)) {
        Ok(reader) => reader,
        Err(flaw) => {
            findings.add(Flaw::new(base.max(flaw.offset), flaw.kind), None, None);
            return findings;
        }
    };
    let header = reader.header();
    findings.magic = Some((header.dialect, header.version));
    let queue = Queue::default();
    let checked = Mutex::new(Vec::new());
    let work = Work { snapshot, base, header, queue: &queue, checked: &checked };
    let mut own = ValueCheck::new();
    let mut untold = false;
    let end = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..parallel::threads(options.threads, snapshot.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut check = ValueCheck::new();
                    work.drain(&mut check);
                    check.has_untold
                })
            })
            .collect();
        let end = walk(&mut reader, &work, &mut own, &mut findings, options);
        queue.close();
        work.drain(&mut own);
        for helper in helpers {
            // A helper that died has left a hole in the checksum, which will not match.
            untold |= helper.join().unwrap_or(true);
        }
        end
    });
    if untold || own.has_untold {
        findings.unchecked.push(TOO_LARGE);
    }
    let checked = checked.into_inner().unwrap_or_else(PoisonError::into_inner);
    let computed = gather(checked, &mut findings);
    conclude(&mut findings, end, snapshot, framing, computed);
    findings
}

/// What every core needs.
struct Work<'w> {
    snapshot: &'w [u8],
    base: u64,
    header: Header,
    queue: &'w Queue,
    checked: &'w Mutex<Vec<Checked>>,
}

impl Work<'_> {
    fn drain(&self, check: &mut ValueCheck) {
        while let Some(segment) = self.queue.next() {
            self.one(segment, check);
        }
    }

    fn one(&self, segment: Segment, check: &mut ValueCheck) {
        let result = segment::check(self.snapshot, self.base, self.header, segment, check);
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).push(result);
    }

    /// The values of the last segment, which ends in damage: values may stand in what could be the checksum.
    #[cold]
    fn to_damage(&self, segment: Segment, check: &mut ValueCheck) {
        let (snapshot, base) = (self.snapshot, self.base);
        let result = segment::check_to_damage(snapshot, base, self.header, segment, check);
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).push(result);
    }

    /// Name of the key at `offset`, read once more: only damage asks for it.
    #[cold]
    fn name_at(&self, offset: u64) -> Vec<u8> {
        let rest = rest_from(self.snapshot, self.base, offset);
        match Reader::resume(rest, self.header, None).next_item() {
            Ok(Some(Item::Key(key))) => key.name.to_vec(),
            _ => Vec::new(),
        }
    }

    fn add(&self, segment: Segment, check: &mut ValueCheck) {
        if let Some(oldest) = self.queue.add(segment) {
            self.one(oldest, check);
        }
    }
}

/// How the walk ended.
#[derive(Clone, Copy)]
enum Outcome {
    End(End),
    Broken(Flaw),
}

/// Walks all items, cutting the file into segments on the way.
fn walk(
    reader: &mut Reader<Slice<'_>>,
    work: &Work<'_>,
    own: &mut ValueCheck,
    findings: &mut Findings,
    options: &VerifyOptions<'_>,
) -> Outcome {
    let total = work.snapshot.len() as u64;
    let mut ledger = Ledger::new(Keys::answering_later(options.keys_remembered), Some(total));
    let mut segment = Segment { start: work.base, end: work.base, db: None, has_depth: false };
    let outcome = loop {
        let offset = reader.offset();
        if offset.saturating_sub(segment.start) >= SEGMENT_BYTES {
            work.add(Segment { end: offset, ..segment }, own);
            segment = Segment { start: offset, end: offset, db: reader.db(), has_depth: false };
            if let Some(progress) = options.progress {
                progress(offset.saturating_sub(work.base), Some(total));
            }
        }
        match step(reader, work, &mut ledger, findings) {
            Ok(Step::Key { has_depth }) => segment.has_depth |= has_depth,
            Ok(Step::Other) => {}
            Ok(Step::End(end)) => break Outcome::End(end),
            Err(flaw) => break Outcome::Broken(flaw),
        }
    };
    let end = match outcome {
        Outcome::End(end) => end.covered,
        Outcome::Broken(_) => {
            work.to_damage(segment, own);
            segment.has_depth = false;
            // The last eight bytes may be the checksum, whatever stands before them.
            work.base.saturating_add(total.saturating_sub(8))
        }
    };
    work.add(Segment { end: end.max(segment.start), ..segment }, own);
    settle(&ledger, findings);
    let repeated = ledger.into_repeated();
    if !repeated.is_empty() {
        name_repeated(work, repeated, findings);
    }
    outcome
}

/// Walks again to say which keys occur twice.
#[cold]
fn name_repeated(work: &Work<'_>, mut repeated: Repeated, findings: &mut Findings) {
    let Ok(mut reader) = Reader::new(Slice::new(work.snapshot, work.base)) else { return };
    while let Ok(Some(item)) = reader.next_item() {
        if let Item::Key(key) = item
            && repeated.is_again(key.db.unwrap_or_default(), key.name)
        {
            let flaw = Flaw::new(key.offset, FlawKind::DuplicateKey);
            findings.add(flaw, key.db, Some(key.name));
        }
    }
}

fn settle(ledger: &Ledger, findings: &mut Findings) {
    findings.keys = ledger.keys;
    findings.expires = ledger.expires;
    if ledger.has_forgotten() {
        findings.unchecked.push(TOO_MANY_KEYS);
    }
}

enum Step {
    Key { has_depth: bool },
    Other,
    End(End),
}

/// One item of a slice: accounted for, its value passed over.
#[inline]
fn step(
    reader: &mut Reader<Slice<'_>>,
    work: &Work<'_>,
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Result<Step, Flaw> {
    let offset = reader.offset();
    let db = reader.db();
    if let Some((name, _)) = reader.next_plain_string() {
        let key = Key::plain_string(offset, db, name);
        ledger.key(&key, &mut |flaw| findings.add(flaw, db, Some(name)));
        return Ok(Step::Key { has_depth: false });
    }
    let item = reader.next_item().inspect_err(|&flaw| findings.add(flaw, db, None))?;
    let step = match item {
        Some(Item::Key(key)) => {
            ledger.key(&key, &mut |flaw| findings.add(flaw, key.db, Some(key.name)));
            let kind = key.kind;
            let has_depth = kind != ValueType::String || reader.value_starts_with(COMPRESSED);
            reader.pass_value().inspect_err(|&flaw| {
                findings.add(flaw, db, Some(&work.name_at(offset)));
            })?;
            Step::Key { has_depth }
        }
        Some(item) => {
            ledger.item(&item, offset, &mut |flaw| findings.add(flaw, db, None));
            if let Item::End(end) = item { Step::End(end) } else { Step::Other }
        }
        None => Step::Other,
    };
    if reader.has_flaws() {
        for flaw in reader.take_flaws() {
            findings.add(flaw, reader.db(), None);
        }
    }
    Ok(step)
}

/// Joins what the segments gave; returns the checksum of them all.
fn gather(mut checked: Vec<Checked>, findings: &mut Findings) -> u64 {
    checked.sort_by_key(|segment| segment.start);
    let mut computed = 0;
    for segment in checked {
        computed = crc::joined(computed, segment.crc, segment.bytes);
        for problem in segment.problems {
            findings.keep(problem);
        }
    }
    computed
}

fn conclude(
    findings: &mut Findings,
    outcome: Outcome,
    snapshot: &[u8],
    framing: Framing,
    computed: u64,
) {
    let base = framing.before as u64;
    match outcome {
        Outcome::End(end) => {
            findings.bytes =
                end.covered.saturating_sub(base) + if end.stored.is_some() { 8 } else { 0 };
            checksum(findings, judge(end.stored, Some(computed)), end.covered);
            let after = base.saturating_add(findings.bytes);
            finish_tail(findings, &mut rest_from(snapshot, base, after), framing);
        }
        Outcome::Broken(flaw) => {
            findings.bytes = flaw.offset.saturating_sub(base);
            let has_trailer = findings.magic.is_some_and(|(_, version)| version >= 5);
            if flaw.kind != FlawKind::Truncated && has_trailer && framing.ending == Ending::Bare {
                let offset = base.saturating_add(snapshot.len() as u64).saturating_sub(8);
                checksum(findings, judge_whole(snapshot, computed), offset);
            }
        }
    }
}

fn checksum(findings: &mut Findings, verdict: Checksum, offset: u64) {
    findings.checksum = Some(verdict);
    if verdict == Checksum::Mismatch {
        findings.add(Flaw::new(offset, FlawKind::ChecksumMismatch), None, None);
    }
}

/// Verifies a snapshot that comes in order and once.
pub(super) fn of_stream<R: Read>(
    input: Stream<R>,
    framing: Framing,
    options: &VerifyOptions<'_>,
) -> Findings {
    let base = framing.before as u64;
    let mut findings = Findings::default();
    let mut reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(flaw) => {
            findings.add(Flaw::new(base.max(flaw.offset), flaw.kind), None, None);
            return findings;
        }
    };
    let header = reader.header();
    findings.magic = Some((header.dialect, header.version));
    let mut ledger = Ledger::new(Keys::answering_now(options.keys_remembered), None);
    let mut check = ValueCheck::new();
    let mut reported = 0;
    let outcome = loop {
        let offset = reader.offset();
        if let Some(progress) = options.progress
            && offset.saturating_sub(reported) >= SEGMENT_BYTES
        {
            reported = offset;
            progress(offset.saturating_sub(base), None);
        }
        match step_deep(&mut reader, &mut ledger, &mut check, &mut findings) {
            Ok(Some(end)) => break Outcome::End(end),
            Ok(None) => {}
            Err(flaw) => break Outcome::Broken(flaw),
        }
    };
    settle(&ledger, &mut findings);
    if check.has_untold {
        findings.unchecked.push(TOO_LARGE);
    }
    conclude_stream(&mut findings, outcome, &mut reader, framing);
    findings
}

/// One item of a stream: accounted for, its value checked.
fn step_deep<R: Read>(
    reader: &mut Reader<Stream<R>>,
    ledger: &mut Ledger,
    check: &mut ValueCheck,
    findings: &mut Findings,
) -> Result<Option<End>, Flaw> {
    let offset = reader.offset();
    let db = reader.db();
    let mut end = None;
    let item = reader.next_item().inspect_err(|&flaw| findings.add(flaw, db, None))?;
    match item {
        Some(Item::Key(key)) => {
            ledger.key(&key, &mut |flaw| findings.add(flaw, key.db, Some(key.name)));
            let Key { type_offset, db, name, .. } = key;
            check.begin(type_offset);
            // The window moves on below the name: keep a copy, short as names in reports are.
            let name: Vec<u8> = name.iter().copied().take(NAME_BYTES_MAX).collect();
            let walked = reader.value(check);
            for &flaw in &check.flaws {
                findings.add(flaw, db, Some(&name));
            }
            if let Err(flaw) = walked {
                findings.add(flaw, db, Some(&name));
                return Err(flaw);
            }
        }
        Some(item) => {
            ledger.item(&item, offset, &mut |flaw| findings.add(flaw, db, None));
            if let Item::End(found) = item {
                end = Some(found);
            }
        }
        None => {}
    }
    for flaw in reader.take_flaws() {
        findings.add(flaw, reader.db(), None);
    }
    Ok(end)
}

/// One byte more than a report shows, so that it can say that there is more.
const NAME_BYTES_MAX: usize = 1025;

fn conclude_stream<R: Read>(
    findings: &mut Findings,
    outcome: Outcome,
    reader: &mut Reader<Stream<R>>,
    framing: Framing,
) {
    let base = framing.before as u64;
    match outcome {
        Outcome::End(end) => {
            findings.bytes = reader.offset().saturating_sub(base);
            checksum(findings, judge(end.stored, end.computed), end.covered);
            finish_tail(findings, reader.input_mut(), framing);
        }
        Outcome::Broken(flaw) => {
            findings.bytes = flaw.offset.saturating_sub(base);
            let has_trailer = findings.magic.is_some_and(|(_, version)| version >= 5);
            if flaw.kind == FlawKind::Truncated || !has_trailer || framing.ending != Ending::Bare {
                return;
            }
            if let Some((computed, stored)) = reader.input_mut().checksum_of_whole() {
                let offset = reader.offset();
                checksum(findings, judge(Some(stored), Some(computed)), offset);
            }
        }
    }
}

/// Bytes of version and checksum behind a DUMP payload.
const PAYLOAD_TRAILER_BYTES: usize = 10;

/// Verifies type and value, then version and checksum, of a DUMP payload.
pub(super) fn of_payload(bytes: &[u8]) -> Vec<Flaw> {
    let body_length = bytes.len().saturating_sub(PAYLOAD_TRAILER_BYTES);
    let (body, trailer) = bytes.split_at_checked(body_length).unwrap_or((bytes, &[]));
    let mut flaws = Vec::new();
    let covered = bytes.get(..bytes.len().saturating_sub(8)).unwrap_or_default();
    let [version, _, stored @ ..] = trailer else {
        return vec![Flaw::new(0, FlawKind::Truncated)];
    };
    let stored = stored.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    if judge(stored, Some(crc::of(covered))) == Checksum::Mismatch {
        flaws.push(Flaw::new(covered.len() as u64, FlawKind::ChecksumMismatch));
    }
    let dialect = if *version >= 80 { Dialect::Valkey } else { Dialect::Redis };
    let mut input = Slice::new(body, 0);
    let mut check = ValueCheck::new();
    check.begin(0);
    let walked = payload_value(&mut input, dialect, &mut check);
    flaws.append(&mut check.flaws);
    match walked {
        Err(flaw) => flaws.push(flaw),
        Ok(()) if !input.rest().is_empty() => {
            let left = input.rest().len() as u64;
            flaws.push(Flaw::new(input.offset(), FlawKind::TrailingBytes(left)));
        }
        Ok(()) => {}
    }
    flaws
}

fn payload_value(
    input: &mut Slice<'_>,
    dialect: Dialect,
    check: &mut ValueCheck,
) -> Result<(), Flaw> {
    let mut offset = input.offset();
    let mut code = input.byte()?;
    if code == crate::format::opcode::KEY_META_OR_SLOT_IMPORT && dialect == Dialect::Redis {
        for _ in 0..length::count(input, 5)? {
            let _class = input.array::<4>()?;
            value::module_items(input, check)?;
        }
        offset = input.offset();
        code = input.byte()?;
    }
    let kind = ValueType::from_code(dialect, code)
        .ok_or(Flaw::new(offset, FlawKind::UnknownType(code)))?;
    value::walk(kind, input, &mut Scratch::default(), check)
}
