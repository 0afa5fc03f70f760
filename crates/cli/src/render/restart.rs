//! What `restart` shows: the plan, each step, the outcome. Made to be read at three in the morning.

use super::Failure;
use super::ladder;
use super::paint::Paint;
use serde::Serialize;
use unfrag_act::restart::{
    Mode, Objection, RestartEvent, RestartOutcome, RestartPlan, RestartStatus, Verified,
};
use unfrag_model::text::{counted, grouped, printable, wrap};
use unfrag_model::{Layers, human, signed_human};

pub(crate) use super::fix::json;

/// The plan; `whole` with every command.
pub(crate) fn plan(plan: &RestartPlan, paint: Paint, whole: bool) -> String {
    let mut lines = vec![title(plan, paint)];
    let mut add = |text: String| lines.push(format!("  {}", wrap(&text, paint.width, 2)));
    if let (Some(rss), Some(floor)) = (plan.rss_bytes, plan.floor_rss_bytes)
        && floor < rss
    {
        add(format!("rss {} -> {}", human(rss), human(floor)));
    }
    add(format!("{} · mode {}: {}", plan.server, plan.mode.name(), printable(&plan.why)));
    if plan.may_run() {
        add(format!("clients: {}; no write that was answered is lost", plan.gap));
        if let Some(supervisor) = plan.supervisor.as_ref().filter(|_| plan.names_supervisor()) {
            add(format!("started again by: {}", printable(supervisor)));
        }
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let node =
            if plan.mode == Mode::Rolling { format!("{}: ", step.node) } else { String::new() };
        let text = format!("{node}{}", printable(&step.what));
        lines.push(format!(
            "{:>4}. {:<10} {}",
            number + 1,
            step.name,
            wrap(&text, paint.width, 17)
        ));
        if whole {
            let shown = step.commands.iter().filter(|c| !c.is_empty());
            lines.extend(shown.map(|c| paint.dim(&format!("{:17}> {}", "", printable(c)))));
        }
    }
    let mut seen: Vec<&str> = vec![];
    for objection in &plan.refused {
        if !seen.contains(&objection.why.as_str()) {
            seen.push(&objection.why);
            lines.push(format!("  {}", wrap(&against(objection), paint.width, 2)));
        }
    }
    for warning in &plan.warnings {
        lines.push(format!("  {}", wrap(&format!("note: {}", printable(warning)), paint.width, 2)));
    }
    if plan.may_run() {
        // Between the stop and the start of a plain restart there is no server.
        let killed = if plan.mode == Mode::Plain {
            "  killed anywhere, nothing is lost; `unfrag undo` brings the server up"
        } else {
            "  killed anywhere, one server has everything; `unfrag undo` finishes the rest"
        };
        lines.push(paint.dim(killed));
    }
    lines.join("\n") + "\n"
}

fn title(plan: &RestartPlan, paint: Paint) -> String {
    let target = printable(&plan.target);
    let gives = match (plan.rss_bytes, plan.floor_rss_bytes) {
        (Some(rss), Some(floor)) if floor < rss => {
            format!("gives back about {}", human(rss - floor))
        }
        (Some(rss), Some(_)) => format!("gives back nothing (rss {})", human(rss)),
        _ => "what it gives back is not known".to_owned(),
    };
    let word = if plan.may_run() { "restart" } else { "REFUSED" };
    format!("{}  {}: a restart {gives}", paint.bold(word), paint.bold(&target))
}

fn against(objection: &Objection) -> String {
    let hint = if objection.overridable { " (--allow goes on all the same)" } else { "" };
    format!("not {}: {}{hint}", objection.mode.name(), printable(&objection.why))
}

