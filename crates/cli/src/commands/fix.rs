//! `unfrag fix`: sample, diagnose, plan, show, ask, act, verify, report.

use crate::args::{FixArgs, Form};
use crate::exit::{self, Exit, UsageError};
use crate::printer::Printer;
use crate::render::fix::{self as render, End};
use anyhow::Context;
use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use unfrag_act::control::{self, Order};
use unfrag_act::history::{self, History, Record, Score};
use unfrag_act::permit::Consent;
use unfrag_act::{
    Bounds, ChangePermit, Event, Journals, Outcome, Plan, Run, Status, Stop, execute, plan,
};
use unfrag_client::{Address, ConnectOptions, DiscoverOptions, SurveyOptions, Target, survey};
use unfrag_diagnose::diagnose;
use unfrag_model::text::{printable, wrap};
use unfrag_model::{Report, Sample};

/// Of lines that are said before there is anything to show.
const TALK_WIDTH: usize = 80;

/// Its turn did not come.
#[derive(Debug, thiserror::Error)]
#[error("{target}: not begun, because the run ended before its turn")]
struct LeftAlone {
    target: String,
    /// Somebody stopped the run; else it was another server's error, which has an exit code of its own.
    is_stopped: bool,
}

/// One server that will be worked on.
struct Patient {
    plan: Plan,
    report: Report,
    address: Address,
    options: ConnectOptions,
    is_replica: bool,
}

/// Whatever the end, a program that asked for JSON gets one document.
pub(crate) fn run(args: &FixArgs, printer: &Printer) -> anyhow::Result<Exit> {
    match fix(args, printer) {
        Err(error) => {
            printer.error_in_columns(&error);
            if args.output == Form::Json {
                printer.data(&render::error_json(args.dry_run, &error)?);
            }
            Ok(exit::of(&error))
        }
        done => done,
    }
}

fn fix(args: &FixArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let mut patients = runtime.block_on(patients(args, printer))?;
    if let Some(order) = order(args) {
        return give(order, &patients, printer);
    }
    // A replica is a heap of its own, and the one whose trouble costs least: it goes first.
    patients.sort_by_key(|p| !p.is_replica);
    let plans: Vec<&Plan> = patients.iter().map(|p| &p.plan).collect();
    if args.dry_run {
        printer.data(&match args.output {
            Form::Human => render::plans(&plans, printer.paint(), true),
            Form::Json => render::json(&plans)?,
        });
        return Ok(Exit::Fine);
    }
    let shown = render::plans(&plans, printer.talk_paint(), false);
    printer.talk(shown.trim_end());
    if plans.iter().all(|p| p.steps.is_empty()) {
        return nothing_to_do(args, &patients, printer);
    }
    let consent = consent(args, printer)?;
    let ends = act(&runtime, &patients, consent, printer);
    printer.data(&match args.output {
        Form::Human => render::ends(&ends, score(), printer.paint()),
        Form::Json => render::ends_json(&ends)?,
    });
    for end in &ends {
        if let End::NotBegun(_, error) = end {
            printer.error_in_columns(error);
        }
    }
    Ok(ends.iter().map(exit).max_by_key(|e| *e as u8).unwrap_or(Exit::Fine))
}

fn exit(end: &End) -> Exit {
    let outcome = match end {
        End::Acted(outcome) => outcome,
        End::Nothing(_) => return Exit::Fine,
        End::NotBegun(_, error) => {
            return match error.downcast_ref::<LeftAlone>() {
                Some(LeftAlone { is_stopped: true, .. }) => Exit::RolledBack,
                Some(_) => Exit::Fine,
                None => exit::of(error),
            };
        }
    };
    match outcome.status {
        _ if !outcome.is_restored() => Exit::RollBackFailed,
        Status::Failed | Status::Stopped => Exit::RolledBack,
        _ if outcome.is_refused() => Exit::Refused,
        _ => Exit::Fine,
    }
}

