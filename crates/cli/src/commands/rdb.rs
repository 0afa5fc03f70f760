//! `unfrag rdb`: verify a snapshot, size it for a server.

mod fetch;

pub(crate) use fetch::{Abandoned, Refused};

use crate::args::Output;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use crate::rdb_args::{AllocatorName, RdbArgs, RdbCommand, SizeArgs, VerifyArgs};
use crate::render::snapshot;
use anyhow::Context;
pub(crate) use fetch::interrupted;
use serde::ser::SerializeSeq;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unfrag_client::{ConnectOptions, SampleOptions, Target, Uri, connect, sample};
use unfrag_rdb::size::{Allocator, KeySize, Server};
use unfrag_rdb::{SizeFor, SizeReport, VerifyOptions, VerifyReport, size_fold, verify_file};

pub(crate) fn run(args: &RdbArgs, printer: &Printer) -> anyhow::Result<Exit> {
    match &args.command {
        RdbCommand::Verify(args) => verify(args, printer),
        RdbCommand::Size(args) => size(args, printer),
        RdbCommand::Fetch(args) => fetch::run(args, printer),
    }
}

/// A snapshot that cannot be opened at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the snapshot `{path}`")]
pub(crate) struct Unreadable {
    path: String,
    source: std::io::Error,
}

pub(crate) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Unreadable + '_ {
    |source| Unreadable { path: path.display().to_string(), source }
}

fn verify(args: &VerifyArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if args.output == Output::Markdown {
        return Err(UsageError { message: "rdb verify prints human or json".to_owned() }.into());
    }
    let mut reports: Vec<VerifyReport> = vec![];
    let mut unopened = vec![];
    let mut unread = None;
    for path in &args.files {
        let bar = Progress::start(path);
        let step = |done: u64, all: Option<u64>| bar.step(done, all);
        let mut options = VerifyOptions { progress: Some(&step), ..VerifyOptions::default() };
        if args.all_keys {
            options.keys_remembered = u64::MAX;
        }
        let report = verify_file(path, &options).map_err(unreadable(path));
        bar.end();
        match report {
            Ok(report) => reports.push(report),
            // The others are worth a look all the same.
            Err(error) => {
                unopened.push(Unopened::of(&error));
                match &unread {
                    None => unread = Some(error),
                    Some(_) => printer.talk(&format!("error: {error}: {}", error.source)),
                }
            }
        }
    }
    let sound = reports.iter().all(|r| r.ok);
    match (args.output, reports.as_slice()) {
        (Output::Json, [report]) if args.files.len() == 1 => {
            printer.data(&(serde_json::to_string_pretty(report)? + "\n"));
        }
        (Output::Json, many) if args.files.len() > 1 => {
            printer.data(&(serde_json::to_string_pretty(&All { read: many, unopened })? + "\n"));
        }
        (_, []) => {}
        (_, many) => printer.data(&snapshot::verified(many, printer.paint())),
    }
    match unread {
        Some(error) => Err(error.into()),
        None => Ok(if sound { Exit::Fine } else { Exit::Unreadable }),
    }
}

/// Every file that was named, as one array: those read, then those that could not be opened.
struct All<'a> {
    read: &'a [VerifyReport],
    unopened: Vec<Unopened>,
}

impl serde::Serialize for All<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.read.len() + self.unopened.len()))?;
        self.read.iter().try_for_each(|report| array.serialize_element(report))?;
        self.unopened.iter().try_for_each(|file| array.serialize_element(file))?;
        array.end()
    }
}

/// A file that could not be opened: no report, and not sound.
#[derive(serde::Serialize)]
struct Unopened {
    schema: &'static str,
    file: String,
    ok: bool,
    error: String,
}

impl Unopened {
    fn of(error: &Unreadable) -> Self {
        let (file, cause) = (error.path.clone(), error.source.to_string());
        Self { schema: unfrag_rdb::verify::SCHEMA, file, ok: false, error: cause }
    }
}

/// A bar on a terminal's stderr, for files that take over a second.
struct Progress(indicatif::ProgressBar);

