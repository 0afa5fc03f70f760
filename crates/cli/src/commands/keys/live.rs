//! Keys of running servers: each one's snapshot goes straight into the analysis while it arrives, several at a time.

use super::{options, scan, size_for};
use crate::commands::rdb::Refused;
use crate::exit::UsageError;
use crate::keys_args::{KeysArgs, SourceName};
use crate::printer::Printer;
use anyhow::Context;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use unfrag_client::replication::SnapshotReader;
use unfrag_client::source::least_missed;
use unfrag_client::{
    Address, ClientError, ConnectOptions, DiscoverOptions, ErrorKind, Problem, Reading, Role,
    SurveyOptions, Target, survey,
};
use unfrag_diagnose::{diagnose, fork_refusal};
use unfrag_keys::{Analysis, Options, Report};
use unfrag_model::{MallocStats, Sample};
use unfrag_rdb::SizeFor;

/// Servers read at once: each makes its host fork, and here a core is enough for several.
const AT_ONCE: usize = 4;

/// One server to read.
pub(super) struct Source {
    pub(super) address: Address,
    pub(super) options: ConnectOptions,
    pub(super) size_for: SizeFor,
    sample: Sample,
}

/// Reads all servers named; of a Cluster every primary.
pub(super) fn read(
    args: &KeysArgs,
    malloc_stats: Option<MallocStats>,
    printer: &Printer,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let (sources, mut unread) = runtime.block_on(sources(args, printer))?;
    if args.live.resume.is_some() && sources.len() != 1 {
        let message = format!("--resume is of one server, and {} are meant", sources.len());
        return Err(UsageError { message }.into());
    }
    // Bins of several servers have nothing to do with each other.
    let own_stats = match sources.as_slice() {
        [only] => only.sample.malloc_stats.clone(),
        _ => None,
    };
    let is_cluster = sources.iter().any(|s| s.sample.info.count("cluster_enabled") == Some(1));
    let options = Options { by_slot: args.by_slot || is_cluster, ..options(args) };
    take_a_back_seat();
    let deadline = args.live.deadline.map(|after| Instant::now() + after);
    let one = |source: &Source| one(args, source, options.clone(), deadline, printer);
    let mut analysis = all(&sources, &one, &mut unread)?;
    for (name, error) in &unread {
        analysis.add_unread(name, &format!("{error:#}"));
    }
    let mut report = analysis.report(malloc_stats.or(own_stats).as_ref());
    if args.connect.named()?.targets.len() == 1 {
        name_the_server(&mut report, &sources, is_cluster);
    }
    Ok(report)
}

/// What advice says to type is meant for the server it is about, not for whatever listens on 6379. A replica that was
/// scanned in its primary's stead takes no writes: there the name is left to the reader.
fn name_the_server(report: &mut Report, sources: &[Source], is_cluster: bool) {
    let place = match sources {
        [first, ..] if is_cluster => format!("-c {}", first.address),
        [only] if !only.sample.info.is_replica() => only.address.to_string(),
        _ => return,
    };
    for next in report.advice.iter_mut().filter_map(|a| a.next.as_mut()) {
        if next.starts_with("unfrag ") {
            next.push_str(&format!(" {place}"));
        }
    }
}

/// Where we run beside a server, its clients come first: while it sends a snapshot its child keeps one core busy already.
/// Refused nowhere; if it were, only the wait would be longer.
fn take_a_back_seat() {
    const LESS: i32 = 10;
    let _ = rustix::process::nice(LESS);
}

/// Servers that could not be read, by name.
type Unread = Vec<(String, anyhow::Error)>;

