//! One server process: [`Server`] starts it in a folder of its own and ends exactly that process.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The real servers unfrag is tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bundled jemalloc 5.1.0, defrag in long slices.
    Redis6,
    /// Debian's build: system jemalloc 5.3.0, defrag refused.
    Redis7,
    /// Bundled jemalloc 5.3.0, defrag in short slices.
    Redis8,
    /// libc.
    Valkey8,
    /// libc.
    Valkey9,
}

impl Kind {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Redis6, Self::Redis7, Self::Redis8, Self::Valkey8, Self::Valkey9];

    /// `redis-6.2.5`: also the folder it is kept in.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis6 => "redis-6.2.5",
            Self::Redis7 => "redis-7.0.15",
            Self::Redis8 => "redis-8.2.3",
            Self::Valkey8 => "valkey-8.1.8",
            Self::Valkey9 => "valkey-9.1.2",
        }
    }

    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Has a jemalloc, bundled or not.
    pub const fn has_jemalloc(self) -> bool {
        !matches!(self, Self::Valkey8 | Self::Valkey9)
    }

    /// Accepts `activedefrag yes`.
    pub const fn can_defrag(self) -> bool {
        matches!(self, Self::Redis6 | Self::Redis8)
    }

    /// Has the options and commands that came with Redis 7.0.
    pub const fn is_7_or_later(self) -> bool {
        !matches!(self, Self::Redis6)
    }

    /// Its binary, where `scripts/servers.py` put it.
    pub fn binary(self) -> Result<PathBuf, Error> {
        let program = if matches!(self, Self::Valkey8 | Self::Valkey9) {
            "valkey-server"
        } else {
            "redis-server"
        };
        let path = servers_folder().join(self.name()).join(program);
        if path.is_file() { Ok(path) } else { Err(Error::NoBinary { name: self.name(), path }) }
    }
}

/// `UNFRAG_SERVERS`, or `target/servers` of the first folder above that has one.
fn servers_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("UNFRAG_SERVERS") {
        return folder.into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let executable = std::env::current_exe().unwrap_or_default();
    here.ancestors()
        .chain(executable.ancestors())
        .map(|folder| folder.join("target/servers"))
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| PathBuf::from("target/servers"))
}

