//! Which keys hold the memory, for people: the answer, the tree, advice, and what to type next.

use super::human::grouped;
use super::paint::Paint;
use unfrag_keys::Advice;
use unfrag_keys::Report;
use unfrag_keys::diff::Diff;
use unfrag_keys::pattern::Branch;
use unfrag_keys::scanned;
use unfrag_keys::top::Big;
use unfrag_model::text::{columns, cut, printable, wrap};
use unfrag_model::{human as bytes, signed_human};

/// Lines of the tree, of lists and of advice where nothing more was asked for.
const TREE_LINES: usize = 20;
const ADVICE: usize = 5;
const BIGGEST: usize = 5;
/// Packing that only hash tags would make possible.
const TAGGED: usize = 3;
/// Branches with less than one in this many bytes are summed up.
const SHOWN_SHARE: u64 = 200;
/// Columns of a bar.
const BAR: usize = 10;

/// The whole report.
pub(crate) fn report(report: &Report, verbose: bool, paint: Paint) -> String {
    if let Some(nothing) = nothing_read(report, paint) {
        return nothing;
    }
    let mut lines = head(report, paint);
    lines.extend(tree(report, verbose, paint));
    lines.extend(types(report, paint));
    lines.extend(groups(report, paint));
    lines.extend(biggest(report, verbose, paint));
    lines.extend(fragmentation(report, paint));
    lines.extend(advice(report, verbose, paint));
    lines.extend(limits(report, paint));
    lines.join("\n") + "\n"
}

/// One file of which nothing could be read has no keys, but that is not what there is to say.
fn nothing_read(report: &Report, paint: Paint) -> Option<String> {
    let [source] = report.sources.as_slice() else { return None };
    let problem = source.problem.as_ref().filter(|p| !is_of_time(p.kind))?;
    let name = printable(&source.source);
    (report.total.keys == 0).then(|| {
        let answer = format!(
            "nothing was read of {name}: it stops at byte {}: {}",
            problem.offset,
            printable(&problem.message)
        );
        let hint = format!("{} unfrag rdb verify {name}   tells what it is", paint.arrow());
        format!(
            "{}\n  {}\n",
            paint.bold(&wrap(&answer, paint.width, 0)),
            wrap(&hint, paint.width, 4)
        )
    })
}

fn head(report: &Report, paint: Paint) -> Vec<String> {
    let total = &report.total;
    let most = report.patterns.first();
    let answer = match most {
        None if report.has_scans() => "no keys, by SCAN".to_owned(),
        None => "no keys".to_owned(),
        Some(most) => format!(
            "{} in {} keys{}; {:.0} % of it is {}",
            bytes(total.bytes),
            grouped(total.keys),
            if report.has_scans() {
                " by SCAN (each as it was when asked, not one moment)"
            } else {
                ""
            },
            most.share * 100.0,
            name(&most.pattern)
        ),
    };
    let is_part = report.sources.iter().any(|s| s.problem.is_some());
    let answer = if is_part { format!("only a part was read: {answer}") } else { answer };
    let mut lines = vec![paint.bold(&wrap(&answer, paint.width, 0))];
    if let Some(best) = report.advice.first() {
        let saved = format!(
            "{} could be saved: {} ({})",
            bytes(best.saves()),
            what(best),
            name(&best.pattern)
        );
        lines.push(wrap(&saved, paint.width, 0));
    }
    let about = format!(
        "{} · sized for {} with {} · tables of keys {}",
        printable(&report.source),
        report.sized_for,
        report.allocator,
        bytes(total.table_bytes)
    );
    lines.push(paint.dim(&wrap(&about, paint.width, 0)));
    if report.sources.len() > 1 {
        for source in &report.sources {
            lines.push(format!(
                "  {:>9} {:>14} keys  {}",
                bytes(source.bytes),
                grouped(source.keys),
                cut(&printable(&source.source), paint.width.saturating_sub(32))
            ));
        }
    }
    lines
}