/// The servers named, for each what it is, and those that cannot be read.
async fn sources(args: &KeysArgs, printer: &Printer) -> anyhow::Result<(Vec<Source>, Unread)> {
    let named = args.connect.named()?;
    for warning in &named.warnings {
        printer.talk(&format!("warning: {warning}"));
    }
    let survey_options = SurveyOptions {
        discover: DiscoverOptions { replication: is_scan(args) || args.connect.replicas },
        ..SurveyOptions::default()
    };
    let (mut sources, mut unread) = (vec![], vec![]);
    for (target, options) in &named.targets {
        let found = survey(&[(target.clone(), options.clone())], &survey_options).await;
        for problem in &found.problems {
            printer.talk(&format!("warning: {} is not read: {}", problem.what, problem.why));
        }
        // A replica holds its primary's keys once more: one of them is read.
        let readings =
            if is_scan(args) { least_missed(found.readings) } else { primaries(found.readings) };
        for reading in readings {
            let sample = match reading.result {
                Ok(sample) => sample,
                // A replica that is down holds nothing that its primary does not.
                Err(_) if reading.node.as_ref().is_some_and(|n| n.role == Role::Replica) => {
                    continue;
                }
                Err(error) => {
                    unread.push((reading.name, error.into()));
                    continue;
                }
            };
            let address = match (&reading.node, target) {
                (Some(node), _) => node.address.clone(),
                (None, Target::Server(address)) => address.clone(),
                (None, Target::Sentinel { .. }) => continue,
            };
            let options = ConnectOptions { db: 0, resp3: false, ..options.clone() };
            let size_for = sized_like(args, &sample)?;
            sources.push(Source { address, options, size_for, sample });
        }
    }
    // One server that is down is no reason not to tell of the others; none is.
    if sources.is_empty() {
        let first = unread.into_iter().next().map(|(_, error)| error);
        let none = || UsageError { message: "no server was named".to_owned() }.into();
        return Err(first.unwrap_or_else(none));
    }
    Ok((sources, unread))
}

fn is_scan(args: &KeysArgs) -> bool {
    args.live.source == Some(SourceName::Scan) || args.live.resume.is_some()
}

/// Without replicas, but for the one that was named by itself.
fn primaries(mut readings: Vec<Reading>) -> Vec<Reading> {
    if readings.len() > 1 {
        readings.retain(|r| !r.result.as_ref().is_ok_and(|sample| sample.info.is_replica()));
    }
    readings
}

/// The server itself, unless another one was named.
fn sized_like(args: &KeysArgs, sample: &Sample) -> anyhow::Result<SizeFor> {
    let named = size_for(&args.size, None)?;
    if args.size.server.is_some() {
        return Ok(named);
    }
    let own = SizeFor::like(sample).ok_or_else(|| UsageError {
        message: format!(
            "the structures of {} are not known; name a server with --for",
            sample.info.engine()
        ),
    })?;
    let allocator = if args.size.allocator.is_some() { named.allocator } else { own.allocator };
    Ok(SizeFor { allocator, ..own })
}

/// What must hold before a server is made to fork.
fn guard(source: &Source) -> anyhow::Result<()> {
    let why = fork_refusal(&diagnose(&source.sample));
    why.map_or(Ok(()), |why| {
        let message = format!(
            "{}: a snapshot makes it fork, and {why} (--force reads all the same)",
            source.address
        );
        Err(Refused { message }.into())
    })
}

