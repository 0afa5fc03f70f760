//! What `fix` and `undo` show: the plan, the progress, the outcome.

use super::paint::Paint;
use super::{Failure, ladder};
use serde::Serialize;
use std::collections::BTreeSet;
use unfrag_act::execute::Progress;
use unfrag_act::history::Score;
use unfrag_act::outcome::{Skipped, StepOutcome};
use unfrag_act::plan::{Setting, Step};
use unfrag_act::{Outcome, Plan, Status, Undone};
use unfrag_model::text::{columns, counted, printable, wrap};
use unfrag_model::{human, signed_human};

/// The plans, before anything is done; `whole` with every command.
pub(crate) fn plans(plans: &[&Plan], paint: Paint, whole: bool) -> String {
    plans.iter().map(|p| plan(p, paint, whole)).collect::<Vec<_>>().join("\n") + "\n"
}

fn plan(plan: &Plan, paint: Paint, whole: bool) -> String {
    let title = if plan.steps.is_empty() && plan.refused.is_empty() {
        "nothing to do".to_owned()
    } else if plan.steps.is_empty() {
        "nothing can be done in place".to_owned()
    } else {
        format!("about {} can be given back while it serves", human(plan.predicted_bytes))
    };
    let mut lines = vec![format!(
        "{}  {}: {}",
        paint.bold("plan"),
        paint.bold(&printable(&plan.target)),
        title
    )];
    lines.push(paint.dim(&format!(
        "  {} · at most {} · at most {} ms more at p99.9",
        plan.server,
        time(plan.bounds.max_duration.as_secs()),
        plan.bounds.latency_budget_us as f64 / 1000.0
    )));
    let command = |c: &String| format!("       > {}", wrap(c, paint.width, 9));
    let setting = |s: &Setting| {
        let range = if s.to == s.most { s.to.clone() } else { format!("{} to {}", s.to, s.most) };
        format!("       {} {} -> {range}", s.name, s.from)
    };
    for (number, step) in plan.steps.iter().enumerate() {
        let bytes = step.predicted_bytes.map_or_else(|| "rest".to_owned(), human);
        let why = wrap(&step.why, paint.width, 26);
        lines.push(format!("  {}. {:<8}{bytes:>10}   {why}", number + 1, step.remedy.name()));
        let is_same = |s: &Step| s.remedy == step.remedy;
        if let Some(earlier) = plan.steps.iter().take(number).position(is_same) {
            let what = if step.settings.is_empty() { "commands" } else { "settings and commands" };
            lines.push(format!("       {what} as in step {}", earlier + 1));
            continue;
        }
        lines.extend(step.settings.iter().map(setting));
        if whole {
            lines.extend(step.commands.iter().map(command));
        }
    }
    if whole && !plan.steps.is_empty() {
        lines.push("  to make this plan, and to watch over it".to_owned());
        lines.extend(plan.readings.iter().map(command));
    }
    for refusal in &plan.refused {
        let hint = if refusal.overridable { " (--allow goes on all the same)" } else { "" };
        let text = format!("not {}: {}{hint}", refusal.what.name(), refusal.why);
        lines.push(format!("  {}", wrap(&text, paint.width, 2)));
    }
    if plan.steps.is_empty() && plan.needs_restart {
        let gives = plan.restart_gives_bytes;
        let gives = gives.map_or_else(String::new, |b| format!(", and gives {}", human(b)));
        let text = format!("only a fresh process helps here{gives}:");
        lines.push(format!("  {} {}", paint.arrow(), wrap(&text, paint.width, 4)));
        lines.push("    unfrag restart --mode swap".to_owned());
    }
    if plan.steps.iter().any(|s| !s.settings.is_empty()) {
        lines
            .push(paint.dim("  every setting is put back at the end, on Ctrl-C, and on any error"));
    }
    lines.join("\n")
}

/// What gives the rest back: what was held back, going on, or only a restart.
fn still_to_be_had(o: &Outcome, left: &str) -> String {
    let has_ended_early = matches!(o.status, Status::Bounded | Status::Stopped)
        || o.steps.iter().any(|s| matches!(s.status, Status::Bounded | Status::Stopped));
    let is_undone = |s: &StepOutcome| matches!(s.status, Status::Refused | Status::Failed);
    if o.held_back {
        format!(
            "still to be had: about {left}, most of it by what was not done (--allow goes on all the same), the rest by unfrag restart"
        )
    } else if o.status == Status::Failed || o.steps.iter().any(is_undone) {
        format!(
            "still to be had: about {left}, most of it by what was refused or failed above, the rest by unfrag restart"
        )
    } else if has_ended_early {
        format!(
            "still to be had: about {left}, by going on with unfrag fix, the rest by unfrag restart"
        )
    } else {
        format!(
            "only a restart would still give: about {left} (the allocator's records of the peak, tables sized for the past, slabs not quite full): unfrag restart"
        )
    }
}

