//! Repack: compaction by a client, for servers that cannot defragment themselves.
//!
//! jemalloc gives a new allocation the oldest slab with a hole, so data that is written again moves together, provided
//! that the old copy is *not* freed at once: the allocator's thread cache would hand its region straight back. Hence
//! chunks: a chunk's keys are copied and the originals set aside under expiring names; only when the chunk is complete
//! are they deleted, in bulk. Regions those frees leave in the thread cache (up to 200 a size class) would swallow the
//! first copies of the next chunk, so each chunk begins with copies made for nothing but to soak them up.
//!
//! Values with pages of their own need no packing. But their size classes are up to a quarter bigger than they are, and the
//! pages behind a value's end, untouched in a fresh process, hold what was there before in one that has lived. Copies in
//! pages just given back to the kernel are as they would be in a fresh one ([`Tails`]). Without
//! that `make bench-reclaim RECLAIM="redis-7.0.15 large 400 unfrag"` gives back .953 of what a restart gives, with it .974.
//!
//! Every batch is one script (`repack/batch.lua`) and so atomic: no reader sees a key missing or changed. A pass ends
//! with the holes of its last chunk, so each pass takes smaller chunks than the one before.

mod keys;
mod room;

use super::purge;
use crate::execute::{Ended, Work};
use crate::guard;
use crate::journal::{Entry, Journal};
use crate::link::{Link, waste};
use crate::outcome::{Skipped, Status};
use crate::plan::{Bounds, Copying, Tails};
use crate::{ActError, RemedyName, Step};
use keys::{Batch, Keys};
use room::{chunk_room, replica_lag};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use unfrag_client::resp;
use unfrag_model::text::shown;
use unfrag_model::{Info, human};

/// All our names begin so. Short: with run and number a name has 14 bytes, the most that a key's name takes in the
/// smallest size class that names have.
pub(crate) const PREFIX: &str = "~uf";
const SCRIPT: &str = include_str!("repack/batch.lua");

/// What is set aside expires after this, should we die. A chunk takes a second or two.
const LIFE_MS: u64 = 60_000;
/// Thousandths of the data that one chunk sets aside, pass by pass: what a pass leaves is about one chunk's holes.
const CHUNK_SHARES: [u64; 4] = [60, 30, 20, 15];
/// Names of a chunk; more keys would make the server's key table grow for a moment's sake.
const CHUNK_MOST_KEYS: u64 = 100_000;
/// A thread cache holds some 1.5 MB when it is full.
const SOAK_MOST_BYTES: u64 = 1536 << 10;
/// Waste that a pass leaves at the least: the holes of its smallest chunk, and what a thread cache holds. Where there is
/// no more, a pass makes more: 1.0 MiB became 3.6 MiB (`unfrag fix` on 8.2.3, 45,000 strings in 34 MiB, behind defrag).
const WASTE_LEAST_BYTES: u64 = room::CHUNK_LEAST_BYTES + SOAK_MOST_BYTES;
/// Values from this on have pages of their own, jemalloc's first large class; the copies of one purge, as much as it drops
/// without anyone feeling it.
const LARGE_BYTES: u64 = 16 << 10;
const LARGE_CHUNK_BYTES: u64 = 6 << 20;
/// Keys and bytes of a batch.
const BATCH_KEYS: std::ops::RangeInclusive<usize> = 8..=400;
const BATCH_BYTES: u64 = 512 << 10;
/// Keys of one UNLINK.
const UNLINK_KEYS: usize = 64;
/// Copying runs at a few hundred bytes a microsecond; a key may take half of the latency budget.
const COPY_BYTES_PER_US: u64 = 200;
/// Another pass is worth its while only above this share of the data, and if the last one took this much away.
const WASTE_LEFT: f64 = 0.015;
const PASS_GAIN: f64 = 0.2;
const NO_ROOM: &str = "there is no room to set copies aside without nearing maxmemory or the limit";
/// Keys named in the outcome.
const NAMED_KEYS: usize = 100;
/// Replication and AOF may grow by this much, or half of what they are.
const LAG_MOST_BYTES: u64 = 16 << 20;
const AOF_GROWTH_BYTES: u64 = 512 << 20;
/// Looks at a replica that lags, four a second, before it is given up.
const LAG_LOOKS: u32 = 120;

