//! One server process: [`Server`] starts it in a folder of its own and ends exactly that process.

mod ports;
mod process;

use crate::measure::{self, PATIENCE, command};
use crate::{Error, Kind, LIFETIME, Watchdog};
use ports::Ports;
use process::Recipe;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

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
    /// Pages that jemalloc frees stay in RAM until they are purged, whatever time passes.
    pub keeps_freed_pages: bool,
}

impl Options {
    /// With these arguments.
    pub fn args(args: &[&str]) -> Self {
        Self { args: args.iter().map(|&a| a.to_owned()).collect(), ..Self::default() }
    }
}

/// A running server. Dropping it ends exactly this process and what it forked, and removes its folder; so that no
/// connection to a hung one waits for ever, it is killed after [`LIFETIME`].
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// None while it is shut down.
    watchdog: Option<Watchdog>,
    recipe: Recipe,
    folder: TempDir,
}

/// Starts tried when another process takes the port first: one is rare, three in a row no accident.
const STARTS: usize = 3;

impl Server {
    /// Starts a server of this kind on free loopback ports and waits until it answers.
    pub fn start(kind: Kind, options: &Options) -> Result<Self, Error> {
        for _ in 1..STARTS {
            match Self::start_once(kind, options) {
                Err(Error::NotUp { log, .. }) if log.contains("Address already in use") => {}
                other => return other,
            }
        }
        Self::start_once(kind, options)
    }

    fn start_once(kind: Kind, options: &Options) -> Result<Self, Error> {
        let program = match &options.binary {
            Some(binary) => binary.clone(),
            None => kind.binary()?,
        };
        let start = |source| Error::Start { program: program.clone(), source };
        let folder = tempfile::Builder::new().prefix("unfrag-").tempdir().map_err(start)?;
        for (name, content) in &options.files {
            std::fs::write(folder.path().join(name), content).map_err(start)?;
        }
        let options = options.clone();
        let recipe = Recipe { program: program.clone(), kind, options, ports: Ports::find() };
        let child = recipe.spawn(folder.path()).map_err(start)?;
        let watchdog = Some(watched(&child));
        let mut server = Self { child, watchdog, recipe, folder };
        server.wait_until_up()?;
        Ok(server)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.recipe.kind
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.recipe.ports.plain
    }

    /// Its TLS port, when started with TLS files.
    pub fn tls_port(&self) -> u16 {
        self.recipe.ports.tls
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
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
        self.folder.path().join(process::SOCKET)
    }

    /// A connection, logged in. It waits for an answer for as long as the server lives.
    pub fn connection(&self) -> Result<redis::Connection, Error> {
        let password = self.recipe.options.password.as_ref();
        let login = password.map(|p| format!(":{p}@")).unwrap_or_default();
        let url = format!("redis://{login}127.0.0.1:{}/", self.port());
        measure::connect(&url).map_err(|source| Error::Command { what: "connect", source })
    }

    /// Stops it with SHUTDOWN SAVE and starts it again on the same folder and port: the zero-loss restart.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.shutdown()?;
        self.start_again()
    }

    /// Ends it with SHUTDOWN SAVE. Its folder and ports stay for [`Self::start_again`].
    pub fn shutdown(&mut self) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let save = redis::cmd("SHUTDOWN").arg("SAVE").clone();
        match command::<()>(&mut connection, "shut the server down", &save) {
            // The server closes the connection instead of answering.
            Err(Error::Command { source, .. }) if source.is_io_error() => {}
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        self.wait_until_gone()
    }

    /// Starts it as before, after [`Self::shutdown`], and waits until it has loaded its data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.child = self
            .recipe
            .spawn(self.folder.path())
            .map_err(|source| Error::Start { program: self.recipe.program.clone(), source })?;
        self.watchdog = Some(watched(&self.child));
        self.wait_until_up()
    }

    fn wait_until_gone(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                self.watchdog = None;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Error::Late("the server's end"))
    }

    fn wait_until_up(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_up(format!("it ended with {status}")));
            }
            if self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(self.not_up(format!("no answer in {} s", PATIENCE.as_secs())))
    }

    fn not_up(&self, what: String) -> Error {
        const LINES: usize = 3;
        let log = std::fs::read_to_string(self.folder.path().join(process::LOG));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|l| !l.is_empty()).collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(LINES));
        let log = tail.copied().collect::<Vec<_>>().join(" / ");
        Error::NotUp { program: self.recipe.program.clone(), what, log }
    }

    /// True once it has loaded; a replica without its primary (MASTERDOWN) is up, too.
    fn answers(&self) -> bool {
        let Ok(mut connection) = self.connection() else { return false };
        // Asked again when it is interrupted or late.
        if connection.set_read_timeout(Some(PATIENCE)).is_err() {
            return false;
        }
        let is_up = match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => true,
            Err(error) => error.code() == Some("MASTERDOWN"),
        };
        is_up && self.is_ours(&mut connection)
    }

    /// False when another server answers: it won the race for the port, and ours is about to say so and end.
    fn is_ours(&self, connection: &mut redis::Connection) -> bool {
        let ours = format!("process_id:{}", self.pid());
        match redis::cmd("INFO").arg("server").query::<String>(connection) {
            Ok(text) => text.lines().any(|line| line == ours),
            // Refused: a test took INFO away from it.
            Err(error) => !error.is_io_error(),
        }
    }
}

/// Its process id is its own until we reap it, which disarms the watchdog first or at the same time.
fn watched(child: &Child) -> Watchdog {
    let pid = child.id();
    Watchdog::after(LIFETIME, move || process::kill(pid))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watchdog = None;
        process::end(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::wait_until;
    use crate::require;

    /// Ours runs and listens elsewhere; the one that answers on its port must not be taken for it.
    #[test]
    fn a_stranger_on_its_port_is_not_the_server() {
        for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
            let stranger = Server::start(kind, &Options::default()).unwrap();
            let elsewhere = Ports::find().plain.to_string();
            let options = Options::args(&["--port", &elsewhere]);
            let ports = Ports { plain: stranger.port(), ..Ports::find() };
            let recipe = Recipe { program: kind.binary().unwrap(), kind, options, ports };
            let folder = tempfile::tempdir().unwrap();
            let child = recipe.spawn(folder.path()).unwrap();
            let ours = Server { child, watchdog: None, recipe, folder };
            wait_until("the socket", || Ok(ours.socket().exists())).unwrap();
            assert!(stranger.answers() && !ours.answers(), "{}", kind.name());
        }
    }
}
