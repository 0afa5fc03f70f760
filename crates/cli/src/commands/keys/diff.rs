//! `unfrag keys diff`: what grew between two snapshots.

use super::{now_ms, render, size_for};
use crate::args::Form;
use crate::exit::Exit;
use crate::keys_args::DiffArgs;
use crate::printer::Printer;
use unfrag_keys::{Analysis, Options, Report, diff};

pub(super) fn run(args: &DiffArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let size_for = size_for(&args.size, Some(args.after.as_path()))?;
    let report = |path: &std::path::Path| -> anyhow::Result<Report> {
        let options = Options { top: 0, now_ms: now_ms(), ..Options::default() };
        let analysis = Analysis::of_file(path, &size_for, options)
            .map_err(crate::commands::rdb::unreadable(path))?;
        Ok(analysis.report(None))
    };
    let (before, after) = (report(&args.before)?, report(&args.after)?);
    let diff = diff::between(&before, &after);
    match args.output {
        Form::Json => printer.data(&(serde_json::to_string_pretty(&diff)? + "\n")),
        Form::Human => printer.data(&render::diff(&diff, printer.paint())),
    }
    let is_whole = [before, after].iter().all(|r| r.sources.iter().all(|s| s.problem.is_none()));
    Ok(if is_whole { Exit::Fine } else { Exit::Unreadable })
}