/// A key may be as large as can be copied in half of the latency budget.
pub(crate) const fn largest_key_bytes(bounds: &Bounds) -> u64 {
    bounds.latency_budget_us / 2 * COPY_BYTES_PER_US
}

/// Pages behind the ends of large values that are held in RAM: those that RSS does not lack.
fn touched(tails: Tails, info: &Info) -> u64 {
    let count = |name| info.count(name).unwrap_or(0);
    let untouched = (count("allocator_resident") + tails.outside_bytes)
        .saturating_sub(count("used_memory_rss"));
    tails.bytes.saturating_sub(untouched)
}

/// Why it is not worth it, if it is not.
fn not_needed(step: &Step, info: &Info) -> Option<&'static str> {
    let used = info.count("used_memory").unwrap_or(0);
    match step.tails {
        Some(tails) if touched(tails, info) < used / 100 => {
            Some("less than a hundredth of the data is touched pages behind large values")
        }
        None if waste(info) < used / 50 => Some("less than a fiftieth of the data is waste"),
        None if waste(info) < WASTE_LEAST_BYTES => Some("it is less waste than a pass would leave"),
        _ => None,
    }
}

/// Why no copy can be made on this server as it stands, for want of room under maxmemory.
pub(crate) fn no_room(info: &Info) -> Option<String> {
    // Without the figure there is no telling, and the run itself refuses.
    info.count("used_memory")?;
    let has_room = chunk_room(info, None, room::wanted(0)).is_some();
    (!has_room).then(|| NO_ROOM.to_owned())
}

pub(crate) async fn run(work: &mut Work<'_>, step: &Step) -> Result<Ended, ActError> {
    work.wait_out().await?;
    let info = work.link.settled_info().await?;
    if let Some(why) = not_needed(step, &info) {
        return Ok((Status::NotNeeded, why.to_owned()));
    }
    // Looked at before anything is written: a write of ours could be the one that is refused.
    if chunk_room(&info, work.limit, room::wanted(0)).is_none() {
        return Ok((Status::Refused, NO_ROOM.to_owned()));
    }
    if let Err(error) = work.lend(&step.settings).await {
        return super::refused(error);
    }
    let mut repack = match Repack::prepare(work, &info, step.tails.is_some()).await {
        Err(error) if is_refusal(&error) => return Ok(refused(&error)),
        other => other?,
    };
    let result = match repack.rehearse(work).await {
        Ok(()) if repack.large_only => repack.large_values(work).await,
        Ok(()) => repack.passes(work).await,
        Err(error) if is_refusal(&error) => Ok(refused(&error)),
        Err(error) => Err(error),
    };
    let cleaned = repack.clean(work).await;
    work.skipped.append(&mut repack.skipped);
    if let Err(error) = cleaned {
        work.note(format!(
            "set-aside keys could not be deleted ({error}); they expire within a minute"
        ));
        return Err(error);
    }
    let ended = result?;
    purge::until_stable(work).await?;
    Ok(ended)
}

/// What was done. In each pass a key is copied anew, so that there are more copies than keys.
fn copied(copies: u64, passes: usize) -> String {
    match passes {
        2.. => format!("{copies} copies of keys were made into holes, in {passes} passes"),
        _ => format!("{copies} keys were copied into holes"),
    }
}

/// The server, or a guard of ours, would not have it; nothing of the user's was touched.
fn is_refusal(error: &ActError) -> bool {
    match error {
        ActError::Client(error) => error.is_reply(),
        ActError::Unsafe(_) => true,
        _ => false,
    }
}

fn refused(error: &ActError) -> Ended {
    let text = error.to_string();
    // As servers of all versions say it, in and out of scripts.
    let is_denied =
        ["NOPERM", "can't run this command", "no permission"].iter().any(|w| text.contains(w));
    let hint = if is_denied { "; unfrag acl fix prints the rights that it takes" } else { "" };
    (Status::Refused, text + hint)
}

