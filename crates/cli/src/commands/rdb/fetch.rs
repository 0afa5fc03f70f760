//! `unfrag rdb fetch`: a snapshot over the replication protocol, verified while it arrives. Under its final name there
//! is only ever a whole, sound file: it is written beside it, synced, and renamed.

use crate::exit::{Exit, UsageError};
use crate::fetch_args::{FetchArgs, ReportForm};
use crate::printer::Printer;
use crate::render::snapshot;
use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use unfrag_client::replication::SnapshotStream;
use unfrag_client::topology::may_hold_keys;
use unfrag_client::{
    Address, ConnectOptions, DiscoverOptions, SurveyOptions, Target, replication, survey,
};
use unfrag_diagnose::{diagnose, fork_refusal};
use unfrag_model::text::wrap;
use unfrag_model::{Report, human};
use unfrag_rdb::VerifyReport;
use unfrag_rdb::verify::Feed;

/// A guard said no; nothing was fetched. Exit code 6.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    pub(crate) message: String,
}

/// Fetching ended early; nothing is left of it. Exit code 7.
#[derive(Debug, thiserror::Error)]
#[error("{what}; nothing of it was kept")]
pub(crate) struct Abandoned {
    what: String,
}

/// Who read standard output has gone away, as `head` does once it has seen enough.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct ReaderGone;

/// One server to fetch from.
struct Source {
    name: String,
    address: Address,
    options: ConnectOptions,
    report: Report,
    dataset_bytes: u64,
}

/// What came.
#[derive(serde::Serialize)]
struct Fetched {
    schema: &'static str,
    server: String,
    bytes: u64,
    waited_ms: u64,
    took_ms: u64,
    verified: VerifyReport,
}

pub(crate) fn run(args: &FetchArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let Sources { sources, is_one_unreachable } = sources(args, printer).await?;
        let places = places(&args.output, &sources)?;
        if !args.force {
            for (source, place) in sources.iter().zip(&places) {
                guard(source, place)?;
            }
        }
        let mut all = vec![];
        for (source, place) in sources.iter().zip(&places) {
            match one(source, place, printer).await {
                Ok(fetched) => all.push(fetched),
                Err(error) if error.is::<ReaderGone>() => return Ok(Exit::ReaderGone),
                Err(error) => return Err(error),
            }
        }
        show(args, &all, printer)?;
        Ok(if is_one_unreachable { Exit::Unreachable } else { Exit::Fine })
    })
}

