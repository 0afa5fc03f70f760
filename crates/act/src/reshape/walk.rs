//! [`Walk`]: every key of every database that matches a glob, by SCAN, with rests.

use super::pace::rest;
use crate::ActError;
use crate::link::Link;
use redis::Value;
use std::time::Instant;
use unfrag_client::resp;
use unfrag_model::Info;

/// Table slots looked at by one SCAN: some 100 microseconds.
const COUNT: u32 = 500;
/// Idle time after a SCAN, as a multiple of its own.
const REST: f64 = 0.3;

/// A walk in progress. Keys that are there from the first to the last step are seen at least once.
#[derive(Debug)]
pub(super) struct Walk {
    glob: String,
    only_hashes: bool,
    dbs: Vec<u32>,
    at: usize,
    cursor: Option<String>,
    selected: Option<u32>,
    clustered: bool,
    pub(super) seen: u64,
}

impl Walk {
    pub(super) fn of(info: &Info, glob: &str, only_hashes: bool) -> Self {
        Self {
            glob: glob.to_owned(),
            only_hashes,
            dbs: info.databases().iter().map(|d| d.index).collect(),
            at: 0,
            cursor: None,
            selected: None,
            clustered: info.flag("cluster_enabled") == Some(true),
            seen: 0,
        }
    }

    /// The next keys, perhaps none; `None` after the last.
    pub(super) async fn next(
        &mut self,
        link: &mut Link,
    ) -> Result<Option<(u32, Vec<Vec<u8>>)>, ActError> {
        let Some(&db) = self.dbs.get(self.at) else { return Ok(None) };
        if self.selected != Some(db) {
            select(link, self.clustered, db).await?;
            self.selected = Some(db);
        }
        let mut command = redis::cmd("SCAN");
        command.arg(self.cursor.as_deref().unwrap_or("0"));
        command.arg("MATCH").arg(&self.glob).arg("COUNT").arg(COUNT);
        if self.only_hashes {
            command.arg("TYPE").arg("hash");
        }
        let begun = Instant::now();
        let value = link.connection.send(&command, "SCAN").await?;
        rest(begun.elapsed().mul_f64(REST));
        let parts = resp::elements(&value).unwrap_or_default();
        let next = parts.first().and_then(resp::text).unwrap_or_else(|| "0".to_owned());
        if next == "0" {
            self.cursor = None;
            self.at += 1;
        } else {
            self.cursor = Some(next);
        }
        let keys = parts.get(1).map(names).unwrap_or_default();
        self.seen += keys.len() as u64;
        Ok(Some((db, keys)))
    }
}

/// Selects a database; a Cluster has only one.
pub(super) async fn select(link: &mut Link, clustered: bool, db: u32) -> Result<(), ActError> {
    if !clustered {
        link.connection.call(&["SELECT", &db.to_string()]).await?;
    }
    Ok(())
}

/// Names in an array reply.
pub(super) fn names(value: &Value) -> Vec<Vec<u8>> {
    let all = resp::elements(value).unwrap_or_default();
    all.iter().filter_map(bytes).collect()
}

/// Bytes of a string reply.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes.clone()),
        Value::Nil | Value::ServerError(_) | Value::Array(_) => None,
        other => resp::text(other).map(String::into_bytes),
    }
}