/// Deletes what a killed run set aside, at once instead of when it expires. Returns how many keys.
pub(crate) async fn delete_left_behind(
    link: &mut Link,
    journal: &mut Journal,
    prefix: &str,
) -> Result<u64, ActError> {
    let mut deleted = 0;
    let info = link.info().await?;
    for database in info.databases() {
        if info.flag("cluster_enabled") != Some(true) {
            link.call(&["SELECT", &database.index.to_string()]).await?;
        }
        for key in keys::matching(link, &format!("{prefix}*")).await? {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&key);
            deleted += resp::count(&link.send(&unlink, "UNLINK").await?).unwrap_or(0);
        }
    }
    journal.write(&Entry::Cleaned { prefix: prefix.to_owned() })?;
    Ok(deleted)
}

/// A batch's names that are set aside: the prefix, `first + 1`, `first + 2` and so on, each as long as the key it was.
#[derive(Debug)]
struct Aside {
    db: u32,
    prefix: String,
    first: u64,
    lengths: Vec<u16>,
}

impl Aside {
    /// As `aside` of the script makes them.
    fn names(&self) -> impl Iterator<Item = String> {
        (self.first + 1..).zip(&self.lengths).map(|(number, &length)| {
            let name = format!("{}{number}", self.prefix);
            let dots = usize::from(length).saturating_sub(name.len());
            name + &".".repeat(dots)
        })
    }
}

/// Longest name we make; the script knows this number, too.
const NAME_MOST_BYTES: u16 = 512;

struct Repack {
    sha: String,
    /// PEXPIRETIME is known to this server, and allowed.
    has_exact_expiry: bool,
    how: &'static str,
    /// `~ufNONCE:`, unique to this run.
    prefix: String,
    keys: Keys,
    /// Strings with pages of their own are all that is wanted.
    large_only: bool,
    aside: Vec<Aside>,
    aside_bytes: u64,
    aside_keys: u64,
    /// Names given since the last time that none was set aside.
    names: u64,
    batch_keys: usize,
    /// Idle time after a batch, as a multiple of the batch's own time.
    rest: f64,
    largest_key_bytes: u64,
    least_key_bytes: u64,
    moved_keys: u64,
    aof_at_start: u64,
    table_room: u64,
    last_look: Instant,
    skipped: Vec<Skipped>,
    skipped_names: BTreeSet<Vec<u8>>,
    skipped_more: u64,
}

/// What a script answered.
#[derive(Debug, Default)]
struct Answer {
    looked: u64,
    done: u64,
    bytes: u64,
    big: Vec<u64>,
    odd: Vec<u64>,
    /// Nothing was done, for want of room.
    crowded: bool,
}

impl Answer {
    fn read(value: &redis::Value) -> Option<Self> {
        let parts = resp::elements(value)?;
        let count = |at: usize| parts.get(at).and_then(resp::count);
        let list = |at: usize| {
            let all = parts.get(at).and_then(resp::elements).unwrap_or_default();
            all.iter().filter_map(resp::count).collect()
        };
        Some(Self {
            looked: count(0)?,
            done: count(1)?,
            bytes: count(2)?,
            big: list(3),
            odd: list(4),
            crowded: count(5)? == 1,
        })
    }
}

impl Repack {
    async fn prepare(work: &mut Work<'_>, info: &Info, large_only: bool) -> Result<Self, ActError> {
        let sha = work.link.call(&["SCRIPT", "LOAD", SCRIPT]).await?;
        let sha = resp::text(&sha).unwrap_or_default();
        let keys = Keys::of(&mut work.link, info, large_only.then_some("string")).await?;
        let prefix = format!("{PREFIX}{}:", nonce());
        work.journal.write(&Entry::SetAside { prefix: prefix.clone(), ttl_ms: LIFE_MS })?;
        work.left_aside = true;
        let all_keys = info.keys().unwrap_or(0);
        Ok(Self {
            sha,
            has_exact_expiry: false,
            how: match work.plan.copying {
                Copying::Copy => "copy",
                Copying::Dump => "dump",
                Copying::DumpIdle => "dump-idle",
                Copying::DumpFreq => "dump-freq",
            },
            prefix,
            keys,
            large_only,
            aside: vec![],
            aside_bytes: 0,
            aside_keys: 0,
            names: 0,
            batch_keys: 32,
            rest: 0.5,
            largest_key_bytes: largest_key_bytes(&work.plan.bounds),
            least_key_bytes: 0,
            moved_keys: 0,
            aof_at_start: info.count("aof_current_size").unwrap_or(0),
            // The server's table has at least the next power of two; filling it up would make it double.
            table_room: (all_keys.next_power_of_two() - all_keys) / 2,
            last_look: Instant::now(),
            skipped: vec![],
            skipped_names: BTreeSet::new(),
            skipped_more: 0,
        })
    }

