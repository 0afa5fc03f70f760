//! Where repack's keys come from: SCAN over every database, or slot by slot in a Cluster, where a script may only touch
//! keys of one slot. A slot with too many keys to ask for at once is gathered by SCAN as well.

use crate::ActError;
use crate::link::Link;
use crate::slots::{Tags, slot_of};
use std::collections::{BTreeMap, VecDeque};
use unfrag_client::resp;
use unfrag_model::Info;

/// Keys asked for at once.
const SCAN_COUNT: u32 = 500;
/// Keys of one slot that are asked for at once, some milliseconds of the server's time; a slot with more is one hash
/// tag gone wild.
const SLOT_KEYS: usize = 5000;
/// Keys of such a slot that make it worth a script of its own.
const GATHERED_KEYS: usize = 200;

/// Keys that one script may take.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) db: u32,
    /// `{tag}` of their slot in a Cluster, else empty.
    pub(super) tag: String,
    pub(super) keys: Vec<Vec<u8>>,
}

/// All keys of a server, once a pass.
#[derive(Debug)]
pub(super) struct Keys {
    /// Databases, or slots in a Cluster, in order.
    places: Vec<u32>,
    place: usize,
    /// SCAN's cursor in the current database; `None` before its first call.
    cursor: Option<String>,
    ready: VecDeque<Vec<u8>>,
    /// Place of the keys that are ready.
    ready_place: u32,
    /// Taken back, to be handed out first.
    returned: VecDeque<Batch>,
    tags: Option<Tags>,
    /// Keys of slots with more than [`SLOT_KEYS`], gathered by SCAN once all other slots are done.
    crowded: BTreeMap<u16, Vec<Vec<u8>>>,
    selected: Option<u32>,
    /// The one type that is wanted.
    only: Option<&'static str>,
    seen: u64,
    expected: u64,
}

impl Keys {
    /// `only` is the one type that is wanted; a Cluster cannot be asked for that.
    pub(super) async fn of(
        link: &mut Link,
        info: &Info,
        only: Option<&'static str>,
    ) -> Result<Self, ActError> {
        let clustered = info.flag("cluster_enabled") == Some(true);
        let places = if clustered {
            own_slots(link).await?
        } else {
            info.databases().iter().map(|d| d.index).collect()
        };
        Ok(Self {
            places,
            place: 0,
            cursor: None,
            ready: VecDeque::new(),
            ready_place: 0,
            returned: VecDeque::new(),
            tags: clustered.then(Tags::new),
            crowded: BTreeMap::new(),
            selected: None,
            only,
            seen: 0,
            expected: info.keys().unwrap_or(0),
        })
    }

    pub(super) fn rewind(&mut self) {
        self.place = 0;
        self.cursor = None;
        self.ready.clear();
        self.returned.clear();
        self.crowded.clear();
        self.seen = 0;
    }

    pub(super) fn share_done(&self) -> f64 {
        (self.seen as f64 / self.expected.max(1) as f64).min(1.0)
    }

    /// A tag of some slot that is served here.
    pub(super) fn any_tag(&self) -> String {
        self.places.first().map_or_else(String::new, |place| self.tag(*place))
    }

    fn tag(&self, place: u32) -> String {
        let slot = u16::try_from(place).unwrap_or(0);
        self.tags.as_ref().map_or_else(String::new, |tags| format!("{{{}}}", tags.of(slot)))
    }

    /// The next keys, at most `most`; `None` after the last. Names that begin with `own` are ours and left out.
    pub(super) async fn next(
        &mut self,
        link: &mut Link,
        most: usize,
        own: &str,
    ) -> Result<Option<Batch>, ActError> {
        while self.ready.is_empty() || !self.returned.is_empty() {
            if let Some(mut batch) = self.returned.pop_front() {
                let keys = batch.keys.split_off(most.min(batch.keys.len()));
                if !keys.is_empty() {
                    self.returned.push_front(Batch { db: batch.db, tag: batch.tag.clone(), keys });
                }
                self.seen += batch.keys.len() as u64;
                return Ok(Some(batch));
            }
            if !self.refill(link, own).await? {
                return Ok(None);
            }
        }
        let keys: Vec<Vec<u8>> = self.ready.drain(..most.min(self.ready.len())).collect();
        self.seen += keys.len() as u64;
        let db = if self.tags.is_some() { 0 } else { self.ready_place };
        Ok(Some(Batch { db, tag: self.tag(self.ready_place), keys }))
    }

    /// Takes back the keys of a batch behind the first `looked`.
    pub(super) fn give_back(&mut self, batch: Batch, looked: usize) {
        let keys: Vec<Vec<u8>> = batch.keys.into_iter().skip(looked).collect();
        self.seen = self.seen.saturating_sub(keys.len() as u64);
        if !keys.is_empty() {
            self.returned.push_front(Batch { keys, ..batch });
        }
    }

