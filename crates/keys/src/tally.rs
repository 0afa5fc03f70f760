//! What is kept while keys go by. Read [`KeyTally`] first; it is the hot loop.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use unfrag_rdb::format::DataType;
use unfrag_rdb::input::Scratch;
use unfrag_rdb::reader::{Item, Key};
use unfrag_rdb::size::{Block, KeySize, Observer, SizeFor, Tally, Thresholds};
use unfrag_rdb::text::{Need, Text};

use crate::duplicate::Duplicates;
use crate::rows::KeyHash;
use crate::sample::{NAME_BYTES_MAX, Sample, VALUE_BYTES_MAX};
use crate::shape::Shape;
use crate::stats::{Near, Sum};
use crate::time::{TTL_BUCKETS, TtlBucket};
use crate::top::Top;
use crate::tree::Tree;

/// What to keep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys in each list of the biggest.
    pub top: usize,
    /// When the snapshot was taken, in Unix milliseconds. One that says so itself is believed.
    pub now_ms: i64,
    /// Sum up slots: costs a checksum a key.
    pub by_slot: bool,
    /// Replaces key names; examples of names and values are left out.
    pub hash: Option<KeyHash>,
}

impl Default for Options {
    fn default() -> Self {
        Self { top: 10, now_ms: 0, by_slot: false, hash: None }
    }
}

/// Keys of a group and the biggest of them.
#[derive(Debug, Clone)]
pub struct Group {
    /// Keys and bytes.
    pub sum: Sum,
    /// The biggest by bytes.
    pub biggest: Top,
}

impl Group {
    fn new(keep: usize, options: &Options) -> Self {
        Self { sum: Sum::default(), biggest: Top::new(keep, options.hash.clone()) }
    }

    #[inline]
    fn add(&mut self, key: &KeySize<'_>) {
        self.sum.add(key.bytes);
        self.biggest.offer(key.bytes, key);
    }

    fn join(&mut self, other: Self) {
        self.sum.join(other.sum);
        self.biggest.join(other.biggest);
    }
}

/// Shapes whose place is remembered: more than an application has kinds of keys, small enough for a core's cache.
const REMEMBERED: usize = 4096;
/// The first keys of a pattern all have their allocations listed, then one in [`BLOCKS_EVERY`].
const BLOCKS_FIRST: u64 = 64;
const BLOCKS_EVERY: u64 = 256;
/// Bytes of values kept as samples, all patterns together. Later patterns keep names only.
const SAMPLE_BYTES_MAX: usize = 16 << 20;
/// Slots of a Cluster.
const SLOTS: usize = 16_384;
/// Databases and types told apart.
const GROUPS_MAX: usize = 64;

/// Everything the report is made of, from one pass over the keys.
#[derive(Debug)]
pub struct KeyTally {
    pub(crate) tree: Tree,
    pub(crate) types: BTreeMap<DataType, (Group, Top)>,
    pub(crate) dbs: BTreeMap<u64, Group>,
    pub(crate) ttl: [Group; TTL_BUCKETS],
    pub(crate) slots: Vec<Group>,
    pub(crate) by_bytes: Top,
    pub(crate) by_elements: Top,
    pub(crate) duplicates: Duplicates,
    pub(crate) about: BTreeMap<String, String>,
    pub(crate) options: Options,
    thresholds: Thresholds,
    hasher: RandomState,
    remembered: Box<[(u64, u32)]>,
    generation: u32,
    shape: Shape,
    place: u32,
    is_sampled: bool,
    value: Option<Vec<u8>>,
    sample_bytes: usize,
    scratch: Scratch,
}

