//! # client-buffers
//!
//! ## What it detects
//! Output, query or replica buffers hold a large part of the memory.
//!
//! ## Why it matters
//! One client that does not read (a stalled subscriber, a MONITOR left open, a slow replica) can hold
//! gigabytes that are counted against maxmemory.
//!
//! ## Evidence
//! mem_clients_normal, mem_clients_slaves, mem_total_replication_buffers, CLIENT LIST where it was read;
//! before 5.0 used_memory_overhead and client_longest_output_list.
//!
//! ## Remedy
//! Find and close the client, then bound the buffers.
//!
//! ## Safety
//! CLIENT KILL drops one connection; a bound drops every client that passes it.
//!
//! ## References
//! redis.conf client-output-buffer-limit; redis issues 619, 3604; maxmemory-clients (7.0).

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (bytes, title) = named(f)
        .or_else(|| by_overhead(f))
        .or_else(|| by_backlog(f))
        .or_else(|| by_reply_lists(f))
        .or_else(|| by_query_buffer(f))?;
    let severity = match f.used {
        // A hundred thousand unread replies are a defect whatever they weigh today.
        Some(used)
            if share(bytes, used) < 0.25 && f.count("client_longest_output_list") < 100_000 =>
        {
            Severity::Watch
        }
        _ => Severity::Act,
    };
    let biggest = f.sample.clients.as_ref().and_then(|c| c.biggest.first()).map(|c| {
        Evidence::new(
            "biggest client",
            format!("id={} {} {} holds {}", c.id, c.address, c.kind, human(c.bytes)),
            "CLIENT LIST",
        )
    });
    Some(
        Finding::new(Cause::BuffersOverhead, severity, title)
            .bytes(bytes)
            .meaning(
                "connections, not keys, hold this memory; it comes back when they read or close",
            )
            .evidence(biggest)
            .evidence(f.cite("mem_clients_normal"))
            .evidence(f.cite("mem_clients_slaves"))
            .evidence(f.cite("used_memory_overhead"))
            .evidence(f.cite("client_recent_max_output_buffer"))
            .evidence(f.cite("client_recent_max_input_buffer"))
            .evidence(f.cite("client_longest_output_list"))
            .evidence(f.cite("connected_clients"))
            .evidence(f.cite("connected_slaves"))
            .remedy(
                RemedyKind::FixClient,
                format!(
                    "{} CLIENT LIST, then CLIENT KILL ID …   (largest omem or tot-mem first)",
                    f.cli()
                ),
            )
            .remedy(
                RemedyKind::LimitClientBuffers,
                format!(
                    "{} CONFIG SET client-output-buffer-limit \"normal 256mb 64mb 60\"",
                    f.cli()
                ),
            ),
    )
}

fn named(f: &Figures<'_>) -> Option<(u64, String)> {
    let bytes = f.client_buffers()?;
    (bytes > GAP_BYTES && share(bytes, f.used?) > 0.10).then(|| {
        (
            bytes,
            format!(
                "client and replica buffers hold {} of {} used",
                human(bytes),
                human(f.used.unwrap_or(0))
            ),
        )
    })
}

/// Overhead that neither start-up nor the keys' tables nor the backlog can account for.
fn by_overhead(f: &Figures<'_>) -> Option<(u64, String)> {
    if f.sample.info.count("mem_clients_normal").is_some() {
        return None;
    }
    let (used, overhead) = (f.used?, f.overhead?);
    let tables = f.keys.map_or(used / 2, |k| k.saturating_mul(super::dict_overhead::BYTES_PER_KEY));
    let explained = f
        .startup
        .unwrap_or(0)
        .saturating_add(tables)
        .saturating_add(f.count("mem_replication_backlog"));
    let buffers = overhead.saturating_sub(explained);
    let recent =
        f.count("client_recent_max_output_buffer").max(f.count("client_recent_max_input_buffer"));
    let bytes = buffers.max(recent.min(overhead));
    (bytes > GAP_BYTES && share(overhead, used) > 0.5).then(|| {
        (
            overhead,
            format!(
                "{} of {} used are overhead, which no table of keys explains: connections' buffers",
                human(overhead),
                human(used)
            ),
        )
    })
}

/// Before 5.0 only the longest list of pending replies was printed. A node is at least a list node, an
/// object header and a short string: 16 KiB at most, about 100 bytes at least.
fn by_reply_lists(f: &Figures<'_>) -> Option<(u64, String)> {
    const LEAST_BYTES_A_NODE: u64 = 100;
    let nodes = f.count("client_longest_output_list");
    let at_least = nodes.saturating_mul(LEAST_BYTES_A_NODE);
    let replicas = f.count("connected_slaves").max(1);
    let likely = at_least.saturating_mul(replicas);
    let matters = share(likely, f.used?) > 0.05 || nodes > 100_000;
    (nodes > 10_000 && matters).then(|| {
        (
            at_least,
            format!(
                "one connection has {nodes} replies waiting that it does not read: at least {}",
                human(at_least)
            ),
        )
    })
}

/// A replication backlog out of proportion to the data it serves.
fn by_backlog(f: &Figures<'_>) -> Option<(u64, String)> {
    let backlog = f.count("mem_replication_backlog");
    (backlog > GAP_BYTES * 2 && share(backlog, f.used?) > 0.5).then(|| {
        (
            backlog,
            format!(
                "the replication backlog is {} of {} used",
                human(backlog),
                human(f.used.unwrap_or(0))
            ),
        )
    })
}

/// Before 5.0 only the biggest query buffer was printed.
fn by_query_buffer(f: &Figures<'_>) -> Option<(u64, String)> {
    let biggest = f.count("client_biggest_input_buf");
    (biggest > GAP_BYTES && share(biggest, f.used?) > 0.10)
        .then(|| (biggest, format!("one connection's query buffer holds {}", human(biggest))))
}
