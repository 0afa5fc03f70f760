//! LATENCY LATEST: what stalled the server, where its latency monitor is on.

use super::Reader;
use crate::error::one_line;
use crate::resp;
use redis::Value;
use unfrag_model::sample::LatencyEvent;

const WHAT: &str = "LATENCY LATEST";

pub(super) async fn read(reader: &mut Reader<'_>) {
    let Some(value) = reader.ask(WHAT, &["LATENCY", "LATEST"]).await else { return };
    match resp::elements(&value) {
        Some(rows) => reader.sample.latency = rows.iter().filter_map(event).collect(),
        None => reader.unread(WHAT, format!("the answer was {}", resp::kind(&value))),
    }
}

/// Name, time, latest, longest; newer servers add more.
fn event(row: &Value) -> Option<LatencyEvent> {
    match resp::elements(row)? {
        [event, at, latest, max, ..] => Some(LatencyEvent {
            event: one_line(&resp::text(event)?),
            at_unix_s: resp::count(at)?,
            latest_ms: resp::count(latest)?,
            max_ms: resp::count(max)?,
        }),
        _ => None,
    }
}
