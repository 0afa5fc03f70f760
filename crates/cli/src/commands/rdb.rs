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
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use unfrag_client::{ConnectOptions, SampleOptions, Target, Uri, connect, sample};
use unfrag_model::text::printable;
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

impl Unreadable {
    /// What to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.source.kind() {
            std::io::ErrorKind::NotFound => Some(
                "a server's own is where CONFIG GET dir and CONFIG GET dbfilename say; `unfrag rdb fetch` brings one",
            ),
            std::io::ErrorKind::IsADirectory => Some("name the files in it, such as *.rdb"),
            std::io::ErrorKind::PermissionDenied => {
                Some("run it as a user who may read it; servers write it for their own user alone")
            }
            _ => None,
        }
    }
}

pub(crate) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Unreadable + '_ {
    |source| Unreadable { path: path.display().to_string(), source }
}

fn verify(args: &VerifyArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if args.output == Output::Markdown {
        return Err(UsageError { message: "rdb verify prints human or json".to_owned() }.into());
    }
    let mut reports: Vec<VerifyReport> = vec![];
    let mut unopened: Vec<Unopened> = vec![];
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
                unopened.push(Unopened::of(unfrag_rdb::verify::SCHEMA, &error));
                match &unread {
                    None => unread = Some(error),
                    Some(_) => printer.talk(&format!("error: {error}: {}", error.source)),
                }
            }
        }
    }
    let sound = reports.iter().all(|r| r.ok);
    match (args.output, reports.as_slice(), unopened.as_slice()) {
        (Output::Json, [report], []) => {
            printer.data(&(serde_json::to_string_pretty(report)? + "\n"));
        }
        (Output::Json, [], [file]) => printer.data(&(serde_json::to_string_pretty(file)? + "\n")),
        (Output::Json, read, unopened) => {
            printer.data(&(serde_json::to_string_pretty(&All { read, unopened })? + "\n"));
        }
        (_, [], _) => {}
        (_, many, _) => printer.data(&snapshot::verified(many, printer.paint())),
    }
    match unread {
        Some(error) => Err(error.into()),
        None => Ok(if sound { Exit::Fine } else { Exit::Unreadable }),
    }
}

/// Every file that was named, as one array: those read, then those that could not be opened.
struct All<'a> {
    read: &'a [VerifyReport],
    unopened: &'a [Unopened],
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
    fn of(schema: &'static str, error: &Unreadable) -> Self {
        let (file, cause) = (error.path.clone(), error.source.to_string());
        Self { schema, file, ok: false, error: cause }
    }
}

/// A bar on a terminal's stderr, for files that take over a second.
struct Progress {
    bar: indicatif::ProgressBar,
    name: String,
    begun: Instant,
    shown: Once,
}

impl Progress {
    fn start(path: &Path) -> Self {
        // The name alone: folders would leave no room for the figures.
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self {
            bar: indicatif::ProgressBar::hidden(),
            name: printable(if name == "-" { "standard input" } else { &name }),
            begun: Instant::now(),
            shown: Once::new(),
        }
    }

    fn step(&self, done: u64, all: Option<u64>) {
        if self.begun.elapsed() > Duration::from_secs(1) {
            // indicatif draws nothing where stderr is no terminal.
            self.shown.call_once(|| self.show(all, indicatif::ProgressDrawTarget::stderr()));
            self.bar.set_position(done);
        }
    }

    fn show(&self, all: Option<u64>, target: indicatif::ProgressDrawTarget) {
        let template = match all {
            Some(_) => "{wide_msg} [{bar:20}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{wide_msg} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("#> "));
        }
        self.bar.set_length(all.unwrap_or_default());
        self.bar.set_message(self.name.clone());
        self.bar.set_draw_target(target);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn size(args: &SizeArgs, printer: &Printer) -> anyhow::Result<Exit> {
    size_usage(args)?;
    let size_for = size_for(args)?;
    let sized = size_fold(&args.file, &size_for, || Top::new(args.top), Top::offer);
    let (report, tops) = match sized.map_err(unreadable(&args.file)) {
        Ok(sized) => sized,
        Err(error) => {
            if args.output == Output::Json {
                let unopened = Unopened::of(unfrag_rdb::size::SCHEMA, &error);
                printer.data(&(serde_json::to_string_pretty(&unopened)? + "\n"));
            }
            return Err(error.into());
        }
    };
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

/// What clap cannot see: flags that would do nothing.
fn size_usage(args: &SizeArgs) -> Result<(), UsageError> {
    let wrong = |message: String| Err(UsageError { message });
    if args.output == Output::Markdown {
        return wrong("rdb size prints human or json".to_owned());
    }
    if let Some(other) = args.connect.targets.first() {
        return wrong(format!(
            "rdb size takes one snapshot, and `{other}` is another word; a server to size for is named with --like"
        ));
    }
    if args.connect.is_named() || args.connect.fleet.is_some() || args.connect.cluster {
        let message = "rdb size reads a snapshot: --like HOST:PORT names a server to size for; -h, -p, -s, -u, -c and \
             --fleet do not";
        return wrong(message.to_owned());
    }
    let manner = args.connect.manner();
    if args.like.is_none() && !manner.is_empty() {
        return wrong(format!(
            "{} would do nothing: no server is asked; name one to size for with --like HOST:PORT, or leave that out",
            manner.join(", ")
        ));
    }
    Ok(())
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
    size_for.is_cluster |= args.cluster_node;
    size_for.now_ms = now_ms();
    Ok(size_for)
}

/// Now, in Unix milliseconds: a primary that loads a snapshot drops what has expired by then.
pub(crate) fn now_ms() -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_millis()).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal of 80 columns that keeps what is written to it.
    #[derive(Debug, Clone, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl indicatif::TermLike for Terminal {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\n")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_fits_a_terminal_of_80_columns() {
        let path = Path::new("/var/lib/redis/a/long/way/down/dump-of-the-primary-in-the-north.rdb");
        for all in [Some(17_000_000_000), None] {
            let (progress, terminal) = (Progress::start(path), Terminal::default());
            let target = indicatif::ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            progress.show(all, target);
            progress.bar.set_position(1_234_567_890);
            progress.bar.tick();
            let drawn = terminal.0.lock().unwrap().clone();
            assert!(drawn.contains("1.15 GiB") && drawn.contains("dump-of"), "{drawn}");
            let widest = drawn.lines().map(|line| line.trim_end().chars().count()).max();
            assert!(widest <= Some(80), "{drawn}");
        }
    }
}
