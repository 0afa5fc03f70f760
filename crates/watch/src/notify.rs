//! Tells people: alerts grouped by shard, to Alertmanager, a webhook, or a command.
//!
//! A sink that does not answer holds nobody up: each delivery is a task, tried three times, a few at a time for each kind of
//! sink. Alertmanager is told again every minute while an alert stands, as its interface asks for.

use crate::alert::{Alert, Change};
use crate::clock::now_s;
use crate::config::SinkConfig;
use crate::fleet::{Fleet, Notice};
use crate::http::{Http, is_address};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use unfrag_model::Severity;

/// Changes this close together come in one message: a failover moves several servers.
const GATHER: Duration = Duration::from_secs(2);
/// Between two times that Alertmanager is told what stands.
const REPEAT: Duration = Duration::from_secs(60);
/// Alertmanager takes an alert for over when it is not told again by then: three repeats may be lost.
const EXPIRES_S: i64 = 240;
/// Pauses before the second and third try.
const RETRIES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// Deliveries at the same time to one kind of sink: a network that breaks must not start a thousand processes at once.
const AT_ONCE: usize = 8;
/// A command that runs longer is ended.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// What a webhook or a command gets: `unfrag.alert/1`.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    /// `unfrag.alert/1`.
    pub schema: &'static str,
    /// `firing` while any of its alerts is, else `resolved`.
    pub status: &'static str,
    /// The most severe.
    pub severity: Severity,
    /// The target or fleet entry.
    pub group: String,
    /// The shard: its primary's address.
    pub shard: String,
    /// In a sentence.
    pub summary: String,
    /// When it was made, in seconds since 1970.
    pub at_s: i64,
    /// What changed.
    pub alerts: Vec<Told>,
}

/// One alert of a message.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// The server.
    pub target: String,
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
}

/// Whether a sink can be one.
pub(crate) fn check(sink: &SinkConfig) -> Result<(), String> {
    match sink {
        SinkConfig::Alertmanager(uri) | SinkConfig::Webhook(uri) if !is_address(uri) => {
            Err(format!("alerts.to: `{uri}` is no http:// or https:// address"))
        }
        SinkConfig::Command(words) if words.is_empty() => {
            Err("alerts.to: a command needs at least a program".to_owned())
        }
        _ => Ok(()),
    }
}

/// Listens to changes until the fleet is gone.
pub(crate) async fn run(
    mut inbox: UnboundedReceiver<Notice>,
    sinks: watch::Receiver<Arc<Vec<SinkConfig>>>,
    fleet: Arc<Fleet>,
) {
    let post = Post { http: Http::new(), fleet, slots: Arc::default() };
    let mut repeat = tokio::time::interval(REPEAT);
    let mut repeating: Vec<JoinHandle<()>> = vec![];
    loop {
        tokio::select! {
            first = inbox.recv() => {
                let Some(first) = first else { return };
                tokio::time::sleep(GATHER).await;
                let mut notices = vec![first];
                while let Ok(more) = inbox.try_recv() {
                    notices.push(more);
                }
                let current = Arc::clone(&sinks.borrow());
                tell(&post, &current, &grouped(&notices, now_s()));
            }
            _ = repeat.tick() => {
                repeating.retain(|task| !task.is_finished());
                // One that still hangs is not heaped upon.
                if !repeating.is_empty() {
                    continue;
                }
                let current = Arc::clone(&sinks.borrow());
                let messages = standing(&post.fleet);
                for sink in current.iter().filter(|s| is_alertmanager(s) && !messages.is_empty()) {
                    repeating.push(post.deliver(sink, messages.clone()));
                }
            }
        }
    }
}

fn is_alertmanager(sink: &SinkConfig) -> bool {
    matches!(sink, SinkConfig::Alertmanager(_))
}

fn tell(post: &Post, sinks: &[SinkConfig], messages: &[Message]) {
    for message in messages {
        tracing::warn!(
            status = message.status,
            shard = message.shard,
            alerts = message.alerts.len(),
            summary = message.summary,
            "alert"
        );
        for sink in sinks.iter().filter(|s| !is_alertmanager(s)) {
            post.deliver(sink, vec![message.clone()]);
        }
    }
    // Alertmanager groups by itself: it takes them all at once.
    for sink in sinks.iter().filter(|s| is_alertmanager(s)) {
        post.deliver(sink, messages.to_vec());
    }
}

/// One message a shard.
pub fn grouped(notices: &[Notice], at_s: i64) -> Vec<Message> {
    let mut shards: BTreeMap<(String, String), Vec<Told>> = BTreeMap::new();
    for notice in notices {
        let (status, alert) = match &notice.change {
            Change::Fired(alert) => ("firing", alert.clone()),
            Change::Resolved(alert) => ("resolved", alert.clone()),
        };
        let key = (notice.node.group.clone(), notice.node.shard());
        let told = Told { status, target: notice.node.name.clone(), alert };
        shards.entry(key).or_default().push(told);
    }
    shards.into_iter().map(|((group, shard), alerts)| message(group, shard, alerts, at_s)).collect()
}

fn message(group: String, shard: String, mut alerts: Vec<Told>, at_s: i64) -> Message {
    alerts.sort_by_key(|a| (a.status != "firing", std::cmp::Reverse(a.alert.severity)));
    let status = alerts.first().map_or("resolved", |a| a.status);
    let severity = alerts.first().map_or(Severity::Info, |a| a.alert.severity);
    let reason = alerts.first().map(|a| {
        let of = if a.target == group { String::new() } else { format!(" of {group}") };
        format!("{}{of}: {}", a.target, a.alert.reason)
    });
    let more = match alerts.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more in this shard)", n - 1),
    };
    let over = if status == "firing" { "" } else { "over: " };
    let summary = format!("{over}{}{more}", reason.unwrap_or_default());
    Message { schema: "unfrag.alert/1", status, severity, group, shard, summary, at_s, alerts }
}

