//! What is compared before and after: [`Recorded`] on one side, [`Verified`] as the result.

use crate::ActError;
use redis::Value;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use unfrag_client::{Connection, resp};
use unfrag_model::Info;
use unfrag_model::text::{counted, grouped};
use unfrag_rdb::{Checksum, VerifyOptions, verify_file};

/// Keys whose values are compared; a few round trips.
pub(crate) const SAMPLED: usize = 200;

/// What a server held at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    pub(crate) keys: BTreeMap<u32, u64>,
    pub(crate) digest: Option<String>,
    pub(crate) sample: Vec<Sampled>,
}

/// One key, and what tells its value from others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampled {
    db: u32,
    key: Vec<u8>,
    print: Vec<Value>,
}

/// What was compared, and how it came out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Keys before.
    pub keys_before: Option<u64>,
    /// Keys after; clients may have written meanwhile.
    pub keys_after: Option<u64>,
    /// The same count in every database, at a moment when nothing had been written since.
    pub databases_equal: Option<bool>,
    /// Keys that the new process says it loaded, and those it dropped because their time was over.
    pub loaded: Option<(u64, u64)>,
    /// Keys that may be gone by right where the new process does not count what it loaded, at most: those that had a time to
    /// live, and one for each command that clients have sent since.
    pub removable: Option<u64>,
    /// Keys in the file that the stop wrote, read by our own reader, when its checksum and layout are right.
    pub file_keys: Option<u64>,
    /// DEBUG DIGEST of the whole data is the same.
    pub digest_equal: Option<bool>,
    /// Keys whose values were compared.
    pub sampled: u64,
    /// Those that differ; where clients may have written meanwhile, that is no fault.
    pub sample_differs: u64,
    /// Nothing had been written when this was compared.
    pub quiet: bool,
    /// Settings that differ; unknown where they were not compared.
    pub config_differs: Option<Vec<String>>,
    /// Replication offsets were equal when roles were exchanged.
    pub offsets_equal: Option<bool>,
}

impl Verified {
    /// Why the data cannot be the same, if it cannot.
    pub(crate) fn fault(&self) -> Option<String> {
        let before = self.keys_before?;
        if let Some((loaded, expired)) = self.loaded
            && loaded + expired < before
        {
            return Some(format!(
                "{} saved and {} loaded ({} expired)",
                counted(before, "key"),
                grouped(loaded),
                grouped(expired)
            ));
        }
        if let (Some(after), Some(removable)) = (self.keys_after, self.removable)
            && after.saturating_add(removable) < before
        {
            return Some(format!(
                "there were {} and {} are left, more gone than {} that expired or that clients can have deleted since",
                counted(before, "key"),
                grouped(after),
                grouped(removable)
            ));
        }
        if let Some(file) = self.file_keys.filter(|&file| file < before) {
            return Some(format!(
                "there were {} and the file holds {}",
                counted(before, "key"),
                grouped(file)
            ));
        }
        if self.quiet && self.digest_equal == Some(false) {
            return Some("the digest of the data differs".to_owned());
        }
        if self.quiet && self.sample_differs > 0 {
            return Some(format!(
                "{} of {} sampled values differ",
                self.sample_differs, self.sampled
            ));
        }
        None
    }
}

/// Keys by database.
pub(crate) fn keys_of(info: &Info) -> BTreeMap<u32, u64> {
    info.databases().iter().filter(|d| d.keys > 0).map(|d| (d.index, d.keys)).collect()
}

/// Records what can be recorded; a command that is not allowed leaves its part out.
pub(crate) async fn record(
    connection: &mut Connection,
    info: &Info,
    wants_digest: bool,
    sampled: usize,
) -> Result<Recorded, ActError> {
    let keys = keys_of(info);
    let digest = if wants_digest { digest(connection).await? } else { None };
    let names = pick(connection, &keys, sampled).await?;
    let sample = look(connection, &names).await?;
    Ok(Recorded { keys, digest, sample })
}

