//! [`run`]: puts the daemon together, and takes it apart when it is asked to.
//!
//! SIGTERM and SIGINT end it; SIGHUP reads the configuration again. Under systemd it says when it is ready and that it is
//! alive.

use crate::config::SinkConfig;
use crate::fleet::{Fleet, Settings};
use crate::follow::{self, Seed};
use crate::history::{History, HistoryError, Retention};
use crate::job::Jobs;
use crate::notify;
use crate::policy::Policy;
use crate::policy::keeper;
use crate::remote::{self, Remote};
use crate::web::{self, Access, App};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use unfrag_model::text::counted;

/// Everything that a configuration decides.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What to watch.
    pub seeds: Vec<Seed>,
    /// How.
    pub settings: Settings,
    /// Whom to tell.
    pub sinks: Vec<SinkConfig>,
    /// Where figures are sent.
    pub remote: Option<Remote>,
    /// What may be done.
    pub policy: Policy,
    /// Who may ask. Only read at the start.
    pub access: Access,
    /// Where to listen. Only read at the start.
    pub listen: SocketAddr,
    /// Where the history is. Only read at the start.
    pub data: PathBuf,
    /// What is kept. Only read at the start.
    pub retention: Retention,
}

/// Reads the configuration again; an error in it leaves everything as it is.
pub type Reload = Box<dyn FnMut() -> Result<Setup, String> + Send>;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No runtime, no signals.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {listen}; is another `unfrag watch` running? `--listen` takes another address"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The history cannot be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Threads that watch. One does a thousand servers; the second keeps the page quick meanwhile.
const WORKERS: usize = 2;
/// Open requests get this long at the end.
const LAST_REQUESTS: Duration = Duration::from_millis(800);
/// A fix that is at work gets this long to put everything back; without one the end comes in a second.
const LAST_FIX: Duration = Duration::from_secs(25);

/// Runs until a signal ends it. `said` is told once where the page is.
pub fn run(
    setup: Setup,
    mut reload: Reload,
    said: impl FnOnce(SocketAddr),
) -> Result<(), WatchError> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("watch")
        .enable_all()
        .build()
        .map_err(WatchError::Start)?;
    let history = History::open(&setup.data, setup.retention.clone())?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(WatchError::Start)?;
        let mut daemon = Daemon::start(setup, history).await?;
        said(daemon.address);
        while let Signal::Reload = signals.next().await {
            match reload() {
                Ok(setup) => daemon.apply(setup),
                Err(error) => tracing::error!(error, "the configuration is left as it was"),
            }
        }
        daemon.end().await;
        Ok::<(), WatchError>(())
    })?;
    // A task in a name look-up must not hold us up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(())
}

/// What is read at the start and never again.
#[derive(Debug)]
struct Fixed {
    listen: SocketAddr,
    data: PathBuf,
    retention: Retention,
    access: Access,
}

impl Fixed {
    fn of(setup: &Setup) -> Self {
        Self {
            listen: setup.listen,
            data: setup.data.clone(),
            retention: setup.retention.clone(),
            access: setup.access.clone(),
        }
    }