/// Every server's analysis, joined in the order named so that the report does not depend on who was first. Those that fail
/// go to `unread`, unless all do.
fn all(
    sources: &[Source],
    one: &(dyn Fn(&Source) -> anyhow::Result<Analysis> + Sync),
    unread: &mut Unread,
) -> anyhow::Result<Analysis> {
    let next = Mutex::new(sources.iter().enumerate());
    let done = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(sources.len()) {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((place, source)) = taken else { break };
                    let result = one(source);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    let mut whole: Option<Analysis> = None;
    let mut failed = vec![];
    for (place, result) in done {
        match (result, &mut whole) {
            (Ok(analysis), Some(sum)) => sum.join(analysis),
            (Ok(analysis), None) => whole = Some(analysis),
            (Err(error), _) => {
                let name = sources.get(place).map(|s| s.address.to_string());
                failed.push((name.unwrap_or_default(), error));
            }
        }
    }
    if let Some(whole) = whole {
        unread.extend(failed);
        return Ok(whole);
    }
    let first = failed.into_iter().next().map(|(_, error)| error);
    Err(first.unwrap_or_else(|| UsageError { message: "no server was named".to_owned() }.into()))
}

/// By the way asked for; else by a snapshot, and where there is none to be had, by a scan.
fn one(
    args: &KeysArgs,
    source: &Source,
    options: Options,
    deadline: Option<Instant>,
    printer: &Printer,
) -> anyhow::Result<Analysis> {
    if is_scan(args) {
        return scan::one(args, source, None, options, deadline);
    }
    let may_scan = args.live.source.is_none();
    let opened = if args.live.force { Ok(()) } else { guard(source) };
    let opened = opened.and_then(|()| Ok(SnapshotReader::open(&source.address, &source.options)?));
    match opened {
        Ok(reader) => stream(reader, source, options, deadline),
        Err(error) if may_scan && gives_no_snapshot(&error) => {
            let why = why_not(&error);
            printer.talk(&format!("{}: no snapshot ({why}); scanning", source.address));
            scan::one(args, source, Some(&why), options, deadline)
        }
        Err(error) => Err(error),
    }
}

/// The server answers, and does not give a snapshot. A server that is gone, or that loads, is no reason to ask for more.
fn gives_no_snapshot(error: &anyhow::Error) -> bool {
    if error.is::<Refused>() {
        return true;
    }
    error.downcast_ref::<ClientError>().is_some_and(|error| {
        error.kind() == ErrorKind::NotAllowed
            || matches!(
                *error.problem,
                Problem::NotRedis { .. }
                    | Problem::UnexpectedReply { .. }
                    | Problem::MasterDown
                    | Problem::Closed { .. }
                    | Problem::ResponseTimeout { .. }
            )
    })
}

/// The reason without the server's name.
fn why_not(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ClientError>() {
        Some(error) => error.problem.to_string(),
        None => error.to_string(),
    }
}

fn stream(
    reader: SnapshotReader,
    source: &Source,
    options: Options,
    deadline: Option<Instant>,
) -> anyhow::Result<Analysis> {
    let (mut failed, mut is_cut) = (None, false);
    let until = Until { reader, deadline, failed: &mut failed, is_cut: &mut is_cut };
    let name = source.address.to_string();
    let analysis = Analysis::of_reader(&name, until, &source.size_for, options)
        .with_context(|| format!("failed to read the snapshot of {name}"))?;
    match failed {
        Some(error) => Err(error.into()),
        None if is_cut => Ok(remarked(analysis.ended_early("ended at the deadline"), source)),
        None => Ok(remarked(analysis, source)),
    }
}

/// A server that had no replica keeps a backlog for one from now on.
fn remarked(mut analysis: Analysis, source: &Source) -> Analysis {
    let sample = &source.sample;
    if sample.info.count("repl_backlog_active") == Some(0) {
        let size = sample
            .info
            .count("repl_backlog_size")
            .map_or(String::new(), |size| format!(" of {}", unfrag_model::human(size)));
        analysis.remark(&format!(
            "it keeps a replication backlog{size} from now on, as after any replica, until repl-backlog-ttl (an hour unless set) \
             is over"
        ));
    }
    analysis
}

/// A reader that ends at a deadline, and keeps the reason why it failed.
struct Until<'f> {
    reader: SnapshotReader,
    deadline: Option<Instant>,
    failed: &'f mut Option<ClientError>,
    is_cut: &'f mut bool,
}

impl Read for Until<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.deadline.is_some_and(|at| Instant::now() >= at) {
            // The analysis reports that the snapshot ended early, and of what it is.
            *self.is_cut = true;
            return Ok(0);
        }
        self.reader.read(room).map_err(|error| {
            let kind = error.kind();
            let inner = error.into_inner().and_then(|e| e.downcast::<ClientError>().ok());
            *self.failed = inner.map(|e| *e);
            kind.into()
        })
    }
}
