//! For tickets: the same report as markdown.

use super::{Outcome, Run};
use unfrag_model::text::printable;
use unfrag_model::{Estimate, Finding, Report, Severity, human, signed_human};

/// The whole run.
pub(crate) fn render(run: &Run) -> String {
    let mut blocks: Vec<String> = run
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Diagnosed { report, .. } => server(report),
            Outcome::Failed { target, error, hint, .. } => {
                format!(
                    "## {}\n\n**Not read**: {}\n\n{}",
                    escape(target),
                    escape(error),
                    escape(hint)
                )
            }
        })
        .collect();
    blocks.extend(
        run.problems.iter().map(|p| format!("- not read: {}: {}", escape(&p.what), escape(&p.why))),
    );
    blocks.join("\n\n") + "\n"
}

fn server(report: &Report) -> String {
    let verdict = format!("{:?}", report.verdict).to_uppercase();
    let engine = report.server.version.map_or_else(
        || report.server.flavor.to_string(),
        |v| format!("{} {v}", report.server.flavor),
    );
    let allocator = report.server.allocator.as_deref().unwrap_or("allocator unknown");
    let mut out = format!(
        "## {}\n\n**{verdict}**: {}\n\n{engine}, {}\n\n",
        escape(&report.target),
        escape(&report.summary),
        escape(allocator)
    );
    out += &ladder(report);
    for finding in report
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Info || f.cause == report.primary_cause)
    {
        out += &finding_text(finding);
    }
    out += &remedies(report);
    out.trim_end().to_owned()
}

fn ladder(report: &Report) -> String {
    let mut out = "| level | bytes | gap |\n|---|---:|---:|\n".to_owned();
    let mut below: Option<u64> = None;
    for (name, bytes) in report.layers.levels() {
        let gap =
            below.map_or(String::new(), |b| signed_human(bytes.cast_signed() - b.cast_signed()));
        out += &format_row(&[name, &human(bytes), &gap]);
        below = Some(bytes);
    }
    out + "\n"
}

fn finding_text(finding: &Finding) -> String {
    let mut out = format!(
        "### {}\n\n{}. {}\n\n",
        finding.id,
        escape(&finding.title),
        escape(&finding.meaning)
    );
    for item in &finding.evidence {
        out += &format!("- {}: {} ({})\n", escape(&item.what), escape(&item.value), item.source);
    }
    for remedy in &finding.remedies {
        out += &format!("- next: `{}`\n", remedy.next.replace('`', "'"));
    }
    out + "\n"
}

fn remedies(report: &Report) -> String {
    let rows = [
        ("purge", &report.reclaim.purge),
        ("defrag", &report.reclaim.defrag),
        ("repack", &report.reclaim.repack),
        ("restart", &report.reclaim.restart),
    ];
    let mut out =
        "| remedy | gives back | low | high | why not |\n|---|---:|---:|---:|---|\n".to_owned();
    for (name, estimate) in rows {
        out += &remedy_row(name, estimate);
    }
    out
}

fn remedy_row(name: &str, estimate: &Estimate) -> String {
    let cell = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), human);
    match &estimate.unavailable {
        Some(why) => format_row(&[name, "", "", "", why]),
        None => format_row(&[
            name,
            &cell(estimate.bytes),
            &cell(estimate.low),
            &cell(estimate.high),
            "",
        ]),
    }
}

fn format_row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text from outside, harmless in a table or a paragraph.
fn escape(text: &str) -> String {
    printable(text)
        .replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('_', "\\_")
}