impl KeyTally {
    /// An empty one.
    pub fn new(options: Options, size_for: &SizeFor) -> Self {
        let group = || Group::new(options.top, &options);
        let top = || Top::new(options.top, options.hash.clone());
        let slots = if options.by_slot { vec![Group::new(1, &options); SLOTS] } else { Vec::new() };
        Self {
            tree: Tree::default(),
            types: BTreeMap::new(),
            dbs: BTreeMap::new(),
            ttl: std::array::from_fn(|_| group()),
            slots,
            by_bytes: top(),
            by_elements: top(),
            duplicates: Duplicates::default(),
            about: BTreeMap::new(),
            thresholds: size_for.thresholds,
            hasher: RandomState::default(),
            remembered: vec![(0, u32::MAX); REMEMBERED].into(),
            generation: 0,
            shape: Shape::default(),
            place: 0,
            is_sampled: false,
            value: None,
            sample_bytes: 0,
            scratch: Scratch::default(),
            options,
        }
    }

    /// The place of the shape at hand.
    #[inline]
    fn find(&mut self) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(self.shape.bytes());
        let hash = hasher.finish();
        let slot = usize::try_from(hash & (REMEMBERED as u64 - 1)).unwrap_or_default();
        if let Some(&(known, place)) = self.remembered.get(slot)
            && known == hash
            && place != u32::MAX
        {
            return place;
        }
        let place = self.tree.surely(|| self.shape.parts());
        if self.generation != self.tree.generation() {
            self.generation = self.tree.generation();
            self.remembered.fill((0, u32::MAX));
        }
        if let Some(known) = self.remembered.get_mut(slot) {
            *known = (hash, place);
        }
        place
    }

    fn group(&mut self, key: &KeySize<'_>) {
        let options = &self.options;
        let data_type = key.key.kind.data_type();
        let (group, by_elements) =
            self.types.entry(data_type).or_insert_with(|| type_group(options));
        group.add(key);
        if data_type != DataType::String {
            by_elements.offer(key.elements, key);
            self.by_elements.offer(key.elements, key);
        }
        let db = key.key.db.unwrap_or(0);
        let is_known = self.dbs.len() < GROUPS_MAX || self.dbs.contains_key(&db);
        let db = if is_known { db } else { u64::MAX };
        self.dbs.entry(db).or_insert_with(|| Group::new(options.top, options)).add(key);
        if self.options.by_slot {
            let slot = usize::try_from(unfrag_rdb::slot::of(key.key.name)).unwrap_or_default();
            if let Some(group) = self.slots.get_mut(slot) {
                group.add(key);
            }
        }
        self.by_bytes.offer(key.bytes, key);
    }

    /// Keys that a slightly higher threshold would keep packed.
    fn near(&self, key: &KeySize<'_>) -> Option<Near> {
        let packed = key.packed_bytes?;
        let limits = &self.thresholds;
        let (entries, longest) = match key.key.kind.data_type() {
            DataType::Hash => (limits.hash_entries, limits.hash_value_bytes),
            DataType::Set if key.packs_to_intset => (limits.set_intset_entries, u64::MAX / 2),
            DataType::Set => (limits.set_entries, limits.set_value_bytes),
            DataType::Zset => (limits.zset_entries, limits.zset_value_bytes),
            _ => return None,
        };
        let is_near = key.elements <= 2 * entries && key.longest <= 2 * longest;
        (is_near && packed < key.bytes).then_some(Near {
            keys: 1,
            intsets: u64::from(key.packs_to_intset),
            bytes_now: key.bytes,
            bytes_after: packed,
            elements_max: key.elements,
            longest_max: key.longest,
        })
    }

    #[cold]
    fn sample(&mut self, key: &KeySize<'_>) {
        let value = self.value.take();
        let fits = self.sample_bytes + value.as_ref().map_or(0, Vec::len) <= SAMPLE_BYTES_MAX;
        let value = value.filter(|_| fits).map(Vec::into_boxed_slice);
        self.sample_bytes += value.as_ref().map_or(0, |v| v.len());
        let name = key.key.name;
        let sample = Sample {
            name: name.get(..NAME_BYTES_MAX).unwrap_or(name).into(),
            name_bytes: name.len() as u64,
            value,
            elements: key.elements,
            bytes: key.bytes,
            expires_ms: key.key.expires_ms,
            data_type: key.key.kind.data_type(),
        };
        if let Some(stats) = self.tree.at(self.place) {
            let gone = stats.reservoir.keep(stats.keys, sample);
            self.sample_bytes -= gone.and_then(|s| s.value).map_or(0, |v| v.len());
        }
    }
}