fn name(pattern: &str) -> String {
    if pattern.is_empty() { "the empty key".to_owned() } else { printable(pattern) }
}

fn tree(report: &Report, verbose: bool, paint: Paint) -> Vec<String> {
    if report.total.keys == 0 {
        return vec![];
    }
    let mut lines = vec![
        String::new(),
        paint.dim(&format!(
            "  {:>8} {:>6} {:<BAR$} {:>13} {:>8} {:>8}  pattern",
            "bytes", "share", "", "keys", "p50", "p99"
        )),
    ];
    let mut rows = vec![];
    for child in &report.tree.children {
        flatten(child, 0, report.total.bytes, verbose, &mut rows);
    }
    let shown = if verbose { rows.len() } else { TREE_LINES.min(rows.len()) };
    lines.extend(rows.iter().take(shown).map(|row| line(report, row, paint)));
    let seen: u64 = rows.iter().take(shown).filter(|r| r.depth == 0).map(|r| r.bytes).sum();
    let all: u64 = report.tree.children.iter().map(|c| c.bytes).sum();
    if all > seen {
        lines.push(format!(
            "  {:>8} {:>5.1}% {}",
            bytes(all - seen),
            percent(all - seen, report.total.bytes),
            paint.dim(&format!(
                "in the rest of {} patterns{}",
                grouped(report.patterns_found),
                if verbose { "" } else { ": -v shows them" }
            ))
        ));
    }
    lines
}

/// A line of the tree.
struct Row<'r> {
    depth: usize,
    label: &'r str,
    pattern: &'r str,
    keys: u64,
    bytes: u64,
    is_leaf: bool,
}

fn flatten<'r>(branch: &'r Branch, depth: usize, all: u64, verbose: bool, rows: &mut Vec<Row<'r>>) {
    if !verbose && branch.bytes.saturating_mul(SHOWN_SHARE) < all {
        return;
    }
    let is_leaf = branch.children.is_empty();
    let (label, pattern) = (branch.label.as_str(), branch.pattern.as_str());
    rows.push(Row { depth, label, pattern, keys: branch.keys, bytes: branch.bytes, is_leaf });
    for child in &branch.children {
        flatten(child, depth + 1, all, verbose, rows);
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn line(report: &Report, row: &Row<'_>, paint: Paint) -> String {
    let share = percent(row.bytes, report.total.bytes);
    let (p50, p99) = report
        .patterns
        .iter()
        .find(|p| row.is_leaf && p.pattern == row.pattern)
        .map_or((String::new(), String::new()), |p| (short(p.size.p50), short(p.size.p99)));
    let head = format!(
        "  {:>8} {share:>5.1}% {} {:>13} {p50:>8} {p99:>8}  {}",
        short(row.bytes),
        bar(share, paint),
        grouped(row.keys),
        "  ".repeat(row.depth)
    );
    let room = paint.width.saturating_sub(columns(&head)).max(12);
    let label = if row.label.is_empty() { "(empty)" } else { row.label };
    let star = if row.is_leaf || row.label.is_empty() { "" } else { "*" };
    head + &cut(&format!("{}{star}", printable(label)), room)
}

/// A byte count without the blank: `412MiB`.
fn short(count: u64) -> String {
    bytes(count).replace(' ', "").replace("iB", "")
}

fn bar(share: f64, paint: Paint) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
    let cells = ((share / 100.0 * BAR as f64).round() as usize).min(BAR);
    let full = if paint.unicode { "█" } else { "#" };
    full.repeat(cells) + &" ".repeat(BAR - cells)
}

fn types(report: &Report, paint: Paint) -> Vec<String> {
    if report.types.is_empty() {
        return vec![];
    }
    let mut lines = vec![String::new(), paint.dim("  types")];
    for kind in report.types.iter().take(8) {
        let share = percent(kind.bytes, report.total.bytes);
        lines.push(format!(
            "  {:>8} {share:>5.1}% {} {:>13} {}",
            short(kind.bytes),
            bar(share, paint),
            grouped(kind.keys),
            format_args!("{} as {}", kind.data_type.name(), kind.encoding)
        ));
    }
    lines
}

