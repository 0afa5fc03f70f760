//! Advisories: known bugs by engine, version range and condition, so that no remedy walks into one.
//!
//! The table is `advisories.toml`, embedded and replaceable. Read [`Advisory`] first.

use crate::figures::Figures;
use crate::rule::{Found, Kind};
use serde::Deserialize;
use unfrag_model::{Cause, Evidence, Finding, Flavor, RemedyKind, Severity, Version};

/// A table of advisories.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisories {
    #[serde(rename = "advisory", default)]
    all: Vec<Advisory>,
}

/// One known bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisory {
    /// Stable name.
    pub id: String,
    /// Code base.
    pub engine: Flavor,
    /// First version that has it.
    #[serde(deserialize_with = "version")]
    pub from: Version,
    /// First version that no longer has it; absent while none is known.
    #[serde(default, deserialize_with = "some_version")]
    pub fixed: Option<Version>,
    /// When it bites.
    pub when: Condition,
    /// What breaks.
    pub breaks: Breaks,
    /// One sentence for people.
    pub summary: String,
    /// What to do instead.
    pub instead: String,
    /// Where it is known from.
    pub source: String,
}

/// What must hold for the bug to bite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Active defrag runs at all.
    Defrag,
    /// Active defrag is switched off in mid-run and on again.
    DefragToggle,
    /// Active defrag in cluster mode.
    DefragCluster,
    /// Active defrag on a replica.
    DefragReplica,
    /// Reading INFO.
    Info,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaks {
    /// The server dies or data is damaged.
    Crash,
    /// The remedy does not work.
    Useless,
    /// A figure is wrong.
    WrongFigure,
}

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the advisories: {0}")]
pub struct AdvisoryError(#[from] toml::de::Error);

const EMBEDDED: &str = include_str!("advisories.toml");

impl Advisories {
    /// The table of this release.
    #[expect(clippy::expect_used, reason = "the embedded table is parsed by a test of this file")]
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("the embedded table parses")
    }

    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self, AdvisoryError> {
        Ok(toml::from_str(text)?)
    }

    /// Those that concern this server.
    pub fn for_server<'a>(&'a self, f: &'a Figures<'_>) -> impl Iterator<Item = &'a Advisory> {
        self.all.iter().filter(|a| concerns(a, f))
    }
}

fn concerns(advisory: &Advisory, f: &Figures<'_>) -> bool {
    let Some(version) = f.engine.version else { return false };
    let in_range = advisory.engine == f.engine.flavor
        && version >= advisory.from
        && advisory.fixed.is_none_or(|fixed| version < fixed);
    let cluster = f.sample.info.flag("cluster_enabled") == Some(true);
    let defrags = crate::next::can_defrag(f);
    in_range
        && match advisory.when {
            Condition::Defrag | Condition::DefragToggle => defrags,
            Condition::DefragCluster => defrags && cluster,
            Condition::DefragReplica => defrags && f.sample.info.is_replica(),
            Condition::Info => true,
        }
}

/// One finding an advisory; urgent only where the crash can come of what is on now.
pub(crate) fn findings(f: &Figures<'_>, advisories: &Advisories) -> Vec<Found> {
    advisories
        .for_server(f)
        .map(|a| Found { finding: finding(a, f), kind: Kind::Risk, rank: usize::MAX })
        .collect()
}

fn finding(advisory: &Advisory, f: &Figures<'_>) -> Finding {
    let defrag_on =
        f.sample.config.flag("activedefrag") == Some(true) || f.count("active_defrag_running") > 0;
    let severity = match advisory.breaks {
        Breaks::Crash if defrag_on => Severity::Act,
        Breaks::Crash | Breaks::Useless | Breaks::WrongFigure => Severity::Info,
    };
    let mut finding = Finding::new(
        Cause::DefragBugOrUndefraggableData,
        severity,
        format!("{}: {}", advisory.id, advisory.summary),
    )
    .meaning(advisory.instead.clone())
    .evidence(Evidence::new("version", f.engine.to_string(), "INFO server"))
    .evidence(Evidence::new("source", advisory.source.clone(), "advisory"))
    .remedy(
        RemedyKind::Upgrade,
        match advisory.fixed {
            Some(fixed) => format!("upgrade to {fixed} or later"),
            None => "no fixed release is known to this table".to_owned(),
        },
    );
    finding.id = "advisory";
    finding
}

fn version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|()| serde::de::Error::custom(format!("not a version: {text}")))
}

fn some_version<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Version>, D::Error> {
    version(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_parses_and_ids_are_unique() {
        let table = Advisories::parse(EMBEDDED).unwrap();
        let ids: std::collections::BTreeSet<_> = table.all.iter().map(|a| &a.id).collect();
        assert_eq!(ids.len(), table.all.len());
        assert!(table.all.iter().all(|a| a.fixed.is_none_or(|fixed| fixed > a.from)));
    }
}