    /// Tries the script on a key of our own: a right that is missing shows here, before any key of the user's is touched.
    async fn rehearse(&mut self, work: &mut Work<'_>) -> Result<(), ActError> {
        let name = format!("{}{}rehearsal", self.prefix, self.keys.any_tag());
        let life = LIFE_MS.to_string();
        // First, so that what is made can be deleted.
        work.link.call(&["UNLINK", &name]).await?;
        work.link.call(&["SET", &name, "x", "PX", &life]).await?;
        if self.how != "copy" {
            let asked = work.link.call(&["PEXPIRETIME", &name]).await;
            self.has_exact_expiry = asked.is_ok();
        }
        let batch =
            Batch { db: 0, tag: self.keys.any_tag(), keys: vec![name.clone().into_bytes()] };
        let result = self.send(work, &batch, "").await;
        work.link.call(&["UNLINK", &name]).await?;
        let answer = result?;
        self.delete_aside(work).await?;
        if answer.done == 1 {
            Ok(())
        } else if answer.crowded {
            Err(ActError::Unsafe(NO_ROOM.to_owned()))
        } else {
            Err(ActError::Unsafe("the server refused to copy a key made for a trial: a right is missing, most likely (unfrag acl fix prints what it takes)".to_owned()))
        }
    }

    async fn passes(&mut self, work: &mut Work<'_>) -> Result<Ended, ActError> {
        let mut info = work.wait_out().await?;
        let mut before = waste(&info);
        let mut last = u64::MAX;
        let mut passes = 0;
        for (pass, share) in CHUNK_SHARES.into_iter().enumerate() {
            let used = info.count("used_memory").unwrap_or(0);
            let wanted = room::of_pass(used / 1000 * share, before);
            if !room::is_finer(wanted, last) {
                break;
            }
            last = wanted;
            passes = pass + 1;
            work.note(format!("repack pass {}: {} set aside at a time", pass + 1, human(wanted)));
            if let Some(ended) = self.pass(work, wanted).await? {
                return Ok(ended);
            }
            info = work.link.settled_info().await?;
            let after = waste(&info);
            let used = info.count("used_memory").unwrap_or(0);
            let gained = before.saturating_sub(after);
            if (after as f64) < used as f64 * WASTE_LEFT
                || (gained as f64) < before as f64 * PASS_GAIN
            {
                break;
            }
            before = after;
        }
        Ok((Status::Done, copied(self.moved_keys, passes)))
    }

    /// Every large string once, to pages just given back.
    async fn large_values(&mut self, work: &mut Work<'_>) -> Result<Ended, ActError> {
        self.least_key_bytes = LARGE_BYTES;
        let ended = self.pass(work, LARGE_CHUNK_BYTES).await?;
        let done = format!("{} large values were copied to fresh pages", self.moved_keys);
        Ok(ended.unwrap_or((Status::Done, done)))
    }