    /// What a new configuration has otherwise.
    fn differing(&self, new: &Self) -> Vec<&'static str> {
        let all = [
            ("listen", self.listen != new.listen),
            ("data", self.data != new.data),
            ("how long the history is kept", self.retention != new.retention),
            ("[web] hosts", self.access.hosts != new.access.hosts),
            ("the token", self.access.token != new.access.token),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

struct Daemon {
    fixed: Fixed,
    fleet: Arc<Fleet>,
    jobs: Jobs,
    app: Arc<App>,
    address: SocketAddr,
    followers: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    sinks: watch::Sender<Arc<Vec<SinkConfig>>>,
    policy: watch::Sender<Arc<Policy>>,
    remote: watch::Sender<Option<Arc<Remote>>>,
    writing: JoinHandle<()>,
    stop_writing: oneshot::Sender<()>,
    stop_serving: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Daemon {
    async fn start(setup: Setup, history: History) -> Result<Self, WatchError> {
        let (listen, fixed) = (setup.listen, Fixed::of(&setup));
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| WatchError::Listen { listen, source })?;
        let address = listener.local_addr().map_err(WatchError::Start)?;
        let (notices, inbox) = mpsc::unbounded_channel();
        let fleet = Fleet::new(setup.settings, Some(history), notices);
        let jobs = Jobs::default();
        let (sinks, sinks_seen) = watch::channel(Arc::new(setup.sinks));
        let (policy, policy_seen) = watch::channel(Arc::new(setup.policy));
        let app = Arc::new(App {
            fleet: Arc::clone(&fleet),
            jobs: jobs.clone(),
            access: setup.access,
            policy: policy_seen.clone(),
            ready: AtomicBool::new(false),
        });
        let (stop_serving, stopped) = oneshot::channel();
        let served = web::serve(listener, Arc::clone(&app), async {
            // The sender going away is the same wish.
            let _ = stopped.await;
        });
        let server = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the page is no longer served");
            }
        });
        let (remote, remote_seen) = watch::channel(setup.remote.map(Arc::new));
        let (stop_writing, stopped) = oneshot::channel();
        let writing = remote::run(Arc::clone(&fleet), remote_seen, address.port(), stopped);
        let writing = tokio::spawn(writing);
        let tasks = vec![
            tokio::spawn(notify::run(inbox, sinks_seen, Arc::clone(&fleet))),
            tokio::spawn(keeper::run(Arc::clone(&fleet), jobs.clone(), policy_seen)),
            tokio::spawn(keep_alive(Arc::clone(&fleet))),
        ];
        let followers = follow_all(setup.seeds, &fleet);
        app.ready.store(true, Ordering::Relaxed);
        tracing::info!(%address, "watching");
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
        let stop_serving = Some(stop_serving);
        Ok(Self {
            fixed,
            fleet,
            jobs,
            app,
            address,
            followers,
            tasks,
            sinks,
            policy,
            remote,
            writing,
            stop_writing,
            stop_serving,
            server,
        })
    }

    /// Takes a new configuration over: servers that stay keep their past and their alerts.
    fn apply(&mut self, setup: Setup) {
        for what in self.fixed.differing(&Fixed::of(&setup)) {
            tracing::warn!(what, "this was changed, and is taken over at the next start only");
        }
        for follower in self.followers.drain(..) {
            follower.abort();
        }
        self.fleet.set_settings(setup.settings);
        // Receivers live as long as we do.
        let _ = self.sinks.send(Arc::new(setup.sinks));
        let _ = self.policy.send(Arc::new(setup.policy));
        let _ = self.remote.send(setup.remote.map(Arc::new));
        self.fleet.renew(&setup.seeds);
        self.followers = follow_all(setup.seeds, &self.fleet);
        tracing::info!(targets = self.followers.len(), "the configuration was read again");
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    }

    async fn end(mut self) {
        tracing::info!("ending");
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
        self.app.ready.store(false, Ordering::Relaxed);
        drop(self.stop_serving.take());
        for task in self.followers.iter().chain(&self.tasks) {
            task.abort();
        }
        if self.jobs.stop_all() {
            let _ = tokio::time::timeout(LAST_FIX, async {
                while self.jobs.busy().servers > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
        }
        // Both at once, each with a time of its own.
        let _ = self.stop_writing.send(());
        let served = tokio::time::timeout(LAST_REQUESTS, &mut self.server);
        let _ = tokio::join!(served, &mut self.writing);
        self.fleet.end();
        if let Some(history) = self.fleet.history().cloned() {
            let _ = tokio::task::spawn_blocking(move || history.flush()).await;
        }
    }
}

fn follow_all(seeds: Vec<Seed>, fleet: &Arc<Fleet>) -> Vec<JoinHandle<()>> {
    seeds.into_iter().map(|seed| tokio::spawn(follow::run(seed, Arc::clone(fleet)))).collect()
}

/// Says to systemd that we live, twice as often as it wants to hear it, and what we see.
async fn keep_alive(fleet: Arc<Fleet>) {
    let mut wanted_us = 0;
    let watched = sd_notify::watchdog_enabled(false, &mut wanted_us) && wanted_us > 0;
    let pause =
        if watched { Duration::from_micros(wanted_us / 2) } else { Duration::from_secs(10) };
    loop {
        fleet.note_twins();
        let nodes = fleet.nodes();
        let lost = nodes.iter().filter(|n| n.state().failure.is_some()).count();
        let all = counted(nodes.len() as u64, "server");
        let status = match lost {
            0 => all,
            1 => format!("{all}, 1 does not answer"),
            lost => format!("{all}, {lost} do not answer"),
        };
        let _ = sd_notify::notify(
            false,
            &[sd_notify::NotifyState::Watchdog, sd_notify::NotifyState::Status(&status)],
        );
        tokio::time::sleep(pause).await;
    }
}

enum Signal {
    Reload,
    End,
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::End,
            _ = self.terminate.recv() => Signal::End,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

/// A connection a server: the usual 1024 descriptors would end at a thousand.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the number of open files: about a thousand servers can be watched");
    }
}

/// Where the history goes when nothing is said: systemd's state directory, or the user's.
pub fn default_data() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(state) = set("STATE_DIRECTORY") {
        return state;
    }
    let home = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    home.unwrap_or_else(std::env::temp_dir).join("unfrag/watch")
}