/// One line for what happens.
pub(crate) fn event(event: &RestartEvent, paint: Paint) -> String {
    match event {
        RestartEvent::Begun { journal } => format!("journal: {}", journal.display()),
        RestartEvent::Step { name, node } => format!("  {name:<10} {}", printable(node)),
        RestartEvent::Done(step) => {
            let text = format!("{} ({})", printable(&step.note), time(step.duration_ms));
            format!("  {:<10} {}", "", wrap(&text, paint.width, 13))
        }
        RestartEvent::Failed(step) => {
            format!("  {:<10} FAILED after {}", step.name, time(step.duration_ms))
        }
        RestartEvent::Note(text) => format!("  {}", wrap(&printable(text), paint.width, 2)),
    }
}

/// What came of it, the answer first.
pub(crate) fn outcome(o: &RestartOutcome, paint: Paint) -> String {
    let mut lines = headline(o, paint);
    let mut add = |text: &str| lines.push(format!("  {}", wrap(&printable(text), paint.width, 2)));
    if let Some(step) = o.steps.iter().find(|step| !step.ok) {
        let (took, node) = (time(step.duration_ms), &step.node);
        add(&format!("the step `{}` on {node} failed after {took}:", step.name));
    }
    if let Some(error) = &o.error {
        add(error);
    }
    if let Some(gap) = o.gap_ms {
        // Clients add to the hand-over what they need to hear of it: 1.1 s of 238 ms were seen behind a Sentinel.
        let (what, more) = match o.mode {
            Mode::Plain => ("away for", ""),
            Mode::Swap => ("writes waited", ""),
            Mode::Rolling => (
                "writes were held back for",
                "; clients wait until they hear of the new primary, too",
            ),
        };
        add(&format!("{what} {}{more}", time(gap)));
    }
    for text in verified(&o.verified) {
        add(&text);
    }
    if o.status == RestartStatus::Done && o.nodes.len() < 2 {
        lines.push(String::new());
        lines.push(paint.dim("  before"));
        lines.extend(ladder::render(&o.before, paint));
        lines.push(paint.dim("  after"));
        lines.extend(ladder::render(&o.after, paint));
    }
    for node in o.nodes.iter().filter(|_| o.nodes.len() > 1) {
        let rss = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), human);
        lines.push(format!(
            "  {:<24} rss {} -> {}",
            printable(&node.node),
            rss(node.rss_before),
            rss(node.rss_after)
        ));
    }
    for note in &o.notes {
        lines.push(format!("  {}", wrap(&format!("note: {}", printable(note)), paint.width, 2)));
    }
    if o.needs_undo {
        lines.push(format!("  {} unfrag undo {}", paint.arrow(), printable(&o.target)));
    }
    lines.join("\n") + "\n"
}

fn headline(o: &RestartOutcome, paint: Paint) -> Vec<String> {
    let word = match o.status {
        RestartStatus::Done => "DONE",
        RestartStatus::Refused => "REFUSED",
        RestartStatus::RolledBack => "NOT DONE, AND PUT BACK",
        RestartStatus::Failed if o.needs_undo => "HALF WAY",
        RestartStatus::Failed => "RESTARTED, AND NOT THE SAME",
    };
    let target = printable(&o.target);
    if o.status != RestartStatus::Done {
        return vec![format!("{}  {target}", paint.bold(word))];
    }
    let (before, after) = if o.nodes.len() > 1 {
        (
            o.nodes.iter().filter_map(|n| n.rss_before).sum(),
            o.nodes.iter().filter_map(|n| n.rss_after).sum(),
        )
    } else {
        (o.before.rss.unwrap_or(0), o.after.rss.unwrap_or(0))
    };
    let expected = match o.predicted_bytes {
        0 => "none expected".to_owned(),
        bytes => format!("{} expected", human(bytes)),
    };
    let given = match (o.reclaimed_bytes, after) {
        (_, 0) => "what it gave back is not known".to_owned(),
        (..0, _) => {
            format!("nothing given back, rss grew by {}", human(o.reclaimed_bytes.unsigned_abs()))
        }
        (0, _) => format!("nothing given back, {expected}"),
        (bytes, _) => format!("{} given back, {expected}", signed_human(bytes)),
    };
    let rss = |bytes: u64| if bytes > 0 { human(bytes) } else { "?".to_owned() };
    vec![
        format!("{}  {target}: {given}", paint.bold(word)),
        format!("  rss {} -> {}{}", rss(before), rss(after), ratios(o)),
    ]
}

