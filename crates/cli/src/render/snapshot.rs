//! Snapshots for people: sound or not, and how large where.

use super::human::grouped;
use super::paint::Paint;
use super::text::{columns, cut, printable, wrap};
use crate::commands::rdb::Big;
use unfrag_model::human;
use unfrag_rdb::{Checksum, SizeReport, VerifyReport};

/// Problems shown of one file; `-o json` has them all.
const SHOWN: usize = 20;

/// What verification found, a file at a time.
pub(crate) fn verified(reports: &[VerifyReport], paint: Paint) -> String {
    let blocks: Vec<String> = reports.iter().map(|r| one(r, paint)).collect();
    blocks.join("\n\n") + "\n"
}

fn one(report: &VerifyReport, paint: Paint) -> String {
    let found = report.problems.len() as u64 + report.problems_omitted;
    let (word, sentence) = if report.ok {
        ("OK", format!("{} is sound: {} keys", printable(&report.file), grouped(report.keys)))
    } else {
        (
            "DAMAGED",
            format!(
                "{} has {}; {} keys were read",
                printable(&report.file),
                plural(found, "problem"),
                grouped(report.keys)
            ),
        )
    };
    let mut lines =
        vec![format!("{}  {}", paint.bold(word), wrap(&sentence, paint.width, word.len() + 2))];
    let checksum = match report.checksum {
        Checksum::Ok => "checksum right",
        Checksum::Absent => "no checksum in it",
        Checksum::Mismatch => "CHECKSUM WRONG",
    };
    let magic = report.magic.map_or_else(|| "unknown format".to_owned(), |m| format!("{m:?} RDB"));
    let version = report.version.map_or_else(String::new, |v| format!(" {v}"));
    lines.push(format!("  {magic}{version} · {} · {checksum}", human(report.bytes)));
    for problem in report.problems.iter().take(SHOWN) {
        let db = problem.db.map_or_else(String::new, |d| format!(", db {d}"));
        let key =
            problem.key.as_ref().map_or_else(String::new, |k| format!(", key {}", printable(k)));
        let text = format!(
            "at byte {}{db}{key}: {} ({})",
            problem.offset,
            printable(&problem.message),
            problem.kind
        );
        lines.push(format!("  {}", wrap(&text, paint.width, 4)));
    }
    if found > SHOWN as u64 {
        lines.push(format!("  and {} more: -o json has them", grouped(found - SHOWN as u64)));
    }
    for what in &report.unchecked {
        lines.push(format!("  {}", wrap(&format!("not checked: {what}"), paint.width, 4)));
    }
    lines.join("\n")
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(count)) }
}

/// What a snapshot would occupy.
pub(crate) fn sized(report: &SizeReport, biggest: &[Big], paint: Paint) -> String {
    let total = &report.total;
    let sentence = format!(
        "{} for {} keys in a fresh {} with {}",
        human(total.bytes),
        grouped(total.keys),
        report.sized_for,
        report.allocator
    );
    let mut lines = vec![
        paint.bold(&sentence),
        format!(
            "{} · of that {} tables of keys",
            printable(&report.file),
            human(total.table_bytes)
        ),
    ];
    if total.rehash_bytes > 0 {
        let text = format!(
            "right after loading {} more, until the server has emptied the table's predecessor",
            human(total.rehash_bytes)
        );
        lines.push(wrap(&text, paint.width, 0));
    }
    if total.expired_keys > 0 {
        lines.push(format!(
            "{} keys have expired and would not be loaded",
            grouped(total.expired_keys)
        ));
    }
    lines.push(String::new());
    lines.push(paint.dim(&format!(
        "  {:<8}{:<12}{:>14}{:>12}{:>8}",
        "type", "encoding", "keys", "bytes", "share"
    )));
    let mut types = report.types.clone();
    types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
    for t in &types {
        let share = t.bytes as f64 * 100.0 / total.bytes.max(1) as f64;
        lines.push(format!(
            "  {:<8}{:<12}{:>14}{:>12}{share:>6.1} %",
            t.data_type.name(),
            t.encoding,
            grouped(t.keys),
            human(t.bytes)
        ));
    }
    lines.extend(listed(biggest, paint));
    if let Some(problem) = &report.problem {
        lines.push(String::new());
        lines.push(wrap(
            &format!(
                "stopped at byte {}: {}; sizes are of what came before",
                problem.offset,
                printable(&problem.message)
            ),
            paint.width,
            0,
        ));
    }
    lines.join("\n") + "\n"
}

/// The largest keys, one a line.
fn listed(biggest: &[Big], paint: Paint) -> Vec<String> {
    if biggest.is_empty() {
        return vec![];
    }
    let mut lines = vec![String::new()];
    lines.push(paint.dim(&format!(
        "  {:>10}  {:<8}{:<12}{:>12}  {}",
        "bytes", "type", "encoding", "elements", "key"
    )));
    lines.extend(biggest.iter().map(|b| {
        let head = format!(
            "  {:>10}  {:<8}{:<12}{:>12}  ",
            human(b.bytes),
            b.data_type,
            b.encoding,
            grouped(b.elements)
        );
        let room = paint.width.saturating_sub(columns(&head)).max(16);
        head + &cut(&printable(&b.key), room)
    }));
    lines
}
