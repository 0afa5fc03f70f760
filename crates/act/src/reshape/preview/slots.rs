//! What tables by slot come to in a Cluster's node that has them: each slot's is followed step by step.

use super::Look;
use crate::ActError;
use crate::reshape::size::SlotTable;
use crate::reshape::worker::code;
use std::collections::BTreeMap;
use unfrag_client::resp;
use unfrag_rdb::SizeFor;

/// Slots asked for in one go.
const CHUNK_SLOTS: usize = 200;
/// In front of a table that comes with its first entry.
const HEADER_BYTES: u64 = 64;

/// One hash and its keys: what comes into its slot, what goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    pub(super) new: u64,
    pub(super) gone: u64,
}

/// Steps by slot.
pub(super) type Steps = BTreeMap<u16, Vec<Step>>;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Forth,
    /// Each slot's table has been the other way before, and is as that left it: it keeps room that it once grew.
    Back,
}

/// Bytes that the slots' tables will take more than now, or less, when `share` of all this is done, and `expiring` (of keys
/// that go and of those that come) are in the tables of expiries, too.
pub(super) async fn tables(
    look: &mut Look<'_>,
    steps: &Steps,
    way: Way,
    share: f64,
    expiring: (f64, f64),
) -> Result<i64, ActError> {
    let counts = counts(look, steps).await?;
    let mut more = 0.0;
    for (slot, steps) in steps {
        let gone: u64 = steps.iter().map(|s| s.gone).sum();
        let keys = counts.get(slot).copied().unwrap_or(0).max(gone);
        more += followed(look, keys, steps, way);
        let of = |step: &Step| Step {
            new: rounded(step.new as f64 * expiring.1),
            gone: rounded(step.gone as f64 * expiring.0),
        };
        let expiries: Vec<Step> = steps.iter().map(of).collect();
        let before: u64 = expiries.iter().map(|s| s.gone).sum();
        let after: u64 = expiries.iter().map(|s| s.new).sum();
        let header = look.size_for.allocator.usable(HEADER_BYTES) as f64;
        more += followed(look, before, &expiries, way);
        more += header * (f64::from(u8::from(after > 0)) - f64::from(u8::from(before > 0)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "bytes of a server's tables")]
    let more = (more * share).round() as i64;
    Ok(more)
}

fn followed(look: &Look<'_>, keys: u64, steps: &[Step], way: Way) -> f64 {
    let size_for = &look.size_for;
    let before = match way {
        Way::Forth => SlotTable::of(size_for, keys),
        Way::Back => {
            let (new, gone) = steps.iter().fold((0, 0), |(n, g), s| (n + s.new, g + s.gone));
            let undone = steps.iter().map(|s| Step { new: s.gone, gone: s.new });
            let first = SlotTable::of(size_for, (keys + new).saturating_sub(gone));
            after(size_for, first, undone).settled()
        }
    };
    after(size_for, before, steps.iter().copied()).bytes(size_for) - before.bytes(size_for)
}

fn after(size_for: &SizeFor, mut table: SlotTable, steps: impl Iterator<Item = Step>) -> SlotTable {
    for step in steps {
        (0..step.new).for_each(|_| table.add(size_for));
        table.take(size_for, step.gone);
    }
    table
}

/// Keys of these slots, others included. A user who may not ask is answered from what is known of the slot.
async fn counts(look: &mut Look<'_>, steps: &Steps) -> Result<BTreeMap<u16, u64>, ActError> {
    let slots: Vec<u16> = steps.keys().copied().collect();
    let mut counts = BTreeMap::new();
    for some in slots.chunks(CHUNK_SLOTS) {
        let names: Vec<String> = some.iter().map(ToString::to_string).collect();
        let asked: Vec<Vec<&[u8]>> = names
            .iter()
            .map(|slot| vec![b"CLUSTER".as_slice(), b"COUNTKEYSINSLOT", slot.as_bytes()])
            .collect();
        let answers = look.worker.read(&asked).await?;
        if answers.first().is_some_and(|answer| code(answer).is_some()) {
            break;
        }
        let found = some.iter().zip(&answers);
        counts.extend(found.filter_map(|(slot, answer)| Some((*slot, resp::count(answer)?))));
    }
    Ok(counts)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn rounded(value: f64) -> u64 {
    value.max(0.0).round() as u64
}
