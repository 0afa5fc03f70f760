//! Prometheus remote-write 1.0: what `/metrics` says, sent to a store that does not scrape us.
//!
//! Figures are taken at their own beat and wait in a queue until the store has them: one request at a time, so that it
//! sees time go forward. While it is away (no answer, 5xx, 429) they wait; what it refuses for good (4xx) is let go, since
//! sending it again would be refused again. Nothing here is on disk: that is the store's part.

mod queue;
mod wire;

use crate::config::RemoteWriteConfig;
use crate::fleet::Fleet;
use crate::http::{Http, Refusal};
use base64::Engine;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use queue::Queue;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::MissedTickBehavior;
use unfrag_client::Secret;

/// Between two times that figures are sent, when nothing is said: as Prometheus' own guides scrape.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// More often than this there is nothing new.
const SHORTEST: Duration = Duration::from_secs(1);
/// The pause after a first failure; each further one doubles it,
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A store that asks for a longer pause is asked again after this: the queue does not hold for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// At the end figures are taken once more, and what waits gets this long to be sent.
const LAST_WRITES: Duration = Duration::from_millis(1200);

/// Where figures are sent.
#[derive(Debug, Clone)]
pub struct Remote {
    url: String,
    headers: HeaderMap,
    interval: Duration,
}

impl Remote {
    /// With a user name the secret is its password, without one it is a bearer token.
    pub fn new(config: &RemoteWriteConfig, secret: Option<&Secret>) -> Result<Self, String> {
        let mut headers = config.headers.0.clone();
        let authorization = match (&config.user, secret) {
            (Some(_), None) => {
                return Err("remote_write.user needs a password: secret_file".to_owned());
            }
            (Some(user), Some(password)) => {
                let both = format!("{user}:{}", password.expose());
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both)))
            }
            (None, Some(token)) => Some(format!("Bearer {}", token.expose())),
            (None, None) => None,
        };
        if let Some(text) = authorization {
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| "the secret of remote_write cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in [
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let interval = config.interval.map_or(INTERVAL, |i| i.0).max(SHORTEST);
        Ok(Self { url: config.url.clone(), headers, interval })
    }
}

/// How it fares; all zero while nothing is sent anywhere.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub(crate) is_on: AtomicBool,
    /// Times that figures were taken to be sent.
    pub(crate) rounds: AtomicU64,
    /// Samples that the store took,
    pub(crate) sent: AtomicU64,
    /// that it refused for good,
    pub(crate) refused: AtomicU64,
    /// that went because too many waited,
    pub(crate) dropped: AtomicU64,
    /// and that wait now.
    pub(crate) pending: AtomicU64,
    /// Requests that failed and are made again.
    pub(crate) failures: AtomicU64,
    trouble: Mutex<String>,
}

impl Health {
    /// Why figures do not arrive now, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let text = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!text.is_empty()).then_some(text)
    }

    /// True when that is news.
    fn set_trouble(&self, text: &str) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = trouble.is_empty() != text.is_empty();
        text.clone_into(&mut trouble);
        is_new
    }
}

/// What taking and sending share.
struct Writer {
    fleet: Arc<Fleet>,
    http: Http,
    /// `host:port` of ours: several watches write to one store.
    instance: String,
    queue: Mutex<Queue>,
    more: Notify,
    /// The page that was taken last.
    before: Mutex<Arc<str>>,
}

/// Sends figures wherever `wanted` says, until `stop`; `port` is where the page is.
pub(crate) async fn run(
    fleet: Arc<Fleet>,
    mut wanted: watch::Receiver<Option<Arc<Remote>>>,
    port: u16,
    mut stop: oneshot::Receiver<()>,
) {
    let name = rustix::system::uname();
    let instance = format!("{}:{port}", name.nodename().to_string_lossy());
    let writer = Writer {
        fleet,
        http: Http::new(),
        instance,
        queue: Mutex::default(),
        more: Notify::new(),
        before: Mutex::new(Arc::from("")),
    };
    loop {
        let remote = wanted.borrow_and_update().clone();
        writer.health().is_on.store(remote.is_some(), Ordering::Relaxed);
        if remote.is_none() {
            writer.forget();
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            _ = &mut stop => return writer.end(remote.as_deref()).await,
            () = writer.write(remote.as_deref()) => {}
        }
    }
}

