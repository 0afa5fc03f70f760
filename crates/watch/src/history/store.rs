//! [`Store`]: the tables, and what is written into them.
//!
//! - `node(id, name)`: servers; `id` is in every other table.
//! - `journal(node, point)`: points that are in no chunk yet, in the order they came.
//! - `chunk(level, node, start_s, …, pack)`: up to 360 points of one server; level 0 as they came, 1 minutes, 2 hours. The
//!   packs of levels 1 and 2 hold means; `peaks` the highest of each column.
//! - `bins`, `event`, `outcome`, `decision`: what the names say.

use super::{HistoryError, Job, Retention};
use crate::pack::{decode, encode, pack, unpack};
use crate::point::{COLUMNS, Point, UNKNOWN};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of the tables; a later one is refused, an earlier one would be brought up to date here.
const FORM: i64 = 1;
/// Points in a chunk, at every level.
const PER_CHUNK: i64 = 360;

/// Seconds after which what is in the journal is certainly in chunks too.
const JOURNAL_S: i64 = 4 * crate::collect::PACK_S;

/// How fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i64)]
pub enum Level {
    /// As they came.
    Raw = 0,
    /// Minutes.
    Minute = 1,
    /// Hours.
    Hour = 2,
}

impl Level {
    /// Seconds of a point; as they came means about ten.
    pub const fn step_s(self) -> i64 {
        match self {
            Self::Raw => 10,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    pub(crate) const fn chunk_s(self) -> i64 {
        self.step_s() * PER_CHUNK
    }
}

/// The database, for writing.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS node (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS journal (node INTEGER NOT NULL, at_s INTEGER NOT NULL, point BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunk (
  level INTEGER NOT NULL, node INTEGER NOT NULL, start_s INTEGER NOT NULL,
  last_s INTEGER NOT NULL, pack BLOB NOT NULL, peaks BLOB,
  PRIMARY KEY (level, node, start_s)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bins (node INTEGER NOT NULL, at_s INTEGER NOT NULL, bins TEXT NOT NULL, PRIMARY KEY (node, at_s)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, at_s INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_of_node ON event (node, at_s);
CREATE TABLE IF NOT EXISTS outcome (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, at_s INTEGER NOT NULL, who TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS outcome_of_node ON outcome (node, at_s);
CREATE TABLE IF NOT EXISTS decision (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, at_s INTEGER NOT NULL, remedy TEXT NOT NULL, acts INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS decision_of_node ON decision (node, at_s);
";

impl Store {
    /// Opens or creates the database.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let opened = Connection::open(path).map_err(|e| fail(path, "opened", e))?;
        let store = Self { connection: opened, path: path.to_owned() };
        let prepare = || -> rusqlite::Result<i64> {
            let c = &store.connection;
            // A reader that hangs must not stop the writing for longer.
            c.busy_timeout(std::time::Duration::from_secs(2))?;
            c.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let found = prepare().map_err(|e| fail(path, "opened", e))?;
        if found > FORM {
            return Err(HistoryError::Newer { path: path.to_owned(), found, known: FORM });
        }
        // Only what is not there yet is written: a full disk must not keep the watch from beginning again.
        if found < FORM {
            store.create().map_err(|e| fail(path, "written", e))?;
        }
        store.tune().map_err(|e| fail(path, "opened", e))?;
        Ok(store)
    }

    fn create(&self) -> rusqlite::Result<()> {
        let c = &self.connection;
        c.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        c.pragma_update(None, "journal_mode", "WAL")?;
        c.execute_batch(TABLES)?;
        c.pragma_update(None, "user_version", FORM)
    }

    fn tune(&self) -> rusqlite::Result<()> {
        let c = &self.connection;
        // A power cut may cost the last seconds, never the file.
        c.pragma_update(None, "synchronous", "NORMAL")?;
        c.pragma_update(None, "cache_size", -8192)?;
        c.pragma_update(None, "wal_autocheckpoint", 2000)
    }

    /// Packs what the last watch left in the journal.
    pub fn absorb_journal(&mut self) -> Result<(), HistoryError> {
        let path = self.path.clone();
        let mut absorb = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let mut left: BTreeMap<i64, Vec<Point>> = BTreeMap::new();
            {
                let mut statement =
                    transaction.prepare("SELECT node, point FROM journal ORDER BY at_s")?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let bytes: Vec<u8> = row.get(1)?;
                    left.entry(row.get(0)?)
                        .or_default()
                        .extend(decode(&bytes).into_iter().flatten());
                }
            }
            for (node, points) in left {
                write_packs(&transaction, node, &points)?;
            }
            transaction.execute("DELETE FROM journal", [])?;
            transaction.commit()
        };
        absorb().map_err(|e| fail(&path, "written", e))
    }

    /// The key of a name, if it has one.
    pub fn known(&self, name: &str) -> Result<Option<i64>, HistoryError> {
        let known = "SELECT id FROM node WHERE name = ?1";
        let found = self.connection.query_row(known, [name], |row| row.get(0)).optional();
        found.map_err(|e| fail(&self.path, "read", e))
    }

    /// The key of a name, and whether it is new.
    pub fn key(&self, name: &str) -> Result<(i64, bool), HistoryError> {
        if let Some(id) = self.known(name)? {
            return Ok((id, false));
        }
        let insert = "INSERT INTO node (name) VALUES (?1)";
        self.connection.execute(insert, [name]).map_err(|e| fail(&self.path, "written", e))?;
        Ok((self.connection.last_insert_rowid(), true))
    }

    /// A key that no name has, nor any in `given`.
    pub fn free_key(&self, given: &[(i64, String)]) -> Result<i64, HistoryError> {
        let last = "SELECT COALESCE(MAX(id), 0) FROM node";
        let last: i64 = self
            .connection
            .query_row(last, [], |row| row.get(0))
            .map_err(|e| fail(&self.path, "read", e))?;
        Ok(given.iter().map(|g| g.0).max().unwrap_or(0).max(last) + 1)
    }

    /// The time of the newest figure or event; `None` when there is none.
    pub fn newest_s(&self) -> Result<Option<i64>, HistoryError> {
        // The last row of each, not the highest of all: a look through months of chunks would hold up the start.
        let newest = "SELECT MAX(s) FROM (SELECT * FROM (SELECT at_s AS s FROM journal ORDER BY rowid DESC LIMIT 1)
            UNION ALL SELECT * FROM (SELECT at_s FROM event ORDER BY id DESC LIMIT 1))";
        let found = self.connection.query_row(newest, [], |row| row.get(0));
        found.map_err(|e| fail(&self.path, "read", e))
    }

    /// Writes jobs in one transaction, and before them names that were given their keys while nothing could be written.
    pub fn write(&mut self, names: &[(i64, String)], jobs: &[Job]) -> Result<(), HistoryError> {
        let path = self.path.clone();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            for (id, name) in names {
                transaction
                    .execute("INSERT INTO node (id, name) VALUES (?1, ?2)", params![id, name])?;
            }
            for job in jobs {
                write_job(&transaction, job)?;
            }
            transaction.commit()
        };
        write().map_err(|e| fail(&path, "written", e))
    }

    /// Throws out what is too old or too much; returns the bytes of the file.
    pub fn sweep(&self, retention: &Retention, now_s: i64) -> Result<u64, HistoryError> {
        let path = self.path.clone();
        let sweep = || -> rusqlite::Result<u64> {
            let c = &self.connection;
            for (level, keep_s) in [
                (Level::Raw, retention.raw_s),
                (Level::Minute, retention.minute_s),
                (Level::Hour, retention.hour_s),
            ] {
                c.execute(
                    "DELETE FROM chunk WHERE level = ?1 AND last_s < ?2",
                    params![level as i64, now_s - keep_s],
                )?;
            }
            // By now everything this old is in chunks.
            c.execute("DELETE FROM journal WHERE at_s < ?1", [now_s - JOURNAL_S])?;
            c.execute("DELETE FROM bins WHERE at_s < ?1", [now_s - retention.minute_s])?;
            for table in ["event", "outcome", "decision"] {
                let old = format!("DELETE FROM {table} WHERE at_s < ?1");
                c.execute(&old, [now_s - retention.hour_s])?;
            }
            self.shrink(retention, now_s)?;
            // Pages go back to the file system a few at a time: a long hold would stop the writing.
            self.connection.execute_batch("PRAGMA incremental_vacuum(2000)")?;
            self.bytes()
        };
        sweep().map_err(|e| fail(&path, "written", e))
    }

    /// While it is too large, the oldest sixth of the finest level goes.
    fn shrink(&self, retention: &Retention, now_s: i64) -> rusqlite::Result<()> {
        for level in [Level::Raw, Level::Minute, Level::Hour] {
            for _ in 0..6 {
                if self.bytes()? <= retention.max_bytes {
                    return Ok(());
                }
                let oldest = "SELECT MIN(start_s) FROM chunk WHERE level = ?1";
                let oldest: Option<i64> =
                    self.connection.query_row(oldest, [level as i64], |row| row.get(0))?;
                let Some(oldest) = oldest else { break };
                let until = oldest + ((now_s - oldest) / 6).max(level.chunk_s());
                self.connection.execute(
                    "DELETE FROM chunk WHERE level = ?1 AND start_s < ?2",
                    params![level as i64, until],
                )?;
            }
        }
        Ok(())
    }

    /// Bytes of the pages in use.
    fn bytes(&self) -> rusqlite::Result<u64> {
        let pragma =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = pragma("page_count")? - pragma("freelist_count")?;
        Ok(u64::try_from(used * pragma("page_size")?).unwrap_or(0))
    }

    /// Leaves a file that is whole by itself.
    pub(crate) fn close(&self) {
        // Without it the next start reads the write-ahead log: nothing is lost.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

fn fail(path: &Path, what: &'static str, source: rusqlite::Error) -> HistoryError {
    HistoryError::Database { path: path.to_owned(), what, source }
}

fn write_job(t: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    match job {
        Job::Point(node, point) => {
            let bytes = encode(std::slice::from_ref(point));
            t.prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3)")?
                .execute(params![node, point.at_s, bytes])?;
        }
        Job::Bins(node, at_s, bins) => {
            let rows: Vec<[u64; 4]> = bins
                .iter()
                .filter(|b| b.slabs > 0)
                .map(|b| [b.size_bytes, b.slabs, b.live_regions, b.waste_bytes()])
                .collect();
            let text = serde_json::to_string(&rows).unwrap_or_default();
            t.prepare_cached("INSERT OR REPLACE INTO bins VALUES (?1, ?2, ?3)")?
                .execute(params![node, at_s, text])?;
        }
        Job::Event(node, event) => {
            t.prepare_cached("INSERT INTO event (node, at_s, kind, text) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![node, event.at_s, event.kind.name(), event.text])?;
        }
        Job::Outcome(node, at_s, who, outcome) => {
            t.execute(
                "INSERT INTO outcome (node, at_s, who, outcome) VALUES (?1, ?2, ?3, ?4)",
                params![node, at_s, who, outcome],
            )?;
        }
        Job::Decision(node, at_s, remedy, acts, reason) => {
            t.execute(
                "INSERT INTO decision (node, at_s, remedy, acts, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![node, at_s, remedy, acts, reason],
            )?;
        }
        Job::Pack(node, points) => write_packs(t, *node, points)?,
    }
    Ok(())
}

fn write_packs(t: &Transaction<'_>, node: i64, points: &[Point]) -> rusqlite::Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    let raw = append(t, Level::Raw, node, points, None)?;
    let first_s = points.first().map_or(0, |p| p.at_s);
    // The minute and the hour that these points lie in are made again from the finer level, whole.
    let minutes = roll(raw.iter().filter(|p| p.at_s >= first_s - first_s.rem_euclid(60)), 60);
    let (means, peaks) = minutes;
    append(t, Level::Minute, node, &means, Some(&peaks))?;
    let hour_s = first_s - first_s.rem_euclid(3600);
    let minutes = read(t, Level::Minute, node, hour_s)?;
    let tops = read_peaks(t, Level::Minute, node, hour_s)?;
    let (means, _) = roll(minutes.iter().filter(|p| p.at_s >= hour_s), 3600);
    let (_, peaks) = roll(tops.iter().filter(|p| p.at_s >= hour_s), 3600);
    append(t, Level::Hour, node, &means, Some(&peaks))?;
    Ok(())
}

/// Adds points to their chunks, replacing those of the same time; returns all points of the chunks touched.
fn append(
    t: &Transaction<'_>,
    level: Level,
    node: i64,
    points: &[Point],
    peaks: Option<&[Point]>,
) -> rusqlite::Result<Vec<Point>> {
    let mut touched = vec![];
    let mut starts: Vec<i64> =
        points.iter().map(|p| p.at_s - p.at_s.rem_euclid(level.chunk_s())).collect();
    starts.dedup();
    for start_s in starts {
        let inside = |p: &&Point| (start_s..start_s + level.chunk_s()).contains(&p.at_s);
        let all = merged(chunk(t, level, node, start_s, "pack")?, points.iter().filter(inside));
        let tops = match peaks {
            Some(peaks) => {
                let old = chunk(t, level, node, start_s, "peaks")?;
                Some(pack(&merged(old, peaks.iter().filter(inside))))
            }
            None => None,
        };
        let last_s = all.last().map_or(start_s, |p| p.at_s);
        t.prepare_cached("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![level as i64, node, start_s, last_s, pack(&all), tops])?;
        touched.extend(all);
    }
    Ok(touched)
}

fn merged<'a>(old: Vec<Point>, new: impl Iterator<Item = &'a Point>) -> Vec<Point> {
    let mut all: BTreeMap<i64, Point> = old.into_iter().map(|p| (p.at_s, p)).collect();
    all.extend(new.map(|p| (p.at_s, *p)));
    all.into_values().collect()
}

fn chunk(
    t: &Transaction<'_>,
    level: Level,
    node: i64,
    start_s: i64,
    what: &str,
) -> rusqlite::Result<Vec<Point>> {
    let sql = format!("SELECT {what} FROM chunk WHERE level = ?1 AND node = ?2 AND start_s = ?3");
    let bytes: Option<Option<Vec<u8>>> = t
        .prepare_cached(&sql)?
        .query_row(params![level as i64, node, start_s], |row| row.get(0))
        .optional()?;
    // A chunk that cannot be read is begun anew: later points matter more.
    Ok(bytes.flatten().and_then(|b| unpack(&b)).unwrap_or_default())
}

fn read(t: &Transaction<'_>, level: Level, node: i64, from_s: i64) -> rusqlite::Result<Vec<Point>> {
    from(t, level, node, from_s, "pack")
}

fn read_peaks(
    t: &Transaction<'_>,
    level: Level,
    node: i64,
    from_s: i64,
) -> rusqlite::Result<Vec<Point>> {
    from(t, level, node, from_s, "peaks")
}

fn from(
    t: &Transaction<'_>,
    level: Level,
    node: i64,
    from_s: i64,
    what: &str,
) -> rusqlite::Result<Vec<Point>> {
    let sql = format!(
        "SELECT {what} FROM chunk WHERE level = ?1 AND node = ?2 AND last_s >= ?3 AND start_s > ?4 ORDER BY start_s"
    );
    let mut statement = t.prepare_cached(&sql)?;
    let earliest = from_s - level.chunk_s();
    let rows = statement.query_map(params![level as i64, node, from_s, earliest], |row| {
        row.get::<_, Option<Vec<u8>>>(0)
    })?;
    let mut points = vec![];
    for row in rows {
        points.extend(row?.and_then(|b| unpack(&b)).unwrap_or_default());
    }
    Ok(points)
}

/// Points to one a `step_s`: means, and the highest of each column. Each stands at its step's beginning.
pub(crate) fn roll<'a>(
    points: impl Iterator<Item = &'a Point>,
    step_s: i64,
) -> (Vec<Point>, Vec<Point>) {
    let mut steps: BTreeMap<i64, Vec<&Point>> = BTreeMap::new();
    for point in points {
        steps.entry(point.at_s - point.at_s.rem_euclid(step_s)).or_default().push(point);
    }
    let one = |(at_s, points): (i64, Vec<&Point>)| {
        let (mut mean, mut peak) = (Point::unknown(at_s), Point::unknown(at_s));
        for column in 0..COLUMNS {
            let known =
                || points.iter().filter_map(|p| p.values.get(column)).filter(|v| **v != UNKNOWN);
            let (mut sum, mut count, mut top) = (0i128, 0i128, UNKNOWN);
            for value in known() {
                sum += i128::from(*value);
                count += 1;
                top = top.max(*value);
            }
            if count > 0
                && let (Some(m), Some(p)) =
                    (mean.values.get_mut(column), peak.values.get_mut(column))
            {
                *m = i64::try_from(sum / count).unwrap_or(UNKNOWN);
                *p = top;
            }
        }
        (mean, peak)
    };
    steps.into_iter().map(one).unzip()
}

#[cfg(test)]
mod tests {
    use super::super::query::Reader;
    use super::super::{History, Job, Retention};
    use super::*;
    use crate::event::{Event, Kind};
    use crate::point::Column;

    fn point(at_s: i64, rss: i64) -> Point {
        let mut point = Point::unknown(at_s);
        point.set(Column::Rss, Some(rss));
        point.set(Column::Up, Some(1));
        point
    }

    const BEGIN_S: i64 = 1_700_000_000 / 3600 * 3600;

    /// A day at ten seconds: RSS is the second of the day, with a spike each hour.
    fn day() -> Vec<Point> {
        let rss = |n: i64| if n % 360 == 100 { 1_000_000 } else { n * 10 };
        (0..8640).map(|n| point(BEGIN_S + n * 10, rss(n))).collect()
    }

    fn packed(store: &mut Store, points: &[Point]) {
        // As the daemon does it: five minutes at a time.
        for part in points.chunks(30) {
            store.write(&[], &[Job::Pack(1, part.to_vec())]).unwrap();
        }
    }

    #[test]
    fn minutes_and_hours_are_means_and_peaks_of_what_came() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.sqlite");
        let mut store = Store::open(&path).unwrap();
        packed(&mut store, &day());
        let reader = Reader::open(&path).unwrap();
        let fine = reader.series(1, BEGIN_S + 3600, BEGIN_S + 7200, &[]).unwrap();
        assert_eq!((fine.step_s, fine.means.len()), (10, 361));
        assert_eq!(fine.means[0], point(BEGIN_S + 3600, 3600));
        let whole = reader.series(1, BEGIN_S, BEGIN_S + 86400, &[]).unwrap();
        assert_eq!(whole.step_s, 180);
        assert_eq!(whole.means.len(), 480);
        assert_eq!(
            whole.peaks.iter().filter(|p| p.get(Column::Rss) == Some(1_000_000)).count(),
            24
        );
        let hours = reader.series(1, BEGIN_S, BEGIN_S + 4 * 86400, &[]).unwrap();
        assert_eq!(hours.means.len(), 24);
        // The mean of an hour: its middle, and a 360th of the spike.
        let mean = hours.means[5].get(Column::Rss).unwrap();
        let want = (5 * 3600 + 1795) + (1_000_000 - (5 * 3600 + 1000)) / 360;
        assert!((mean - want).abs() < 20, "{mean} {want}");
    }

    #[test]
    fn the_step_of_a_series_is_that_of_its_points() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.sqlite");
        let mut store = Store::open(&path).unwrap();
        for (node, every_s) in [(1, 1), (2, 10), (3, 60), (4, 600)] {
            let points: Vec<Point> =
                (0..3600 / every_s).map(|n| point(BEGIN_S + n * every_s, n)).collect();
            store.write(&[], &[Job::Pack(node, points)]).unwrap();
        }
        let reader = Reader::open(&path).unwrap();
        let shape = |node| {
            let series = reader.series(node, BEGIN_S, BEGIN_S + 3600, &[]).unwrap();
            (series.step_s, series.means.len())
        };
        assert_eq!([1, 2, 3, 4].map(shape), [(10, 360), (10, 360), (60, 60), (600, 6)]);
    }

