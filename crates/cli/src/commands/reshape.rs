//! `unfrag reshape`: sample, dry run, show; with `--yes` also act, verify, report.

use crate::args::Form;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use crate::render::reshape as render;
use crate::reshape_args::ReshapeArgs;
use anyhow::Context;
use std::time::Duration;
use unfrag_act::permit::Consent;
use unfrag_act::reshape::{
    Bounds, Event, Layout, Outcome, Preview, Run, Shape, Spec, apply, preview, snippet,
};
use unfrag_act::{ChangePermit, Journals, Status, Stop};
use unfrag_client::{Address, ConnectOptions, DiscoverOptions, SurveyOptions, Target, survey};
use unfrag_model::Sample;

/// One server, looked at.
struct Subject {
    preview: Preview,
    sample: Sample,
    address: Address,
    options: ConnectOptions,
}

/// Values are fetched whole: larger replies than any reading has.
const MAX_REPLY_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &ReshapeArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let common = args.command.common();
    let spec = Spec { shape: args.command.shape(), reverse: common.reverse };
    if let Shape::Hash(wording) = &spec.shape {
        Layout::parse(wording).map_err(|e| UsageError { message: e.to_string() })?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let subjects = runtime.block_on(subjects(args, &spec, printer))?;
    let snippets = snippets(args, &spec);
    if !common.yes {
        show(args, &subjects, &snippets, false, printer)?;
        let refused = subjects.iter().any(|s| s.preview.blocking(common.allow).next().is_some());
        return Ok(if refused { Exit::Refused } else { Exit::Fine });
    }
    let mut exit = Exit::Fine;
    let mut outcomes = vec![];
    for subject in &subjects {
        if subject.preview.blocking(common.allow).next().is_some() {
            show(args, std::slice::from_ref(subject), &[], true, printer)?;
            exit = worse(exit, Exit::Refused);
            continue;
        }
        let outcome = runtime.block_on(act(args, subject, printer))?;
        if matches!(outcome.status, Status::Failed | Status::Stopped) {
            exit = worse(exit, Exit::RolledBack);
        }
        outcomes.push(outcome);
    }
    if !outcomes.is_empty() {
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        printer.data(&match common.output {
            Form::Human => {
                render::outcomes(&outcomes, printer.paint(), common.verbose) + &snippets.concat()
            }
            Form::Json => render::outcomes_json(&outcomes)?,
        });
    }
    Ok(exit)
}

fn worse(one: Exit, other: Exit) -> Exit {
    if one as u8 >= other as u8 { one } else { other }
}

/// The dry run, for people or programs.
fn show(
    args: &ReshapeArgs,
    subjects: &[Subject],
    snippets: &[String],
    refused: bool,
    printer: &Printer,
) -> anyhow::Result<()> {
    let common = args.command.common();
    let previews: Vec<&Preview> = subjects.iter().map(|s| &s.preview).collect();
    printer.data(&match common.output {
        Form::Human => {
            let how = render::Shown { allow: common.allow, verbose: common.verbose, refused };
            render::previews(&previews, printer.paint(), how) + &snippets.concat()
        }
        Form::Json => render::previews_json(&previews)?,
    });
    Ok(())
}

fn snippets(args: &ReshapeArgs, spec: &Spec) -> Vec<String> {
    let common = args.command.common();
    let languages = match &common.snippets {
        Some(snippets) => snippets.0.clone(),
        None if common.verbose => snippet::Language::ALL.to_vec(),
        None => vec![],
    };
    languages
        .into_iter()
        .map(|language| {
            format!("\n--- {}\n{}", language.name(), snippet::of(language, &spec.shape))
        })
        .collect()
}

async fn subjects(
    args: &ReshapeArgs,
    spec: &Spec,
    printer: &Printer,
) -> anyhow::Result<Vec<Subject>> {
    let common = args.command.common();
    let named = common.connect.named()?;
    for warning in &named.warnings {
        printer.talk(&format!("warning: {warning}"));
    }
    let mut subjects = vec![];
    for (target, options) in &named.targets {
        let survey_options = SurveyOptions {
            discover: DiscoverOptions { replication: false },
            only_targets: !common.connect.cluster,
            ..SurveyOptions::default()
        };
        let found = survey(&[(target.clone(), options.clone())], &survey_options).await;
        for reading in found.readings {
            let sample = reading.result?;
            let address = match (&reading.node, target) {
                (Some(node), _) => node.address.clone(),
                (None, Target::Server(address)) => address.clone(),
                (None, Target::Sentinel { .. }) => continue,
            };
            // Of a whole Cluster, only the primaries are worked on.
            if common.connect.cluster && sample.info.is_replica() {
                continue;
            }
            let options = ConnectOptions {
                db: 0,
                resp3: false,
                max_reply_bytes: MAX_REPLY_BYTES,
                ..options.clone()
            };
            let budget_us = micros(common.latency_budget);
            let journals = Journals::of_user();
            let preview =
                preview(&address, &options, &sample, spec, &journals, budget_us, common.allow)
                    .await?;
            subjects.push(Subject { preview, sample, address, options });
        }
    }
    Ok(subjects)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

async fn act(args: &ReshapeArgs, subject: &Subject, printer: &Printer) -> anyhow::Result<Outcome> {
    let common = args.command.common();
    let stop = Stop::default();
    let listener = tokio::spawn(super::fix::stop_on_signal(stop.clone()));
    let permit = ChangePermit::mint(Consent::Flag, &subject.preview.run_id);
    let run = Run {
        preview: &subject.preview,
        sample: &subject.sample,
        permit: &permit,
        address: &subject.address,
        options: &subject.options,
        journals: &Journals::of_user(),
        bounds: Bounds {
            latency_budget_us: micros(common.latency_budget),
            max_duration: common.max_duration,
            follow: common.follow,
        },
        stop,
    };
    let result = apply(run, &mut |event| say(&event, printer)).await;
    listener.abort();
    Ok(result?)
}

fn say(event: &Event, printer: &Printer) {
    match event {
        Event::Begun { journal, resumed } => {
            let what = if *resumed { "going on with the journal" } else { "journal" };
            printer.talk(&format!("{what}: {}", journal.display()));
        }
        Event::Progress(progress) => printer.progress(&render::progress(progress)),
        Event::Note(text) => printer.talk(&format!("  {text}")),
    }
}