async fn patients(args: &FixArgs, printer: &Printer) -> anyhow::Result<Vec<Patient>> {
    let named = args.connect.named()?;
    let mut patients: Vec<Patient> = vec![];
    for warning in &named.warnings {
        printer.talk(&format!("warning: {warning}"));
    }
    for (target, options) in &named.targets {
        let survey_options = SurveyOptions {
            discover: DiscoverOptions { replication: args.connect.replicas },
            // Only what was named is changed; -c and --replicas name more.
            only_targets: !args.connect.cluster && !args.connect.replicas,
            ..SurveyOptions::default()
        };
        let found = survey(&[(target.clone(), options.clone())], &survey_options).await;
        // Not worked on: what is known of and cannot be reached must not go by in silence.
        for problem in &found.problems {
            let (what, why) = (printable(&problem.what), printable(&problem.why));
            printer.talk(&wrap(&format!("warning: left out: {what}: {why}"), TALK_WIDTH, 9));
        }
        for reading in found.readings {
            let mut sample = reading.result?;
            if is_known(&patients, &sample, printer) {
                continue;
            }
            if let Some(path) = &args.snapshot {
                if !patients.is_empty() {
                    let message = "--snapshot belongs to one server: name one";
                    return Err(UsageError { message: message.to_owned() }.into());
                }
                sample.snapshot = Some(super::check::snapshot_of(path, &sample)?);
            }
            let address = match (&reading.node, target) {
                (Some(node), _) => node.address.clone(),
                (None, Target::Server(address)) => address.clone(),
                (None, Target::Sentinel { .. }) => continue,
            };
            let report = diagnose(&sample);
            let plan = plan::make(&report, &sample, bounds(args));
            let is_replica = sample.info.is_replica();
            // The acting connection begins in db 0, wherever the target's URI points.
            let options = ConnectOptions { db: 0, resp3: false, ..options.clone() };
            patients.push(Patient { plan, report, address, options, is_replica });
        }
    }
    if patients.is_empty() {
        let message = "no server was found that could be worked on";
        return Err(UsageError { message: message.to_owned() }.into());
    }
    Ok(patients)
}

/// Two names for one process: once the first is worked on, the plan of the second would speak of a heap that is gone.
fn is_known(patients: &[Patient], sample: &Sample, printer: &Printer) -> bool {
    let run_id = sample.info.text("run_id").unwrap_or_default();
    let Some(known) = patients.iter().find(|p| !run_id.is_empty() && p.plan.run_id == run_id)
    else {
        return false;
    };
    let (name, first) = (printable(&sample.target), printable(&known.plan.target));
    if name != first {
        let text = format!("{name} is the same server as {first}: worked on once");
        printer.talk(&wrap(&text, TALK_WIDTH, 2));
    }
    true
}

fn bounds(args: &FixArgs) -> Bounds {
    Bounds {
        only: args.only.iter().map(|r| (*r).into()).collect(),
        max_duration: args.max_duration,
        latency_budget_us: u64::try_from(args.latency_budget.as_micros()).unwrap_or(u64::MAX),
        target_ratio: args.target_ratio,
        allow: args.allow,
    }
}

fn nothing_to_do(args: &FixArgs, patients: &[Patient], printer: &Printer) -> anyhow::Result<Exit> {
    let refused = patients.iter().any(|p| !p.plan.refused.is_empty());
    if args.output == Form::Json {
        let ends: Vec<End> = patients.iter().map(nothing).collect();
        printer.data(&render::ends_json(&ends)?);
    }
    Ok(if refused { Exit::Refused } else { Exit::Fine })
}

fn nothing(patient: &Patient) -> End {
    End::Nothing(Outcome::nothing(&patient.plan, &patient.report))
}

fn consent(args: &FixArgs, printer: &Printer) -> anyhow::Result<Consent> {
    if args.yes {
        return Ok(Consent::Flag);
    }
    if !printer.can_ask() {
        let message =
            "nobody is there to ask: add --yes to do this, or --dry-run to see every command";
        return Err(UsageError { message: message.to_owned() }.into());
    }
    if printer.ask("do this?") {
        return Ok(Consent::Typed);
    }
    Err(UsageError { message: "not done".to_owned() }.into())
}

