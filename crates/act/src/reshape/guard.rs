//! Where a reshape must not be applied, and what to do instead. Pure.

use super::spec::{Shape, Spec};
use serde::Serialize;
use unfrag_model::Sample;

/// One reason not to, or not without a word of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hindrance {
    /// What is the matter.
    pub why: String,
    /// What to do.
    pub hint: String,
    /// `--allow` goes on all the same.
    pub overridable: bool,
}

fn hard(why: impl Into<String>, hint: impl Into<String>) -> Hindrance {
    Hindrance { why: why.into(), hint: hint.into(), overridable: false }
}

fn soft(why: impl Into<String>, hint: impl Into<String>) -> Hindrance {
    Hindrance { why: why.into(), hint: hint.into(), overridable: true }
}

/// Free bytes below maxmemory that a run should find: what a batch and its buffers take, with the server's reserve.
const HEADROOM_BYTES: u64 = 4 << 20;
/// This many clients inside MULTI or WATCH at one glance are a way of life.
const TRANSACTIONS: u64 = 5;

/// All that speaks against it on this server, before any key was looked at.
pub(super) fn check(spec: &Spec, sample: &Sample) -> Vec<Hindrance> {
    let info = &sample.info;
    let mut all = vec![];
    if info.is_replica() {
        all.push(hard(
            "this is a replica: what it holds is its primary's",
            "run it on the primary; it is replicated",
        ));
    }
    if info.engine().version.is_none() {
        all.push(hard("the server does not say its version", "give this user the right to INFO"));
    }
    if let Some(left) = headroom(sample).filter(|left| *left < HEADROOM_BYTES) {
        let hint = "raise maxmemory by some megabytes first; it can go back afterwards";
        let left = unfrag_model::human(left);
        all.push(hard(
            format!(
                "only {left} are left below maxmemory: writes would be refused or keys evicted"
            ),
            hint,
        ));
    }
    if let Some(events) = sample.config.text("notify-keyspace-events").filter(|e| !e.is_empty()) {
        let what = match spec.shape {
            Shape::Hash(_) => "each key's removal and each hash's new fields",
            Shape::Compress { .. } => "each value's replacement as a `set`",
        };
        let why = format!("keyspace notifications are on ({events}): subscribers would see {what}");
        all.push(soft(why, "make sure that they can take it, then add --allow"));
    }
    if sample.config.is_empty() {
        let why = "CONFIG cannot be read here: thresholds and keyspace notifications are unknown";
        all.push(soft(why, "give this user the rights that `unfrag acl reshape` prints"));
    }
    let clients = sample.clients.as_ref();
    let tracking =
        clients.map_or(0, |c| c.tracking).max(info.count("tracking_clients").unwrap_or(0));
    if tracking > 0 {
        let why = format!(
            "{tracking} clients cache on their side (CLIENT TRACKING): each key changed would be invalidated"
        );
        all.push(soft(why, "make sure that they read the new layout, then add --allow"));
    }
    if let Some(n) = clients.map(|c| c.transactions).filter(|&n| n >= TRANSACTIONS) {
        let why = format!(
            "{n} clients use WATCH or MULTI: those that watch a key being changed would have to retry"
        );
        all.push(soft(why, "run it at a quieter time, or add --allow"));
    }
    all
}

/// Bytes below maxmemory; `None` without one.
fn headroom(sample: &Sample) -> Option<u64> {
    let info = &sample.info;
    let maxmemory = info.maxmemory().filter(|m| *m > 0)?;
    let counted = info
        .count("used_memory")?
        .saturating_sub(info.count("mem_not_counted_for_evict").unwrap_or(0));
    Some(maxmemory.saturating_sub(counted))
}

/// In a Cluster the keys of one hash must share its slot.
pub(super) fn crosses_slots(key: &str, hash: &str, slots: (usize, usize)) -> Hindrance {
    let why = format!(
        "in a Cluster {key} lives in slot {}, its hash {hash} in slot {}: no atomic step can span both",
        slots.0, slots.1
    );
    let hint = "only keys with a hash tag can be merged, such as user:{7}:name into user:{7}; the templates for these are \
        --match 'user:{{{id}}}:{field}' --into 'user:{{{id}}}' (a new application layout would begin with such names)";
    hard(why, hint)
}

/// Before 7.2 nothing can be read without counting as used.
pub(super) fn touches(policy: &str) -> Hindrance {
    let why = format!(
        "under {policy} each value read counts as just used, and this server knows no CLIENT NO-TOUCH (7.2): what is evicted next would change"
    );
    soft(why, "nothing was looked at; --allow does it all the same")
}

/// The way back without knowing what was there before.
pub(super) fn no_record(spec: &Spec) -> Hindrance {
    let what = match spec.shape {
        Shape::Hash(_) => {
            "every field that fits would become a key, also one that was a field before"
        }
        Shape::Compress { .. } => {
            "every value of this form would be unpacked, also one that your application packed"
        }
    };
    let why = format!("no record of such a reshape is kept on this machine: {what}");
    soft(
        why,
        "run it where it was applied, as the same user; or --allow, if there was nothing of that form before",
    )
}

/// It would cost memory.
pub(super) fn costs_memory(bytes: i64) -> Hindrance {
    let why =
        format!("it would take {} more memory than now", unfrag_model::human(bytes.unsigned_abs()));
    soft(why, "leave the data as it is; --allow does it all the same")
}

#[cfg(test)]
mod tests {
    use super::super::layout::Wording;
    use super::*;
    use unfrag_model::{Config, Info};

    fn found(info: &str, config: &str) -> Vec<Hindrance> {
        let wording = Wording { keys: "u:{id}:{f}".into(), into: "u:{id}".into(), field: None };
        let spec = Spec { shape: Shape::Hash(wording), reverse: false };
        let info = Info::parse(&format!("redis_version:7.0.15\n{info}"));
        check(&spec, &Sample { info, config: Config::parse(config), ..Sample::default() })
    }

    #[test]
    fn each_hindrance_speaks_and_its_neighbour_does_not() {
        assert_eq!(found("role:master", "maxmemory 0"), []);
        assert!(
            found("role:slave", "maxmemory 0")
                .iter()
                .any(|h| !h.overridable && h.why.contains("replica"))
        );
        assert!(
            found("used_memory:99000000\nmaxmemory:100000000", "a b")[0].why.contains("maxmemory")
        );
        assert_eq!(found("used_memory:90000000\nmaxmemory:100000000", "a b"), []);
        let events = found("", "notify-keyspace-events KEA");
        assert!(events.iter().any(|h| h.overridable && h.why.contains("KEA")));
        assert!(found("tracking_clients:3", "a b")[0].why.contains("3 clients"));
        assert!(found("", "")[0].why.contains("CONFIG"));
    }
}