impl Progress {
    fn start(path: &Path) -> Self {
        // indicatif draws nothing where stderr is no terminal.
        let bar = indicatif::ProgressBar::new(0);
        let style = indicatif::ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("#> "));
        }
        bar.set_message(path.display().to_string());
        Self(bar)
    }

    fn step(&self, done: u64, all: Option<u64>) {
        if self.0.elapsed() > Duration::from_secs(1) {
            self.0.set_length(all.unwrap_or(done));
            self.0.set_position(done);
        }
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn size(args: &SizeArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if args.output == Output::Markdown {
        return Err(UsageError { message: "rdb size prints human or json".to_owned() }.into());
    }
    if let Some(other) = args.connect.targets.first() {
        let message = format!(
            "rdb size takes one snapshot, and `{other}` is another word; a server to size for is named with --like"
        );
        return Err(UsageError { message }.into());
    }
    let size_for = size_for(args)?;
    let sized = size_fold(&args.file, &size_for, || Top::new(args.top), Top::offer);
    let (report, tops) = sized.map_err(unreadable(&args.file))?;
    let biggest = Top::joined(tops, args.top);
    match args.output {
        Output::Json => printer.data(
            &(serde_json::to_string_pretty(&SizeDocument { report: &report, biggest: &biggest })?
                + "\n"),
        ),
        _ => printer.data(&snapshot::sized(&report, &biggest, printer.paint())),
    }
    Ok(if report.problem.is_some() { Exit::Unreadable } else { Exit::Fine })
}

#[derive(serde::Serialize)]
struct SizeDocument<'a> {
    #[serde(flatten)]
    report: &'a SizeReport,
    biggest: &'a [Big],
}

fn size_for(args: &SizeArgs) -> anyhow::Result<SizeFor> {
    let mut size_for = match (&args.like, &args.server) {
        (Some(target), _) => like(target, args)?,
        (None, Some(name)) => {
            SizeFor::new(name.parse::<Server>().map_err(|e| UsageError { message: e.to_string() })?)
        }
        (None, None) => SizeFor::new(Server::Redis82),
    };
    if let Some(name) = args.allocator {
        size_for.allocator = match name {
            AllocatorName::Jemalloc8 => Allocator::Jemalloc8,
            AllocatorName::Jemalloc16 => Allocator::Jemalloc16,
            AllocatorName::Libc => Allocator::Libc,
        };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    size_for.now_ms = now.and_then(|n| i64::try_from(n.as_millis()).ok());
    Ok(size_for)
}

/// Asks a live server what it is.
fn like(target: &str, args: &SizeArgs) -> anyhow::Result<SizeFor> {
    let uri: Uri = target.parse()?;
    let options: ConnectOptions = args.connect.options()?.with_uri(&uri);
    let Target::Server(address) = uri.target else {
        return Err(UsageError {
            message: "--like takes one server, not a Sentinel name".to_owned(),
        }
        .into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let sample = runtime.block_on(async {
        let mut connection = connect(&address, &options).await?;
        sample(&mut connection, &SampleOptions::default()).await
    })?;
    SizeFor::like(&sample).ok_or_else(|| {
        let message = format!(
            "the structures of {} are not known; name a server with --for",
            sample.info.engine()
        );
        UsageError { message }.into()
    })
}

/// A large key, for reports. Ordered by size; of equals, the first in the file is the largest, so that how keys
/// were shared among cores does not show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Big {
    pub(crate) bytes: u64,
    #[serde(skip)]
    offset: Reverse<u64>,
    pub(crate) key: String,
    pub(crate) db: u64,
    #[serde(rename = "type")]
    pub(crate) data_type: &'static str,
    pub(crate) encoding: &'static str,
    pub(crate) elements: u64,
}

/// The largest few of many, in memory for the few.
struct Top {
    heap: BinaryHeap<Reverse<Big>>,
    keep: usize,
    /// Keys must be larger than this once there are enough.
    least: u64,
}

impl Top {
    fn new(keep: usize) -> Self {
        Self { heap: BinaryHeap::new(), keep, least: if keep == 0 { u64::MAX } else { 0 } }
    }

    #[inline]
    fn offer(&mut self, key: &KeySize<'_>) {
        // Keys come in file order: a later one of the same size is not larger.
        if key.bytes > self.least {
            self.add(key);
        }
    }

    #[cold]
    fn add(&mut self, key: &KeySize<'_>) {
        self.heap.push(Reverse(Big {
            bytes: key.bytes,
            offset: Reverse(key.key.offset),
            key: unfrag_rdb::problem::key_text(key.key.name),
            db: key.key.db.unwrap_or(0),
            data_type: key.key.kind.data_type().name(),
            encoding: key.encoding,
            elements: key.elements,
        }));
        if self.heap.len() > self.keep {
            self.heap.pop();
        }
        if self.heap.len() == self.keep {
            self.least = self.heap.peek().map_or(0, |Reverse(big)| big.bytes);
        }
    }

    /// The largest of all cores' largest, largest first.
    fn joined(tops: Vec<Self>, keep: usize) -> Vec<Big> {
        let mut all: Vec<Reverse<Big>> = tops.into_iter().flat_map(|top| top.heap).collect();
        all.sort();
        all.into_iter().take(keep).map(|Reverse(big)| big).collect()
    }
}
