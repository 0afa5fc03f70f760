//! MEMORY STATS: what INFO does not say, above all the overhead of each database's hash tables.

use super::Reader;
use crate::resp;
use unfrag_model::MemoryStats;

const WHAT: &str = "MEMORY STATS";

pub(super) async fn read(reader: &mut Reader<'_>) {
    let Some(value) = reader.ask(WHAT, &["MEMORY", "STATS"]).await else { return };
    let stats = MemoryStats::from_pairs(resp::flat_numbers(&value));
    if stats.is_empty() {
        reader.unread(WHAT, format!("the answer was {}", resp::kind(&value)));
    } else {
        reader.sample.memory_stats = Some(stats);
    }
}
