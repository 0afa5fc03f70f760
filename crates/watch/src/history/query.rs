//! Reading the history: one server's `series`, its bins, events, outcomes and decisions.
//!
//! A [`Reader`] is a connection of its own; it never waits for the writer (write-ahead log).

use super::HistoryError;
use super::store::{Level, roll};
use crate::pack::unpack;
use crate::point::Point;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most points of one answer: a chart is 1,200 pixels wide.
const MAX_POINTS: i64 = 600;

/// The database, for reading.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// One server over time.
#[derive(Debug, Default, PartialEq)]
pub struct Series {
    /// Seconds between points.
    pub step_s: i64,
    /// Means.
    pub means: Vec<Point>,
    /// The highest of each column, at the same times.
    pub peaks: Vec<Point>,
}

/// A heat map: waste of each bin over time.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Bins {
    /// When, in seconds since 1970, and `[size, slabs, live regions, waste]` of each bin.
    pub rows: Vec<(i64, Vec<[u64; 4]>)>,
}

/// A line of a table: its time, who or what, and its text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Seconds since 1970.
    pub at_s: i64,
    /// An event's kind, an outcome's asker, a decision's remedy.
    pub what: String,
    /// For a decision: whether it led to an act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acts: Option<bool>,
    /// The text. From outside: treat as hostile.
    pub text: String,
}

impl Reader {
    /// Opens the database for reading.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let fail =
            |source| HistoryError::Database { path: path.to_owned(), what: "opened", source };
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(fail)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    fn ask<T>(
        &self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        what(&self.connection).map_err(|source| HistoryError::Database {
            path: self.path.clone(),
            what: "read",
            source,
        })
    }

    /// A server from `from_s` to `until_s`, as finely as fits a chart; `recent` are points that are in no chunk yet.
    pub fn series(
        &self,
        node: i64,
        from_s: i64,
        until_s: i64,
        recent: &[Point],
    ) -> Result<Series, HistoryError> {
        // A long view of a young history is a short one: finer points, and no empty chart.
        let from_s = from_s.max(self.beginning(node, recent)?.unwrap_or(from_s));
        let span_s = (until_s - from_s).max(1);
        let level = match span_s {
            s if s <= Level::Raw.step_s() * MAX_POINTS => Level::Raw,
            s if s <= Level::Minute.step_s() * MAX_POINTS * 4 => Level::Minute,
            _ => Level::Hour,
        };
        let (mut means, mut peaks) = self.ask(|c| chunks(c, level, node, from_s, until_s))?;
        // A clock that was ahead for a while left points behind that are still to come.
        means.retain(|p| p.at_s <= until_s);
        peaks.retain(|p| p.at_s <= until_s);
        let last_s = means
            .last()
            .map_or(i64::MIN, |p| p.at_s + if level == Level::Raw { 1 } else { level.step_s() });
        let newer: Vec<Point> = recent.iter().filter(|p| p.at_s >= last_s).copied().collect();
        means.extend(&newer);
        peaks.extend(&newer);
        let wanted_s = (span_s / MAX_POINTS).max(level.step_s());
        let step_s = (wanted_s + level.step_s() - 1) / level.step_s() * level.step_s();
        let inside = |p: &&Point| (from_s..=until_s).contains(&p.at_s);
        let inside_s = spacing_s(&means.iter().filter(inside).collect::<Vec<_>>());
        if step_s <= Level::Raw.step_s() && inside_s * 2 > step_s {
            let means: Vec<Point> = means.iter().filter(inside).copied().collect();
            return Ok(Series { step_s: inside_s.max(step_s), peaks: means.clone(), means });
        }
        let (means, _) = roll(means.iter().filter(inside), step_s);
        let (_, peaks) = roll(peaks.iter().filter(inside), step_s);
        Ok(Series { step_s: inside_s.max(step_s), means, peaks })
    }

    /// Minutes of a server since `from_s`, for the line in memory after a start.
    pub fn minutes(&self, node: i64, from_s: i64) -> Result<Vec<Point>, HistoryError> {
        self.ask(|c| chunks(c, Level::Minute, node, from_s, i64::MAX)).map(|(means, _)| means)
    }