impl Writer {
    fn health(&self) -> &Health {
        &self.fleet.remote
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes and sends, for ever.
    async fn write(&self, remote: Option<&Remote>) {
        let Some(remote) = remote else { return std::future::pending().await };
        tokio::join!(self.take_often(remote), self.send_all(remote));
    }

    async fn take_often(&self, remote: &Remote) {
        let mut beat = tokio::time::interval(remote.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            self.take().await;
        }
    }

    /// Puts the page as it is now into the queue.
    async fn take(&self) {
        self.health().rounds.fetch_add(1, Ordering::Relaxed);
        let before = Arc::clone(&self.before.lock().unwrap_or_else(PoisonError::into_inner));
        let (fleet, instance) = (Arc::clone(&self.fleet), self.instance.clone());
        // Beside the tasks that watch: a thousand servers' page is megabytes.
        let made = tokio::task::spawn_blocking(move || {
            let page = crate::metrics::render(&fleet);
            let own = [("instance", instance.as_str()), ("job", "unfrag")];
            let batches = wire::batches(&page, &before, &own, crate::clock::now_ms());
            (Arc::<str>::from(page), batches)
        });
        let Ok((page, batches)) = made.await else { return };
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = page;
        let lost = {
            let mut queue = self.queue();
            let lost = queue.add(batches);
            self.health().pending.store(queue.samples(), Ordering::Relaxed);
            lost
        };
        self.health().dropped.fetch_add(lost, Ordering::Relaxed);
        self.more.notify_one();
    }

    /// Sends what waits, and what comes.
    async fn send_all(&self, remote: &Remote) {
        let mut failures = 0;
        loop {
            match self.send_first(remote).await {
                None => self.more.notified().await,
                Some(Ok(())) => failures = 0,
                Some(Err(refusal)) => {
                    let pause = pause(failures, asked_pause(&refusal));
                    failures += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Sends the oldest request: an error when it has to be made again, `None` when none waits.
    async fn send_first(&self, remote: &Remote) -> Option<Result<(), Refusal>> {
        let first = self.queue().first()?;
        let result = self.http.push(&remote.url, &remote.headers, first.body).await;
        let health = self.health();
        let refused = match result {
            Err(refusal) if is_for_now(&refusal) => {
                health.failures.fetch_add(1, Ordering::Relaxed);
                if health.set_trouble(&refusal.text) {
                    tracing::error!(
                        error = refusal.text,
                        "the store takes no figures now: they wait"
                    );
                }
                return Some(Err(refusal));
            }
            other => other.err(),
        };
        let pending = {
            let mut queue = self.queue();
            queue.remove_first();
            queue.samples()
        };
        health.pending.store(pending, Ordering::Relaxed);
        if let Some(refusal) = refused {
            health.refused.fetch_add(first.samples, Ordering::Relaxed);
            if health.set_trouble(&refusal.text) {
                tracing::error!(error = refusal.text, "the store refuses figures: they are lost");
            }
        } else {
            health.sent.fetch_add(first.samples, Ordering::Relaxed);
            if health.set_trouble("") {
                tracing::info!("the store takes figures again");
            }
        }
        Some(Ok(()))
    }

    /// Nothing is sent any more.
    fn forget(&self) {
        *self.queue() = Queue::default();
        self.health().pending.store(0, Ordering::Relaxed);
        self.health().set_trouble("");
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from("");
    }

    /// What is known now and what waits, as far as there is time.
    async fn end(&self, remote: Option<&Remote>) {
        let Some(remote) = remote else { return };
        let last = async {
            self.take().await;
            while let Some(Ok(())) = self.send_first(remote).await {}
        };
        let _ = tokio::time::timeout(LAST_WRITES, last).await;
        let samples = self.queue().samples();
        if samples > 0 {
            tracing::warn!(
                samples,
                "the end came before the store took these figures: they are lost"
            );
        }
    }
}

/// Whether the same may be taken later. A 4xx is for good, says the specification, but for 429.
fn is_for_now(refusal: &Refusal) -> bool {
    refusal.status.is_none_or(|status| status.is_server_error() || status.as_u16() == 429)
}

/// The pause that a store asks for: seconds, or until a date.
fn asked_pause(refusal: &Refusal) -> Option<Duration> {
    let text = refusal.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at_s = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    u64::try_from(at_s - crate::clock::now_s()).ok().map(Duration::from_secs)
}

/// How long to wait after so many failures before.
fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST_PAUSE.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX));
    let own = own.min(LONGEST_PAUSE);
    asked.map_or(own, |asked| asked.clamp(FIRST_PAUSE, LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn refusal(status: Option<u16>, retry_after: Option<&str>) -> Refusal {
        let status = status.map(|s| StatusCode::from_u16(s).unwrap());
        Refusal { status, retry_after: retry_after.map(str::to_owned), text: String::new() }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_wrong_is_not() {
        for status in [None, Some(500), Some(503), Some(429)] {
            assert!(is_for_now(&refusal(status, None)), "{status:?}");
        }
        for status in [301, 400, 401, 403, 404, 413, 422] {
            assert!(!is_for_now(&refusal(Some(status), None)), "{status}");
        }
    }

    #[test]
    fn pauses_grow_and_the_stores_wish_counts() {
        let own: Vec<u64> = (0..7).map(|n| pause(n, None).as_secs()).collect();
        assert_eq!(own, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(u32::MAX, None), LONGEST_PAUSE);
        let asked = |text| asked_pause(&refusal(Some(429), Some(text)));
        assert_eq!(asked(" 17 "), Some(Duration::from_secs(17)));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), None, "that has passed");
        assert!(asked("Sat, 06 Nov 2094 08:49:37 GMT") > Some(LONGEST_ASKED));
        assert_eq!(pause(5, asked("2")), Duration::from_secs(2));
        assert_eq!(pause(0, asked("0")), FIRST_PAUSE, "not a storm");
        assert_eq!(pause(0, asked("86400")), LONGEST_ASKED);
    }

    #[test]
    fn the_secret_is_a_password_or_a_token_and_in_no_debug() {
        let config = |more: &str| {
            let text = format!("[remote_write]\nurl = \"http://a/\"\n{more}");
            crate::config::Config::parse(&text).unwrap().remote_write.unwrap()
        };
        let secret = Secret::new("canary");
        let sent = |more: &str| {
            let remote = Remote::new(&config(more), Some(&secret)).unwrap();
            assert!(
                !format!("{remote:?}").contains("canary")
                    && !format!("{remote:?}").contains("Y2FuYXJ5")
            );
            remote.headers.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(sent(""), "Bearer canary");
        // The example of RFC 7617's form: base64 of `user:password`.
        assert_eq!(sent("user = \"unfrag\""), "Basic dW5mcmFnOmNhbmFyeQ==");
        assert!(Remote::new(&config("user = \"unfrag\""), None).is_err());
        let open = Remote::new(&config("headers = { X-Scope-OrgID = \"a\" }"), None).unwrap();
        assert!(
            open.headers.contains_key("x-scope-orgid") && !open.headers.contains_key(AUTHORIZATION)
        );
    }
}
