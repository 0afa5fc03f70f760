//! For people: the answer first, then the ladder, then only what matters, then what to type.

use super::paint::Paint;
use super::{Outcome, Run, ladder};
use unfrag_model::sample::CommandCost;
pub(crate) use unfrag_model::text::grouped;
use unfrag_model::text::{columns, cut, printable, row, wrap};
use unfrag_model::{Cause, Estimate, Finding, Report, Severity, Verdict, human};

/// How much to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) paint: Paint,
    pub(crate) verbose: bool,
}

/// Findings shown whole, and evidence lines each, before `--verbose`: what fits one screen.
const WHOLE_FINDINGS: usize = 2;
const EVIDENCE_LINES: usize = 3;

/// The whole run.
pub(crate) fn render(run: &Run, options: Options) -> String {
    let mut blocks: Vec<String> = vec![];
    let diagnosed = run.outcomes.iter().filter(|o| matches!(o, Outcome::Diagnosed { .. })).count();
    if run.outcomes.len() > 1 {
        blocks.push(overview(run, options));
    }
    for outcome in &run.outcomes {
        match outcome {
            // In a fleet, a healthy node's line in the overview says it all.
            Outcome::Diagnosed { report, .. }
                if run.outcomes.len() > 1
                    && report.verdict == Verdict::Healthy
                    && !options.verbose => {}
            Outcome::Diagnosed { report, commands } => {
                blocks.push(server(report, commands, options));
            }
            Outcome::Failed { .. } if diagnosed > 0 => {}
            Outcome::Failed { target, error, hint, .. } => {
                blocks.push(failed(target, error, hint, options));
            }
        }
    }
    for problem in &run.problems {
        blocks.push(wrap(
            &format!("not read: {}: {}", printable(&problem.what), printable(&problem.why)),
            options.paint.width,
            2,
        ));
    }
    let text = blocks.join("\n\n") + "\n";
    if options.paint.unicode { text } else { ascii(&text) }
}

/// The same for a terminal without Unicode.
fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '·' => "|".to_owned(),
            '…' => "...".to_owned(),
            c if c.is_ascii() => c.to_string(),
            _ => "?".to_owned(),
        })
        .collect()
}

/// One line a node, worst first.
fn overview(run: &Run, options: Options) -> String {
    let paint = options.paint;
    let mut rows: Vec<(Verdict, String)> =
        run.outcomes.iter().map(|o| overview_row(o, paint)).collect();
    rows.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let worst = rows.first().map_or(Verdict::Healthy, |(v, _)| *v);
    let unwell = rows.iter().filter(|(v, _)| *v > Verdict::Healthy).count();
    let unread = run.outcomes.iter().filter(|o| matches!(o, Outcome::Failed { .. })).count();
    let title = match (unwell - unread, unread) {
        (0, 0) => format!("all {} servers are healthy", rows.len()),
        (n, 0) => format!("{n} of {} servers need attention", rows.len()),
        (n, m) => format!("{n} of {} servers need attention, {m} did not answer", rows.len()),
    };
    let mut lines =
        vec![format!("{}  {}", paint.verdict(worst), paint.bold(&title)), String::new()];
    lines.push(
        paint.dim(&format!("  {:<8}{:<24}{:>9}{:>10}  {}", "", "server", "used", "rss", "what")),
    );
    lines.extend(rows.into_iter().map(|(_, row)| row));
    lines.join("\n")
}

fn overview_row(outcome: &Outcome, paint: Paint) -> (Verdict, String) {
    // Two blanks, word, name, figures, and what is left for the sentence.
    let room = paint.width.saturating_sub(2 + 8 + 24 + 9 + 10 + 2).max(16);
    match outcome {
        Outcome::Diagnosed { report, .. } => {
            let word = paint.verdict(report.verdict);
            let blanks = " ".repeat(8usize.saturating_sub(verdict_columns(report.verdict)));
            let bytes = |b: Option<u64>| b.map_or_else(|| paint.none().to_owned(), human);
            let row = format!(
                "  {word}{blanks}{:<24}{:>9}{:>10}  {}",
                cut(&printable(&report.target), 23),
                bytes(report.layers.used),
                bytes(report.layers.rss),
                cut(&report.summary, room)
            );
            (report.verdict, row)
        }
        Outcome::Failed { target, error, .. } => {
            let row = format!(
                "  {:<8}{:<24}  {}",
                "?",
                cut(&printable(target), 23),
                cut(&printable(error), room + 17)
            );
            (Verdict::Urgent, row)
        }
    }
}

fn verdict_columns(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Healthy => 7,
        Verdict::Watch => 5,
        Verdict::Act => 3,
        Verdict::Urgent => 6,
    }
}

