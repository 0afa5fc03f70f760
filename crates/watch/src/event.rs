//! [`Event`]s: what changed on a server between two readings. Pure.
//!
//! They are the other half of a trend: when fragmentation begins to rise, the question is what was changed then.

use serde::Serialize;
use std::collections::BTreeMap;
use unfrag_model::Sample;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Seconds since 1970.
    pub at_s: i64,
    /// What kind of thing.
    pub kind: Kind,
    /// In a sentence. May hold text from outside: treat as hostile.
    pub text: String,
}

/// Kinds of event. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Watched from now on.
    Begun,
    /// Another process answers.
    Restart,
    /// Another version.
    Version,
    /// Primary or replica.
    Role,
    /// A setting.
    Config,
    /// It stopped answering.
    Lost,
    /// It answers again.
    Back,
    /// It left its deployment.
    Left,
    /// An alert fired.
    Alert,
    /// An alert is over.
    Resolved,
    /// A remedy began or ended.
    Fix,
}

impl Kind {
    /// Its name in the database and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Restart => "restart",
            Self::Version => "version",
            Self::Role => "role",
            Self::Config => "config",
            Self::Lost => "lost",
            Self::Back => "back",
            Self::Left => "left",
            Self::Alert => "alert",
            Self::Resolved => "resolved",
            Self::Fix => "fix",
        }
    }
}

/// What is compared between readings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    run_id: String,
    version: String,
    role: String,
    primary: String,
    maxmemory: String,
    policy: String,
    /// From the last whole sample; empty when it could not be read.
    config: BTreeMap<String, String>,
}

impl Identity {
    pub(crate) fn new(sample: &Sample) -> Self {
        let text = |key| sample.info.text(key).unwrap_or_default().to_owned();
        let primary = match sample.info.text("master_host") {
            Some(host) => format!("{host}:{}", text("master_port")),
            None => String::new(),
        };
        Self {
            run_id: text("run_id"),
            version: sample.info.engine().version.map(|v| v.to_string()).unwrap_or_default(),
            role: if sample.info.is_replica() { "replica" } else { "primary" }.to_owned(),
            primary,
            maxmemory: text("maxmemory"),
            policy: text("maxmemory_policy"),
            config: sample.config.pairs().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        }
    }
}

/// What changed from `before` to `now`.
pub(crate) fn changes(at_s: i64, before: &Identity, now: &Identity) -> Vec<Event> {
    let mut events = vec![];
    let mut say = |kind, text: String| events.push(Event { at_s, kind, text });
    if before.run_id != now.run_id {
        say(Kind::Restart, "another process answers: the server was restarted".to_owned());
    }
    if before.version != now.version {
        say(Kind::Version, format!("version {} -> {}", before.version, now.version));
    }
    if before.role != now.role {
        say(Kind::Role, format!("it was a {}, it is a {}", before.role, now.role));
    } else if before.primary != now.primary && !now.primary.is_empty() {
        say(Kind::Role, format!("it follows {} now", now.primary));
    }
    for (name, value) in &now.config {
        match before.config.get(name) {
            Some(old) if old != value => {
                say(Kind::Config, format!("{name} {} -> {}", shown(old), shown(value)));
            }
            _ => {}
        }
    }
    // INFO shows these two at once; the rest of the configuration only with a whole sample.
    for (name, old, value) in [
        ("maxmemory", &before.maxmemory, &now.maxmemory),
        ("maxmemory-policy", &before.policy, &now.policy),
    ] {
        let said = now.config.get(name) != before.config.get(name);
        if old != value && !old.is_empty() && !value.is_empty() && !said {
            say(Kind::Config, format!("{name} {old} -> {value}"));
        }
    }
    events
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_model::{Config, Info};

    fn identity(info: &str, config: &[(&str, &str)]) -> Identity {
        Identity::new(&Sample {
            info: Info::parse(info),
            config: Config::from_pairs(config.iter().copied()),
            ..Sample::default()
        })
    }

    const INFO: &str = "redis_version:7.0.15\nrun_id:a\nused_memory:1\nrole:master\nmaxmemory:0\nmaxmemory_policy:noeviction\n";

    #[test]
    fn each_change_is_told_once() {
        let before = identity(INFO, &[("hz", "10"), ("save", "")]);
        assert_eq!(changes(1, &before, &before), []);
        let now = identity(
            &INFO
                .replace("run_id:a", "run_id:b")
                .replace("7.0.15", "8.2.3")
                .replace("role:master", "role:slave\nmaster_host:h\nmaster_port:1")
                .replace("maxmemory:0", "maxmemory:5"),
            &[("hz", "10"), ("save", "60 1")],
        );
        let texts: Vec<String> = changes(1, &before, &now).into_iter().map(|e| e.text).collect();
        assert_eq!(
            texts,
            [
                "another process answers: the server was restarted",
                "version 7.0.15 -> 8.2.3",
                "it was a primary, it is a replica",
                "save \"\" -> 60 1",
                "maxmemory 0 -> 5",
            ]
        );
    }
}
