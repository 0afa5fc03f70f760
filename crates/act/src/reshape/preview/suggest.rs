//! Buckets that fill listpacks well: how many ids a hash should hold on this server. Pure.

use crate::reshape::layout::Layout;
use crate::reshape::outcome::{Fields, Suggestion};
use crate::reshape::spec::Job;
use crate::reshape::template::{Form, Part, Sum, number};
use std::collections::BTreeSet;

/// Fields aimed at, in percent of the threshold: an id with a field more than the others must not tip it over.
const FULL_PERCENT: u64 = 80;
/// Past this many fields a listpack saves next to nothing more and each access walks over more bytes.
const MOST_FIELDS: u64 = 128;

/// Another bucket size, if it would fill hashes at least twice as well, or if the present one overfills them.
/// What it saves is not looked at here.
pub(super) fn buckets(layout: &Layout, jobs: &[(u32, Job)], fields: &Fields) -> Option<Suggestion> {
    let (slot, now) = layout.into.slots().find_map(|(name, sum)| match sum {
        Sum::Whole => Some((name, 1)),
        Sum::Over(by) => Some((name, by)),
        Sum::Rest(_) => None,
    })?;
    if fields.mean <= 0.0 {
        return None;
    }
    let ids = ids(layout, jobs, slot)?;
    let goal = (fields.limit * FULL_PERCENT / 100).min(MOST_FIELDS) as f64;
    let over = nice(now as f64 * goal / fields.mean);
    let overfull = fields.mean > fields.limit as f64;
    let underfull = over >= now * 2 && fields.mean * 2.0 <= goal;
    if over < 2 || !(overfull || underfull) {
        return None;
    }
    let step = over.max(now) / now;
    let hashes = if over > now {
        ids.iter().map(|id| id / step).collect::<BTreeSet<_>>().len()
    } else {
        jobs.len() * usize::try_from(now / over.max(1)).unwrap_or(1)
    };
    let mean = fields.mean * jobs.len() as f64 / (hashes as f64).max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
    let mean = mean.round() as u64;
    // Ids too far apart share no bucket.
    if underfull && (mean as f64) < fields.mean * 2.0 {
        return None;
    }
    let into = with_buckets(&layout.into, slot, over);
    let why = if overfull {
        format!("hashes of more than {} fields become hash tables on this server", fields.limit)
    } else {
        format!("a hash of {:.1} fields leaves most of its saving unused", fields.mean)
    };
    Some(Suggestion { into, fields: mean, saves_bytes: 0, why })
}

/// The numbers in the hashes' names; `None` unless all are.
fn ids(layout: &Layout, jobs: &[(u32, Job)], slot: &str) -> Option<Vec<u64>> {
    let hashes = layout.hashes();
    let name = hashes.names().into_iter().find(|n| n.trim_end_matches('/') == slot)?;
    jobs.iter()
        .map(|(_, job)| number(hashes.value(&hashes.captures(&job.name.0)?, name)?))
        .collect()
}

/// 1, 2 or 5 times a power of ten, not above.
fn nice(value: f64) -> u64 {
    let mut best = 1;
    let mut power = 1u64;
    while power as f64 <= value && power < 1_000_000_000 {
        best = [1, 2, 5]
            .into_iter()
            .map(|m| m * power)
            .filter(|n| *n as f64 <= value)
            .max()
            .unwrap_or(best);
        power *= 10;
    }
    best
}

fn with_buckets(into: &Form, slot: &str, by: u64) -> String {
    let parts = into.parts().iter().map(|part| match part {
        Part::Slot { name, .. } if name == slot => {
            Part::Slot { name: name.clone(), sum: Sum::Over(by) }
        }
        other => other.clone(),
    });
    Form::of(parts.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reshape::layout::Wording;
    use crate::reshape::spec::Name;

    fn suggested(
        keys: &str,
        into: &str,
        ids: &[u64],
        fields_each: usize,
        limit: u64,
    ) -> Option<String> {
        let wording = Wording { keys: keys.into(), into: into.into(), field: None };
        let layout = Layout::parse(&wording).unwrap();
        let jobs: Vec<(u32, Job)> = ids
            .iter()
            .map(|id| {
                let fields = (0..fields_each).map(|n| Name(n.to_string().into_bytes())).collect();
                (0, Job { name: Name(format!("u:{id}").into_bytes()), fields })
            })
            .collect();
        let fields = Fields {
            hashes: ids.len() as u64,
            mean: fields_each as f64,
            limit,
            ..Fields::default()
        };
        buckets(&layout, &jobs, &fields).map(|s| format!("{} {}", s.into, s.fields))
    }

    #[test]
    fn small_hashes_share_a_bucket_and_overfull_ones_are_divided() {
        let dense: Vec<u64> = (0..2000).collect();
        assert_eq!(
            suggested("u:{id}:{f}", "u:{id}", &dense, 3, 128).as_deref(),
            Some("u:{id/20} 60")
        );
        assert_eq!(suggested("u:{id}:{f}", "u:{id}", &dense, 60, 128), None);
        assert_eq!(
            suggested("s:{id}", "u:{id/1000}", &dense, 1000, 512).as_deref(),
            Some("u:{id/100} 100")
        );
        let sparse: Vec<u64> = (0..2000).map(|n| n * 1_000_000).collect();
        assert_eq!(suggested("u:{id}:{f}", "u:{id}", &sparse, 3, 128), None);
        assert_eq!(nice(1.0), 1);
        assert_eq!(nice(49.9), 20);
        assert_eq!(nice(50.0), 50);
    }
}