fn failed(target: &str, error: &str, hint: &str, options: Options) -> String {
    let paint = options.paint;
    let mut text = wrap(&format!("{}: {}", printable(target), printable(error)), paint.width, 2);
    if !hint.is_empty() {
        text.push('\n');
        text.push_str(&wrap(&format!("hint: {}", printable(hint)), paint.width, 6));
    }
    text
}

fn server(report: &Report, commands: &[CommandCost], options: Options) -> String {
    let paint = options.paint;
    let mut lines =
        vec![headline(report, paint), paint.dim(&identity(report, paint)), String::new()];
    lines.extend(ladder::render(&report.layers, paint));
    let shown = shown_findings(report, options);
    for finding in &shown {
        lines.push(String::new());
        lines.push(finding_text(finding, report.summary.starts_with(&finding.title), options));
    }
    lines.extend(others(report, shown.len(), options));
    if report.verdict > Verdict::Healthy || options.verbose {
        lines.push(String::new());
        lines.extend(remedies(report, options));
    }
    if options.verbose {
        lines.extend(details(report, commands, options));
    }
    lines.extend(unread(report, options));
    lines.extend(more(report, options));
    lines.join("\n")
}

fn headline(report: &Report, paint: Paint) -> String {
    let word = paint.verdict(report.verdict);
    let indent = verdict_columns(report.verdict) + 2;
    let sentence = wrap(&printable(&capitalised(&report.summary)), paint.width, indent);
    let bold: Vec<String> = sentence.lines().map(|l| paint.bold(l)).collect();
    format!("{word}  {}", bold.join("\n"))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first)
            if !text.starts_with("mem")
                && !text.starts_with("used_")
                && !text.starts_with("maxmemory") =>
        {
            first.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn identity(report: &Report, paint: Paint) -> String {
    let server = &report.server;
    let engine = match server.version {
        Some(version) => format!("{} {version}", server.flavor),
        None => server.flavor.to_string(),
    };
    let parts = [
        Some(printable(&report.target)),
        Some(engine),
        server.allocator.as_deref().map(printable),
        server.role.map(str::to_owned),
        server.mode.as_deref().filter(|m| *m != "standalone").map(printable),
        server.keys.map(|k| format!("{} keys", grouped(k))),
        server.uptime_s.map(|s| format!("up {}", duration(s))),
    ];
    row(&parts.into_iter().flatten().collect::<Vec<_>>(), paint.width)
}

/// Seconds as the largest unit that is not below one: `3 d`, `5 h`, `12 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn shown_findings(report: &Report, options: Options) -> Vec<&Finding> {
    let explains = |f: &Finding| f.cause == report.primary_cause && f.cause != Cause::Healthy;
    let matters = |f: &&Finding| f.severity > Severity::Info || explains(f);
    if options.verbose {
        return report.findings.iter().collect();
    }
    report.findings.iter().filter(matters).take(WHOLE_FINDINGS).collect()
}

fn finding_text(finding: &Finding, answered: bool, options: Options) -> String {
    let paint = options.paint;
    // The headline has said the answer's title; what it means comes in its place.
    let (opening, rest) =
        if answered { (&finding.meaning, "") } else { (&finding.title, finding.meaning.as_str()) };
    let mut lines = vec![format!(
        "{}  {}",
        paint.bold(finding.id),
        wrap(&printable(opening), paint.width, columns(finding.id) + 2)
    )];
    let evidence = if options.verbose { finding.evidence.len() } else { EVIDENCE_LINES };
    for item in finding.evidence.iter().take(evidence) {
        let room = paint.width.saturating_sub(4 + 30);
        let value = wrap(&format!("{}  ({})", printable(&item.value), item.source), room, 0)
            .replace('\n', &format!("\n{}", " ".repeat(32)));
        lines.push(format!("    {:<28}{value}", cut(&printable(&item.what), 27)));
    }
    if !rest.is_empty() {
        lines.push(format!("    {}", wrap(rest, paint.width, 4)));
    }
    if !finding.folklore.is_empty() {
        lines.push(format!(
            "    {}",
            wrap(&format!("not so: {}", finding.folklore), paint.width, 4)
        ));
    }
    let remedies = if options.verbose { finding.remedies.len() } else { 1 };
    for remedy in finding.remedies.iter().take(remedies) {
        lines.push(format!("  {} {}", paint.arrow(), next(&printable(&remedy.next), paint.width)));
    }
    lines.join("\n")
}

