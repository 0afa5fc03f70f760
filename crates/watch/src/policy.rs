//! What may be done without asking, and when: [`Policy`] and its [`decide`]. Pure. Off unless the configuration says otherwise.
//!
//! Every decision has a reason, also the one not to act. `policy/window.rs` knows when a window is open.

pub(crate) mod keeper;
pub mod window;

use crate::config::{Size, Time};
use serde::Deserialize;
use std::time::Duration;
use unfrag_act::RemedyName;
use unfrag_model::human;
use window::{Window, WindowConfig};

/// `[policy]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Nothing is ever done while this is false.
    pub enabled: bool,
    /// Decide and record, and do nothing.
    pub dry_run: bool,
    /// Servers worked on at the same time, in the whole fleet.
    pub at_once: Option<usize>,
    /// Between two rounds.
    pub round: Option<Time>,
    /// How long a server must have been up.
    pub fresh: Option<Time>,
    /// The first rule that names a server is its rule.
    pub rule: Vec<RuleConfig>,
}

/// `[[policy.rule]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Names of servers, groups or shards; `*` stands for anything.
    pub targets: Vec<String>,
    /// `purge`, `defrag`, `repack`.
    pub remedies: Vec<String>,
    /// When.
    pub windows: Vec<WindowConfig>,
    /// Bytes that the remedies must give back together.
    pub min_gain: Option<Size>,
    /// Between two runs on one server.
    pub cool_down: Option<Time>,
    /// Latency that may be added at the 99.9th percentile.
    pub latency_budget: Option<Time>,
    /// The longest run; it ends with the window in any case.
    pub max_duration: Option<Time>,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Something may be done.
    pub enabled: bool,
    /// But is not.
    pub dry_run: bool,
    /// Servers worked on at the same time.
    pub at_once: usize,
    /// Between two rounds.
    pub round: Duration,
    /// Seconds a server must have been up.
    pub fresh_s: u64,
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
struct Rule {
    targets: Vec<String>,
    remedies: Vec<RemedyName>,
    windows: Vec<Window>,
    min_gain: u64,
    cool_down_s: i64,
    latency_budget: Duration,
    max_duration: Duration,
}

/// Figures move slowly, and a window is minutes long at least.
const ROUND: Duration = Duration::from_secs(30);
/// A server that was just started has waste that goes by itself.
const FRESH_S: u64 = crate::alert::FRESH_S;
const MIN_GAIN_BYTES: u64 = 100 << 20;
const COOL_DOWN_S: i64 = 6 * 3600;
const LATENCY_BUDGET: Duration = Duration::from_millis(5);
const MAX_DURATION: Duration = Duration::from_secs(15 * 60);
/// A run that could not even measure its baseline is not worth beginning.
const MIN_RUN_S: i64 = 60;

/// One server, as the policy sees it.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// The target or fleet entry it came from.
    pub group: String,
    /// Its primary's name, or its own.
    pub shard: String,
    /// Bytes each remedy would give back; `None` where it cannot be used.
    pub gains: Vec<(RemedyName, Option<u64>)>,
    /// Why nothing may be done now whatever the gain: not answering, loading, forking, synchronising.
    pub unfit: Option<String>,
    /// When the last run on it ended, in seconds since 1970.
    pub last_run_s: Option<i64>,
    /// That run was a dry one.
    pub was_dry: bool,
}

/// What is being done elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Busy {
    /// Servers worked on now.
    pub servers: usize,
    /// Their shards: two members of one shard are never worked on together.
    pub shards: Vec<String>,
}

/// What to do with one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Remedies to run; empty means none.
    pub remedies: Vec<RemedyName>,
    /// Why, or why not, in a sentence.
    pub reason: String,
    /// Latency that may be added.
    pub latency_budget: Duration,
    /// The longest run.
    pub max_duration: Duration,
}

impl Decision {
    fn not(reason: impl Into<String>) -> Self {
        Self {
            remedies: vec![],
            reason: reason.into(),
            latency_budget: LATENCY_BUDGET,
            max_duration: MAX_DURATION,
        }
    }

    /// True when something is to be done.
    pub fn acts(&self) -> bool {
        !self.remedies.is_empty()
    }
}

