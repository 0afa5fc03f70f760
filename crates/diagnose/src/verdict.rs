//! From findings to one answer: verdict, primary cause, one sentence.

use crate::figures::Figures;
use crate::rule::{Found, Kind};
use unfrag_model::{Cause, Reclaim, Severity, Verdict, human};

pub(crate) struct Conclusion {
    pub(crate) verdict: Verdict,
    pub(crate) primary_cause: Cause,
    pub(crate) summary: String,
}

/// Sorts the findings, most important first, and concludes. The primary cause is that of the most severe
/// finding that says where memory is; among equals the one that accounts for more bytes, then the more
/// specific one. An explanation answers only when no cause does; a risk never does.
pub(crate) fn conclude(f: &Figures<'_>, findings: &mut [Found], reclaim: &Reclaim) -> Conclusion {
    findings.sort_by(|a, b| {
        let key = |x: &Found| {
            (std::cmp::Reverse(x.finding.severity), x.kind, std::cmp::Reverse(bytes(x)), x.rank)
        };
        key(a).cmp(&key(b))
    });
    put_most_specific_first(findings);
    let first = |kind: Kind| findings.iter().find(|x| x.kind == kind).map(|x| &x.finding);
    let answer = first(Kind::Cause).or_else(|| first(Kind::Explanation));
    let worst = findings.iter().map(|x| x.finding.severity).max().unwrap_or(Severity::Info);
    let primary_cause = answer.map_or(Cause::Healthy, |x| x.cause);
    let verdict = Verdict::from(worst);
    Conclusion { verdict, primary_cause, summary: summary(f, findings, answer, verdict, reclaim) }
}

fn bytes(found: &Found) -> u64 {
    found.finding.bytes.unwrap_or(0)
}

/// Of the findings as severe as the first, those within a factor of two of its bytes are equals: a slightly larger gap
/// must not outrank a more specific answer.
fn put_most_specific_first(findings: &mut [Found]) {
    let Some(first) = findings.first() else { return };
    let (severity, kind, half) = (first.finding.severity, first.kind, bytes(first) / 2);
    let equals = findings
        .iter()
        .take_while(|x| x.finding.severity == severity && x.kind == kind && bytes(x) >= half)
        .count();
    let specific = (0..equals).min_by_key(|&at| findings.get(at).map(|x| x.rank));
    if let Some(head) = specific.and_then(|at| findings.get_mut(..=at)) {
        head.rotate_right(1);
    }
}

fn summary(
    f: &Figures<'_>,
    findings: &[Found],
    answer: Option<&unfrag_model::Finding>,
    verdict: Verdict,
    reclaim: &Reclaim,
) -> String {
    let risk = findings.first().map(|x| &x.finding);
    if let (Some(risk), Some(answer)) = (risk, answer)
        && risk.severity > answer.severity
    {
        return format!("{}; besides, {}", sentence(&risk.title), sentence(&answer.title));
    }
    if let Some(finding) = answer {
        return format!("{}{}", sentence(&finding.title), gives_back(finding.cause, reclaim));
    }
    if let Some(risk) = findings.first().filter(|_| verdict > Verdict::Healthy) {
        return format!("the memory is fine now, but {}", risk.finding.title);
    }
    match (f.used, f.rss) {
        (Some(used), Some(rss)) => {
            format!("nothing is wrong: {} used, {} resident", human(used), human(rss))
        }
        _ => "nothing wrong shows in the figures given".to_owned(),
    }
}

fn sentence(title: &str) -> String {
    title.trim_end_matches('.').to_owned()
}

/// The gentlest remedy that gives most of it back.
fn gives_back(cause: Cause, reclaim: &Reclaim) -> String {
    let repairable = matches!(
        cause,
        Cause::ExternalFragmentation
            | Cause::AllocatorRetained
            | Cause::DefragUnsupportedBuild
            | Cause::NonAllocatorOverhead
    );
    if !repairable {
        return String::new();
    }
    let options = [
        ("a purge", &reclaim.purge),
        ("defrag and a purge", &reclaim.defrag),
        ("repack and a purge", &reclaim.repack),
        ("a restart without loss", &reclaim.restart),
    ];
    let best = options.iter().filter_map(|(_, e)| usable(e)).max().unwrap_or(0);
    let gentlest = options.iter().find_map(|(name, e)| {
        let bytes = usable(e)?;
        (bytes > 0 && bytes >= best / 10 * 8)
            .then(|| format!("; {name} would give back about {}", human(bytes)))
    });
    gentlest.unwrap_or_default()
}

fn usable(estimate: &unfrag_model::Estimate) -> Option<u64> {
    estimate.bytes.filter(|_| estimate.unavailable.is_none())
}
