//! What `reshape` shows: the dry run, the progress, the outcome.

use super::keys::typed;
use super::paint::Paint;
use serde::Serialize;
use unfrag_act::Status;
use unfrag_act::outcome::Skipped;
use unfrag_act::reshape::outcome::Fields;
use unfrag_act::reshape::run::Progress;
use unfrag_act::reshape::{Outcome, Preview, Shape, Spec};
use unfrag_model::text::{printable, wrap};
use unfrag_model::{human, signed_human};

/// Keys left alone, or reasons for it, that are named where not all are.
const NAMED: usize = 6;
/// So many changes by others tell nothing.
const OTHERS_FEW: u64 = 20;

/// How dry runs are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    /// `--allow`.
    pub(crate) allow: bool,
    /// `--verbose`.
    pub(crate) verbose: bool,
    /// `--yes`, and it was refused.
    pub(crate) refused: bool,
}

/// The dry runs.
pub(crate) fn previews(previews: &[&Preview], paint: Paint, how: Shown) -> String {
    let all = previews.iter().map(|p| preview(p, paint, how));
    all.collect::<Vec<_>>().join("\n") + "\n"
}

fn preview(p: &Preview, paint: Paint, how: Shown) -> String {
    let Shown { allow, verbose, refused } = how;
    let said = if refused { format!("nothing was changed; it {}", answer(p)) } else { answer(p) };
    let word = if refused { "REFUSED" } else { "DRY RUN" };
    let mut lines = vec![head(word, &p.target, &said, paint), String::new()];
    if p.matching == 0 && !p.spec.reverse {
        let hint =
            format!("{} unfrag keys {}   shows the patterns there are", paint.arrow(), p.target);
        lines.push(line(&hint, paint));
    }
    if p.matching == 0 && p.hindrances.is_empty() {
        return lines.join("\n").trim_end().to_owned();
    }
    if !is_unread(p) && p.touched > 0 {
        lines.extend(read(p, paint));
    }
    lines.extend(skipped(&p.skipped, paint, verbose));
    if p.touched > 0 {
        lines.extend(p.notes.iter().map(|note| line(&format!("note: {note}"), paint)));
    }
    if lines.last().is_some_and(|last| !last.is_empty()) {
        lines.push(String::new());
    }
    lines.extend(verdict(p, paint, allow));
    lines.join("\n").trim_end().to_owned()
}

/// The answer in its first words, wrapped below them.
fn head(word: &str, target: &str, said: &str, paint: Paint) -> String {
    let indent = word.len() + 2;
    let text = wrap(&format!("{}: {said}", printable(target)), paint.width, indent);
    format!("{}  {text}", paint.bold(word))
}

/// What to type next, in lines that a shell takes as one.
fn next(command: &str, paint: Paint) -> String {
    format!("  {} {}", paint.arrow(), typed(command, paint.width, 4))
}

/// Both layouts, and how they were compared.
fn read(p: &Preview, paint: Paint) -> Vec<String> {
    let mut lines = layouts(p);
    lines.push(String::new());
    if let Some(fields) = &p.fields {
        lines.push(line(&thresholds(fields), paint));
    }
    let read = if p.sampled >= p.matching {
        format!("all {} read", count(p.matching))
    } else {
        format!("{} of {} read", count(p.sampled), count(p.matching))
    };
    lines.push(line(
        &format!("{read}; both layouts sized for this server ({}); nothing was written", p.server),
        paint,
    ));
    if let Some(suggestion) = &p.suggestion {
        let text = format!(
            "better: --into '{}' would save {}, sized in the same way, with about {} fields a hash: {}",
            suggestion.into,
            human(suggestion.saves_bytes),
            suggestion.fields,
            suggestion.why
        );
        lines.push(line(&text, paint));
    }
    lines
}

/// What speaks against it, or what to type next.
fn verdict(p: &Preview, paint: Paint, allow: bool) -> Vec<String> {
    let mut lines = vec![];
    let mut blocked = false;
    for hindrance in &p.hindrances {
        let passed = allow && hindrance.overridable;
        blocked |= !passed;
        let word = if passed { "allowed" } else { "refused" };
        lines.push(line(&format!("{word}: {}", printable(&hindrance.why)), paint));
        if !passed {
            lines.push(line(&format!("{} {}", paint.arrow(), hindrance.hint), paint));
        }
    }
    if !blocked && p.touched > 0 {
        lines.push(next(&format!("{} --yes", command(&p.target, &p.spec)), paint));
    }
    lines
}

/// What cannot be done at all is not looked into.
fn is_unread(p: &Preview) -> bool {
    p.sampled == 0 && !p.hindrances.is_empty()
}

