//! Keys asked for one by one, within two budgets: the server's time, and how long others wait. A deadline, Ctrl-C or a lost
//! server end it with what was read, and with the position to go on from.

use super::live::Source;
use super::now_ms;
use crate::commands::rdb::interrupted;
use crate::keys_args::KeysArgs;
use anyhow::Context;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use unfrag_act::probe::Probe;
use unfrag_client::scan::{Row, Scan, ScanError, ScanOptions};
use unfrag_keys::scanned::{ENDED_EARLY, INTERRUPTED, LOST};
use unfrag_keys::{Analysis, Options, Scanned, ScannedKey, scanned};

/// How long answers take without us is measured for this long before.
const BASELINE: Duration = Duration::from_millis(300);
/// The probe is looked at this often: it asks some hundred times in between.
const LOOK: Duration = Duration::from_millis(500);

/// One server's keys. `why` says why there is no snapshot, where one was wanted.
pub(super) fn one(
    args: &KeysArgs,
    source: &Source,
    why: Option<&str>,
    options: Options,
    deadline: Option<Instant>,
) -> anyhow::Result<Analysis> {
    let live = &args.live;
    let how = ScanOptions { budget_ms_per_s: live.scan_budget, resume: live.resume.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut scan = Scan::open(&source.address, &source.options, &how).await?;
        let mut scanned = Scanned::new(&source.address.to_string(), &source.size_for, options);
        let pace = Pace::begin(source, live.latency_budget).await;
        let ended = tokio::select! {
            ended = walk(&mut scan, &mut scanned, &pace) => ended,
            () = until(deadline) => Some(Ended::Because(ENDED_EARLY, "ended at the deadline")),
            () = interrupted() => Some(Ended::Because(INTERRUPTED, "interrupted")),
        };
        let early = match ended {
            None => None,
            Some(Ended::Failed(error)) if scanned.keys() == 0 => return Err(error.into()),
            Some(Ended::Failed(error)) => Some(on_from(&scan, &scanned, LOST, &error.to_string())),
            Some(Ended::Because(kind, why)) => Some(on_from(&scan, &scanned, kind, why)),
        };
        let mut remarks = remarks(&scan, &pace, why);
        if how.resume.is_some() {
            remarks.insert(0, RESUMED.to_owned());
        }
        Ok(scanned.end(early, &remarks))
    })
}

/// Watches how long others wait.
struct Pace {
    probe: Probe,
    limit_us: u64,
}

impl Pace {
    async fn begin(source: &Source, budget_ms: u32) -> Self {
        let probe = Probe::start(&source.address, &source.options);
        sleep(BASELINE).await;
        let before_us = probe.window().p99;
        Self { limit_us: before_us + u64::from(budget_ms) * 1000, probe }
    }

    /// True if others waited too long since the last look.
    fn is_over(&self) -> bool {
        self.probe.window().p99 > self.limit_us
    }
}

/// What the reader of the report must know of the method.
fn remarks(scan: &Scan, pace: &Pace, why: Option<&str>) -> Vec<String> {
    let mut remarks: Vec<String> =
        why.map(|why| format!("no snapshot: {why}")).into_iter().collect();
    remarks.push(
        "keys that were there throughout are counted; one written or deleted meanwhile may be missing, one that a \
         resize of the table moves may count twice. Bytes are MEMORY USAGE of the keys as they stand (a fresh process may need less), which samples five elements of a collection and leaves out what an expiry takes before Redis 8.2 and Valkey 8.1. \
         Values are not read: no advice on packing, compression or duplicates"
            .to_owned(),
    );
    if !scan.has_lengths() {
        remarks.push(
            "lengths are 0 in this report: without CLIENT NO-TOUCH (7.2) asking would count as a use of the key".to_owned(),
        );
    }
    remarks.push(format!(
        "it took {} ms of the server; meanwhile answers took {:.1} ms (p99), {:.1} ms at most",
        scan.spent().as_millis(),
        pace.probe.period().p99 as f64 / 1000.0,
        pace.probe.period().max as f64 / 1000.0,
    ));
    remarks
}

/// What the reader of a second part must know.
const RESUMED: &str = "this is of the keys from --resume on, and of none before: keys and bytes of the parts can be added up, \
    but patterns are learnt from each part alone, and no command joins the reports";

/// Why it ended before the last key.
enum Ended {
    Failed(ScanError),
    Because(&'static str, &'static str),
}

async fn walk(scan: &mut Scan, scanned: &mut Scanned, pace: &Pace) -> Option<Ended> {
    let mut looked = Instant::now();
    loop {
        match scan.next().await {
            Ok(Some(rows)) => rows.iter().for_each(|row| add(scanned, row)),
            Ok(None) => return None,
            Err(error) => return Some(Ended::Failed(error)),
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if pace.is_over() {
                scan.ease();
                sleep(LOOK).await;
            }
        }
    }
}

fn add(scanned: &mut Scanned, row: &Row) {
    let ttl_ms = row.ttl_ms.and_then(|ms| i64::try_from(ms).ok());
    scanned.add(&ScannedKey {
        db: row.db.into(),
        name: &row.key,
        kind: &row.kind,
        encoding: &row.encoding,
        bytes: row.bytes,
        elements: row.elements.unwrap_or(0),
        expires_ms: ttl_ms.map(|ms| ms.saturating_add(now_ms())),
        idle_s: row.idle_s,
    });
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep(at.saturating_duration_since(Instant::now())).await,
        None => std::future::pending::<()>().await,
    }
}

fn on_from(scan: &Scan, scanned: &Scanned, kind: &'static str, why: &str) -> scanned::Ended {
    let position = scan.position().map_or(String::new(), |p| {
        format!("; --resume {p} reads the others, as a report of its own")
    });
    scanned::Ended { kind, message: format!("{why} after {} keys{position}", scanned.keys()) }
}