    #[test]
    fn a_full_disk_loses_nothing_that_fits_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.sqlite");
        let mut store = Store::open(&path).unwrap();
        store.key("a").unwrap();
        // SQLite's own word for a full disk, on demand.
        let pages: i64 =
            store.connection.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
        store.connection.pragma_update(None, "max_page_count", pages + 2).unwrap();
        let event =
            |n: i64| Job::Event(1, Event { at_s: n, kind: Kind::Config, text: "x".repeat(3000) });
        let jobs: Vec<Job> = (0..50).map(event).collect();
        let error = store.write(&[], &jobs).unwrap_err();
        assert!(
            std::error::Error::source(&error).unwrap().to_string().contains("full"),
            "{error:?}"
        );
        store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        store.write(&[], &jobs).unwrap();
        let events = Reader::open(&path).unwrap().events(1, 0, 1000).unwrap();
        assert_eq!(events.len(), 50, "all of it, once");
    }

    #[test]
    fn age_and_size_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.sqlite");
        let mut store = Store::open(&path).unwrap();
        for node in 1..=6 {
            let key = store.key(&format!("n{node}")).unwrap().0;
            let mut noise = 1u64;
            let mut points = day();
            for point in &mut points {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                point.set(Column::Used, Some((noise >> 20).cast_signed()));
            }
            for part in points.chunks(360) {
                store.write(&[], &[Job::Pack(key, part.to_vec())]).unwrap();
            }
        }
        let now_s = BEGIN_S + 86400;
        let before = store.bytes().unwrap();
        let aged = Retention { raw_s: 7200, ..Retention::default() };
        let after = store.sweep(&aged, now_s).unwrap();
        assert!(after < before / 2, "{before} {after}");
        let small = Retention { max_bytes: after / 2, ..Retention::default() };
        assert!(store.sweep(&small, now_s).unwrap() <= after / 2);
        // The coarsest goes last.
        let hours =
            Reader::open(&path).unwrap().series(1, BEGIN_S, BEGIN_S + 4 * 86400, &[]).unwrap();
        assert_eq!(hours.means.len(), 24);
        let integrity: String =
            store.connection.pragma_query_value(None, "integrity_check", |r| r.get(0)).unwrap();
        assert_eq!(integrity, "ok");
    }

    #[test]
    fn what_was_not_packed_is_packed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        {
            let mut store = Store::open(&folder.path().join(super::super::FILE)).unwrap();
            let id = store.key("a").unwrap().0;
            let jobs: Vec<Job> =
                (0..30).map(|n| Job::Point(id, Box::new(point(BEGIN_S + n * 10, n)))).collect();
            store.write(&[], &jobs).unwrap();
        }
        let history = History::open(folder.path(), Retention::default()).unwrap();
        let (id, is_new) = history.key("a").unwrap();
        assert!(!is_new);
        let series =
            Reader::open(history.path()).unwrap().series(id, BEGIN_S, BEGIN_S + 600, &[]).unwrap();
        assert_eq!(series.means.len(), 30);
    }

    #[test]
    fn a_later_form_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.sqlite");
        Store::open(&path).unwrap().connection.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&path), Err(HistoryError::Newer { found: 99, .. })));
    }
}
