//! [`Skips`]: what was left alone, and why: the first few by name, the others counted by reason.

use crate::outcome::Skipped;
use std::collections::BTreeMap;

/// Keys named a reason.
const NAMED: usize = 20;

/// Keys left alone, by reason.
#[derive(Debug, Default, Clone)]
pub(super) struct Skips {
    by_reason: BTreeMap<String, (Vec<String>, u64)>,
}

impl Skips {
    pub(super) fn add(&mut self, db: u32, name: &[u8], why: impl Into<String>) {
        let (named, count) = self.by_reason.entry(why.into()).or_default();
        *count += 1;
        if named.len() < NAMED {
            named.push(format!("{} in db {db}", super::spec::shown(name)));
        }
    }

    pub(super) fn list(&self) -> Vec<Skipped> {
        let mut all = vec![];
        for (why, (named, count)) in &self.by_reason {
            all.extend(named.iter().map(|what| Skipped { what: what.clone(), why: why.clone() }));
            let more = count - named.len() as u64;
            if more > 0 {
                all.push(Skipped { what: format!("{more} more"), why: why.clone() });
            }
        }
        all
    }
}
