//! Sample in, Report out: what unfrag makes of a server's memory figures.
//!
//! Pure functions: no clock, no socket, no file. [`diagnose`] is the only entry most callers need; the
//! rules stand one a file under `rules/`, and each file's head is also what `unfrag explain` prints.

pub mod advisory;
pub mod figures;
mod floors;
mod headroom;
mod layers;
mod next;
pub mod reclaim;
mod rule;
mod rules;
mod safe_limits;
mod verdict;

pub use advisory::{Advisories, AdvisoryError};
pub use headroom::fork_refusal;
pub use rule::{Page, pages};
pub use safe_limits::fork_copies;

use figures::Figures;
use unfrag_model::report::Server;
use unfrag_model::{Report, Sample};

/// Diagnoses one server with the advisories that came with this release.
pub fn diagnose(sample: &Sample) -> Report {
    diagnose_with(sample, &Advisories::embedded())
}

/// Diagnoses one server with other advisories.
pub fn diagnose_with(sample: &Sample, advisories: &Advisories) -> Report {
    let figures = Figures::new(sample);
    let mut findings = rule::run(&figures);
    findings.extend(advisory::findings(&figures, advisories));
    let layers = layers::walk(&figures);
    let reclaim = reclaim::estimate(&figures);
    let conclusion = verdict::conclude(&figures, &mut findings, &reclaim);
    Report {
        target: sample.target.clone(),
        server: server(&figures),
        layers,
        verdict: conclusion.verdict,
        primary_cause: conclusion.primary_cause,
        summary: conclusion.summary,
        findings: findings.into_iter().map(|f| f.finding).collect(),
        reclaim,
        safe_limits: safe_limits::compute(&figures),
        unread: sample.unread.clone(),
    }
}

fn server(f: &Figures<'_>) -> Server {
    let info = &f.sample.info;
    Server {
        flavor: f.engine.flavor,
        version: f.engine.version,
        allocator: info.text("mem_allocator").map(str::to_owned),
        role: info.text("role").map(|r| if r == "slave" { "replica" } else { "primary" }),
        mode: info.text("redis_mode").or_else(|| info.text("server_mode")).map(str::to_owned),
        uptime_s: info.count("uptime_in_seconds"),
        keys: f.keys,
    }
}
