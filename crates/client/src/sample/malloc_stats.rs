//! MEMORY MALLOC-STATS: jemalloc's own account, with the slabs of every size class.
//!
//! Sent once a sample and only to jemalloc builds: it takes the locks of every arena, and other allocators answer one
//! sentence.

use super::Reader;
use crate::resp;
use unfrag_model::MallocStats;

const WHAT: &str = "MEMORY MALLOC-STATS";

pub(super) async fn read(reader: &mut Reader<'_>) {
    match reader.sample.info.text("mem_allocator") {
        Some(name) if name.starts_with("jemalloc") => {}
        Some(_) => return,
        None => return reader.unread(WHAT, "INFO does not name the allocator"),
    }
    let Some(value) = reader.ask(WHAT, &["MEMORY", "MALLOC-STATS"]).await else { return };
    match resp::into_text(value).as_deref().and_then(MallocStats::parse) {
        Some(stats) => reader.sample.malloc_stats = Some(stats),
        None => reader.unread(WHAT, "the answer is not jemalloc's report"),
    }
}
