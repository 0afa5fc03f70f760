//! Where the memory is that a restart would still give back, layer by layer: [`Layers`], and [`Left`] between two.

use redis::{Connection, Value};
use std::collections::HashMap;
use std::fmt;
use unfrag_model::MallocStats;
use unfrag_testbed::measure;

/// The ladder of a server at rest, in bytes; all zero where the allocator tells nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers {
    allocated: i64,
    active: i64,
    resident: i64,
    metadata: i64,
    rss: i64,
    /// Of what is allocated, the key table of db 0.
    table: i64,
}

impl Layers {
    pub(crate) fn read(connection: &mut Connection) -> Self {
        let info = measure::info(connection).unwrap();
        let field = |name: &str| info.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        let printed: String = redis::cmd("MEMORY").arg("MALLOC-STATS").query(connection).unwrap();
        let metadata = MallocStats::parse(&printed).and_then(|m| m.totals.metadata).unwrap_or(0);
        Self {
            allocated: field("allocator_allocated"),
            active: field("allocator_active"),
            resident: field("allocator_resident"),
            metadata: metadata.cast_signed(),
            rss: field("used_memory_rss"),
            table: table(connection),
        }
    }

    /// What it has over a fresh process with the same data.
    pub(crate) fn over(&self, fresh: &Self) -> Left {
        let holes = |l: &Self| l.active - l.allocated;
        let pages = |l: &Self| l.resident - l.active - l.metadata;
        Left {
            data: self.allocated - fresh.allocated,
            table: self.table - fresh.table,
            holes: holes(self) - holes(fresh),
            pages: pages(self) - pages(fresh),
            records: self.metadata - fresh.metadata,
            rest: (self.rss - self.resident) - (fresh.rss - fresh.resident),
        }
    }
}

/// Bytes by layer that a restart would still give back; they add up to the difference in RSS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    data: i64,
    table: i64,
    holes: i64,
    pages: i64,
    records: i64,
    rest: i64,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: i64| bytes as f64 / f64::from(1 << 20);
        let Self { data, table, holes, pages, records, rest } = *self;
        let table = format!("({:.1})", mib(table));
        write!(f, "{:>7.1}{table:>8}{:>7.1}", mib(data), mib(holes))?;
        write!(f, "{:>7.1}{:>6.1}{:>6.1}", mib(pages), mib(records), mib(rest))
    }
}

/// Bytes of the key table of db 0.
fn table(connection: &mut Connection) -> i64 {
    let stats: HashMap<String, Value> =
        redis::cmd("MEMORY").arg("STATS").query(connection).unwrap();
    let Some(Value::Array(db)) = stats.get("db.0") else { return 0 };
    let at = db
        .iter()
        .position(|v| matches!(v, Value::BulkString(name) if name == b"overhead.hashtable.main"));
    match at.and_then(|at| db.get(at + 1)) {
        Some(Value::Int(bytes)) => *bytes,
        _ => 0,
    }
}
