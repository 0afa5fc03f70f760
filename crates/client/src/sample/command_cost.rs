//! What each reading cost the server, in its own microseconds: the difference of `cmdstat_*` between the first INFO and
//! a last `INFO commandstats`.
//!
//! A figure is given only where it is certainly ours: the call count rose by exactly the calls we made. Before 7.0 the
//! subcommands of MEMORY share one line, and one more `INFO commandstats` between them (on jemalloc builds, where both
//! are called) tells them apart.

use super::Reader;
use crate::resp;
use std::collections::BTreeMap;
use unfrag_model::Info;
use unfrag_model::version::Version;

const WHAT: &str = "INFO commandstats";

/// Calls and microseconds of one command since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spent {
    calls: u64,
    usec: u64,
}

type Stats = BTreeMap<String, Spent>;

/// Statistics as they were before the readings.
pub(super) struct Costs {
    stats: Stats,
    /// True when `memory|stats` and `memory|malloc-stats` share a line and both will be called.
    shares_a_line: bool,
    /// Commands whose cost is already told.
    told: usize,
}

impl Costs {
    /// Starts from the first INFO.
    pub(super) fn before(reader: &Reader<'_>) -> Self {
        let info = &reader.sample.info;
        let per_subcommand = Version::new(7, 0, 0);
        let jemalloc = info.text("mem_allocator").is_some_and(|a| a.starts_with("jemalloc"));
        let shares_a_line = jemalloc && !info.engine().at_least(per_subcommand, per_subcommand);
        // The handshake was over when the first INFO counted.
        let told = reader.connection.handshake().len();
        Self { stats: stats(info), shares_a_line, told }
    }

    /// Reads the statistics between MEMORY STATS and MEMORY MALLOC-STATS where they share a line.
    pub(super) async fn between(mut self, reader: &mut Reader<'_>) -> Self {
        if self.shares_a_line
            && !self.stats.is_empty()
            && let Some(now) = read(reader).await
        {
            self.told = tell(&self.stats, &now, self.told, reader);
            self.stats = now;
        }
        self
    }

    /// Reads the statistics again and writes down what each command took.
    pub(super) async fn after(self, reader: &mut Reader<'_>) {
        if self.stats.is_empty() {
            return;
        }
        if let Some(now) = read(reader).await {
            tell(&self.stats, &now, self.told, reader);
        }
    }
}

async fn read(reader: &mut Reader<'_>) -> Option<Stats> {
    let value = reader.ask(WHAT, &["INFO", "commandstats"]).await?;
    Some(stats(&Info::parse(&resp::text(&value)?)))
}

/// Attributes the difference to the commands from `first` on; returns how many commands there are now.
fn tell(before: &Stats, now: &Stats, first: usize, reader: &mut Reader<'_>) -> usize {
    let commands = &mut reader.sample.commands;
    let fresh = commands.get_mut(first..).unwrap_or_default();
    // The reading itself is counted only after it has been printed.
    let count = fresh.len().saturating_sub(1);
    let ours: Vec<&str> = fresh.iter().take(count).filter_map(|c| line(&c.command, now)).collect();
    let ours: Vec<String> = ours.into_iter().map(str::to_owned).collect();
    for command in fresh.iter_mut().take(count) {
        let Some(name) = line(&command.command, now) else { continue };
        let calls = ours.iter().filter(|n| *n == name).count();
        let old = before.get(name).copied().unwrap_or_default();
        let Some(new) = now.get(name) else { continue };
        if calls == 1 && new.calls.checked_sub(old.calls) == Some(1) {
            command.server_us = new.usec.checked_sub(old.usec);
        }
    }
    // The last command keeps its place: the next reading tells of it.
    commands.len().saturating_sub(1)
}

/// The statistics' name for a command: `memory|stats`, or `memory` on older servers.
fn line<'a>(command: &str, stats: &'a Stats) -> Option<&'a str> {
    let mut words = command.split(' ').map(str::to_ascii_lowercase);
    let container = words.next()?;
    let full = format!("{container}|{}", words.next().unwrap_or_default());
    let (name, _) = stats.get_key_value(&full).or_else(|| stats.get_key_value(&container))?;
    Some(name)
}

fn stats(info: &Info) -> Stats {
    info.fields()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix("cmdstat_")?.to_ascii_lowercase();
            let get = |field: &str| {
                value
                    .split(',')
                    .find_map(|p| p.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
            };
            Some((name, Spent { calls: get("calls")?, usec: get("usec")? }))
        })
        .collect()
}