/// Expiry, databases and slots, where they tell anything.
fn groups(report: &Report, paint: Paint) -> Vec<String> {
    let sets = [
        ("time left", &report.by_ttl, report.by_ttl.len() > 1),
        ("databases", &report.by_db, report.by_db.len() > 1),
        ("slots", &report.by_slot, !report.by_slot.is_empty()),
    ];
    let mut lines = vec![];
    for (title, rows, is_worth) in sets {
        if !is_worth {
            continue;
        }
        lines.push(String::new());
        lines.push(paint.dim(&format!("  {title}")));
        for row in rows.iter().take(7) {
            let share = percent(row.bytes, report.total.bytes);
            lines.push(format!(
                "  {:>8} {share:>5.1}% {} {:>13} {}",
                short(row.bytes),
                bar(share, paint),
                grouped(row.keys),
                row.name
            ));
        }
    }
    lines
}

fn biggest(report: &Report, verbose: bool, paint: Paint) -> Vec<String> {
    if report.biggest.is_empty() {
        return vec![];
    }
    let count = if verbose { report.biggest.len() } else { BIGGEST };
    let mut lines = vec![String::new(), paint.dim("  biggest keys")];
    lines.extend(report.biggest.iter().take(count).map(|big| big_line(big, paint)));
    lines
}

fn big_line(big: &Big, paint: Paint) -> String {
    let unit = if big.data_type == "string" { "bytes" } else { "elements" };
    // No key is empty but a string: a scan could not ask for its length.
    let count = if big.elements > 0 { grouped(big.elements) } else { "?".to_owned() };
    let head = format!(
        "  {:>8} {:<6} {:<10} {:>13} {unit:<8}  ",
        short(big.bytes),
        big.data_type,
        big.encoding,
        count
    );
    let room = paint.width.saturating_sub(columns(&head)).max(16);
    let key = if big.key.is_empty() { "(empty)" } else { big.key.as_str() };
    head + &cut(&printable(key), room)
}

fn fragmentation(report: &Report, paint: Paint) -> Vec<String> {
    // Of no keys nothing can be told.
    let known = report.fragmentation.as_ref().filter(|b| !b.is_empty() && report.total.keys > 0);
    let Some(bins) = known else {
        return vec![];
    };
    let mut lines = vec![String::new(), paint.dim("  fragmented bins, and who lives in them")];
    for bin in bins.iter().take(5) {
        let owners: Vec<String> = bin
            .owners
            .iter()
            .take(3)
            .map(|o| format!("{} {:.0} %", printable(&o.pattern), o.share * 100.0))
            .collect();
        let owners = if owners.is_empty() { "no key".to_owned() } else { owners.join(", ") };
        let text = format!(
            "{:>8} free in blocks of {} bytes ({:.0} % used): {owners}",
            short(bin.waste_bytes),
            bin.class_bytes,
            bin.utilization * 100.0
        );
        lines.push(format!("  {}", wrap_from(&text, paint.width, 11)));
    }
    lines
}

/// [`wrap`] that keeps blanks at the start.
fn wrap_from(text: &str, width: usize, indent: usize) -> String {
    let blanks = text.len() - text.trim_start().len();
    " ".repeat(blanks) + &wrap(text, width.saturating_sub(blanks), indent)
}

/// What a piece of advice says to do.
fn what(advice: &Advice) -> &'static str {
    match advice.kind {
        "pack" => "pack strings into hashes",
        "threshold" => "raise a conversion threshold",
        "integer" => "store integers as integers",
        "prefix" => "shorten a repeated prefix",
        "compress" => "compress values",
        "lasting" => "expire keys that never do",
        "idle" => "drop keys nobody uses",
        "duplicates" => "store equal values once",
        other => other,
    }
}

