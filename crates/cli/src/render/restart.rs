//! What `restart` shows: the plan, each step, the outcome. Made to be read at three in the morning.

use super::ladder;
use super::paint::Paint;
use serde::Serialize;
use unfrag_act::restart::{
    Mode, Objection, RestartEvent, RestartOutcome, RestartPlan, RestartStatus, Verified,
};
use unfrag_model::text::{printable, wrap};
use unfrag_model::{human, signed_human};

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
            let text = format!("{} ({:.1} ms)", printable(&step.note), step.duration_ms);
            format!("  {:<10} {}", "", wrap(&text, paint.width, 13))
        }
        RestartEvent::Note(text) => format!("  {}", wrap(&printable(text), paint.width, 2)),
    }
}

/// What came of it, the answer first.
pub(crate) fn outcome(o: &RestartOutcome, paint: Paint) -> String {
    let mut lines = headline(o, paint);
    let mut add = |text: &str| lines.push(format!("  {}", wrap(&printable(text), paint.width, 2)));
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
    lines.push(String::new());
    lines.push(paint.dim("  step             took"));
    for step in &o.steps {
        let word = if step.ok { "" } else { "FAILED " };
        let took = time(step.duration_ms);
        let text = format!("{word}{}", printable(&step.note));
        lines.push(format!("  {:<10}{took:>11}  {}", step.name, wrap(&text, paint.width, 25)));
    }
    for note in &o.notes {
        lines.push(format!("  {}", wrap(&format!("note: {}", printable(note)), paint.width, 2)));
    }
    if o.status == RestartStatus::Failed {
        lines.push(format!("  {} unfrag undo {}", paint.arrow(), printable(&o.target)));
    }
    lines.join("\n") + "\n"
}

fn headline(o: &RestartOutcome, paint: Paint) -> Vec<String> {
    let word = match o.status {
        RestartStatus::Done => "DONE",
        RestartStatus::Refused => "REFUSED",
        RestartStatus::RolledBack => "NOT DONE, AND PUT BACK",
        RestartStatus::Failed => "HALF WAY",
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
    vec![
        format!(
            "{}  {target}: {} given back, {} expected",
            paint.bold(word),
            signed_human(o.reclaimed_bytes),
            human(o.predicted_bytes)
        ),
        format!("  rss {} -> {}", human(before), human(after)),
    ]
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
        all.push(format!("keys {before} -> {after}{how}"));
    }
    if let Some(keys) = v.file_keys {
        all.push(format!("the snapshot it was loaded from is sound and holds {keys} keys"));
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
    if v.keys_before.is_some() {
        all.push(if v.config_differs.is_empty() {
            "every setting is as it was".to_owned()
        } else {
            format!("settings that are not as they were: {}", v.config_differs.join(", "))
        });
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
}

/// `unfrag.restart/1`.
pub(crate) fn outcome_json(outcome: &RestartOutcome) -> Result<String, serde_json::Error> {
    json(&Document { schema: "unfrag.restart/1", outcome })
}
