//! What would save memory, with bytes. Read [`Advice`] first; one kind a file below, all with the same skeleton.

mod compress;
mod copies;
mod idle;
mod integer;
mod lasting;
pub(crate) mod pack;
mod prefix;
mod threshold;

use std::cell::{RefCell, RefMut};

use serde::Serialize;
use unfrag_rdb::size::{Estimator, SizeFor};

use crate::pattern::Pattern;
use crate::sample::Sample;
use crate::stats::rounded;
use crate::tally::KeyTally;

/// Less than one in this many bytes is not worth a change.
const SHARE_MIN: u64 = 500;
/// Pieces of advice in a report.
const ADVICE_MAX: usize = 50;

/// One change and what it would give.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Kind: `pack`, `threshold`, `integer`, `prefix`, `compress`, `lasting`, `idle`, `duplicates`.
    pub kind: &'static str,
    /// Keys it is about.
    pub pattern: String,
    /// How many.
    pub keys: u64,
    /// What they take.
    pub bytes_now: u64,
    /// What they would take.
    pub bytes_after: u64,
    /// How sure the bytes are.
    pub confidence: Confidence,
    /// Whether it can be done without knowing more.
    pub is_safe: bool,
    /// What to do, and why it is safe or not.
    pub why: String,
    /// What to type or set, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Ways that were compared, with what each would leave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// It cannot be done in this Cluster with these names: keys that would become one are in different slots.
    #[serde(skip)]
    pub crosses_slots: bool,
}

/// One way among several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// Bytes it leaves.
    pub bytes_after: u64,
}

/// How sure the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The layout is a guess.
    Low,
    /// From a sample.
    Medium,
    /// From every key.
    High,
}

impl Confidence {
    /// As reports print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// What so many samples of values this different are worth.
    fn of_samples(samples: usize) -> Self {
        if samples >= 24 { Self::Medium } else { Self::Low }
    }
}

impl Advice {
    /// Bytes it saves.
    pub fn saves(&self) -> u64 {
        self.bytes_now.saturating_sub(self.bytes_after)
    }
}

/// What advice is made from.
#[derive(Debug)]
pub struct Context<'c> {
    /// Patterns, the largest first.
    pub patterns: &'c [Pattern<'c>],
    /// All that was kept.
    pub tally: &'c KeyTally,
    /// Whom for.
    pub size_for: &'c SizeFor,
    /// All bytes.
    pub total_bytes: u64,
    estimator: RefCell<Estimator>,
}

impl<'c> Context<'c> {
    pub(crate) fn new(
        patterns: &'c [Pattern<'c>],
        tally: &'c KeyTally,
        size_for: &'c SizeFor,
        total_bytes: u64,
    ) -> Self {
        let estimator = RefCell::new(Estimator::new(size_for));
        Self { patterns, tally, size_for, total_bytes, estimator }
    }

    fn estimator(&self) -> RefMut<'_, Estimator> {
        self.estimator.borrow_mut()
    }

    /// True if a pattern of `bytes` is large enough to look at.
    fn is_worth(&self, bytes: u64) -> bool {
        bytes.saturating_mul(SHARE_MIN) >= self.total_bytes
    }

    /// What `now` bytes would come to if all keys changed as the sampled ones do; `after` prices a sample, `None` for
    /// one that stays.
    fn scaled(
        &self,
        now: u64,
        samples: &[&Sample],
        after: impl Fn(&Estimator, &Sample) -> Option<u64>,
    ) -> u64 {
        let estimator = self.estimator();
        let before: u64 = samples.iter().map(|s| s.bytes).sum();
        let changed: u64 =
            samples.iter().map(|s| after(&estimator, s).unwrap_or(s.bytes).min(s.bytes)).sum();
        rounded(now as f64 * changed as f64 / before.max(1) as f64)
    }
}

/// All advice worth a change, the one that saves most first.
pub fn all(context: &Context<'_>) -> Vec<Advice> {
    let kinds: [fn(&Context<'_>) -> Vec<Advice>; 8] = [
        pack::advise,
        threshold::advise,
        integer::advise,
        prefix::advise,
        compress::advise,
        lasting::advise,
        idle::advise,
        copies::advise,
    ];
    let mut all: Vec<Advice> = kinds.iter().flat_map(|advise| advise(context)).collect();
    all.retain(|advice| context.is_worth(advice.saves()) && advice.saves() > 0);
    all.sort_by(|a, b| {
        let key = |x: &Advice| std::cmp::Reverse(x.saves());
        key(a).cmp(&key(b)).then_with(|| (a.kind, &a.pattern).cmp(&(b.kind, &b.pattern)))
    });
    all.truncate(ADVICE_MAX);
    all
}
