//! What a page cost the server, from its commandstats: [`Costs`].

use crate::{Connection, resp};
use std::collections::BTreeMap;
use std::time::Duration;
use unfrag_model::Info;

/// How often each command was sent, by its name in commandstats since 7.0: `memory|usage`.
#[derive(Debug, Default)]
pub(super) struct Sent(BTreeMap<String, u64>);

impl Sent {
    pub(super) fn add(&mut self, name: &str, calls: u64) {
        *self.0.entry(name.to_owned()).or_default() += calls;
    }
}

/// Calls and microseconds since the server started.
type Stats = BTreeMap<String, (u64, u64)>;

/// Statistics as they were when last read, and the sum of what was ours.
#[derive(Debug)]
pub(super) struct Costs {
    stats: Stats,
    spent_us: u64,
}

impl Costs {
    pub(super) async fn read(connection: &mut Connection) -> Self {
        Self { stats: stats(connection).await, spent_us: 0 }
    }

    pub(super) fn spent(&self) -> Duration {
        Duration::from_micros(self.spent_us)
    }

    /// Microseconds of what was sent since the last reading. Where the server does not tell, the time until the
    /// replies were here: that is never less.
    pub(super) async fn charge(
        &mut self,
        connection: &mut Connection,
        sent: &Sent,
        round_trips: Duration,
    ) -> u64 {
        let now = stats(connection).await;
        let us = cost(&self.stats, &now, sent)
            .unwrap_or_else(|| u64::try_from(round_trips.as_micros()).unwrap_or(u64::MAX));
        self.stats = now;
        self.spent_us = self.spent_us.saturating_add(us);
        us
    }
}

async fn stats(connection: &mut Connection) -> Stats {
    let value = connection.call(&["INFO", "commandstats"]).await.ok();
    value.and_then(|v| resp::text(&v)).map(|text| parse(&Info::parse(&text))).unwrap_or_default()
}

fn parse(info: &Info) -> Stats {
    let lines = info.fields().filter_map(|(key, value)| {
        let get = |field: &str| {
            value.split(',').find_map(|p| p.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
        };
        let name = key.strip_prefix("cmdstat_")?.to_ascii_lowercase();
        Some((name, (get("calls")?, get("usec")?)))
    });
    lines.collect()
}

/// Others may use the same commands: of what a command took since, our share of its calls is ours. INFO itself is not
/// in `sent` and is charged by its own line. `None` when nothing is told of what was sent.
fn cost(before: &Stats, now: &Stats, sent: &Sent) -> Option<u64> {
    // Before 7.0 subcommands share a line.
    let mut by_line: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, calls) in &sent.0 {
        let container = name.split('|').next().unwrap_or(name);
        let line = if now.contains_key(name) { name.as_str() } else { container };
        *by_line.entry(line).or_default() += calls;
    }
    by_line.insert("info", 1);
    let mut total = None;
    for (line, ours) in by_line {
        let Some((calls, us)) = now.get(line) else { continue };
        let (calls_before, us_before) = before.get(line).copied().unwrap_or_default();
        let calls = calls.saturating_sub(calls_before);
        let us = us.saturating_sub(us_before);
        let share = if calls > ours { us.saturating_mul(ours).div_ceil(calls) } else { us };
        *total.get_or_insert(0u64) += share;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Stats {
        parse(&Info::parse(text))
    }

    #[test]
    fn others_calls_are_not_ours() {
        let mut sent = Sent::default();
        sent.add("scan", 1);
        sent.add("hlen", 10);
        let before = of("cmdstat_scan:calls=5,usec=100\ncmdstat_hlen:calls=1000,usec=5000");
        let now = of("cmdstat_scan:calls=6,usec=140\ncmdstat_hlen:calls=1100,usec=5500");
        assert_eq!(cost(&before, &now, &sent), Some(40 + 50));
    }

    #[test]
    fn subcommands_share_a_line_before_7() {
        let mut sent = Sent::default();
        sent.add("object|encoding", 4);
        sent.add("object|idletime", 4);
        let old = of("cmdstat_object:calls=8,usec=16");
        assert_eq!(cost(&Stats::new(), &old, &sent), Some(16));
        let new =
            of("cmdstat_object|encoding:calls=4,usec=9\ncmdstat_object|idletime:calls=4,usec=8");
        assert_eq!(cost(&Stats::new(), &new, &sent), Some(17));
    }

    #[test]
    fn a_server_that_tells_nothing_gives_no_cost() {
        let mut sent = Sent::default();
        sent.add("scan", 1);
        assert_eq!(cost(&Stats::new(), &Stats::new(), &sent), None);
    }
}