/// How much of the resident memory is data and buffers, before and after; of one server.
fn ratios(o: &RestartOutcome) -> String {
    let of = |layers: &Layers| {
        let (rss, used) = layers.rss.zip(layers.used).filter(|&(_, used)| used > 0)?;
        Some(rss as f64 / used as f64)
    };
    match (of(&o.before), of(&o.after)) {
        (Some(before), Some(after)) if o.nodes.len() < 2 => {
            format!(", {before:.2} -> {after:.2} times the data")
        }
        _ => String::new(),
    }
}

fn verified(v: &Verified) -> Vec<String> {
    let mut all = vec![];
    if let (Some(before), Some(after)) = (v.keys_before, v.keys_after) {
        let how = match (v.databases_equal, v.offsets_equal) {
            (Some(true), Some(true)) => ", the same in every database, replication offsets equal",
            (Some(true), _) => ", the same in every database",
            (Some(false), _) => ", NOT the same in every database",
            // Whether anybody wrote meanwhile is not known of a server that loads an append-only file.
            _ if before == after => "",
            _ => " (clients had written or keys had expired by then)",
        };
        all.push(format!("keys {} -> {}{how}", grouped(before), grouped(after)));
    }
    if let Some(keys) = v.file_keys {
        all.push(format!(
            "the snapshot it was loaded from is sound and holds {}",
            counted(keys, "key")
        ));
    }
    match v.digest_equal {
        Some(true) => all.push("the digest of the whole data is the same".to_owned()),
        Some(false) if !v.quiet => {
            all.push("the digest differs: clients had written by then".to_owned());
        }
        Some(false) => all.push("the digest of the whole data DIFFERS".to_owned()),
        None => {}
    }
    if v.sampled > 0 {
        let by =
            if v.quiet || v.sample_differs == 0 { "" } else { " (clients had written by then)" };
        all.push(format!(
            "{} of {} sampled values are the same{by}",
            v.sampled - v.sample_differs.min(v.sampled),
            v.sampled
        ));
    }
    match v.config_differs.as_deref() {
        None => {}
        Some([]) => all.push("every setting is as it was".to_owned()),
        Some(some) => all.push(format!("settings that are not as they were: {}", some.join(", "))),
    }
    all
}

fn time(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1000.0) }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    outcome: &'a RestartOutcome,
    error: Option<Failure>,
}

/// `unfrag.restart/1`.
pub(crate) fn outcome_json(o: &RestartOutcome) -> Result<String, serde_json::Error> {
    let hint = match o.status {
        _ if o.needs_undo => format!("unfrag undo {}", o.target),
        RestartStatus::Refused if o.refused.iter().all(|r| r.mode != o.mode || r.overridable) => {
            "--allow goes on all the same".to_owned()
        }
        _ => String::new(),
    };
    let error = o.error.clone().map(|message| Failure { message, hint });
    json(&Document { schema: "unfrag.restart/1", outcome: o, error })
}

#[derive(Serialize)]
struct NotBegun<'a> {
    schema: &'static str,
    target: Option<&'a str>,
    status: &'static str,
    error: Failure,
}

/// Of a run that ended before there was anything to tell: the same schema, with what is known.
pub(crate) fn error_json(
    target: Option<&str>,
    dry_run: bool,
    error: &anyhow::Error,
) -> Result<String, serde_json::Error> {
    let schema = if dry_run { "unfrag.restart-plan/1" } else { "unfrag.restart/1" };
    json(&NotBegun { schema, target, status: "not-begun", error: Failure::of(error) })
}