/// The answer in one sentence, with bytes.
fn answer(p: &Preview) -> String {
    let saved = p.predicted_bytes;
    let change = match (saved, p.spec.reverse) {
        _ if p.matching == 0 && p.spec.reverse => {
            return format!("would change nothing: nothing is left of {}", wording(&p.spec));
        }
        _ if p.matching == 0 => {
            return format!("would change nothing: nothing here matches {}", wording(&p.spec));
        }
        _ if is_unread(p) => {
            return format!(
                "cannot be done in this form: {} keys match {}",
                count(p.matching),
                wording(&p.spec)
            );
        }
        _ if p.touched == 0 => {
            let read = if p.sampled < p.matching { " of those that were read" } else { "" };
            return format!(
                "would change nothing: {} match {}, and each{read} would be left alone",
                count(p.matching),
                wording(&p.spec)
            );
        }
        (0.., true) if saved > 0 => {
            format!("the old layout takes {} less", human(saved.unsigned_abs()))
        }
        (0.., _) => format!("would save {} of {}", human(saved.unsigned_abs()), human(p.bytes_now)),
        (_, true) => format!("would take {} more again", human(saved.unsigned_abs())),
        (_, false) => format!("would COST {} more than now", human(saved.unsigned_abs())),
    };
    format!("{change} ({} keys, then {})", count(p.keys_before), count(p.keys_after))
}

fn wording(spec: &Spec) -> String {
    match (&spec.shape, spec.reverse) {
        (Shape::Hash(w), false) => format!("'{}'", w.keys),
        (Shape::Hash(w), true) => format!("'{}'", w.into),
        (Shape::Compress { keys, min_bytes, .. }, false) => {
            format!("'{keys}' with {min_bytes} bytes or more")
        }
        (Shape::Compress { keys, codec, .. }, true) => {
            format!("'{keys}' with {} values", codec.name())
        }
    }
}

/// Now and then.
fn layouts(p: &Preview) -> Vec<String> {
    let (now, then) = match (&p.spec.shape, p.spec.reverse) {
        (Shape::Hash(w), false) => {
            let hashes = p.fields.map_or(0, |f| f.hashes);
            (
                format!("{} keys {}", count(p.touched), w.keys),
                format!("{} hashes {}", count(hashes), w.into),
            )
        }
        (Shape::Hash(w), true) => {
            (format!("{} fields in {}", count(p.touched), w.into), format!("keys {}", w.keys))
        }
        (Shape::Compress { codec, .. }, false) => {
            (format!("{} values", count(p.touched)), format!("compressed with {}", codec.name()))
        }
        (Shape::Compress { codec, .. }, true) => {
            (format!("{} {} values", count(p.touched), codec.name()), "unpacked".to_owned())
        }
    };
    vec![
        format!("  now  {:>10}   {}", human(p.bytes_now), printable(&now)),
        format!("  then {:>10}   {}", human(p.bytes_after), printable(&then)),
    ]
}

fn thresholds(f: &Fields) -> String {
    let sizes = format!("{:.1} fields a hash on average, {} at most", f.mean, f.most);
    let limit = format!(
        "this server keeps up to {} fields of {} bytes compact",
        f.limit, f.value_limit_bytes
    );
    let verdict = match f.tables {
        0 => "all would be".to_owned(),
        n => {
            format!("{} of {} would not be, and take more", count(n.min(f.hashes)), count(f.hashes))
        }
    };
    format!("{sizes}; {limit}: {verdict}")
}

/// Every key with its reason, or each reason with one of its keys.
fn skipped(skipped: &[Skipped], paint: Paint, verbose: bool) -> Vec<String> {
    if verbose || skipped.len() <= NAMED {
        let all = skipped.iter();
        return all.map(|s| left_alone(&s.what, &s.why, paint)).collect();
    }
    let mut reasons: Vec<(&str, &str, u64)> = vec![];
    for Skipped { what, why } in skipped {
        match reasons.iter_mut().find(|(known, ..)| known == why) {
            // Of those that are not named, only their number is told.
            Some((.., more)) => {
                let unnamed = what.strip_suffix(" more").and_then(|n| n.parse::<u64>().ok());
                *more += unnamed.unwrap_or(1);
            }
            None => reasons.push((why, what, 0)),
        }
    }
    let mut lines: Vec<String> = reasons
        .iter()
        .take(NAMED)
        .map(|(why, what, more)| match more {
            0 => left_alone(what, why, paint),
            more => left_alone(&format!("{what} and {} more", count(*more)), why, paint),
        })
        .collect();
    let rest = reasons.len().saturating_sub(NAMED);
    let other = if rest > 0 { format!("{rest} other reasons; ") } else { String::new() };
    lines.push(line(&format!("{other}-v names more of them"), paint));
    lines
}

fn left_alone(what: &str, why: &str, paint: Paint) -> String {
    line(&format!("left alone: {}: {}", printable(what), printable(why)), paint)
}

fn line(text: &str, paint: Paint) -> String {
    format!("  {}", wrap(text, paint.width, 4))
}