/// The same in one line that is drawn again and again: it must not reach the terminal's edge. What matters least goes
/// first where all of it is too long.
pub(crate) fn progress_short(p: &Progress, budget_us: u64, width: usize) -> String {
    let added = p.latency.p999.saturating_sub(p.baseline.p999);
    let done = p.done.map_or_else(String::new, |d| format!(" {:.0} %", d * 100.0));
    let (added, budget) = (added as f64 / 1000.0, budget_us as f64 / 1000.0);
    // Each with how little it matters.
    let mut parts = vec![
        (0, format!("{}{done}", p.remedy.name())),
        (2, format!("rss {}", human(p.rss))),
        (4, format!("waste {}", human(p.waste))),
        (1, format!("p99.9 +{added:.1}/{budget:.1} ms")),
        (3, format!("{} left", time(p.left.as_secs()))),
    ];
    for least in [4, 3, 2, 1] {
        let line = parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(" · ");
        if columns(&line) < width {
            return line;
        }
        parts.retain(|(rank, _)| *rank != least);
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// RSS, waste, latency against the budget, time left, in columns.
pub(crate) fn progress(p: &Progress, budget_us: u64, width: usize) -> String {
    let added = p.latency.p999.saturating_sub(p.baseline.p999);
    let done = p.done.map_or_else(String::new, |d| format!(" · {:.0} % of the keys", d * 100.0));
    let line = format!(
        "{}: rss {} · waste {} ({}/s) · p99.9 +{:.1} of {:.1} ms{done} · {} left at most",
        p.remedy.name(),
        human(p.rss),
        human(p.waste),
        signed_human(-p.waste_per_s),
        added as f64 / 1000.0,
        budget_us as f64 / 1000.0,
        time(p.left.as_secs())
    );
    format!("  {}", wrap(&line, width, 4))
}

/// How it ended for one server.
#[derive(Debug)]
pub(crate) enum End {
    /// Something was done, or tried.
    Acted(Outcome),
    /// There was nothing to do, or nothing that could be.
    Nothing(Outcome),
    /// It was not begun: the server's name, and why.
    NotBegun(String, anyhow::Error),
}

/// What came of it, the answer first. Of servers without steps the plan has said all there is.
pub(crate) fn ends(ends: &[End], score: Score, paint: Paint) -> String {
    let acted = ends.iter().filter_map(|end| match end {
        End::Acted(o) => Some(outcome(o, paint)),
        _ => None,
    });
    let all: Vec<String> = acted.collect();
    if all.is_empty() {
        return String::new();
    }
    let mut text = all.join("\n\n") + "\n";
    // One run says nothing of how far a prediction can be trusted.
    if score.runs > 1 {
        text += &format!(
            "  predictions kept on this machine: {} of {} runs were within 10 %\n",
            score.within_tenth, score.runs
        );
    }
    text
}

fn outcome(o: &Outcome, paint: Paint) -> String {
    let mut lines = vec![headline(o, paint), String::new()];
    lines.push(paint.dim("  before"));
    lines.extend(ladder::render(&o.before, paint));
    if o.after.rss.is_some() {
        lines.push(paint.dim("  after"));
        lines.extend(ladder::render(&o.after, paint));
    }
    lines.push(String::new());
    lines.push(
        paint.dim("  step        gave back  expected      took   p99.9 before   during    worst"),
    );
    lines.extend(o.steps.iter().map(|s| step(s, paint)));
    lines.push(String::new());
    lines.extend(restored(o).iter().map(|said| format!("  {}", wrap(said, paint.width, 2))));
    lines.extend(not_done(&o.skipped).iter().map(|s| format!("  {}", wrap(s, paint.width, 2))));
    if let Some(left) = o.still_to_be_had() {
        let left = human(left);
        lines.push(format!("  {}", wrap(&still_to_be_had(o, &left), paint.width, 2)));
    }
    lines.join("\n")
}

fn headline(o: &Outcome, paint: Paint) -> String {
    let target = printable(&o.target);
    let rss = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), human);
    let (before, expected) = (rss(o.before.rss), human(o.predicted_bytes));
    let text = match o.after.rss {
        Some(after) => format!(
            "{target}: {} given back (rss {before} -> {}), {expected} expected",
            signed_human(o.reclaimed_bytes),
            human(after)
        ),
        None => format!(
            "{target}: no saying what was given back (rss {before} before; the server is gone or another process now), \
             {expected} expected"
        ),
    };
    let word = match o.status {
        Status::Failed => "FAILED",
        Status::Stopped => "STOPPED",
        Status::Bounded => "ENDED EARLY",
        _ if o.is_refused() => "REFUSED",
        _ if o.has_refused() => "PARTLY DONE",
        _ => "DONE",
    };
    let wrapped = wrap(&format!("{word}  {text}"), paint.width, word.len() + 2);
    let text = wrapped.strip_prefix(word).unwrap_or(&wrapped).trim_start();
    let mut line = format!("{}  {text}", paint.bold(word));
    if let Some(error) = &o.error {
        line.push_str("\n  ");
        line.push_str(&wrap(&printable(error), paint.width, 2));
    }
    line
}