/// One server after the other; where one could not even be begun, those behind it are left alone.
fn act(runtime: &Runtime, patients: &[Patient], consent: Consent, printer: &Printer) -> Vec<End> {
    let stop = Stop::default();
    let journals = Journals::of_user();
    let mut ends = vec![];
    let mut is_over = false;
    runtime.block_on(async {
        let listener = tokio::spawn(stop_on_signal(stop.clone()));
        for patient in patients {
            if patient.plan.steps.is_empty() {
                ends.push(nothing(patient));
                continue;
            }
            if is_over || stop.is_set() {
                let target = patient.plan.target.clone();
                let why = LeftAlone { target: target.clone(), is_stopped: !is_over }.into();
                ends.push(End::NotBegun(target, why));
                continue;
            }
            let permit = ChangePermit::mint(consent, &patient.plan.run_id);
            let run = Run {
                plan: &patient.plan,
                permit: &permit,
                before: patient.report.layers,
                address: &patient.address,
                options: &patient.options,
                journals: &journals,
                stop: stop.clone(),
            };
            let mut speaker = Speaker::new(printer, patient.plan.bounds.latency_budget_us);
            let result = execute(run, &mut |event| speaker.say(&event)).await;
            speaker.end();
            match result {
                Ok(outcome) => {
                    keep(&outcome, &patient.plan.server, printer);
                    ends.push(End::Acted(outcome));
                }
                Err(error) => {
                    is_over = true;
                    ends.push(End::NotBegun(patient.plan.target.clone(), error.into()));
                }
            }
        }
        listener.abort();
    });
    ends
}

/// Keeps what came of it, so that predictions can be scored; failing that loses nothing on the server.
fn keep(outcome: &Outcome, server: &str, printer: &Printer) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    if let Err(error) = History::of_user().append(&Record::of(outcome, server, at_unix_ms)) {
        printer.talk(&format!("warning: the outcome could not be kept for scoring: {error}"));
    }
}

/// How the predictions kept on this machine did.
fn score() -> Score {
    history::score(&History::of_user().read().unwrap_or_default())
}

/// Ctrl-C, a closed terminal and a polite kill all mean: put everything back and end.
pub(crate) async fn stop_on_signal(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    let streams = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = streams.map(signal) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        stop.stop();
    }
}

/// Says what happens: one living line on a terminal, a line every few seconds elsewhere.
struct Speaker<'a> {
    printer: &'a Printer,
    budget_us: u64,
    is_terminal: bool,
    last: Option<Instant>,
    line_open: bool,
}

impl<'a> Speaker<'a> {
    fn new(printer: &'a Printer, budget_us: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { printer, budget_us, is_terminal, last: None, line_open: false }
    }

    fn say(&mut self, event: &Event) {
        /// Between two lines where every line stays.
        const QUIET: Duration = Duration::from_secs(3);
        match event {
            Event::Progress(progress) => {
                let due = self.last.is_none_or(|last| last.elapsed() >= QUIET);
                if self.is_terminal || due {
                    let width = self.printer.talk_paint().width;
                    let text = if self.is_terminal {
                        render::progress_short(progress, self.budget_us, width)
                    } else {
                        render::progress(progress, self.budget_us, width)
                    };
                    self.printer.progress(&text);
                    self.last = Some(Instant::now());
                    self.line_open = self.is_terminal;
                }
            }
            Event::Begun { journal } => {
                self.line(&format!("journal: {}", journal.display()));
                self.line("measuring latency before anything is done");
            }
            Event::Step(remedy) => self.line(&format!("{}:", remedy.name())),
            Event::Note(text) => self.line(&format!("  {}", printable(text))),
        }
    }

    fn line(&mut self, text: &str) {
        self.end();
        self.printer.talk(text);
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.line_open) {
            self.printer.talk("");
        }
    }
}

fn order(args: &FixArgs) -> Option<Order> {
    match (args.pause, args.resume, args.abort) {
        (true, _, _) => Some(Order::Pause),
        (_, true, _) => Some(Order::Resume),
        (_, _, true) => Some(Order::Abort),
        _ => None,
    }
}

fn give(order: Order, patients: &[Patient], printer: &Printer) -> anyhow::Result<Exit> {
    let is_ours = |run_id: &str| patients.iter().any(|p| p.plan.run_id == run_id);
    let mut runs = Journals::of_user().unfinished()?;
    runs.retain(|run| run.is_running && is_ours(&run.run_id));
    let (restarts, fixes): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.is_restart);
    for run in &fixes {
        control::give(&run.path, order).context("failed to leave word for the other run")?;
        printer.talk(&format!("told process {}", run.pid));
    }
    if !fixes.is_empty() {
        return Ok(Exit::Fine);
    }
    printer.talk(&match restarts.first() {
        // Half way there is nothing to hold still at.
        Some(run) => format!(
            "a restart is at work on this server, process {}: Ctrl-C where it runs ends it",
            run.pid
        ),
        None => "no fix is running on this server from this machine".to_owned(),
    });
    Ok(Exit::Refused)
}
