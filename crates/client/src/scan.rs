//! Every key of a server, a page at a time, where a snapshot may not be had: [`Scan`].
//!
//! SCAN, and of each key TYPE, OBJECT ENCODING, MEMORY USAGE, PTTL, OBJECT IDLETIME, and its length where CLIENT NO-TOUCH
//! is (7.2): STRLEN and the like count as a use otherwise, which would spoil idle times and what eviction picks. None
//! takes longer for a larger key (MEMORY USAGE samples five elements, so bytes of collections are
//! estimates). All of it stays within a budget of server milliseconds a second that the server's own commandstats
//! measure, and it can be taken up again at the [`Position`] where it ended. Keys that are there throughout come at least
//! once; while the table is resized, a key may come twice.

mod cost;
mod position;

pub use position::{Position, PositionError};

use crate::error::{ClientError, Problem};
use crate::target::Address;
use crate::{ConnectOptions, Connection, connect, resp};
use cost::{Costs, Sent};
use redis::{Cmd, Pipeline, Value};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use unfrag_model::Info;

/// Server time that may be spent, unless said otherwise: a twentieth of its main thread.
pub const BUDGET_MS_PER_S: u32 = 50;
/// Server time of a page aimed at: the longest that another client waits because of us.
const PAGE_US: u64 = 1_000;
/// And the least, however others fare: below, INFO costs more than the page.
const PAGE_US_MIN: u64 = 125;
/// Keys asked for at first; the fewest and the most. Names of 500 keys stay far below the limit of a reply.
const FIRST_COUNT: u64 = 20;
const COUNTS: std::ops::RangeInclusive<u64> = 5..=500;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Database.
    pub db: u32,
    /// Its name.
    pub key: Vec<u8>,
    /// `string`, `hash`, …, or a module's type.
    pub kind: String,
    /// As OBJECT ENCODING prints it; empty where that is not allowed or not known.
    pub encoding: String,
    /// MEMORY USAGE.
    pub bytes: u64,
    /// Elements, or bytes of a string; `None` for a module's types.
    pub elements: Option<u64>,
    /// Milliseconds it has left; `None` for ever.
    pub ttl_ms: Option<u64>,
    /// Seconds since it was last used; `None` under an LFU policy.
    pub idle_s: Option<u64>,
}

/// How to go about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Server milliseconds that may be spent a second.
    pub budget_ms_per_s: u32,
    /// Where an earlier one ended.
    pub resume: Option<Position>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { budget_ms_per_s: BUDGET_MS_PER_S, resume: None }
    }
}

/// Why a scan cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A cursor means nothing to another process.
    #[error(
        "{server} was restarted, or is another server, since it was scanned: its cursors are gone"
    )]
    OtherProcess {
        /// The server.
        server: String,
    },
}

/// A walk over all keys of one server.
#[derive(Debug)]
pub struct Scan {
    connection: Connection,
    run_id: String,
    /// Databases to come; the first is being scanned.
    dbs: VecDeque<u32>,
    is_selected: bool,
    cursor: String,
    count: u64,
    costs: Costs,
    budget_ms_per_s: u32,
    /// Lengths are asked for: this leaves no trace on the keys.
    has_lengths: bool,
    page_us: u64,
    /// The budget of what was sent so far is used up until then.
    not_before: Instant,
}

impl Scan {
    /// Connects and looks where to begin. Reads no key yet.
    pub async fn open(
        address: &Address,
        options: &ConnectOptions,
        how: &ScanOptions,
    ) -> Result<Self, ScanError> {
        let mut connection = connect(address, options).await?;
        let value = connection.call(&["INFO"]).await?;
        let info = Info::parse(&resp::text(&value).unwrap_or_default());
        let run_id = info.text("run_id").unwrap_or_default().to_owned();
        let mut dbs: VecDeque<u32> = info.databases().iter().map(|db| db.index).collect();
        let mut cursor = "0".to_owned();
        if let Some(position) = &how.resume {
            if position.run_id != run_id {
                return Err(ScanError::OtherProcess { server: address.to_string() });
            }
            dbs.retain(|db| *db >= position.db);
            if dbs.front() == Some(&position.db) {
                position.cursor.clone_into(&mut cursor);
            }
        }
        let has_lengths = connection.call(&["CLIENT", "NO-TOUCH", "ON"]).await.is_ok();
        let costs = Costs::read(&mut connection).await;
        Ok(Self {
            connection,
            run_id,
            dbs,
            is_selected: false,
            cursor,
            count: FIRST_COUNT,
            costs,
            budget_ms_per_s: how.budget_ms_per_s.max(1),
            has_lengths,
            page_us: PAGE_US,
            not_before: Instant::now(),
        })
    }

    /// Where to begin another time; `None` at the end.
    pub fn position(&self) -> Option<Position> {
        let db = *self.dbs.front()?;
        Some(Position { run_id: self.run_id.clone(), db, cursor: self.cursor.clone() })
    }

    /// True if rows have lengths.
    pub fn has_lengths(&self) -> bool {
        self.has_lengths
    }

    /// The next pages take half the time: others wait too long.
    pub fn ease(&mut self) {
        self.page_us = (self.page_us / 2).max(PAGE_US_MIN);
        self.count = (self.count / 2).max(*COUNTS.start());
    }

    /// Server time spent so far.
    pub fn spent(&self) -> Duration {
        self.costs.spent()
    }