fn step(s: &StepOutcome, paint: Paint) -> String {
    let ms = |us: u64| match us {
        0..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    };
    let expected = s.predicted_bytes.map_or_else(|| paint.none().to_owned(), human);
    format!(
        "  {:<10}{:>11}{expected:>10}{:>10}{:>15}{:>9}{:>9}\n{}{}",
        s.remedy.name(),
        signed_human(s.reclaimed_bytes),
        format!("{:.1} s", s.duration_ms as f64 / 1000.0),
        ms(s.latency_us.baseline.p999),
        ms(s.latency_us.during.p999),
        ms(s.latency_us.during.max),
        " ".repeat(6),
        wrap(&printable(&s.note), paint.width, 6)
    )
}

/// What was not touched, a sentence for each reason: a hundred keys of a module's type are one piece of news.
fn not_done(skipped: &[Skipped]) -> Vec<String> {
    const NAMED: usize = 3;
    let mut by_reason: Vec<(&str, Vec<String>)> = vec![];
    for s in skipped {
        match by_reason.iter_mut().find(|(why, _)| *why == s.why) {
            Some((_, whats)) => whats.push(printable(&s.what)),
            None => by_reason.push((&s.why, vec![printable(&s.what)])),
        }
    }
    let sentence = |(why, whats): (&str, Vec<String>)| {
        let more = match whats.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let named = whats.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        format!("not done: {named}{more}: {}", printable(why))
    };
    by_reason.into_iter().map(sentence).collect()
}

