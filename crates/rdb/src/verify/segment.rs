//! Depth: a piece of a mapped file, its values decoded and its checksum summed. Read [`check`] first.

use super::value::ValueCheck;
use crate::crc;
use crate::format::{HEADER_BYTES, Header};
use crate::input::{Slice, index};
use crate::parallel::Segment;
use crate::problem::Problem;
use crate::reader::{Item, Reader};

/// What a segment gave.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) crc: u64,
    pub(super) problems: Vec<Problem>,
}

/// Problems kept per segment of a mebibyte or so.
const PROBLEMS_MAX: usize = 10_000;

/// Checks one segment of `snapshot`, whose first byte has offset `base`.
pub(super) fn check(
    snapshot: &[u8],
    base: u64,
    header: Header,
    segment: Segment,
    check: &mut ValueCheck,
) -> Checked {
    let from = index(segment.start.saturating_sub(base));
    let to = index(segment.end.saturating_sub(base));
    let bytes = snapshot.get(from..to).unwrap_or_default();
    let mut problems = Vec::new();
    if segment.has_depth {
        values(bytes, base, header, segment, check, &mut problems);
    }
    Checked { start: segment.start, bytes: bytes.len() as u64, crc: crc::of(bytes), problems }
}

/// Checks the values from the start of `segment` on to wherever the layout breaks, and sums no checksum.
pub(super) fn check_to_damage(
    snapshot: &[u8],
    base: u64,
    header: Header,
    segment: Segment,
    check: &mut ValueCheck,
) -> Checked {
    let bytes = snapshot.get(index(segment.start.saturating_sub(base))..).unwrap_or_default();
    let mut problems = Vec::new();
    values(bytes, base, header, segment, check, &mut problems);
    Checked { start: segment.start, bytes: 0, crc: 0, problems }
}

fn values(
    bytes: &[u8],
    base: u64,
    header: Header,
    segment: Segment,
    check: &mut ValueCheck,
    problems: &mut Vec<Problem>,
) {
    let mut name = Vec::new();
    let is_first = segment.start == base;
    let magic_bytes = if is_first { HEADER_BYTES } else { 0 };
    let items = Slice::new(
        bytes.get(magic_bytes..).unwrap_or_default(),
        segment.start + magic_bytes as u64,
    );
    let mut reader = Reader::resume(items, header, segment.db);
    // The outline has walked here already and told of layout that breaks: stop where it did.
    while let Ok(Some(item)) = reader.next_item() {
        let Item::Key(key) = item else { continue };
        check.begin(key.type_offset);
        let db = key.db;
        name.clear();
        name.extend_from_slice(key.name);
        let walked = reader.value(check);
        if !check.flaws.is_empty() && problems.len() < PROBLEMS_MAX {
            problems.extend(check.flaws.iter().map(|&flaw| Problem::new(flaw, db, Some(&name))));
        }
        if walked.is_err() {
            return;
        }
    }
}