impl Policy {
    /// Checks a configuration.
    pub fn new(config: &PolicyConfig) -> Result<Self, String> {
        let rules = config.rule.iter().map(Rule::new).collect::<Result<Vec<_>, _>>()?;
        if config.enabled && rules.is_empty() {
            return Err("policy: it is enabled and has no rule; write a [[policy.rule]]".to_owned());
        }
        let at_once = config.at_once.unwrap_or(1);
        if at_once == 0 {
            return Err(
                "policy: at_once = 0 would never do anything; set enabled = false".to_owned()
            );
        }
        Ok(Self {
            enabled: config.enabled,
            dry_run: config.dry_run,
            at_once,
            round: config.round.map_or(ROUND, |t| t.0),
            fresh_s: config.fresh.map_or(FRESH_S, |t| t.0.as_secs()),
            rules,
        })
    }

    fn rule(&self, candidate: &Candidate) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.targets.iter().any(|pattern| {
                [&candidate.name, &candidate.group, &candidate.shard]
                    .iter()
                    .any(|name| matches(pattern, name))
            })
        })
    }
}

/// What to do with a server at `now_s`.
pub fn decide(policy: &Policy, candidate: &Candidate, busy: &Busy, now_s: i64) -> Decision {
    if !policy.enabled {
        return Decision::not("the policy is off");
    }
    let Some(rule) = policy.rule(candidate) else {
        return Decision::not("no rule of the policy names this server");
    };
    let Some(ends_s) = rule.windows.iter().filter_map(|w| w.open_until(now_s)).max() else {
        return Decision::not("no maintenance window is open");
    };
    if let Some(why) = &candidate.unfit {
        return Decision::not(why);
    }
    let cooled_s = candidate.last_run_s.map_or(i64::MAX, |last| now_s - last);
    if cooled_s < rule.cool_down_s {
        let left_s = rule.cool_down_s - cooled_s;
        let run = if candidate.was_dry { "dry run" } else { "run" };
        return Decision::not(format!("the last {run} is too recent: wait {}", about(left_s)));
    }
    let usable: Vec<(RemedyName, u64)> = candidate
        .gains
        .iter()
        .filter(|(remedy, _)| rule.remedies.contains(remedy))
        .filter_map(|(remedy, gain)| Some((*remedy, (*gain)?)))
        .collect();
    // Remedies overlap: the best one's gain is what all of them give at least.
    let gain = usable.iter().map(|(_, gain)| *gain).max().unwrap_or(0);
    if gain < rule.min_gain {
        let (gain, least) = (human(gain), human(rule.min_gain));
        return Decision::not(format!(
            "the allowed remedies would give back {gain}, less than {least}"
        ));
    }
    if busy.shards.contains(&candidate.shard) {
        return Decision::not("a server of its shard is being worked on");
    }
    if busy.servers >= policy.at_once {
        return Decision::not(format!(
            "{} servers are being worked on, which is the most",
            busy.servers
        ));
    }
    let left_s = ends_s - now_s;
    if left_s < MIN_RUN_S {
        return Decision::not("the maintenance window is about to close");
    }
    let left = Duration::from_secs(u64::try_from(left_s).unwrap_or(0));
    let remedies: Vec<RemedyName> =
        usable.iter().filter(|(_, gain)| *gain > 0).map(|(remedy, _)| *remedy).collect();
    let names: Vec<&str> = remedies.iter().map(|r| r.name()).collect();
    Decision {
        reason: format!(
            "a window is open for {} more, and {} would give back about {}",
            about(left_s),
            names.join(", "),
            human(gain)
        ),
        remedies,
        latency_budget: rule.latency_budget,
        max_duration: rule.max_duration.min(left),
    }
}

/// `35 s`, `12 min`, `5 h`.
fn about(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

/// `*` stands for anything, also nothing.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = left.split_once(part) else { return false };
        left = behind;
    }
    left.ends_with(tail)
}