    /// When the history of a server begins.
    fn beginning(&self, node: i64, recent: &[Point]) -> Result<Option<i64>, HistoryError> {
        let first = self.ask(|c| {
            let sql =
                "SELECT pack FROM chunk WHERE level = ?1 AND node = ?2 ORDER BY start_s LIMIT 1";
            let found = c
                .prepare_cached(sql)?
                .query_row(params![Level::Hour as i64, node], |row| row.get::<_, Vec<u8>>(0));
            found.optional()
        })?;
        let first = first.and_then(|b| unpack(&b)?.first().map(|p| p.at_s));
        Ok(first.or_else(|| recent.first().map(|p| p.at_s)))
    }

    /// The bins of a server.
    pub fn bins(&self, node: i64, from_s: i64, until_s: i64) -> Result<Bins, HistoryError> {
        self.ask(|c| {
            let sql = "SELECT at_s, bins FROM bins WHERE node = ?1 AND at_s BETWEEN ?2 AND ?3 ORDER BY at_s";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![node, from_s, until_s], |row| {
                let text: String = row.get(1)?;
                Ok((row.get(0)?, serde_json::from_str(&text).unwrap_or_default()))
            })?;
            let rows: Vec<(i64, Vec<[u64; 4]>)> = rows.collect::<rusqlite::Result<_>>()?;
            // A column of the map is a few pixels wide.
            let every = rows.len().div_ceil(200).max(1);
            Ok(Bins { rows: rows.into_iter().step_by(every).collect() })
        })
    }

    /// Events, newest first.
    pub fn events(&self, node: i64, from_s: i64, limit: u32) -> Result<Vec<Line>, HistoryError> {
        self.lines(
            "SELECT at_s, kind, text, NULL FROM event WHERE node = ?1 AND at_s >= ?2 ORDER BY at_s DESC, id DESC LIMIT ?3",
            node,
            from_s,
            limit,
        )
    }

    /// Outcomes of remedies, newest first.
    pub fn outcomes(&self, node: i64, limit: u32) -> Result<Vec<Line>, HistoryError> {
        self.lines(
            "SELECT at_s, who, outcome, NULL FROM outcome WHERE node = ?1 AND at_s >= ?2 ORDER BY id DESC LIMIT ?3",
            node,
            0,
            limit,
        )
    }

    /// When a remedy ended last on a server, in seconds since 1970.
    pub fn last_outcome_s(&self, node: i64) -> Result<Option<i64>, HistoryError> {
        self.ask(|c| {
            let sql = "SELECT MAX(at_s) FROM outcome WHERE node = ?1";
            c.query_row(sql, [node], |row| row.get(0))
        })
    }

    /// Decisions of the policy, newest first.
    pub fn decisions(&self, node: i64, limit: u32) -> Result<Vec<Line>, HistoryError> {
        self.lines(
            "SELECT at_s, remedy, reason, acts FROM decision WHERE node = ?1 AND at_s >= ?2 ORDER BY id DESC LIMIT ?3",
            node,
            0,
            limit,
        )
    }

    fn lines(
        &self,
        sql: &str,
        node: i64,
        from_s: i64,
        limit: u32,
    ) -> Result<Vec<Line>, HistoryError> {
        self.ask(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![node, from_s, limit], |row| {
                Ok(Line {
                    at_s: row.get(0)?,
                    what: row.get(1)?,
                    text: row.get(2)?,
                    acts: row.get(3)?,
                })
            })?;
            rows.collect()
        })
    }
}

/// Seconds from most points to the next: a watch may look more or less often than every ten seconds.
fn spacing_s(points: &[&Point]) -> i64 {
    let mut gaps: Vec<i64> =
        points.iter().zip(points.iter().skip(1)).map(|(a, b)| b.at_s - a.at_s).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(Level::Raw.step_s())
}

fn chunks(
    c: &Connection,
    level: Level,
    node: i64,
    from_s: i64,
    until_s: i64,
) -> rusqlite::Result<(Vec<Point>, Vec<Point>)> {
    let sql = "SELECT pack, peaks FROM chunk WHERE level = ?1 AND node = ?2 AND start_s BETWEEN ?3 AND ?4 AND last_s >= ?5 ORDER BY start_s";
    let mut statement = c.prepare_cached(sql)?;
    let earliest = from_s.saturating_sub(level.chunk_s());
    let rows = statement
        .query_map(params![level as i64, node, earliest, until_s, from_s], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        })?;
    let (mut means, mut peaks) = (vec![], vec![]);
    for row in rows {
        let (pack, tops) = row?;
        let points = unpack(&pack).unwrap_or_default();
        peaks.extend(tops.and_then(|t| unpack(&t)).unwrap_or_else(|| points.clone()));
        means.extend(points);
    }
    Ok((means, peaks))
}