    /// Every key once. `Some` when the run should end.
    async fn pass(&mut self, work: &mut Work<'_>, wanted: u64) -> Result<Option<Ended>, ActError> {
        self.keys.rewind();
        loop {
            let info = work.wait_out().await?;
            let done = self.keys.share_done();
            purge::drip(work, &info).await?;
            let window = work.progress(RemedyName::Repack, &info, Some(done));
            self.adapt(work.added_us(window), work.plan.bounds.latency_budget_us, window.p50 > 0);
            if let Some(ended) = work.end(&info) {
                self.delete_aside(work).await?;
                return Ok(Some(ended));
            }
            if let Some(why) = newcomers(work, &info).await? {
                return Ok(Some((
                    Status::Bounded,
                    format!("{why}; `--allow` goes on all the same"),
                )));
            }
            if let Some(ended) = self.wait_for_followers(work, &info).await? {
                return Ok(Some(ended));
            }
            let Some(room) = chunk_room(&info, work.limit, wanted) else {
                return Ok(Some((Status::Bounded, NO_ROOM.to_owned())));
            };
            let more = self.chunk(work, room).await?;
            self.delete_aside(work).await?;
            wait_for_lazy_free(work).await?;
            if self.large_only {
                // Pages freed a moment ago would be the next copies', with all that was written to them.
                work.link.call(&["MEMORY", "PURGE"]).await?;
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Copies until `room` bytes are set aside. False when there are no more keys.
    async fn chunk(&mut self, work: &mut Work<'_>, room: u64) -> Result<bool, ActError> {
        let soak = if self.large_only { 0 } else { (room / 3).min(SOAK_MOST_BYTES) };
        let most_keys = self.table_room.clamp(2000, CHUNK_MOST_KEYS);
        self.last_look = Instant::now();
        let mut soaked = VecDeque::new();
        let mut more = true;
        while self.aside_bytes < room + soak && self.aside_keys < most_keys {
            if self.aside_bytes < soak {
                match self.keys.next(&mut work.link, self.batch_keys, &self.prefix).await? {
                    Some(batch) => {
                        let crowded = self.send(work, &batch, "fill").await?.crowded;
                        soaked.push_back(batch);
                        if crowded {
                            break;
                        }
                        continue;
                    }
                    None => more = false,
                }
            }
            let batch = match soaked.pop_front() {
                Some(batch) => batch,
                None => {
                    match self.keys.next(&mut work.link, self.batch_keys, &self.prefix).await? {
                        Some(batch) => batch,
                        None => return Ok(false),
                    }
                }
            };
            let answer = self.send(work, &batch, "").await?;
            self.moved_keys += answer.done;
            self.name_skipped(&batch, &answer);
            // Keys behind the point where the batch had enough come first in the next one.
            self.keys.give_back(batch, usize::try_from(answer.looked).unwrap_or(usize::MAX));
            if answer.crowded || self.must_look(work).await? {
                break;
            }
        }
        soaked.into_iter().rev().for_each(|batch| self.keys.give_back(batch, 0));
        Ok(more)
    }

    /// Several times a second inside a chunk: is anything the matter?
    async fn must_look(&mut self, work: &mut Work<'_>) -> Result<bool, ActError> {
        const EVERY: Duration = Duration::from_millis(300);
        if work.stop.is_set() {
            return Ok(true);
        }
        if self.last_look.elapsed() < EVERY {
            return Ok(false);
        }
        self.last_look = Instant::now();
        let info = work.link.info().await?;
        let crowded = chunk_room(&info, work.limit, room::wanted(0)).is_none();
        Ok(crowded || crate::link::is_forking(&info) || work.stop.is_paused())
    }

    async fn send(
        &mut self,
        work: &mut Work<'_>,
        batch: &Batch,
        fill: &str,
    ) -> Result<Answer, ActError> {
        self.keys.select(&mut work.link, batch.db).await?;
        let prefix = format!("{}{}", self.prefix, batch.tag);
        let first = self.names;
        self.names += batch.keys.len() as u64;
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(batch.keys.len());
        for key in &batch.keys {
            command.arg(key);
        }
        command.arg(&prefix).arg(LIFE_MS).arg(self.how);
        command.arg(self.largest_key_bytes).arg(BATCH_BYTES).arg(fill).arg(first);
        command.arg(work.limit.unwrap_or(0));
        command.arg(if self.has_exact_expiry { "exact" } else { "" });
        command.arg(self.least_key_bytes);
        // Named before it is sent: if the answer never comes, the keys may be there all the same.
        let length =
            |key: &Vec<u8>| u16::try_from(key.len()).unwrap_or(u16::MAX).min(NAME_MOST_BYTES);
        let lengths = batch.keys.iter().map(length).collect();
        self.aside.push(Aside { db: batch.db, prefix, first, lengths });
        let begun = Instant::now();
        let value = match work.link.send(&command, "EVALSHA (a batch)").await {
            // Somebody flushed the scripts. Nothing ran, so it can be sent again.
            Err(error) if error.to_string().contains("NOSCRIPT") => {
                work.link.call(&["SCRIPT", "LOAD", SCRIPT]).await?;
                work.link.send(&command, "EVALSHA (a batch)").await?
            }
            other => other?,
        };
        let took = begun.elapsed();
        let answer = Answer::read(&value).ok_or_else(|| {
            ActError::Unsafe("a batch was answered with something else".to_owned())
        })?;
        self.aside_bytes += answer.bytes;
        self.aside_keys += answer.done;
        self.size_batch(took, answer.looked, work.plan.bounds.latency_budget_us);
        rest(took.mul_f64(self.rest));
        Ok(answer)
    }

    /// A batch may take a quarter of the latency budget.
    fn size_batch(&mut self, took: Duration, looked: u64, budget_us: u64) {
        let wanted_us = (budget_us / 4).clamp(200, 2000) as f64;
        let per_key_us = took.as_secs_f64() * 1e6 / looked.max(1) as f64;
        let fit = wanted_us / per_key_us.max(0.1);
        // A step at a time, because a single slow answer may be the machine's doing.
        let fit = fit.clamp(self.batch_keys as f64 * 0.7, self.batch_keys as f64 * 1.2 + 1.0);
        let (least, most) = (*BATCH_KEYS.start(), *BATCH_KEYS.end());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let keys = fit.clamp(least as f64, most as f64) as usize;
        self.batch_keys = keys;
    }

    /// Rests longer while other clients feel us, shorter while they do not.
    fn adapt(&mut self, added_us: u64, budget_us: u64, measured: bool) {
        if !measured {
            return;
        }
        if added_us > budget_us {
            self.rest = (self.rest * 2.0).min(16.0);
            self.batch_keys = (self.batch_keys / 2).max(*BATCH_KEYS.start());
        } else if added_us <= budget_us / 2 {
            self.rest = (self.rest * 0.8).max(0.3);
        }
    }

    fn name_skipped(&mut self, batch: &Batch, answer: &Answer) {
        let big = answer.big.iter().map(|&i| (i, true));
        for (index, is_big) in big.chain(answer.odd.iter().map(|&i| (i, false))) {
            let at = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
            let Some(key) = batch.keys.get(at) else { continue };
            if self.skipped_names.contains(key) {
                continue;
            }
            if self.skipped_names.len() >= NAMED_KEYS {
                self.skipped_more += 1;
                continue;
            }
            self.skipped_names.insert(key.clone());
            let why = if is_big {
                format!(
                    "copying it would hold the server up: it is over {}",
                    human(self.largest_key_bytes)
                )
            } else {
                "the server cannot copy it (a module's type, or no right to it)".to_owned()
            };
            self.skipped
                .push(Skipped { what: format!("key {} in db {}", named(key), batch.db), why });
        }
    }

    /// Deletes what is set aside, in bulk, a little at a time.
    async fn delete_aside(&mut self, work: &mut Work<'_>) -> Result<(), ActError> {
        while let Some(aside) = self.aside.last() {
            self.keys.select(&mut work.link, aside.db).await?;
            let names: Vec<String> = aside.names().collect();
            for names in names.chunks(UNLINK_KEYS) {
                let mut command = redis::cmd("UNLINK");
                command.arg(names);
                let begun = Instant::now();
                work.link.send(&command, "UNLINK (set-aside keys)").await?;
                rest(begun.elapsed().mul_f64(self.rest));
            }
            self.aside.pop();
        }
        self.aside_bytes = 0;
        self.aside_keys = 0;
        self.names = 0;
        Ok(())
    }

    /// At the end, whatever happened: nothing of ours stays.
    async fn clean(&mut self, work: &mut Work<'_>) -> Result<(), ActError> {
        if self.skipped_more > 0 {
            let what = format!("{} more keys", self.skipped_more);
            self.skipped.push(Skipped { what, why: "as above".to_owned() });
        }
        let mut result = self.delete_aside(work).await;
        if result.as_ref().is_err_and(ActError::is_lost_connection) {
            work.note(
                "the connection was lost: waiting for the server, to delete what is set aside",
            );
            work.link.reopen().await?;
            self.keys.forget_selection();
            result = self.delete_aside(work).await;
        }
        result?;
        work.journal.write(&Entry::Cleaned { prefix: self.prefix.clone() })?;
        work.left_aside = false;
        self.keys.select(&mut work.link, 0).await
    }

    /// Replicas and the AOF take what we write; they must not be drowned in it.
    async fn wait_for_followers(
        &mut self,
        work: &mut Work<'_>,
        info: &Info,
    ) -> Result<Option<Ended>, ActError> {
        let aof = info.count("aof_current_size").unwrap_or(0);
        if aof > self.aof_at_start + (self.aof_at_start / 2).max(AOF_GROWTH_BYTES) {
            return Ok(Some((
                Status::Bounded,
                "the AOF has grown by as much as is allowed".to_owned(),
            )));
        }
        let mut info = info.clone();
        for look in 0..LAG_LOOKS {
            let lag = replica_lag(&info);
            if lag <= LAG_MOST_BYTES {
                return Ok(None);
            }
            if look == 0 {
                work.note(format!("a replica is {} behind: waiting for it", human(lag)));
            }
            if let Some(ended) = work.end(&info) {
                return Ok(Some(ended));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            info = work.link.info().await?;
        }
        Ok(Some((Status::Bounded, "a replica does not keep up".to_owned())))
    }
}

/// Who has begun to listen since the plan was made, and would hear of every key.
async fn newcomers(work: &mut Work<'_>, info: &Info) -> Result<Option<String>, ActError> {
    if work.plan.bounds.allow {
        return Ok(None);
    }
    // A user who may not read settings was told so before.
    let events = match work.link.config_get("notify-keyspace-events").await {
        Err(error) if is_refusal(&error) => None,
        other => other?,
    };
    let all = guard::listeners(&events.unwrap_or_default(), guard::tracking(info));
    Ok(all.into_iter().next())
}

/// A key's name in a sentence: its beginning where it is long.
fn named(key: &[u8]) -> String {
    const MOST_BYTES: usize = 120;
    match key.get(..MOST_BYTES) {
        Some(start) if key.len() > MOST_BYTES => {
            format!("{}... ({} bytes)", shown(start), key.len())
        }
        _ => shown(key),
    }
}

/// Big set-aside values are freed by another thread; the next chunk wants their holes.
async fn wait_for_lazy_free(work: &mut Work<'_>) -> Result<(), ActError> {
    for _ in 0..40 {
        let info = work.link.info().await?;
        if info.count("lazyfree_pending_objects").unwrap_or(0) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Rests for less than tokio's timer can: nothing else runs on this thread meanwhile.
fn rest(duration: Duration) {
    const MOST: Duration = Duration::from_millis(20);
    std::thread::sleep(duration.min(MOST));
}

/// Four characters that no run at the same time has.
fn nonce() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::journal::now_ms());
    hasher.write_u32(std::process::id());
    let mut number = hasher.finish();
    let digit = |_| {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        number /= 36;
        char::from_digit(digit, 36).unwrap_or('0')
    };
    (0..4).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_pass_copies_the_same_keys_and_no_others() {
        assert_eq!(copied(29_536, 1), "29536 keys were copied into holes");
        assert_eq!(copied(59_072, 2), "59072 copies of keys were made into holes, in 2 passes");
    }

    #[test]
    fn waste_that_a_pass_would_leave_is_not_gone_after() {
        let step = |tails| Step {
            remedy: RemedyName::Repack,
            why: String::new(),
            predicted_bytes: None,
            tails,
            settings: vec![],
            commands: vec![],
        };
        let info = |used: u64, waste: u64| {
            Info::parse(&format!("used_memory:{}\nallocator_frag_bytes:{waste}", used << 20))
        };
        assert!(not_needed(&step(None), &info(34, 1 << 20)).is_some());
        assert!(not_needed(&step(None), &info(34, WASTE_LEAST_BYTES)).is_none());
        assert!(not_needed(&step(None), &info(4 << 10, 50 << 20)).is_some());
    }

    #[test]
    fn what_rss_lacks_was_never_touched() {
        let tails = Tails { bytes: 18 << 20, outside_bytes: 7 << 20 };
        let info = |rss: u64| {
            Info::parse(&format!(
                "used_memory:{}\nallocator_resident:{}\nused_memory_rss:{}",
                216 << 20,
                232 << 20,
                rss << 20
            ))
        };
        assert_eq!(touched(tails, &info(225)), 4 << 20);
        assert_eq!(touched(tails, &info(260)), tails.bytes);
        assert_eq!(touched(tails, &info(200)), 0);
    }
}