    /// Fetches more keys. False when every place was seen.
    async fn refill(&mut self, link: &mut Link, own: &str) -> Result<bool, ActError> {
        let place = self.places.get(self.place).copied();
        let found = match (place, self.tags.is_some()) {
            (Some(slot), true) => {
                self.place += 1;
                self.ready_place = slot;
                slot_keys(link, slot).await?
            }
            (Some(db), false) => {
                self.ready_place = db;
                self.select(link, db).await?;
                let (found, is_last) = self.scan_on(link).await?;
                self.place += usize::from(is_last);
                found
            }
            (None, _) => return self.gather(link, own).await,
        };
        if self.tags.is_some() && found.len() >= SLOT_KEYS {
            self.crowded.insert(u16::try_from(self.ready_place).unwrap_or(0), vec![]);
            return Ok(true);
        }
        self.ready.extend(found.into_iter().filter(|key| !key.starts_with(own.as_bytes())));
        Ok(true)
    }

    /// The next keys of SCAN, and whether they were the last.
    async fn scan_on(&mut self, link: &mut Link) -> Result<(Vec<Vec<u8>>, bool), ActError> {
        let cursor = self.cursor.take().unwrap_or_else(|| "0".to_owned());
        let (next, found) = scan(link, &cursor, None, self.only).await?;
        let is_last = next == "0";
        self.cursor = (!is_last).then_some(next);
        Ok((found, is_last))
    }

    /// The keys of crowded slots, a slot's share at a time. False when there are none left.
    async fn gather(&mut self, link: &mut Link, own: &str) -> Result<bool, ActError> {
        while !self.crowded.is_empty() {
            let full = self.crowded.iter().find(|(_, keys)| keys.len() >= GATHERED_KEYS);
            if let Some(slot) = full.map(|(slot, _)| *slot) {
                self.ready_place = u32::from(slot);
                self.ready
                    .extend(self.crowded.get_mut(&slot).map(std::mem::take).unwrap_or_default());
                return Ok(true);
            }
            let (found, is_last) = self.scan_on(link).await?;
            for key in found.into_iter().filter(|key| !key.starts_with(own.as_bytes())) {
                if let Some(keys) = self.crowded.get_mut(&slot_of(&key)) {
                    keys.push(key);
                }
            }
            if is_last {
                // What is left is less than a script's worth each: handed out as it is.
                for (slot, keys) in std::mem::take(&mut self.crowded) {
                    let tag = self.tag(u32::from(slot));
                    self.returned.push_back(Batch { db: 0, tag, keys });
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Selects a database unless it is selected; a Cluster has only one.
    pub(super) async fn select(&mut self, link: &mut Link, db: u32) -> Result<(), ActError> {
        if self.tags.is_none() && self.selected != Some(db) {
            link.call(&["SELECT", &db.to_string()]).await?;
            self.selected = Some(db);
        }
        Ok(())
    }

    /// After a reconnect.
    pub(super) fn forget_selection(&mut self) {
        self.selected = None;
    }
}

/// All keys of the selected database that match.
pub(super) async fn matching(link: &mut Link, pattern: &str) -> Result<Vec<Vec<u8>>, ActError> {
    let mut cursor = "0".to_owned();
    let mut keys = vec![];
    loop {
        let (next, found) = scan(link, &cursor, Some(pattern), None).await?;
        keys.extend(found);
        if next == "0" {
            return Ok(keys);
        }
        cursor = next;
    }
}

async fn scan(
    link: &mut Link,
    cursor: &str,
    pattern: Option<&str>,
    only: Option<&str>,
) -> Result<(String, Vec<Vec<u8>>), ActError> {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("COUNT").arg(SCAN_COUNT);
    if let Some(pattern) = pattern {
        command.arg("MATCH").arg(pattern);
    }
    if let Some(only) = only {
        command.arg("TYPE").arg(only);
    }
    let value = link.send(&command, "SCAN").await?;
    let parts = resp::elements(&value).unwrap_or_default();
    let next = parts.first().and_then(resp::text).unwrap_or_else(|| "0".to_owned());
    Ok((next, parts.get(1).map(names).unwrap_or_default()))
}

async fn slot_keys(link: &mut Link, slot: u32) -> Result<Vec<Vec<u8>>, ActError> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("GETKEYSINSLOT").arg(slot).arg(SLOT_KEYS);
    Ok(names(&link.send(&command, "CLUSTER GETKEYSINSLOT").await?))
}

fn names(value: &redis::Value) -> Vec<Vec<u8>> {
    let all = resp::elements(value).unwrap_or_default();
    all.iter()
        .filter_map(|name| match name {
            redis::Value::BulkString(bytes) => Some(bytes.clone()),
            other => resp::text(other).map(String::into_bytes),
        })
        .collect()
}

/// Slots this node serves, from its own line of CLUSTER NODES: `… connected 0-5460 5470 [93->-…]`.
async fn own_slots(link: &mut Link) -> Result<Vec<u32>, ActError> {
    let value = link.call(&["CLUSTER", "NODES"]).await?;
    let text = resp::text(&value).unwrap_or_default();
    let own = text.lines().find(|l| l.split(' ').nth(2).is_some_and(|f| f.contains("myself")));
    let words = || own.unwrap_or_default().split(' ').skip(8);
    // `[93->-…`, `[77-<-…`: a slot on its way to or from another node is left alone.
    let moving: Vec<u32> = words()
        .filter_map(|word| word.strip_prefix('[')?.split('-').next()?.parse().ok())
        .collect();
    Ok(words()
        .filter_map(|word| {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            Some(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?)
        })
        .flatten()
        .filter(|slot| !moving.contains(slot))
        .collect())
}
