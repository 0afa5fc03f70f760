//! [`Worker`]: the connection, the scripts and the counters that hashes and values are worked on with.

use super::layout::Layout;
use super::pace::Pace;
use super::record::Record;
use super::skips::Skips;
use super::spec::{Job, Spec};
use super::walk;
use crate::ActError;
use crate::journal::{Entry, Journal};
use crate::link::Link;
use redis::Value;
use std::time::Instant;
use unfrag_client::resp;
use unfrag_model::{Engine, Info, Sample, Version};

/// Lua that every script begins with.
const EXPIRY: &str = include_str!("expiry.lua");
const MERGE: &str = include_str!("hash/merge.lua");
const SPLIT: &str = include_str!("hash/split.lua");
const REPLACE: &str = include_str!("compress/replace.lua");

/// Which script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Merge,
    Split,
    Replace,
    /// Only reads: when keys expire, before PEXPIRETIME.
    Expiry,
}

impl Script {
    fn text(self) -> String {
        let own = match self {
            Self::Merge => MERGE,
            Self::Split => SPLIT,
            Self::Replace => REPLACE,
            Self::Expiry => "return number(expiry(KEYS[1]))",
        };
        format!("{EXPIRY}{own}")
    }
}

/// What the eviction policy goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    None,
    Idle,
    Freq,
}

/// What is known of the server, for all steps.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is something a server has or has not")]
pub(super) struct Traits {
    pub(super) clustered: bool,
    /// A hash's field can expire by itself: Redis 7.4, Valkey 9.0.
    pub(super) by_field: bool,
    /// PEXPIRETIME: 7.0.
    pub(super) has_expiretime: bool,
    /// CLIENT NO-TOUCH: 7.2.
    pub(super) has_no_touch: bool,
    pub(super) usage: Usage,
}

impl Traits {
    pub(super) fn of(info: &Info, policy: Option<&str>) -> Self {
        let engine: Engine = info.engine();
        let from = |redis: (u32, u32), valkey: (u32, u32)| {
            engine.at_least(Version::new(redis.0, redis.1, 0), Version::new(valkey.0, valkey.1, 0))
        };
        Self {
            clustered: info.flag("cluster_enabled") == Some(true),
            by_field: from((7, 4), (9, 0)),
            has_expiretime: from((7, 0), (7, 2)),
            has_no_touch: from((7, 2), (7, 2)),
            usage: match policy {
                Some(p) if p.ends_with("-lru") => Usage::Idle,
                Some(p) if p.ends_with("-lfu") => Usage::Freq,
                _ => Usage::None,
            },
        }
    }

    pub(super) fn of_sample(sample: &Sample) -> Self {
        let policy =
            sample.info.text("maxmemory_policy").or_else(|| sample.config.text("maxmemory-policy"));
        Self::of(&sample.info, policy)
    }
}

/// Counted over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Keys merged, fields split off, values replaced.
    pub(super) done: u64,
    /// Hashes made or added to.
    pub(super) hashes: u64,
}