/// True where this server can be started. Missing, it is a failure in CI and a printed skip elsewhere.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test's own report")]
pub fn require(kind: Kind) -> bool {
    match kind.binary() {
        Ok(_) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// Why a server did not start or answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its binary is not here.
    #[error("{name} is not at {path}: run `make servers`")]
    NoBinary {
        /// The server.
        name: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The process could not be started, or its folder made.
    #[error("failed to start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended or stayed silent.
    #[error("{program} did not come up in {seconds} s; its log ends: {log}")]
    NotUp {
        /// The program.
        program: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A command failed.
    #[error("failed to {what}: {source}")]
    Command {
        /// What was to be done.
        what: &'static str,
        /// The server's answer.
        source: redis::RedisError,
    },
    /// A condition did not come true in time.
    #[error("{0} did not happen in time")]
    Late(&'static str),
}

/// How to start one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More arguments: `["--maxmemory", "100mb"]`.
    pub args: Vec<String>,
    /// Password that tests must use to get in.
    pub password: Option<String>,
    /// Started as a Sentinel.
    pub sentinel: bool,
    /// Only this binary instead of the kind's own.
    pub binary: Option<PathBuf>,
    /// Listens with TLS on a second port, with these files.
    pub tls: Option<crate::tls::Files>,
    /// Files copied into its folder before the start: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Options {
    /// With these arguments.
    pub fn args(args: &[&str]) -> Self {
        Self { args: args.iter().map(|&a| a.to_owned()).collect(), ..Self::default() }
    }
}

/// A running server. Dropping it stops exactly this process and removes its folder.
#[derive(Debug)]
pub struct Server {
    child: Child,
    program: PathBuf,
    options: Options,
    kind: Kind,
    folder: TempDir,
    port: u16,
    tls_port: u16,
}

/// Until a server answers or is gone; loading a gigabyte takes some seconds.
const UP_SECONDS: u64 = 60;

impl Server {
    /// Starts a server of this kind on free loopback ports and waits until it answers.
    pub fn start(kind: Kind, options: &Options) -> Result<Self, Error> {
        let program = match &options.binary {
            Some(binary) => binary.clone(),
            None => kind.binary()?,
        };
        let start = |source| Error::Start { program: program.clone(), source };
        let folder = tempfile::Builder::new().prefix("unfrag-").tempdir().map_err(start)?;
        for (name, content) in &options.files {
            std::fs::write(folder.path().join(name), content).map_err(start)?;
        }
        let (port, tls_port) = (free_port(), free_port());
        let child = spawn(&program, kind, options, folder.path(), port, tls_port).map_err(start)?;
        let mut server =
            Self { child, program, options: options.clone(), kind, folder, port, tls_port };
        server.wait_until_up()?;
        Ok(server)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its TLS port, when started with TLS files.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("server.sock")
    }

    /// A connection, logged in, with timeouts.
    pub fn connection(&self) -> Result<redis::Connection, Error> {
        let password = self.options.password.as_ref().map(|p| format!(":{p}@")).unwrap_or_default();
        let url = format!("redis://{password}127.0.0.1:{}/", self.port);
        let connect = || {
            let client = redis::Client::open(url)?;
            let connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
            connection.set_read_timeout(Some(Duration::from_secs(60)))?;
            connection.set_write_timeout(Some(Duration::from_secs(60)))?;
            Ok(connection)
        };
        connect().map_err(|source| Error::Command { what: "connect", source })
    }

    /// Stops it with SHUTDOWN SAVE and starts it again on the same folder and port: the zero-loss restart.
    pub fn restart(&mut self) -> Result<(), Error> {
        let mut connection = self.connection()?;
        // The server closes the connection instead of answering.
        let _: Result<(), _> = redis::cmd("SHUTDOWN").arg("SAVE").query(&mut connection);
        self.wait_until_gone()?;
        self.child = spawn(
            &self.program,
            self.kind,
            &self.options,
            self.folder.path(),
            self.port,
            self.tls_port,
        )
        .map_err(|source| Error::Start { program: self.program.clone(), source })?;
        self.wait_until_up()
    }

    fn wait_until_gone(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(UP_SECONDS);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Error::Late("the server's end"))
    }

    fn wait_until_up(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(UP_SECONDS);
        while Instant::now() < deadline && !matches!(self.child.try_wait(), Ok(Some(_))) {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let log =
            std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        Err(Error::NotUp {
            program: self.program.clone(),
            seconds: UP_SECONDS,
            log: tail.join(" / "),
        })
    }

    /// True once it has loaded; a replica without its primary (MASTERDOWN) is up, too.
    fn answers(&self) -> bool {
        let Ok(mut connection) = self.connection() else { return false };
        match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => true,
            Err(error) => error.code() == Some("MASTERDOWN"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL to our own child: nothing of a test's server is worth saving.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on now. Cluster nodes also take port + 10000.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|l| l.local_addr())
            .map_or(0, |a| a.port());
        let bus_is_free = port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok();
        if port > 0 && bus_is_free {
            return port;
        }
    }
}

fn spawn(
    program: &Path,
    kind: Kind,
    options: &Options,
    folder: &Path,
    port: u16,
    tls_port: u16,
) -> std::io::Result<Child> {
    let log = File::create(folder.join("server.log"))?;
    let mut command = Command::new(program);
    if options.sentinel {
        command.arg(folder.join("sentinel.conf")).arg("--sentinel");
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
    command.arg("--dir").arg(folder);
    if !options.sentinel {
        command.args(["--save", "", "--appendonly", "no"]);
        command.arg("--unixsocket").arg(folder.join("server.sock"));
        if kind.is_7_or_later() {
            command.args(["--enable-debug-command", "local"]);
        }
    }
    if let Some(password) = &options.password {
        command.args(["--requirepass", password, "--masterauth", password]);
    }
    if let Some(tls) = &options.tls {
        command.args(tls.server_args(tls_port));
    }
    command.args(&options.args);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn()
}
