//! Snapshots for people: sound or not, and how large where.

use super::human::grouped;
use super::paint::Paint;
use crate::commands::rdb::Big;
use unfrag_model::human;
use unfrag_model::text::{columns, cut, printable, wrap};
use unfrag_rdb::{Checksum, SizeReport, VerifyReport};

/// Problems shown of one file; `-o json` has them all.
const SHOWN: usize = 20;
/// Columns of a key's name in a problem; `-o json` has it whole.
const KEY_COLUMNS: usize = 64;

/// What verification found, a file at a time.
pub(crate) fn verified(reports: &[VerifyReport], paint: Paint) -> String {
    let blocks: Vec<String> = reports.iter().map(|r| one(r, paint)).collect();
    blocks.join("\n\n") + "\n"
}

fn one(report: &VerifyReport, paint: Paint) -> String {
    let found = report.problems.len() as u64 + report.problems_omitted;
    let (word, sentence) = if report.ok {
        let extent = if report.unchecked.is_empty() { "" } else { " as far as it was checked" };
        let keys = plural(report.keys, "key");
        ("OK", format!("{} is sound{extent}: {keys}", named(&report.file)))
    } else {
        (
            "DAMAGED",
            format!(
                "{} has {}; keys read: {}",
                named(&report.file),
                plural(found, "problem"),
                grouped(report.keys)
            ),
        )
    };
    let mut lines =
        vec![format!("{}  {}", paint.bold(word), wrap(&sentence, paint.width, word.len() + 2))];
    let checksum = match report.checksum {
        Checksum::Ok => "checksum right",
        Checksum::Absent if report.ok => "no checksum in it",
        Checksum::Absent => "no checksum to be had",
        Checksum::Mismatch => "CHECKSUM WRONG",
    };
    let magic = report.magic.map_or_else(|| "unknown format".to_owned(), |m| format!("{m:?} RDB"));
    let version = report.version.map_or_else(String::new, |v| format!(" {v}"));
    lines.push(format!("  {magic}{version} · {} · {checksum}", human(report.bytes)));
    if let Some(tail) = report.tail {
        let text = format!(
            "an append-only log goes on at byte {}: {} read",
            tail.offset,
            plural(tail.commands, "command")
        );
        lines.push(format!("  {}", wrap(&text, paint.width, 4)));
    }
    for problem in report.problems.iter().take(SHOWN) {
        let db = problem.db.map_or_else(String::new, |d| format!(", db {d}"));
        let key = problem
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!(", key {}", cut(&printable(key), KEY_COLUMNS)));
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
    if let Some(hint) = hint(report) {
        lines.push(format!("  {}", wrap(&format!("hint: {hint}"), paint.width, 4)));
    }
    lines.join("\n")
}

/// Problems with which every server loads a snapshot.
const HARMLESS: [&str; 7] = [
    "resizedb-keys",
    "resizedb-expires",
    "slot-keys",
    "slot-expires",
    "slot-field-expires",
    "trailing-bytes",
    "eof-mark",
];

/// What to do about it.
fn hint(report: &VerifyReport) -> Option<&'static str> {
    let has = |kind: &str| report.problems.iter().any(|p| p.kind == kind);
    let are_all = |kinds: &[&str]| report.problems.iter().all(|p| kinds.contains(&p.kind));
    if report.ok {
        return None;
    }
    Some(if report.bytes == 0 && has("truncated") {
        "there is next to nothing in the file: copy it again or save anew"
    } else if has("bad-magic") || has("foreign-format") {
        "this is not what a Redis or Valkey server saves; name its dump.rdb, or the base file of an append-only log"
    } else if has("truncated") || has("bad-wrapper") || has("io") {
        "the save or the copy broke off there: copy it again, or save anew; what stands before it is sound unless named above"
    } else if are_all(&["checksum-mismatch"]) {
        "every key reads, but bytes have changed since the server wrote them (disk, memory, copy): copy it again or \
         save anew; servers load it only with `rdbchecksum no`"
    } else if report.checksum == Checksum::Mismatch {
        "bytes have changed since the server wrote them (disk, memory, copy): copy it again, or take an older snapshot"
    } else if are_all(&["framed-length"]) {
        "the snapshot inside is whole; what announced it is not that of this transfer: capture it again"
    } else if are_all(&HARMLESS) {
        "servers load this file all the same, unless a number announced is too large for their memory; find out what \
         wrote it like this"
    } else if report.checksum == Checksum::Ok {
        "the checksum is right, so it was written like this: by a newer server or a module's, or from damaged data; \
         rewrite or delete the keys named above there, then save anew"
    } else {
        "copy it again or save anew; if that has the same problems, rewrite or delete the keys named above"
    })
}

/// The file as people call it.
fn named(file: &str) -> String {
    if file == "-" { "standard input".to_owned() } else { printable(file) }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(count)) }
}

/// What a snapshot would occupy.
pub(crate) fn sized(report: &SizeReport, biggest: &[Big], paint: Paint) -> String {
    let total = &report.total;
    let mut lines = heading(report, paint);
    if report.problem.is_some() && total.keys == 0 {
        return lines.join("\n") + "\n";
    }
    let text =
        format!("{} · of that {} tables of keys", named(&report.file), human(total.table_bytes));
    lines.push(wrap(&text, paint.width, 0));
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
    lines.join("\n") + "\n"
}

/// The answer, and first of all how far it goes.
fn heading(report: &SizeReport, paint: Paint) -> Vec<String> {
    let total = &report.total;
    let node = if report.cluster { "Cluster node of " } else { "" };
    let answer = format!(
        "{} for {} in a fresh {node}{} with {}",
        human(total.bytes),
        plural(total.keys, "key"),
        report.sized_for,
        report.allocator
    );
    let Some(problem) = &report.problem else {
        return vec![paint.bold(&wrap(&answer, paint.width, 0))];
    };
    let stopped =
        format!("reading stopped at byte {}: {}", problem.offset, printable(&problem.message));
    let (sentence, next) = if total.keys == 0 {
        (format!("nothing to size in {}: {stopped}", named(&report.file)), "what it is")
    } else {
        (format!("at least {answer}: {stopped}"), "what is wrong with it")
    };
    let hint = format!("`unfrag rdb verify {}` tells {next}", printable(&report.file));
    vec![paint.bold(&wrap(&sentence, paint.width, 0)), wrap(&hint, paint.width, 0)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_rdb::{VerifyOptions, verify_bytes};

    #[test]
    fn sound_is_said_only_as_far_as_was_looked() {
        let paint = Paint { color: false, unicode: true, width: 80 };
        let two_keys = b"REDIS0004\xfe\x00\x00\x01a\x01v\x00\x01b\x01v\xff";
        let told = |keys_remembered| {
            let options = VerifyOptions { keys_remembered, threads: 1, ..VerifyOptions::default() };
            verified(&[verify_bytes("dump.rdb", two_keys, &options)], paint)
        };
        assert!(told(1000).starts_with("OK  dump.rdb is sound: 2 keys\n"), "{}", told(1000));
        let partly = told(0);
        assert!(partly.starts_with("OK  dump.rdb is sound as far as it was checked: 2 keys\n"));
        assert!(partly.contains("not checked: "), "{partly}");
    }
}