fn advice(report: &Report, verbose: bool, paint: Paint) -> Vec<String> {
    if report.advice.is_empty() {
        return vec![];
    }
    let count = if verbose { report.advice.len() } else { ADVICE };
    let mut lines = vec![String::new(), paint.dim("  what would save memory (each by itself)")];
    for advice in report.advice.iter().take(count) {
        let head = format!(
            "{:>8}  {}: {} {} {} in {} keys; {} confidence, {}",
            short(advice.saves()),
            what(advice),
            short(advice.bytes_now),
            paint.arrow(),
            short(advice.bytes_after),
            grouped(advice.keys),
            advice.confidence.name(),
            if advice.is_safe { "safe" } else { "mind the reason" },
        );
        lines.push(paint.bold(&format!("  {}", wrap_from(&head, paint.width - 2, 12))));
        lines.push(format!("            {}", cut(&name(&advice.pattern), paint.width - 12)));
        lines.push(format!("            {}", wrap(&printable(&advice.why), paint.width, 12)));
        if advice.tried.len() > 1 {
            let tried: Vec<String> = advice
                .tried
                .iter()
                .map(|t| format!("{} {}", t.name, short(t.bytes_after)))
                .collect();
            let text = format!("leaves {}", tried.join(", "));
            lines.push(format!("            {}", wrap(&text, paint.width, 12)));
        }
        if let Some(next) = &advice.next {
            let next = typed(&printable(next), paint.width, 14);
            lines.push(format!("            {} {next}", paint.arrow()));
        }
    }
    if report.advice.len() > count {
        lines.push(paint.dim(&format!("            and {} more: -v", report.advice.len() - count)));
    }
    lines
}

/// A command in lines that a shell takes as one: broken between words, never inside quotes.
pub(crate) fn typed(command: &str, width: usize, indent: usize) -> String {
    let mut words: Vec<String> = vec![];
    for piece in command.split(' ') {
        match words.last_mut().filter(|word| word.matches('\'').count() % 2 == 1) {
            Some(open) => *open = format!("{open} {piece}"),
            None => words.push(piece.to_owned()),
        }
    }
    let (mut text, mut used) = (String::new(), indent);
    for word in words {
        let length = word.chars().count();
        // Room for a blank before it and a backslash behind it.
        if used > indent && used + length + 3 > width {
            text.push_str(&format!(" \\\n{}", " ".repeat(indent)));
            used = indent;
        } else if used > indent {
            text.push(' ');
            used += 1;
        }
        text.push_str(&word);
        used += length;
    }
    text
}

/// It ended, rather than that the data did.
fn is_of_time(kind: &str) -> bool {
    matches!(kind, scanned::ENDED_EARLY | scanned::INTERRUPTED | scanned::LOST)
}