impl Rule {
    fn new(config: &RuleConfig) -> Result<Self, String> {
        let remedy = |name: &String| match name.as_str() {
            "purge" => Ok(RemedyName::Purge),
            "defrag" => Ok(RemedyName::Defrag),
            "repack" => Ok(RemedyName::Repack),
            other => Err(format!(
                "policy: `{other}` is no remedy that may run by itself: purge, defrag, repack"
            )),
        };
        let windows = config.windows.iter().map(Window::new).collect::<Result<Vec<_>, _>>()?;
        if windows.is_empty() || config.remedies.is_empty() || config.targets.is_empty() {
            return Err(
                "policy: a rule needs targets, remedies and windows, each with an entry".to_owned()
            );
        }
        Ok(Self {
            targets: config.targets.clone(),
            remedies: config.remedies.iter().map(remedy).collect::<Result<_, _>>()?,
            windows,
            min_gain: config.min_gain.map_or(MIN_GAIN_BYTES, |s| s.0),
            cool_down_s: config.cool_down.map_or(COOL_DOWN_S, Time::seconds),
            latency_budget: config.latency_budget.map_or(LATENCY_BUDGET, |t| t.0),
            max_duration: config.max_duration.map_or(MAX_DURATION, |t| t.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
enabled = true
[[rule]]
targets = ["cache-*"]
remedies = ["purge", "defrag"]
windows = [{ start = "0 2 * * *", lasts = "2h", zone = "UTC" }]
cool_down = "24h"
"#;
    /// 2026-11-24 02:30 UTC.
    const NIGHT_S: i64 = 1_795_487_400;

    fn policy(text: &str) -> Policy {
        Policy::new(&toml::from_str(text).unwrap()).unwrap()
    }

    fn candidate() -> Candidate {
        Candidate {
            name: "10.0.0.1:6379".into(),
            group: "cache-a".into(),
            shard: "10.0.0.1:6379".into(),
            gains: vec![
                (RemedyName::Purge, Some(50 << 20)),
                (RemedyName::Defrag, Some(300 << 20)),
                (RemedyName::Repack, Some(400 << 20)),
            ],
            ..Candidate::default()
        }
    }

    #[test]
    fn it_acts_in_the_window_with_allowed_remedies_only() {
        let decision = decide(&policy(CONFIG), &candidate(), &Busy::default(), NIGHT_S);
        assert_eq!(decision.remedies, [RemedyName::Purge, RemedyName::Defrag]);
        assert_eq!(
            decision.reason,
            "a window is open for 90 min more, and purge, defrag would give back about 300 MiB"
        );
        assert_eq!(decision.max_duration, MAX_DURATION);
    }

    #[test]
    fn every_no_has_its_reason() {
        let on = policy(CONFIG);
        let say = |policy: &Policy, change: &dyn Fn(&mut Candidate), busy: &Busy, at_s| {
            let mut candidate = candidate();
            change(&mut candidate);
            let decision = decide(policy, &candidate, busy, at_s);
            assert!(!decision.acts());
            decision.reason
        };
        let idle = Busy::default();
        let same = |_: &mut Candidate| {};
        assert_eq!(say(&policy(""), &same, &idle, NIGHT_S), "the policy is off");
        assert_eq!(
            say(&on, &|c| c.group = "db".into(), &idle, NIGHT_S),
            "no rule of the policy names this server"
        );
        assert_eq!(say(&on, &same, &idle, NIGHT_S + 7200), "no maintenance window is open");
        assert_eq!(say(&on, &|c| c.unfit = Some("it loads".into()), &idle, NIGHT_S), "it loads");
        assert_eq!(
            say(&on, &|c| c.last_run_s = Some(NIGHT_S - 3600), &idle, NIGHT_S),
            "the last run is too recent: wait 23 h"
        );
        assert_eq!(
            say(&on, &|c| c.gains.truncate(1), &idle, NIGHT_S),
            "the allowed remedies would give back 50.0 MiB, less than 100 MiB"
        );
        let busy = Busy { servers: 1, shards: vec![] };
        assert_eq!(
            say(&on, &same, &busy, NIGHT_S),
            "1 servers are being worked on, which is the most"
        );
        let busy = Busy { servers: 0, shards: vec!["10.0.0.1:6379".into()] };
        assert_eq!(say(&on, &same, &busy, NIGHT_S), "a server of its shard is being worked on");
        assert_eq!(
            say(&on, &same, &idle, NIGHT_S + 5400 - 30),
            "the maintenance window is about to close"
        );
    }

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("*", "a", true),
            ("a*", "ab", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a", "ab", false),
            ("*b*d*", "abcde", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_meant_is_refused() {
        for text in [
            "enabled = true",
            "at_once = 0",
            "[[rule]]\ntargets = [\"*\"]\nremedies = [\"restart\"]\nwindows = [{start = \"0 2 * * *\", lasts = \"2h\"}]",
        ] {
            assert!(Policy::new(&toml::from_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