/// What stands, as messages.
fn standing(fleet: &Fleet) -> Vec<Message> {
    let notices: Vec<Notice> = fleet
        .nodes()
        .into_iter()
        .flat_map(|node| {
            let alerts = node.state().alerts.clone();
            let notice =
                move |alert| Notice { node: Arc::clone(&node), change: Change::Fired(alert) };
            alerts.into_iter().map(notice).collect::<Vec<_>>()
        })
        .collect();
    grouped(&notices, now_s())
}

/// What deliveries share.
#[derive(Clone)]
struct Post {
    http: Http,
    fleet: Arc<Fleet>,
    slots: Arc<Slots>,
}

/// Who may deliver now: a kind of sink that hangs keeps only its own kind waiting.
struct Slots {
    alertmanager: Semaphore,
    webhook: Semaphore,
    command: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        let new = || Semaphore::new(AT_ONCE);
        Self { alertmanager: new(), webhook: new(), command: new() }
    }
}

impl Slots {
    fn of(&self, sink: &SinkConfig) -> &Semaphore {
        match sink {
            SinkConfig::Alertmanager(_) => &self.alertmanager,
            SinkConfig::Webhook(_) => &self.webhook,
            SinkConfig::Command(_) => &self.command,
        }
    }
}

impl Post {
    fn deliver(&self, sink: &SinkConfig, messages: Vec<Message>) -> JoinHandle<()> {
        let (post, sink) = (self.clone(), sink.clone());
        tokio::spawn(async move {
            for pause in RETRIES.into_iter().map(Some).chain([None]) {
                let result = {
                    // They are never closed.
                    let _slot = post.slots.of(&sink).acquire().await;
                    once(&post.http, &sink, &messages).await
                };
                let Err(error) = result else { return };
                tracing::error!(
                    sink = name(&sink),
                    error,
                    last_try = pause.is_none(),
                    "an alert was not delivered"
                );
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
            let lost = u64::try_from(messages.len()).unwrap_or(u64::MAX);
            post.fleet.undelivered.fetch_add(lost, Ordering::Relaxed);
        })
    }
}

/// The sink without what may be secret in it.
fn name(sink: &SinkConfig) -> String {
    match sink {
        SinkConfig::Alertmanager(_) => "alertmanager".to_owned(),
        SinkConfig::Webhook(_) => "webhook".to_owned(),
        SinkConfig::Command(words) => words.first().cloned().unwrap_or_default(),
    }
}

/// A webhook and a command are handed one message.
async fn once(http: &Http, sink: &SinkConfig, messages: &[Message]) -> Result<(), String> {
    let json = |value: &dyn erased::Json| value.bytes();
    let Some(message) = messages.first() else { return Ok(()) };
    match sink {
        SinkConfig::Alertmanager(base) => {
            let uri = format!("{}/api/v2/alerts", base.trim_end_matches('/'));
            let all: Vec<ForAlertmanager> = messages.iter().flat_map(for_alertmanager).collect();
            http.post(&uri, json(&all)).await
        }
        SinkConfig::Webhook(uri) => http.post(uri, json(message)).await,
        // A line: who appends them to a file can tell them apart.
        SinkConfig::Command(words) => {
            run_command(words, [json(message), b"\n".to_vec()].concat()).await
        }
    }
}

/// Serialising our own plain data does not fail.
mod erased {
    pub(super) trait Json {
        fn bytes(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Json for T {
        fn bytes(&self) -> Vec<u8> {
            serde_json::to_vec(self).unwrap_or_default()
        }
    }
}

/// One alert as Alertmanager's version 2 interface wants it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ForAlertmanager {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

fn for_alertmanager(message: &Message) -> Vec<ForAlertmanager> {
    message
        .alerts
        .iter()
        .map(|told| {
            let alert = &told.alert;
            let severity = format!("{:?}", alert.severity).to_lowercase();
            let ends_s =
                if told.status == "firing" { message.at_s + EXPIRES_S } else { message.at_s };
            ForAlertmanager {
                labels: [
                    ("alertname", alert.id.clone()),
                    ("severity", severity),
                    ("target", told.target.clone()),
                    ("group", message.group.clone()),
                    ("shard", message.shard.clone()),
                    ("job", "unfrag".to_owned()),
                ]
                .into(),
                annotations: [
                    ("summary", alert.reason.clone()),
                    ("description", alert.meaning.clone()),
                    ("bytes", alert.bytes.map(|b| b.to_string()).unwrap_or_default()),
                    ("next", alert.next.clone()),
                ]
                .into(),
                starts_at: rfc3339(alert.fired_s),
                ends_at: rfc3339(ends_s),
            }
        })
        .collect()
}

fn rfc3339(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).unwrap_or_default().to_string()
}

async fn run_command(words: &[String], input: Vec<u8>) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is none of our business.
        let _ = stdin.write_all(&input).await;
    }
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output()).await;
    let output = output
        .map_err(|_| format!("it ran longer than {} s", COMMAND_TIMEOUT.as_secs()))?
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(&output.stderr).chars().take(200).collect();
    Err(format!("{}: {}", output.status, text.trim()))
}