/// DEBUG DIGEST, where it is allowed.
pub(crate) async fn digest(connection: &mut Connection) -> Result<Option<String>, ActError> {
    match connection.call(&["DEBUG", "DIGEST"]).await {
        Ok(value) => Ok(resp::text(&value)),
        Err(error) if error.is_reply() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Random keys, spread over the databases by their size.
pub(crate) async fn pick(
    connection: &mut Connection,
    keys: &BTreeMap<u32, u64>,
    wanted: usize,
) -> Result<Vec<(u32, Vec<u8>)>, ActError> {
    let total: u64 = keys.values().sum();
    let mut names: Vec<(u32, Vec<u8>)> = vec![];
    for (&db, &count) in keys {
        let share = (wanted as u64).saturating_mul(count).div_ceil(total.max(1));
        let mut pipeline = redis::pipe();
        pipeline.cmd("SELECT").arg(db);
        (0..share).for_each(|_| {
            pipeline.cmd("RANDOMKEY");
        });
        let replies = connection.send_all(&pipeline, "RANDOMKEY").await?;
        for value in replies {
            if let Value::BulkString(key) = value
                && !names.iter().any(|(d, k)| *d == db && *k == key)
            {
                names.push((db, key));
            }
        }
    }
    Ok(names)
}

/// A key and its type, so that looking at it takes one round trip.
pub(crate) type Known = (u32, Vec<u8>, String);

/// Type, length, the first kilobyte of a string: cheap for keys of any size.
pub(crate) async fn look(
    connection: &mut Connection,
    names: &[(u32, Vec<u8>)],
) -> Result<Vec<Sampled>, ActError> {
    let known = types(connection, names).await?;
    prints(connection, &known).await
}

/// The type of each key.
pub(crate) async fn types(
    connection: &mut Connection,
    names: &[(u32, Vec<u8>)],
) -> Result<Vec<Known>, ActError> {
    if names.is_empty() {
        return Ok(vec![]);
    }
    let mut pipeline = redis::pipe();
    for (db, key) in names {
        pipeline.cmd("SELECT").arg(*db).cmd("TYPE").arg(key);
    }
    let replies = connection.send_all(&pipeline, "TYPE").await?;
    let kinds = replies.iter().skip(1).step_by(2);
    let rows = names.iter().zip(kinds);
    Ok(rows
        .map(|((db, key), kind)| (*db, key.clone(), resp::text(kind).unwrap_or_default()))
        .collect())
}

/// What tells each value from another one.
pub(crate) async fn prints(
    connection: &mut Connection,
    keys: &[Known],
) -> Result<Vec<Sampled>, ActError> {
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let mut pipeline = redis::pipe();
    for (db, key, kind) in keys {
        pipeline.cmd("SELECT").arg(*db);
        match kind.as_str() {
            "string" => pipeline.cmd("GETRANGE").arg(key).arg(0).arg(1023).cmd("STRLEN").arg(key),
            "hash" => pipeline.cmd("HLEN").arg(key).cmd("TYPE").arg(key),
            "list" => pipeline.cmd("LLEN").arg(key).cmd("LINDEX").arg(key).arg(0),
            "set" => pipeline.cmd("SCARD").arg(key).cmd("TYPE").arg(key),
            "zset" => pipeline.cmd("ZCARD").arg(key).cmd("ZRANGE").arg(key).arg(0).arg(0),
            "stream" => pipeline.cmd("XLEN").arg(key).cmd("TYPE").arg(key),
            _ => pipeline.cmd("EXISTS").arg(key).cmd("TYPE").arg(key),
        };
    }
    pipeline.cmd("SELECT").arg(0);
    let replies = connection.send_all(&pipeline, "STRLEN and the like").await?;
    let rows = keys.iter().zip(replies.chunks_exact(3));
    Ok(rows
        .map(|((db, key, _), row)| Sampled {
            db: *db,
            key: key.clone(),
            print: row.get(1..).unwrap_or_default().to_vec(),
        })
        .collect())
}

/// The names in a sample.
pub(crate) fn names(sample: &[Sampled]) -> Vec<(u32, Vec<u8>)> {
    sample.iter().map(|s| (s.db, s.key.clone())).collect()
}

/// How many keys could be looked at on both sides, and how many of them look different. What may not be read compares
/// equal to nothing.
pub(crate) fn differing(before: &[Sampled], after: &[Sampled]) -> (u64, u64) {
    let readable = |s: &Sampled| !s.print.iter().any(|v| matches!(v, Value::ServerError(_)));
    let pairs = before.iter().zip(after).filter(|(b, a)| readable(b) && readable(a));
    pairs.fold((0, 0), |(all, differ), (b, a)| (all + 1, differ + u64::from(b.print != a.print)))
}

/// Reads the snapshot by ourselves, while the server loads it. `None` when it cannot be read or judged.
pub(crate) async fn file_keys(path: PathBuf) -> Option<Result<u64, String>> {
    tokio::task::spawn_blocking(move || judge(&path)).await.ok().flatten()
}

/// The keys of a snapshot, or what is wrong with it.
pub(crate) fn judge(path: &Path) -> Option<Result<u64, String>> {
    let report =
        verify_file(path, &VerifyOptions { threads: 1, ..VerifyOptions::default() }).ok()?;
    if report.ok && report.checksum != Checksum::Mismatch {
        return Some(Ok(report.keys));
    }
    let first = report.problems.first().map(|p| p.message.clone());
    Some(Err(first.unwrap_or_else(|| "its checksum is wrong".to_owned())))
}
