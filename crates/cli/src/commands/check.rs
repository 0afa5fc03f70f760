//! `unfrag check`: read, diagnose, show.

use crate::args::{CheckArgs, Output};
use crate::exit::Exit;
use crate::printer::Printer;
use crate::render::{Outcome, Run, human, json, markdown};
use anyhow::Context;
use std::path::Path;
use unfrag_client::files::Sources;
use unfrag_client::{DiscoverOptions, Reading, SurveyOptions, survey};
use unfrag_diagnose::{Advisories, diagnose_with};
use unfrag_model::sample::SnapshotSize;
use unfrag_model::{Sample, Verdict};
use unfrag_rdb::{SizeFor, size_file};

pub(crate) fn run(args: &CheckArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let advisories = advisories(args)?;
    let run = if args.files.file.is_some() {
        from_files(args, &advisories)?
    } else {
        from_servers(args, &advisories, printer)?
    };
    show(&run, args, printer)?;
    Ok(exit(&run, args))
}

fn advisories(args: &CheckArgs) -> anyhow::Result<Advisories> {
    let Some(path) = &args.advisories else { return Ok(Advisories::embedded()) };
    let text = std::fs::read_to_string(path).map_err(|source| crate::exit::UsageError {
        message: format!("cannot read the advisories `{}`: {source}", path.display()),
    })?;
    Advisories::parse(&text).with_context(|| format!("`{}`", path.display()))
}

/// Sizes `--snapshot` for the one server that was read.
fn size_snapshot<'s>(
    args: &CheckArgs,
    samples: impl Iterator<Item = &'s mut Sample>,
) -> anyhow::Result<()> {
    let Some(path) = &args.snapshot else { return Ok(()) };
    let mut samples: Vec<&mut Sample> = samples.collect();
    let [sample] = samples.as_mut_slice() else {
        let message = "--snapshot belongs to one server: name one, with --only in a Cluster";
        return Err(crate::exit::UsageError { message: message.to_owned() }.into());
    };
    sample.snapshot = Some(snapshot_of(path, sample)?);
    Ok(())
}

/// What the snapshot at `path` would take in a fresh process of the server that `sample` is of.
pub(crate) fn snapshot_of(path: &Path, sample: &Sample) -> anyhow::Result<SnapshotSize> {
    let mut size_for = SizeFor::like(sample).ok_or_else(|| crate::exit::UsageError {
        message: "--snapshot: the structures of this server's version are not known".to_owned(),
    })?;
    size_for.now_ms = super::rdb::now_ms();
    let report = size_file(path, &size_for).map_err(super::rdb::unreadable(path))?;
    if let Some(problem) = report.problem {
        return Err(super::rdb::unreadable(path)(std::io::Error::other(problem.message)).into());
    }
    Ok(SnapshotSize {
        file: path.display().to_string(),
        bytes: report.total.bytes,
        keys: report.total.keys,
    })
}

fn from_files(args: &CheckArgs, advisories: &Advisories) -> anyhow::Result<Run> {
    let files = &args.files;
    let sources = Sources {
        file: files.file.clone(),
        malloc_stats: files.malloc_stats.clone(),
        memory_stats: files.memory_stats.clone(),
        config: files.config.clone(),
        log: files.log.clone(),
    };
    let mut samples = sources.samples()?;
    size_snapshot(args, samples.iter_mut())?;
    let outcomes = samples.iter().map(|sample| diagnosed(sample, advisories)).collect();
    Ok(Run { outcomes, problems: vec![] })
}

fn from_servers(
    args: &CheckArgs,
    advisories: &Advisories,
    printer: &Printer,
) -> anyhow::Result<Run> {
    let named = args.connect.named()?;
    for warning in &named.warnings {
        printer.talk(&format!("warning: {warning}"));
    }
    let options = SurveyOptions {
        discover: DiscoverOptions { replication: args.connect.replicas },
        only_targets: args.only,
        ..SurveyOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let mut survey = runtime.block_on(survey(&named.targets, &options));
    size_snapshot(args, survey.readings.iter_mut().filter_map(|r| r.result.as_mut().ok()))?;
    let outcomes =
        survey.readings.into_iter().map(|reading| outcome(reading, advisories)).collect();
    Ok(Run { outcomes, problems: survey.problems })
}

fn outcome(reading: Reading, advisories: &Advisories) -> Outcome {
    match reading.result {
        Ok(sample) => diagnosed(&sample, advisories),
        Err(error) => Outcome::Failed {
            target: reading.name,
            error: error.problem.to_string(),
            hint: error.hint().unwrap_or_default().to_owned(),
            exit: crate::exit::of_client(error.kind()),
        },
    }
}

fn diagnosed(sample: &Sample, advisories: &Advisories) -> Outcome {
    Outcome::Diagnosed {
        report: diagnose_with(sample, advisories),
        commands: sample.commands.clone(),
    }
}

fn show(run: &Run, args: &CheckArgs, printer: &Printer) -> anyhow::Result<()> {
    match args.output {
        Output::Json => printer.data(&json::render(run)?),
        Output::Markdown => printer.data(&markdown::render(run)),
        Output::Human => {
            let text = human::render(
                run,
                human::Options { paint: printer.paint(), verbose: args.verbose },
            );
            // What was asked for is data; that nothing could be read is talk.
            if any_read(run) {
                printer.data(&text);
            } else {
                printer.talk(&format!("error: {}", text.trim_end()));
            }
        }
    }
    Ok(())
}

fn any_read(run: &Run) -> bool {
    run.outcomes.iter().any(|o| matches!(o, Outcome::Diagnosed { .. }))
}

fn exit(run: &Run, args: &CheckArgs) -> Exit {
    if !any_read(run) {
        let failed = run.outcomes.iter().find_map(|o| match o {
            Outcome::Failed { exit, .. } => Some(*exit),
            Outcome::Diagnosed { .. } => None,
        });
        return failed.unwrap_or(Exit::Unreachable);
    }
    let worst = run
        .outcomes
        .iter()
        .filter_map(|o| match o {
            Outcome::Diagnosed { report, .. } => Some(report.verdict),
            Outcome::Failed { .. } => None,
        })
        .max();
    match args.fail_on.map(Verdict::from) {
        Some(bar) if worst >= Some(bar) => Exit::Findings,
        _ => Exit::Fine,
    }
}