/// The command to type next.
fn command(target: &str, spec: &Spec) -> String {
    let own = match &spec.shape {
        Shape::Hash(w) => {
            let field = w.field.as_ref().map_or_else(String::new, |f| format!(" --field '{f}'"));
            format!("hash --match '{}' --into '{}'{field}", w.keys, w.into)
        }
        Shape::Compress { keys, codec, min_bytes } => {
            format!("compress --match '{keys}' --codec {} --min-size {min_bytes}", codec.name())
        }
    };
    let reverse = if spec.reverse { " --reverse" } else { "" };
    format!("unfrag reshape {own}{reverse} {}", printable(target))
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line: how far, and what others feel of it.
pub(crate) fn progress(p: &Progress) -> String {
    let added = p.latency.p99.saturating_sub(p.baseline.p99);
    format!("  {} of about {} · p99 +{:.1} ms", count(p.done), count(p.of), added as f64 / 1000.0)
}

/// What came of it, the answer first.
pub(crate) fn outcomes(outcomes: &[&Outcome], paint: Paint, verbose: bool) -> String {
    let all = outcomes.iter().map(|o| outcome(o, paint, verbose));
    all.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn outcome(o: &Outcome, paint: Paint, verbose: bool) -> String {
    let word = match o.status {
        Status::Failed => "FAILED",
        Status::Stopped => "STOPPED",
        Status::Bounded => "ENDED EARLY",
        _ => "DONE",
    };
    let what = match o.spec.kind() {
        "hash" if o.spec.reverse => format!("{} fields are keys again", count(o.done)),
        "hash" => format!("{} keys are in {} hashes now", count(o.done), count(o.hashes)),
        _ if o.spec.reverse => format!("{} values are unpacked again", count(o.done)),
        _ => format!("{} values are compressed now", count(o.done)),
    };
    let bytes = if o.status == Status::Done && o.done == 0 {
        "there was nothing to do".to_owned()
    } else if o.spec.reverse {
        let (taken, expected) = (-o.measured_bytes, -o.predicted_bytes);
        format!("{} taken again, {} expected", signed_human(taken), signed_human(expected))
    } else {
        let (saved, expected) = (o.measured_bytes, o.predicted_bytes);
        match saved {
            // Nothing was saved in a negative measure: the reason, where it is known, is below.
            ..0 => format!(
                "used_memory grew by {}, {} were to be saved",
                human(saved.unsigned_abs()),
                signed_human(expected)
            ),
            _ => format!(
                "{} saved, {} expected",
                human(saved.unsigned_abs()),
                signed_human(expected)
            ),
        }
    };
    let has_done = o.done > 0 || o.status != Status::Done;
    let said = if has_done { format!("{bytes}; {what}") } else { bytes };
    let mut lines = vec![head(word, &o.target, &said, paint)];
    if let Some(error) = &o.error {
        lines.push(line(&printable(error), paint));
    }
    lines.push(String::new());
    let seconds = o.duration_ms as f64 / 1000.0;
    lines.push(line(
        &format!(
            "{} keys before, {} now; {seconds:.1} s",
            count(o.keys_before),
            count(o.keys_after)
        ),
        paint,
    ));
    lines.extend(others(o).map(|text| line(&text, paint)));
    lines.extend(skipped(&o.skipped, paint, verbose));
    let again = command(&o.target, &o.spec);
    match o.status {
        Status::Done if o.spec.reverse || o.done == 0 => {}
        Status::Done => {
            lines.push(line("the way back:", paint));
            lines.push(next(&format!("{again} --reverse --yes"), paint));
        }
        _ => {
            lines.push(line(
                "every key is whole, in one layout or the other; go on, or put back:",
                paint,
            ));
            lines.push(next(&format!("{again} --yes"), paint));
            lines.push(next(&format!("unfrag undo {}", printable(&o.target)), paint));
        }
    }
    lines.join("\n")
}

/// What others wrote is in the bytes measured, and cannot be told from what was saved.
fn others(o: &Outcome) -> Option<String> {
    let changes = o.others_changes.filter(|&n| n > o.done / 100 + OTHERS_FEW)?;
    Some(format!(
        "others wrote meanwhile (about {} changes), which is in the bytes measured: they are of used_memory, before and after; \
         the sizes of both layouts say {}",
        count(changes),
        signed_human(o.predicted_bytes)
    ))
}

/// `unfrag.reshape/1`: of a dry run and of a run alike.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    kind: &'static str,
    applied: bool,
    #[serde(flatten)]
    of: &'a T,
}

const SCHEMA: &str = "unfrag.reshape/1";

pub(crate) fn previews_json(previews: &[&Preview]) -> serde_json::Result<String> {
    let documents = previews.iter().map(|p| Document {
        schema: SCHEMA,
        kind: p.spec.kind(),
        applied: false,
        of: *p,
    });
    one_or_many(&documents.collect::<Vec<_>>())
}

pub(crate) fn outcomes_json(outcomes: &[&Outcome]) -> serde_json::Result<String> {
    let documents = outcomes.iter().map(|o| Document {
        schema: SCHEMA,
        kind: o.spec.kind(),
        applied: true,
        of: *o,
    });
    one_or_many(&documents.collect::<Vec<_>>())
}

fn one_or_many<T: Serialize>(documents: &[T]) -> serde_json::Result<String> {
    let text = match documents {
        [one] => serde_json::to_string_pretty(one),
        many => serde_json::to_string_pretty(many),
    };
    text.map(|text| text + "\n")
}