/// What to type or do, wrapped; a command so that it can still be copied whole, its remark on a line of its own.
fn next(text: &str, width: usize) -> String {
    let is_command = ["redis-cli", "unfrag", "r='", "echo ", "sysctl"]
        .iter()
        .any(|start| text.starts_with(start));
    if !is_command {
        return wrap(text, width, 4);
    }
    let (command, remark) =
        text.split_once("   (").map_or((text, None), |(command, remark)| (command, Some(remark)));
    let command = wrap(command, width - 2, 4).replace('\n', " \\\n");
    match remark {
        Some(remark) => format!("{command}\n    {}", wrap(&format!("({remark}"), width, 4)),
        None => command,
    }
}

/// The findings that did not fit, a line each.
fn others(report: &Report, shown: usize, options: Options) -> Vec<String> {
    if options.verbose {
        return vec![];
    }
    let rest: Vec<String> = report
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Info)
        .skip(shown)
        .map(|f| {
            format!(
                "also {}: {}",
                f.id,
                cut(&printable(&f.title), options.paint.width.saturating_sub(columns(f.id) + 7))
            )
        })
        .collect();
    if rest.is_empty() { rest } else { [vec![String::new()], rest].concat() }
}

/// What each remedy would give back.
fn remedies(report: &Report, options: Options) -> Vec<String> {
    let paint = options.paint;
    let rows = [
        ("purge", &report.reclaim.purge),
        ("defrag", &report.reclaim.defrag),
        ("repack", &report.reclaim.repack),
        ("restart", &report.reclaim.restart),
    ];
    let mut lines =
        vec![paint.dim("  remedy   gives back   likely between           leaves RSS at")];
    lines.extend(rows.iter().map(|(name, estimate)| remedy_row(name, estimate, options)));
    lines
}

fn remedy_row(name: &str, estimate: &Estimate, options: Options) -> String {
    let paint = options.paint;
    if let Some(why) = &estimate.unavailable {
        return format!("  {name:<9}{:>10}   {}", "no", wrap(why, paint.width, 24));
    }
    let (Some(bytes), Some(low), Some(high)) = (estimate.bytes, estimate.low, estimate.high) else {
        let why = if estimate.basis.is_empty() { "unknown" } else { &estimate.basis };
        return format!("  {name:<9}{:>10}   {}", paint.none(), wrap(why, paint.width, 24));
    };
    if high == 0 {
        return format!("  {name:<9}{:>10}", "nothing");
    }
    let floor = estimate.floor_rss_bytes.map_or(String::new(), human);
    format!(
        "  {name:<9}{:>10}   {:<24} {floor:>9}",
        human(bytes),
        format!("{} and {}", human(low), human(high))
    )
}

fn details(report: &Report, commands: &[CommandCost], options: Options) -> Vec<String> {
    let paint = options.paint;
    let mut lines = vec![];
    if let Some(limits) = &report.safe_limits {
        lines.push(String::new());
        lines.push(paint.bold("safe limits"));
        lines.extend(limits.arithmetic.iter().map(|l| format!("    {}", wrap(l, paint.width, 6))));
    }
    if !commands.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold("commands sent") + "  (server time, round trip, reply)");
        lines.extend(commands.iter().map(|c| {
            let server =
                c.server_us.map_or_else(|| paint.none().to_owned(), |us| format!("{us} us"));
            format!(
                "    {:<34}{server:>10}{:>12}{:>12}",
                cut(&c.command, 33),
                format!("{} us", c.round_trip_us),
                human(c.reply_bytes)
            )
        }));
    }
    lines
}

fn unread(report: &Report, options: Options) -> Vec<String> {
    let mut lines: Vec<String> = report
        .unread
        .iter()
        .map(|u| {
            wrap(
                &format!("not read: {}: {}", printable(&u.what), printable(&u.why)),
                options.paint.width,
                2,
            )
        })
        .collect();
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn more(report: &Report, options: Options) -> Vec<String> {
    let paint = options.paint;
    let mut hints = vec![];
    if let Some(limits) = &report.safe_limits
        && !options.verbose
        && report.verdict > Verdict::Healthy
    {
        let maxmemory = limits.maxmemory_bytes.map(|b| format!("maxmemory {}", human(b)));
        let container =
            limits.container_limit_bytes.map(|b| format!("container limit {}", human(b)));
        let both: Vec<String> = [maxmemory, container].into_iter().flatten().collect();
        hints.push(format!("  safe here: {}", both.join(" · ")));
    }
    if let Some(finding) = report.findings.first().filter(|_| !options.verbose) {
        hints.push(
            paint.dim(&format!("  more: unfrag explain {} · unfrag check --verbose", finding.id)),
        );
    }
    if hints.is_empty() { hints } else { [vec![String::new()], hints].concat() }
}