    /// The next keys, as soon as the budget allows; `None` after the last. A page may be empty.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, ScanError> {
        let Some(db) = self.dbs.front().copied() else { return Ok(None) };
        sleep(self.not_before.saturating_duration_since(Instant::now())).await;
        let begun = Instant::now();
        let mut sent = Sent::default();
        if !self.is_selected {
            // 0 is selected by itself, and a Cluster has no other.
            if db != 0 {
                let mut select = redis::cmd("SELECT");
                self.connection.send(select.arg(db), "SELECT").await?;
            }
            self.is_selected = true;
        }
        let (cursor, keys) = self.page(&mut sent).await?;
        let rows = self.rows(db, keys, &mut sent).await?;
        let page_us = self.costs.charge(&mut self.connection, &sent, begun.elapsed()).await;
        let share = u64::from(self.budget_ms_per_s).min(1000);
        self.not_before = begun + Duration::from_micros(page_us.saturating_mul(1000) / share);
        self.count = next_count(self.count, page_us, self.page_us);
        if cursor == "0" {
            self.dbs.pop_front();
            self.is_selected = false;
        }
        self.cursor = cursor;
        Ok(Some(rows))
    }

    async fn page(&mut self, sent: &mut Sent) -> Result<(String, Vec<Vec<u8>>), ClientError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&self.cursor).arg("COUNT").arg(self.count);
        let value = self.connection.send(&scan, "SCAN").await?;
        sent.add("scan", 1);
        let parts = resp::elements(&value).and_then(|all| match all {
            [cursor, keys] => Some((resp::text(cursor)?, resp::elements(keys)?)),
            _ => None,
        });
        let Some((cursor, keys)) = parts else {
            let (command, got) = ("SCAN".to_owned(), resp::kind(&value).to_owned());
            let problem = Problem::UnexpectedReply { command, got };
            return Err(ClientError::new(self.connection.name(), problem));
        };
        let keys = keys.iter().filter_map(|key| match key {
            Value::BulkString(bytes) => Some(bytes.clone()),
            _ => None,
        });
        Ok((cursor, keys.collect()))
    }

    async fn rows(
        &mut self,
        db: u32,
        keys: Vec<Vec<u8>>,
        sent: &mut Sent,
    ) -> Result<Vec<Row>, ClientError> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let about = self.all(&keys, &ABOUT, sent).await?;
        let mut rows: Vec<Row> = keys
            .into_iter()
            .zip(about.chunks(ABOUT.len()))
            .filter_map(|(key, replies)| row(db, key, replies))
            .collect();
        if !self.has_lengths {
            return Ok(rows);
        }
        let mut lengths = Pipeline::new();
        let mut asked = vec![];
        for (place, row) in rows.iter().enumerate() {
            if let Some(word) = length_of(&row.kind) {
                lengths.cmd(word).arg(&row.key);
                sent.add(word, 1);
                asked.push(place);
            }
        }
        if !asked.is_empty() {
            let replies = self.connection.send_all(&lengths, "HLEN").await?;
            for (place, reply) in asked.into_iter().zip(&replies) {
                if let Some(row) = rows.get_mut(place) {
                    row.elements = resp::count(reply);
                }
            }
        }
        Ok(rows)
    }

    /// Every one of these of every key, in one go. What a key that is gone or a right that lacks gives is a value.
    async fn all(
        &mut self,
        keys: &[Vec<u8>],
        commands: &[&[&str]],
        sent: &mut Sent,
    ) -> Result<Vec<Value>, ClientError> {
        let mut pipeline = Pipeline::new();
        for key in keys {
            for words in commands {
                let mut command = Cmd::new();
                for word in *words {
                    command.arg(word);
                }
                command.arg(key);
                pipeline.add_command(command);
            }
        }
        for words in commands {
            sent.add(&words.join("|").to_ascii_lowercase(), keys.len() as u64);
        }
        let replies = self.connection.send_all(&pipeline, "MEMORY USAGE").await?;
        // The one thing a row is worth nothing without.
        if let Some(Value::ServerError(error)) = replies.get(1) {
            let problem = Problem::from_reply("MEMORY USAGE", error);
            return Err(ClientError::new(self.connection.name(), problem));
        }
        Ok(replies)
    }
}

/// What is asked of each key, in the order of [`row`].
const ABOUT: [&[&str]; 5] =
    [&["TYPE"], &["MEMORY", "USAGE"], &["OBJECT", "ENCODING"], &["PTTL"], &["OBJECT", "IDLETIME"]];

/// `None` for a key that is gone by now.
fn row(db: u32, key: Vec<u8>, replies: &[Value]) -> Option<Row> {
    let [kind, bytes, encoding, ttl, idle] = replies else { return None };
    Some(Row {
        db,
        key,
        kind: resp::text(kind).filter(|kind| kind != "none")?,
        bytes: resp::count(bytes)?,
        encoding: resp::text(encoding).unwrap_or_default(),
        elements: None,
        ttl_ms: resp::count(ttl),
        idle_s: resp::count(idle),
    })
}

fn length_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "string" => "strlen",
        "list" => "llen",
        "set" => "scard",
        "zset" => "zcard",
        "hash" => "hlen",
        "stream" => "xlen",
        _ => return None,
    })
}

/// Towards pages that take so long, at most twice or half as large as the last.
fn next_count(count: u64, page_us: u64, wanted_us: u64) -> u64 {
    let wanted = count.saturating_mul(wanted_us) / page_us.max(1);
    wanted.clamp(count / 2, count * 2).clamp(*COUNTS.start(), *COUNTS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_to_take_a_millisecond_of_the_server() {
        // 7 us a key.
        let mut count = FIRST_COUNT;
        for _ in 0..10 {
            count = next_count(count, count * 7, PAGE_US);
        }
        assert_eq!(count, PAGE_US / 7);
        // However slow or fast, within bounds.
        assert_eq!((0..20).fold(count, |c, _| next_count(c, 1_000_000, PAGE_US)), *COUNTS.start());
        assert_eq!((0..20).fold(count, |c, _| next_count(c, 0, PAGE_US)), *COUNTS.end());
    }
}