/// What a limit or damage keeps from being said.
fn limits(report: &Report, paint: Paint) -> Vec<String> {
    let mut notes = vec![];
    if report.is_folded_for_room {
        notes.push(
            "there are more patterns than memory is kept for: rare ones are folded into {name} and {...}, no key \
             is left out"
                .to_owned(),
        );
    }
    for advice in report.advice_with_hash_tags.iter().take(TAGGED) {
        notes.push(format!(
            "packing {} ({} in {} keys) is not counted above: in a Cluster its keys are in different slots, and only those of one \
             slot can become one hash. With the same hash tag in the names of all that belong together, as \
             {{user:1}}:name and {{user:1}}:mail, they would be in one, and {} would be saved",
            name(&advice.pattern),
            bytes(advice.bytes_now),
            grouped(advice.keys),
            bytes(advice.saves())
        ));
    }
    let skipped = &report.not_packed_for_ttl;
    if skipped.keys > 0 {
        notes.push(format!(
            "packing was not considered for {} in {} small strings of patterns with a TTL: fields of this server's hashes \
             cannot expire by themselves (Redis 7.4 and Valkey 9.0 can)",
            bytes(skipped.bytes),
            grouped(skipped.keys)
        ));
    }
    for source in &report.sources {
        let name = printable(&source.source);
        notes.extend(source.remarks.iter().map(|text| format!("{name}: {}", printable(text))));
        if let Some(problem) = &source.problem
            && problem.kind == unfrag_keys::report::NOT_READ
        {
            let why = printable(&problem.message);
            notes.push(format!("{name} was not read, and nothing above is of its keys: {why}"));
        } else if let Some(problem) = &source.problem
            && is_of_time(problem.kind)
        {
            let why = printable(&problem.message);
            notes.push(format!("{name}: {why}; everything above is of what was read"));
        } else if let Some(problem) = &source.problem {
            notes.push(format!(
                "{} stopped at byte {}: {}; everything above is of what came before",
                printable(&source.source),
                problem.offset,
                printable(&problem.message)
            ));
        }
    }
    if notes.is_empty() {
        return vec![];
    }
    let mut lines = vec![String::new()];
    lines.extend(notes.iter().map(|n| format!("  {}", wrap(n, paint.width - 2, 2))));
    lines
}

/// What grew.
pub(crate) fn diff(diff: &Diff, paint: Paint) -> String {
    let change = |a: u64, b: u64| b.cast_signed().wrapping_sub(a.cast_signed());
    let grown = change(diff.total_before.bytes, diff.total_after.bytes);
    let word = if grown < 0 { "less" } else { "more" };
    let most = diff.patterns.first().map_or_else(String::new, |most| {
        format!("; most of it {} {}", signed_plus(most.bytes_change), name(&most.pattern))
    });
    let mut lines = vec![
        paint.bold(&wrap(
            &format!(
                "{} {word}: {} {} {}{most}",
                bytes(grown.unsigned_abs()),
                bytes(diff.total_before.bytes),
                paint.arrow(),
                bytes(diff.total_after.bytes)
            ),
            paint.width,
            0,
        )),
        paint.dim(&wrap(
            &format!(
                "{} {} {} · sized for {}",
                printable(&diff.before),
                paint.arrow(),
                printable(&diff.after),
                diff.sized_for
            ),
            paint.width,
            0,
        )),
        String::new(),
        paint.dim(&format!("  {:>11} {:>15} {:>10}  pattern", "bytes", "keys", "now")),
    ];
    for change in diff.patterns.iter().take(TREE_LINES) {
        let head = format!(
            "  {:>11} {:>15} {:>10}  ",
            signed_plus(change.bytes_change),
            format!(
                "{}{}",
                if change.keys_change < 0 { "-" } else { "+" },
                grouped(change.keys_change.unsigned_abs())
            ),
            bytes(change.after.bytes)
        );
        let room = paint.width.saturating_sub(columns(&head)).max(16);
        lines.push(head + &cut(&name(&change.pattern), room));
    }
    if diff.patterns.len() > TREE_LINES {
        lines.push(format!("  and {} more: -o json has them", diff.patterns.len() - TREE_LINES));
    }
    lines.join("\n") + "\n"
}

fn signed_plus(change: i64) -> String {
    if change < 0 { signed_human(change) } else { format!("+{}", signed_human(change)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_broken_where_a_shell_allows() {
        let command =
            "unfrag reshape hash --match 'a b:{id}:{field}' --into 'a b:{id}' 127.0.0.1:16685";
        let lines = typed(command, 50, 4);
        assert!(lines.lines().all(|l| l.chars().count() <= 46), "{lines}");
        assert!(lines.contains("'a b:{id}:{field}'"), "{lines}");
        assert_eq!(lines.replace(" \\\n    ", " "), command);
        assert_eq!(typed("unfrag keys x", 80, 4), "unfrag keys x");
    }
}