fn show(args: &FetchArgs, all: &[Fetched], printer: &Printer) -> anyhow::Result<()> {
    let text = match (args.report, all) {
        (ReportForm::Json, [one]) => serde_json::to_string_pretty(one)? + "\n",
        (ReportForm::Json, many) => serde_json::to_string_pretty(many)? + "\n",
        (ReportForm::Human, many) => {
            let blocks = many.iter().map(|f| {
                let times = format!(
                    "fetched from {} in {:.1} s; its first byte came after {:.1} s (its fork, and repl-diskless-sync-delay)",
                    f.server,
                    f.took_ms as f64 / 1000.0,
                    f.waited_ms as f64 / 1000.0
                );
                let times = format!("  {}\n", wrap(&times, printer.paint().width, 4));
                snapshot::verified(std::slice::from_ref(&f.verified), printer.paint()) + &times
            });
            blocks.collect::<Vec<_>>().join("\n")
        }
    };
    // Where the snapshot itself goes to standard output, what is said of it must not.
    if is_stdout(&args.output) {
        printer.talk(text.trim_end());
    } else {
        printer.data(&text);
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whom to fetch from.
struct Sources {
    sources: Vec<Source>,
    /// One of several servers could not be read; it was said, and the others can.
    is_one_unreachable: bool,
}

/// The servers named; of a Cluster or a Sentinel's name every primary.
async fn sources(args: &FetchArgs, printer: &Printer) -> anyhow::Result<Sources> {
    let mut sources = vec![];
    let mut unreachable = None;
    let targets = args.connect.named()?.targets;
    for (target, options) in &targets {
        let survey_options = SurveyOptions {
            discover: DiscoverOptions { replication: false },
            only_targets: !args.connect.cluster,
            ..SurveyOptions::default()
        };
        let found = survey(&[(target.clone(), options.clone())], &survey_options).await;
        // Only a Cluster's keys are divided: behind a Sentinel's name, the primary has them all.
        let must_be_whole = args.connect.cluster && !args.force;
        if let Some(lost) = found.problems.iter().find(|p| must_be_whole && may_hold_keys(p)) {
            let message = format!(
                "{target}: {} cannot be read ({}), so that this would not be the whole Cluster (--force fetches the rest)",
                lost.what, lost.why
            );
            return Err(Refused { message }.into());
        }
        for reading in found.readings {
            let sample = match reading.result {
                Ok(sample) => sample,
                // Each server that was named stands for itself; a Cluster is whole or not.
                Err(error) if targets.len() > 1 && !args.connect.cluster => {
                    let error = error.into();
                    printer.error(&error);
                    unreachable = Some(error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let is_node = sample.info.flag("cluster_enabled") == Some(true);
            if is_node && !args.connect.cluster {
                printer.talk(&format!(
                    "note: {target} is one node of a Cluster and gives its own keys only; -c with a folder for -o fetches all of them"
                ));
            }
            let address = match (&reading.node, target) {
                (Some(node), _) => node.address.clone(),
                (None, Target::Server(address)) => address.clone(),
                (None, Target::Sentinel { .. }) => continue,
            };
            // A name or a Cluster means its primaries; a replica is fetched from when it is named itself.
            let is_whole = args.connect.cluster || matches!(target, Target::Sentinel { .. });
            if is_whole && sample.info.is_replica() {
                continue;
            }
            let dataset_bytes = sample.info.count("used_memory_dataset").unwrap_or(0);
            let options = ConnectOptions { db: 0, resp3: false, ..options.clone() };
            let (name, report) = (address.to_string(), diagnose(&sample));
            sources.push(Source { name, address, options, report, dataset_bytes });
        }
    }
    match unreachable {
        Some(error) if sources.is_empty() => Err(error),
        unreachable => Ok(Sources { sources, is_one_unreachable: unreachable.is_some() }),
    }
}

/// A file a server: the one named, or one each in the folder named.
fn places(output: &Path, sources: &[Source]) -> anyhow::Result<Vec<PathBuf>> {
    let is_folder = output.is_dir() || output.as_os_str().to_string_lossy().ends_with('/');
    let is_file = output.is_file() || output.extension().is_some_and(|e| e == "rdb");
    if sources.len() > 1 && (is_stdout(output) || is_file && !is_folder) {
        let message = format!("{} servers are meant: -o must name a folder", sources.len());
        return Err(UsageError { message }.into());
    }
    if sources.len() == 1 && !is_folder {
        // Renaming over it would take a device or a pipe away from everybody, with or without --force.
        if !is_stdout(output) && output.metadata().is_ok_and(|m| !m.is_file()) {
            let message = format!(
                "`{}` is no file that can be replaced: -o - writes to standard output",
                output.display()
            );
            return Err(UsageError { message }.into());
        }
        return Ok(vec![output.to_owned()]);
    }
    std::fs::create_dir_all(output)
        .with_context(|| format!("failed to make the folder `{}`", output.display()))?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    Ok(sources
        .iter()
        .map(|s| output.join(s.name.chars().map(plain).collect::<String>() + ".rdb"))
        .collect())
}

/// What must hold before a server is made to fork.
fn guard(source: &Source, place: &Path) -> Result<(), Refused> {
    let refuse = |why: String| {
        let message = format!("{}: {why} (--force fetches all the same)", source.name);
        Err(Refused { message })
    };
    if let Some(why) = fork_refusal(&source.report) {
        return refuse(format!("a snapshot makes it fork, and {why}"));
    }
    if is_stdout(place) {
        if io::stdout().is_terminal() {
            return refuse("standard output is a terminal, a snapshot is binary".to_owned());
        }
        return Ok(());
    }
    if place.exists() {
        let message = format!("`{}` exists already (--force replaces it)", place.display());
        return Err(Refused { message: format!("{}: {message}", source.name) });
    }
    // A snapshot is seldom larger than the data in memory, and often half of it.
    match free_bytes(place) {
        Some(free) if free < source.dataset_bytes => refuse(format!(
            "its data is {} and the disk of `{}` has {} left",
            human(source.dataset_bytes),
            place.display(),
            human(free)
        )),
        _ => Ok(()),
    }
}

fn folder_of(place: &Path) -> &Path {
    place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn free_bytes(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder_of(place)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A file beside the final one; removed unless it was renamed.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn beside(place: &Path) -> io::Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = folder_of(place).join(format!(".{name}.{}.part", std::process::id()));
        // A snapshot holds everything: only its owner may read it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    fn keep_as(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, place)?;
        File::open(folder_of(place))?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where the bytes go.
enum Sink {
    File(Temporary),
    Stdout(io::Stdout),
}

impl Sink {
    fn open(place: &Path) -> anyhow::Result<Self> {
        if is_stdout(place) {
            return Ok(Self::Stdout(io::stdout()));
        }
        let temporary = Temporary::beside(place).map_err(|e| Abandoned {
            what: format!("a file cannot be made beside `{}`: {e}", place.display()),
        })?;
        Ok(Self::File(temporary))
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(temporary) => temporary
                .file
                .write_all(bytes)
                .map_err(|e| Abandoned { what: format!("writing failed: {e}") }.into()),
            Self::Stdout(stdout) => stdout.write_all(bytes).map_err(|e| not_written(&e)),
        }
    }
}

fn not_written(error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ReaderGone.into();
    }
    Abandoned { what: format!("standard output cannot be written: {error}") }.into()
}

async fn one(source: &Source, place: &Path, printer: &Printer) -> anyhow::Result<Fetched> {
    let begun = Instant::now();
    let mut sink = Sink::open(place)?;
    let bar = Bar::start(source, printer);
    let shown = if is_stdout(place) { source.name.clone() } else { place.display().to_string() };
    let feed = Feed::start(&shown, unfrag_rdb::VerifyOptions::default().keys_remembered);
    let (bytes, waited) = tokio::select! {
        done = receive(source, &mut sink, &feed, &bar) => done?,
        () = interrupted() => {
            return Err(Abandoned { what: "fetching was interrupted".to_owned() }.into());
        }
    };
    bar.end();
    let verified = feed.finish().context("the verifier died")?;
    if !verified.ok {
        printer
            .talk(snapshot::verified(std::slice::from_ref(&verified), printer.paint()).trim_end());
        let what = format!("what {} sent is damaged", source.name);
        return Err(Abandoned { what }.into());
    }
    match sink {
        Sink::File(temporary) => temporary.keep_as(place).map_err(|e| Abandoned {
            what: format!("`{}` cannot be written: {e}", place.display()),
        })?,
        Sink::Stdout(mut stdout) => stdout.flush().map_err(|e| not_written(&e))?,
    }
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Fetched {
        schema: "unfrag.rdb-fetch/1",
        server: source.name.clone(),
        bytes,
        waited_ms: ms(waited),
        took_ms: ms(begun.elapsed()),
        verified,
    })
}

/// Receives all of it; bytes, and how long the server took to begin.
async fn receive(
    source: &Source,
    sink: &mut Sink,
    feed: &Feed,
    bar: &Bar,
) -> anyhow::Result<(u64, Duration)> {
    let mut stream: SnapshotStream =
        replication::snapshot(&source.address, &source.options).await?;
    bar.begin(stream.length());
    while let Some(bytes) = stream.next().await? {
        sink.write(bytes)?;
        feed.push(bytes);
        bar.step(bytes.len());
    }
    Ok((stream.received(), stream.waited()))
}

/// Ctrl-C, a closed terminal, a polite kill.
pub(crate) async fn interrupted() {
    let streams = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = streams.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// A bar on a terminal's stderr; elsewhere one line when it begins.
struct Bar(indicatif::ProgressBar);

impl Bar {
    fn start(source: &Source, printer: &Printer) -> Self {
        if !io::stderr().is_terminal() {
            printer.talk(&format!("asking {} for a snapshot", source.name));
        }
        let bar = indicatif::ProgressBar::new_spinner();
        bar.set_message(format!("{}: waiting for its fork", source.name));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// The snapshot begins to come.
    fn begin(&self, length: Option<u64>) {
        let template = match length {
            Some(_) => "receiving [{bar:20}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "receiving {spinner} {bytes} {bytes_per_sec} (its length is not known)",
        };
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("#> "));
        }
        if let Some(length) = length {
            self.0.set_length(length);
        }
        self.0.reset_eta();
    }

    fn step(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}
