//! `unfrag restart`: look, plan, show, ask, do, report.

use crate::args::Form;
use crate::commands::fix::stop_on_signal;
use crate::exit::{self, Exit, LeftBehind, UsageError};
use crate::printer::Printer;
use crate::render::restart as render;
use crate::restart_args::{ModeArg, RestartArgs};
use anyhow::Context;
use unfrag_act::permit::Consent;
use unfrag_act::restart::{
    Facts, RestartEvent, RestartOutcome, RestartPlan, RestartRun, RestartStatus, Wish, execute,
    look, plan,
};
use unfrag_act::{ActError, ChangePermit, Journals, Stop};
use unfrag_client::{ConnectOptions, SampleOptions, Target, connect, sample};
use unfrag_diagnose::diagnose;

pub(crate) fn run(args: &RestartArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut target = None;
    match restart(args, printer, &mut target) {
        Err(error) => {
            printer.error_in_columns(&error);
            if args.output == Form::Json {
                printer.data(&render::error_json(target.as_deref(), args.dry_run, &error)?);
            }
            Ok(exit::of(&error))
        }
        done => done,
    }
}

/// `seen` becomes the server, once it is known which.
fn restart(
    args: &RestartArgs,
    printer: &Printer,
    seen: &mut Option<String>,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let named = args.connect.named()?;
    let [(target, options)] = named.targets.as_slice() else {
        let message = "one server at a time: name one, or one of a deployment for all of it";
        return Err(UsageError { message: message.to_owned() }.into());
    };
    *seen = Some(target.to_string());
    if args.supervised && !matches!(args.mode, ModeArg::Auto | ModeArg::Swap) {
        let message = "--supervised is a way to swap: leave --mode out, or say --mode swap";
        return Err(UsageError { message: message.to_owned() }.into());
    }
    // The acting connection begins in db 0, wherever the target's URI points.
    let options = ConnectOptions { db: 0, resp3: false, ..options.clone() };
    let (wish, journals) = (args.wish(), Journals::of_user());
    let facts = runtime.block_on(facts(target, &options, &wish));
    let facts = facts.map_err(|error| with_what_is_left(target, &journals, error))?;
    let mut plan = plan::make(&facts, &wish);
    if let Err(error) = facts.refuse_others(&journals) {
        plan.refuse(error.to_string());
    }
    if args.dry_run {
        printer.data(&match args.output {
            Form::Human => render::plan(&plan, printer.paint(), true),
            Form::Json => render::json(&plan)?,
        });
        return Ok(if plan.may_run() { Exit::Fine } else { Exit::Refused });
    }
    printer.talk(render::plan(&plan, printer.paint(), !plan.may_run()).trim_end());
    if !plan.may_run() {
        if args.output == Form::Json {
            let outcome = RestartOutcome::refused(&plan, facts.layers());
            printer.data(&render::outcome_json(&outcome)?);
        }
        return Ok(Exit::Refused);
    }
    let consent = consent(args, printer)?;
    let doing = act(&plan, &facts, &wish, &options, &journals, consent, printer);
    let outcome = runtime.block_on(doing)?;
    printer.data(&match args.output {
        Form::Human => render::outcome(&outcome, printer.paint()),
        Form::Json => render::outcome_json(&outcome)?,
    });
    Ok(match outcome.status {
        RestartStatus::Done => Exit::Fine,
        RestartStatus::Refused => Exit::Refused,
        RestartStatus::RolledBack => Exit::RolledBack,
        RestartStatus::Failed => Exit::RollBackFailed,
    })
}

/// A server that is down may be so because an earlier run was interrupted: then that is what to know first.
fn with_what_is_left(target: &Target, journals: &Journals, error: ActError) -> anyhow::Error {
    let left = match target {
        Target::Server(address) => journals.refuse_others(&address.to_string(), "").err(),
        // It may be of any server that the Sentinels watch.
        Target::Sentinel { .. } => {
            let runs = journals.unfinished().unwrap_or_default();
            let restart = runs.into_iter().find(|run| run.is_restart);
            restart.and_then(|run| journals.refuse_others(&run.target, &run.run_id).err())
        }
    };
    match left {
        Some(left) => LeftBehind { source: error, left: left.to_string() }.into(),
        None => error.into(),
    }
}

async fn facts(target: &Target, options: &ConnectOptions, wish: &Wish) -> Result<Facts, ActError> {
    look(target, options, wish, |address| async move {
        let mut connection = connect(&address, options).await?;
        let sample = sample(&mut connection, &SampleOptions::default()).await?;
        let report = diagnose(&sample);
        Ok((sample, report))
    })
    .await
}

fn consent(args: &RestartArgs, printer: &Printer) -> anyhow::Result<Consent> {
    if args.yes {
        return Ok(Consent::Flag);
    }
    let message = if !printer.can_ask() {
        "nobody is there to ask: add --yes to do this, or --dry-run to see every command"
    } else if printer.ask("do this?") {
        return Ok(Consent::Typed);
    } else {
        "not done"
    };
    Err(UsageError { message: message.to_owned() }.into())
}

async fn act(
    plan: &RestartPlan,
    facts: &Facts,
    wish: &Wish,
    options: &ConnectOptions,
    journals: &Journals,
    consent: Consent,
    printer: &Printer,
) -> anyhow::Result<RestartOutcome> {
    let stop = Stop::default();
    let listener = tokio::spawn(stop_on_signal(stop.clone()));
    let permit = ChangePermit::mint(consent, facts.run_id());
    let run = RestartRun { plan, facts, wish, permit: &permit, options, journals, stop };
    let mut say = |event: RestartEvent| printer.talk(&render::event(&event, printer.paint()));
    let outcome = Box::pin(execute(run, &mut say)).await?;
    listener.abort();
    Ok(outcome)
}
