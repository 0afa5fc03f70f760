//! Where the answer of `unfrag keys` goes: the terminal, a program, a table, a page.

use super::{now_ms, size_for};
use crate::exit::{Exit, UsageError};
use crate::keys_args::{KeysArgs, KeysOutput, Rows};
use crate::printer::Printer;
use crate::render::keys as render;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use unfrag_keys::{Format, KeyTable, Report, page, rows};

/// Refuses what cannot be printed before anything is read.
pub(super) fn check(args: &KeysArgs, _: &Printer) -> anyhow::Result<()> {
    let out = &args.out;
    let usage = |message: &str| Err(UsageError { message: message.to_owned() }.into());
    let is_table = matches!(out.output, KeysOutput::Csv | KeysOutput::Parquet);
    if out.rows == Rows::Keys && !is_table {
        return usage("--rows keys prints csv or parquet: add -o csv or -o parquet");
    }
    if out.to.is_some() && !is_table {
        return usage("--to takes csv or parquet: add -o csv or -o parquet");
    }
    if out.output == KeysOutput::Parquet && out.to.is_none() && io::stdout().is_terminal() {
        return usage("parquet is not for a terminal: add --to FILE");
    }
    Ok(())
}

/// The report, in the form asked for.
pub(super) fn patterns(args: &KeysArgs, report: &Report, printer: &Printer) -> anyhow::Result<()> {
    if let Some(path) = &args.out.html {
        write(path, page::render(report)?.as_bytes())?;
        printer.talk(&format!("the map of all patterns is in {}", path.display()));
    }
    match args.out.output {
        KeysOutput::Human => {
            printer.data(&render::report(report, args.out.verbose, printer.paint()));
        }
        KeysOutput::Json => printer.data(&(serde_json::to_string_pretty(report)? + "\n")),
        KeysOutput::Csv => {
            into(args, |out| Ok(rows::patterns(report, Format::Csv, out)?))?;
        }
        KeysOutput::Parquet => {
            into(args, |out| Ok(rows::patterns(report, Format::Parquet, out)?))?;
        }
    }
    Ok(())
}

/// One row a key.
pub(super) fn keys(args: &KeysArgs, files: &[PathBuf], _: &Printer) -> anyhow::Result<Exit> {
    if files.is_empty() {
        return Err(UsageError {
            message: "--rows keys reads snapshots: unfrag rdb fetch brings a server's".to_owned(),
        }
        .into());
    }
    let size_for = size_for(&args.size, files.first().map(PathBuf::as_path))?;
    let format = table(args);
    let mut is_whole = true;
    into(args, |out| {
        let mut table = KeyTable::new(format, out, args.out.hash_keys.as_deref(), now_ms())?;
        for path in files {
            is_whole &= table
                .file(path, &size_for)
                .map_err(crate::commands::rdb::unreadable(path))?
                .is_none();
        }
        table.finish()?;
        Ok(())
    })?;
    Ok(if is_whole { Exit::Fine } else { Exit::Unreadable })
}

fn table(args: &KeysArgs) -> Format {
    if args.out.output == KeysOutput::Csv { Format::Csv } else { Format::Parquet }
}

/// Lets `print` write to the file named or to standard output.
fn into(
    args: &KeysArgs,
    print: impl FnOnce(Box<dyn Write + Send>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(path) = &args.out.to else {
        let result = print(Box::new(BufWriter::new(io::stdout())));
        // A reader that has seen enough, as `head` has, is no failure.
        return result.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) });
    };
    let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
    print(Box::new(BufWriter::new(file)))
}

/// What was written to has been closed by its reader.
fn is_gone(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| match cause.downcast_ref::<io::Error>() {
        Some(error) => is_pipe(error),
        // The encoder of tables keeps only the text.
        None => cause.to_string().contains("Broken pipe"),
    })
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).map_err(|error| cannot_write(path, &error).into())
}

fn cannot_write(path: &Path, error: &io::Error) -> UsageError {
    UsageError { message: format!("cannot write `{}`: {error}", path.display()) }
}