/// A type's keys, by bytes and by elements.
fn type_group(options: &Options) -> (Group, Top) {
    (Group::new(options.top, options), Top::new(options.top, options.hash.clone()))
}

impl Observer for KeyTally {
    const VALUES: Need = Need::Sample;
    const PACKED: bool = true;

    fn item(&mut self, item: &Item<'_>) {
        if let Item::Aux { name, value } = item
            && self.about.len() < GROUPS_MAX
        {
            let text = |bytes: &[u8]| unfrag_rdb::problem::key_text(bytes);
            let (name, value) = (text(name), text(value));
            if name == "ctime"
                && let Ok(seconds) = value.parse::<i64>()
            {
                self.options.now_ms = seconds.saturating_mul(1000);
            }
            self.about.insert(name, value);
        }
    }

    #[inline]
    fn open(&mut self, key: &Key<'_>) -> bool {
        self.shape.of(key.name);
        self.place = self.find();
        let Some(stats) = self.tree.at(self.place) else { return false };
        self.is_sampled = stats.reservoir.wants(stats.keys + 1);
        stats.keys < BLOCKS_FIRST || stats.keys.is_multiple_of(BLOCKS_EVERY)
    }

    #[inline]
    fn text(&mut self, text: Text<'_>) {
        if self.is_sampled {
            self.value = match text {
                Text::Omitted { .. } => None,
                text => text
                    .bytes(&mut self.scratch)
                    .ok()
                    .map(|bytes| bytes.get(..VALUE_BYTES_MAX).unwrap_or(bytes).to_vec()),
            };
        }
        self.duplicates.text(text);
    }

    #[inline]
    fn close(&mut self, key: &KeySize<'_>, blocks: &[Block]) {
        let ttl = TtlBucket::of(key.key.expires_ms, self.options.now_ms);
        let near = self.near(key);
        if let Some(stats) = self.tree.at(self.place) {
            stats.add(key, ttl);
            if let Some(near) = near {
                stats.near.join(near);
            }
            if !blocks.is_empty() {
                stats.add_blocks(blocks);
            }
        }
        if let Some(group) = self.ttl.get_mut(ttl as usize) {
            group.add(key);
        }
        self.group(key);
        self.duplicates.close(key.key.name, key.elements, key.bytes);
        if self.is_sampled {
            self.sample(key);
        }
    }
}

impl Tally for KeyTally {
    fn fork(&self) -> Self {
        let size_for = SizeFor {
            thresholds: self.thresholds,
            ..SizeFor::new(unfrag_rdb::size::Server::Redis82)
        };
        let mut new = Self::new(self.options.clone(), &size_for);
        new.duplicates = self.duplicates.fork();
        new
    }

    fn join(&mut self, other: Self) {
        self.tree.join(other.tree);
        self.generation = u32::MAX;
        self.remembered.fill((0, u32::MAX));
        let options = &self.options;
        for (data_type, (group, by_elements)) in other.types {
            let own = self.types.entry(data_type).or_insert_with(|| type_group(options));
            own.0.join(group);
            own.1.join(by_elements);
        }
        for (db, group) in other.dbs {
            self.dbs.entry(db).or_insert_with(|| Group::new(options.top, options)).join(group);
        }
        self.ttl.iter_mut().zip(other.ttl).for_each(|(own, more)| own.join(more));
        self.slots.iter_mut().zip(other.slots).for_each(|(own, more)| own.join(more));
        self.by_bytes.join(other.by_bytes);
        self.by_elements.join(other.by_elements);
        self.duplicates.join(other.duplicates);
        self.about.extend(other.about);
    }
}
