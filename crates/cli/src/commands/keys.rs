//! `unfrag keys`: which keys hold the memory, from snapshots or servers.

mod diff;
mod live;
mod output;
mod scan;

use crate::exit::{Exit, UsageError};
use crate::keys_args::{KeysArgs, KeysCommand, Rows, SizeForArgs};
use crate::printer::Printer;
use crate::rdb_args::AllocatorName;
use crate::render::keys as render;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use unfrag_keys::report::NOT_READ;
use unfrag_keys::{Analysis, Options, scanned};
use unfrag_model::MallocStats;
use unfrag_rdb::SizeFor;
use unfrag_rdb::size::{Allocator, Server};

pub(crate) fn run(args: &KeysArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(KeysCommand::Diff(diff)) = &args.command {
        return diff::run(diff, printer);
    }
    output::check(args, printer)?;
    let files = files(args)?;
    if args.out.rows == Rows::Keys {
        return output::keys(args, &files, printer);
    }
    let stats = malloc_stats(args)?;
    let report = if files.is_empty() {
        live::read(args, stats, printer)?
    } else {
        of_files(args, &files)?.report(stats.as_ref())
    };
    output::patterns(args, &report, printer)?;
    let exits = report.sources.iter().filter_map(|s| Some(of_part(s.problem.as_ref()?.kind)));
    Ok(exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Fine))
}

/// The code for a source that was not read to its end. Where that was the deadline, all was done that was asked for.
fn of_part(kind: &str) -> Exit {
    match kind {
        scanned::ENDED_EARLY => Exit::Fine,
        scanned::INTERRUPTED => Exit::RolledBack,
        scanned::LOST | NOT_READ => Exit::Unreachable,
        _ => Exit::Unreadable,
    }
}

/// The targets that are files; all or none.
fn files(args: &KeysArgs) -> anyhow::Result<Vec<PathBuf>> {
    let (files, servers): (Vec<&String>, Vec<&String>) =
        args.connect.targets.iter().partition(|target| is_file(target));
    if let (Some(file), Some(server)) = (files.first(), servers.first()) {
        let message = format!(
            "name servers or snapshots, not both: `{file}` is a snapshot, and `{server}`, which is no file here, would be a server"
        );
        return Err(UsageError { message }.into());
    }
    Ok(files.into_iter().map(PathBuf::from).collect())
}

/// A snapshot rather than a server: standard input, a path that is there and no socket, or a name like one.
fn is_file(target: &str) -> bool {
    let path = Path::new(target);
    let is_there = std::fs::metadata(path).is_ok_and(|m| !m.file_type().is_socket());
    target == "-" || is_there || path.extension().is_some_and(|e| e == "rdb")
}

fn of_files(args: &KeysArgs, files: &[PathBuf]) -> anyhow::Result<Analysis> {
    let mut whole: Option<Analysis> = None;
    let size_for = size_for(&args.size, files.first().map(PathBuf::as_path))?;
    for path in files {
        let options = options(args);
        let analysis = Analysis::of_file(path, &size_for, options)
            .map_err(crate::commands::rdb::unreadable(path))?;
        match &mut whole {
            Some(sum) => sum.join(analysis),
            None => whole = Some(analysis),
        }
    }
    let mut whole = whole.ok_or_else(|| UsageError { message: "name a snapshot".to_owned() })?;
    let first = files.first().map(PathBuf::as_path);
    if args.size.server.is_none() && first.and_then(unfrag_keys::report::written_by).is_none() {
        whole.remark(&format!(
            "sized for {}, because a pipe, or a file that does not begin with it, does not tell beforehand which server it is \
             of: --for names another",
            size_for.server.name()
        ));
    }
    Ok(whole)
}

fn options(args: &KeysArgs) -> Options {
    let hash = args.out.hash_keys.as_deref().map(unfrag_keys::KeyHash::new);
    Options { top: args.top, now_ms: now_ms(), by_slot: args.by_slot, hash }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    now.and_then(|n| i64::try_from(n.as_millis()).ok()).unwrap_or_default()
}

/// The server named, or that of the snapshot, or a late one.
fn size_for(args: &SizeForArgs, file: Option<&Path>) -> anyhow::Result<SizeFor> {
    let mut size_for = if let Some(name) = &args.server {
        SizeFor::new(name.parse::<Server>().map_err(|e| UsageError { message: e.to_string() })?)
    } else {
        let own = file.and_then(unfrag_keys::report::written_by);
        SizeFor::new(own.unwrap_or(Server::Redis82))
    };
    if let Some(name) = args.allocator {
        size_for.allocator = match name {
            AllocatorName::Jemalloc8 => Allocator::Jemalloc8,
            AllocatorName::Jemalloc16 => Allocator::Jemalloc16,
            AllocatorName::Libc => Allocator::Libc,
        };
    }
    Ok(size_for)
}

fn malloc_stats(args: &KeysArgs) -> anyhow::Result<Option<MallocStats>> {
    let Some(path) = &args.malloc_stats else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(crate::commands::rdb::unreadable(path))?;
    let stats = MallocStats::parse(&text).ok_or_else(|| UsageError {
        message: format!("`{}` is no output of MEMORY MALLOC-STATS", path.display()),
    })?;
    Ok(Some(stats))
}