/// What became of the settings, a sentence for each kind of end.
fn restored(o: &Outcome) -> Vec<String> {
    let (good, bad): (Vec<_>, Vec<_>) = o.restored_config.iter().partition(|r| r.restored);
    let (others, good): (Vec<_>, Vec<_>) = good.into_iter().partition(|r| r.note.is_some());
    // Twice where defrag ran twice.
    let names: BTreeSet<&str> = good.iter().map(|r| r.name.as_str()).collect();
    let mut said = vec![];
    if o.restored_config.is_empty() {
        said.push("no setting was changed".to_owned());
    }
    if !names.is_empty() {
        said.push(format!(
            "settings put back and read back: {}",
            names.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    let noted = |r: &&unfrag_act::Restored| r.note.clone().unwrap_or_default();
    said.extend(others.iter().map(|r| format!("{}: {}", r.name, noted(r))));
    if !bad.is_empty() {
        let bad: Vec<String> = bad
            .iter()
            .map(|r| format!("{} (should be {}): {}", r.name, r.value, noted(r)))
            .collect();
        said.push(format!("NOT PUT BACK, run `unfrag undo`: {}", bad.join("; ")));
    }
    if o.left_aside {
        let how = "run `unfrag undo`, or wait a minute: they expire by themselves";
        said.push(format!("NOT DELETED, copies of keys that were set aside: {how}"));
    }
    said
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// What undo did.
pub(crate) fn undone(target: &str, undone: &Undone, paint: Paint) -> String {
    let mut lines: Vec<String> = vec![];
    let target = printable(target);
    let mut add = |text: String| lines.push(wrap(&text, paint.width, 2));
    for sentence in &undone.restarted {
        add(format!("{target}: {}", printable(sentence)));
    }
    let (settings, deleted) = (undone.restored_config.len() as u64, undone.keys_deleted);
    if settings > 0 || deleted > 0 {
        let all = [
            (settings, format!("{} looked after", counted(settings, "setting"))),
            (deleted, format!("{} deleted", counted(deleted, "set-aside key"))),
        ];
        let all: Vec<String> = all.into_iter().filter(|(n, _)| *n > 0).map(|(_, t)| t).collect();
        add(format!("{target}: {}", all.join(", ")));
    } else if undone.restarted.is_empty() && undone.runs == 0 {
        add(format!("{target}: no interrupted run is known here; nothing to undo"));
    } else if undone.restarted.is_empty() && undone.keys_restored == 0 && undone.left.is_empty() {
        add(format!("{target}: an interrupted run is ended; it had left nothing to put back"));
    }
    let mut detail = |text: String| lines.push(format!("  {}", wrap(&text, paint.width, 4)));
    if undone.keys_restored > 0 {
        detail(format!("as before the reshape: {}", counted(undone.keys_restored, "key")));
    }
    for s in &undone.left {
        detail(format!("left alone: {}: {}", printable(&s.what), printable(&s.why)));
    }
    for r in &undone.restored_config {
        let note = r.note.as_ref().map_or_else(String::new, |n| format!(" ({n})"));
        let word = if r.restored { "is" } else { "could NOT be set to" };
        detail(format!("{} {word} {}{note}", r.name, r.value));
    }
    lines.join("\n") + "\n"
}

#[derive(Serialize)]
struct UndoneDocument<'a> {
    schema: &'static str,
    target: Option<&'a str>,
    #[serde(flatten)]
    undone: Option<&'a Undone>,
    error: Option<&'a Failure>,
}

/// `unfrag.undo/1`: one object for one server, an array for several.
pub(crate) fn undone_json(
    all: &[(Option<String>, Result<Undone, Failure>)],
) -> Result<String, serde_json::Error> {
    let documents: Vec<UndoneDocument<'_>> = all
        .iter()
        .map(|(target, result)| UndoneDocument {
            schema: "unfrag.undo/1",
            target: target.as_deref(),
            undone: result.as_ref().ok(),
            error: result.as_ref().err(),
        })
        .collect();
    match documents.as_slice() {
        [one] => json(one),
        _ => json(&documents),
    }
}

/// Any value as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

const SCHEMA: &str = "unfrag.fix/1";

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Of {
        schema: &'static str,
        #[serde(flatten)]
        outcome: &'a Outcome,
    },
    NotBegun(NotBegun<'a>),
}

/// In the same schema, with what is known.
#[derive(Serialize)]
struct NotBegun<'a> {
    schema: &'static str,
    target: Option<&'a str>,
    status: &'static str,
    error: String,
    hint: String,
}

impl<'a> NotBegun<'a> {
    fn of(schema: &'static str, target: Option<&'a str>, error: &anyhow::Error) -> Self {
        let Failure { message, hint } = Failure::of(error);
        Self { schema, target, status: "not-begun", error: message, hint }
    }
}

fn document(end: &End) -> Document<'_> {
    match end {
        End::Acted(outcome) | End::Nothing(outcome) => Document::Of { schema: SCHEMA, outcome },
        End::NotBegun(target, error) => {
            Document::NotBegun(NotBegun::of(SCHEMA, Some(target), error))
        }
    }
}

/// `unfrag.fix/1`: one object for one server, an array for several.
pub(crate) fn ends_json(ends: &[End]) -> Result<String, serde_json::Error> {
    let all: Vec<Document<'_>> = ends.iter().map(document).collect();
    match all.as_slice() {
        [one] => json(one),
        _ => json(&all),
    }
}

/// Of a run that ended before there was anything to tell.
pub(crate) fn error_json(
    dry_run: bool,
    error: &anyhow::Error,
) -> Result<String, serde_json::Error> {
    let schema = if dry_run { "unfrag.plan/1" } else { SCHEMA };
    json(&NotBegun::of(schema, None, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_act::RemedyName;
    use unfrag_act::probe::Percentiles;

    #[test]
    fn many_keys_left_alone_for_one_reason_are_one_sentence() {
        let of = |what: String, why: &str| Skipped { what, why: why.to_owned() };
        let keys = (0..20).map(|n| of(format!("key g{n} in db 0"), "no copy of it"));
        let mut all = vec![of("defrag".to_owned(), "refused")];
        all.extend(keys);
        assert_eq!(
            not_done(&all),
            [
                "not done: defrag: refused",
                "not done: key g0 in db 0, key g1 in db 0, key g2 in db 0 and 17 more: no copy of it"
            ]
        );
    }

    /// A line that wraps is not drawn over: each second would leave one behind.
    #[test]
    fn the_living_line_stays_within_a_narrow_terminal() {
        let progress = Progress {
            remedy: RemedyName::Repack,
            rss: 44 << 20,
            waste: 19 << 20,
            waste_per_s: 0,
            latency: Percentiles::default(),
            baseline: Percentiles::default(),
            left: std::time::Duration::from_secs(840),
            done: Some(0.5),
        };
        let line = |width| progress_short(&progress, 5000, width);
        let whole = "repack 50 % · rss 44.0 MiB · waste 19.0 MiB · p99.9 +0.0/5.0 ms · 14 min left";
        assert_eq!([line(100), line(80)], [whole, whole]);
        assert_eq!(line(60), "repack 50 % · rss 44.0 MiB · p99.9 +0.0/5.0 ms");
        assert_eq!(line(40), "repack 50 % · p99.9 +0.0/5.0 ms");
    }
}