/// At work on one server.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) link: &'a mut Link,
    /// `None` while undoing: nothing new is announced then.
    pub(super) journal: Option<&'a mut Journal>,
    pub(super) spec: &'a Spec,
    pub(super) layout: Option<&'a Layout>,
    pub(super) record: &'a Record,
    pub(super) traits: Traits,
    pub(super) pace: Pace,
    pub(super) skips: Skips,
    pub(super) counts: Counts,
    selected: Option<u32>,
    sha: Option<(Script, String)>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        link: &'a mut Link,
        journal: Option<&'a mut Journal>,
        (spec, layout): (&'a Spec, Option<&'a Layout>),
        record: &'a Record,
        traits: Traits,
        latency_budget_us: u64,
    ) -> Self {
        let pace = Pace::new(latency_budget_us);
        let (skips, counts) = (Skips::default(), Counts::default());
        Self {
            link,
            journal,
            spec,
            layout,
            record,
            traits,
            pace,
            skips,
            counts,
            selected: None,
            sha: None,
        }
    }

    pub(super) async fn select(&mut self, db: u32) -> Result<(), ActError> {
        if self.selected != Some(db) {
            walk::select(self.link, self.traits.clustered, db).await?;
            self.selected = Some(db);
        }
        Ok(())
    }

    /// A walk has used the connection.
    pub(super) fn forget_selection(&mut self) {
        self.selected = None;
    }

    /// Announces what is about to be moved. On disk when this returns.
    pub(super) fn announce(&mut self, db: u32, jobs: &[Job]) -> Result<(), ActError> {
        if let Some(journal) = &mut self.journal {
            journal.write(&Entry::Moving { db, jobs: jobs.to_vec() })?;
        }
        step("announced");
        Ok(())
    }

    /// Runs a script once for each of `calls` (number of keys; keys and arguments), in one pipeline: each is atomic, and
    /// other clients wait for all of them together. A script that somebody has flushed is loaded and sent again.
    pub(super) async fn run(
        &mut self,
        script: Script,
        calls: &[(usize, Vec<&[u8]>)],
    ) -> Result<Vec<Value>, ActError> {
        let mut answers = self.send(script, calls).await?;
        let flushed: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, a)| code(a) == Some("NOSCRIPT"))
            .map(|(i, _)| i)
            .collect();
        if !flushed.is_empty() {
            self.sha = None;
            let again: Vec<_> = flushed.iter().filter_map(|i| calls.get(*i).cloned()).collect();
            for (index, answer) in flushed.into_iter().zip(self.send(script, &again).await?) {
                if let Some(place) = answers.get_mut(index) {
                    *place = answer;
                }
            }
        }
        for answer in &answers {
            stop_at(answer)?;
        }
        Ok(answers)
    }

    async fn send(
        &mut self,
        script: Script,
        calls: &[(usize, Vec<&[u8]>)],
    ) -> Result<Vec<Value>, ActError> {
        let sha = match &self.sha {
            Some((loaded, sha)) if *loaded == script => sha.clone(),
            _ => {
                let sha = self.link.connection.call(&["SCRIPT", "LOAD", &script.text()]).await?;
                let sha = resp::text(&sha).unwrap_or_default();
                self.sha = Some((script, sha.clone()));
                sha
            }
        };
        let mut pipeline = redis::pipe();
        for (keys, words) in calls {
            let command = pipeline.cmd("EVALSHA").arg(&sha).arg(*keys);
            for word in words {
                command.arg(*word);
            }
        }
        let begun = Instant::now();
        let answers = self.link.connection.send_all(&pipeline, "EVALSHA (a batch)").await?;
        let keys: usize = calls.iter().map(|(keys, _)| keys).sum();
        self.pace.took(keys, begun.elapsed());
        Ok(answers)
    }

    /// When keys expire, in milliseconds since 1970: -1 for never, -2 for no such key.
    pub(super) async fn expiries(&mut self, keys: &[Vec<u8>]) -> Result<Vec<i64>, ActError> {
        let answers = if self.traits.has_expiretime {
            let asked: Vec<Vec<&[u8]>> =
                keys.iter().map(|key| vec![b"PEXPIRETIME".as_slice(), key]).collect();
            self.read(&asked).await?
        } else {
            let calls: Vec<(usize, Vec<&[u8]>)> =
                keys.iter().map(|key| (1, vec![key.as_slice()])).collect();
            self.run(Script::Expiry, &calls).await?
        };
        let number = |answer: &Value| resp::text(answer).and_then(|text| text.parse().ok());
        Ok(answers.iter().map(|answer| number(answer).unwrap_or(-2)).collect())
    }

    /// Sends reading commands in one pipeline, at the same pace.
    pub(super) async fn read(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Value>, ActError> {
        if commands.is_empty() {
            return Ok(vec![]);
        }
        let mut pipeline = redis::pipe();
        for words in commands {
            let mut words = words.iter();
            if let Some(name) = words.next() {
                let command = pipeline.cmd(&String::from_utf8_lossy(name));
                for word in words {
                    command.arg(*word);
                }
            }
        }
        let begun = Instant::now();
        let answers = self.link.connection.send_all(&pipeline, "a batch of reads").await?;
        self.pace.took(commands.len(), begun.elapsed());
        Ok(answers)
    }
}

/// The first word of an error reply.
pub(super) fn code(answer: &Value) -> Option<&str> {
    match answer {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

/// Errors after which nothing more should be sent. Others concern one hash or value only.
fn stop_at(answer: &Value) -> Result<(), ActError> {
    let Value::ServerError(error) = answer else { return Ok(()) };
    let details = error.details().unwrap_or_default();
    let what = format!("{} {details}", error.code());
    if error.code() == "OOM" || details.contains("OOM ") {
        let text = format!(
            "the server is at maxmemory and refuses writes ({what}): raise it a little first"
        );
        return Err(ActError::Unsafe(text));
    }
    if error.code() == "NOPERM"
        || details.contains("NOPERM")
        || details.contains("can't run this command")
    {
        let text = format!(
            "this user may not do it ({what}); `unfrag acl reshape` prints the rights needed"
        );
        return Err(ActError::Unsafe(text));
    }
    if matches!(error.code(), "READONLY" | "MISCONF" | "NOREPLICAS" | "BUSY" | "NOSCRIPT") {
        return Err(ActError::Unsafe(format!("the server takes no writes now: {what}")));
    }
    Ok(())
}

/// Where a test lets the process die: nothing is cleaned up then, as by kill -9.
pub(super) fn step(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("UNFRAG_TEST_DIE").is_ok_and(|wanted| {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let (step, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        step == name && (SEEN.fetch_add(1, Ordering::Relaxed) + 1).to_string() == count
    }) {
        std::process::abort();
    }
    let _ = name;
}
