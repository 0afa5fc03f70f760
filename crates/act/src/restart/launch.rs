//! Starting a server process ourselves: a rehearsal of the next start, and swap's second process.
//!
//! All settings go through standard input, which servers read as configuration when their last argument is `-`:
//! passwords appear neither in `ps` nor on disk.

use crate::ActError;
use crate::restart::acl::Users;
use crate::restart::boot::Boot;
use crate::restart::configuration::{Configuration, line};
use crate::restart::facts::Module;
use crate::restart::preflight;
use crate::restart::process::Process;
use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions, Connection, Secret, connect, resp};
use unfrag_model::{Engine, Info};

/// Until a process without data answers: 10 ms measured; a machine with ten times the work it can do takes seconds.
const UP: Duration = Duration::from_secs(30);

/// What the next start would be.
#[derive(Debug, Clone)]
pub(crate) struct Rehearsal {
    pub(crate) engine: Engine,
    pub(crate) configuration: Configuration,
    pub(crate) modules: Vec<Module>,
    /// `None` where they could not be read.
    pub(crate) users: Option<Users>,
    pub(crate) boot: Boot,
}

/// Settings that a rehearsal must have of its own, to touch nothing. What the next start has is read from its text.
pub(crate) const REHEARSED: [&str; 15] = [
    "port",
    "tls-port",
    "unixsocket",
    "dir",
    "pidfile",
    "logfile",
    "daemonize",
    "supervised",
    "cluster-enabled",
    "replicaof",
    "slaveof",
    "requirepass",
    "syslog-enabled",
    "maxclients",
    "oom-score-adj",
];

/// Runs the next start for a moment, in a folder of its own, with no port: its version and its settings.
pub(crate) async fn rehearse(
    boot: &Boot,
    process: &Process,
    options: &ConnectOptions,
) -> Result<Rehearsal, String> {
    let folder = tempfile::Builder::new()
        .prefix("unfrag-rehearsal-")
        .tempdir()
        .map_err(|e| format!("no folder for a rehearsal: {e}"))?;
    // Its owner must be able to write there, whoever we are.
    let _ = std::os::unix::fs::chown(folder.path(), Some(process.uid), Some(process.gid));
    link_acl_file(boot, process, folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let password = random_word().map_err(|e| e.to_string())?;
    let mut text =
        boot.file.as_ref().map_or_else(String::new, |f| format!("include {}\n", f.display()));
    boot.lines.iter().for_each(|l| text.push_str(&format!("{l}\n")));
    for (name, value) in [
        ("port", "0"),
        ("unixsocket", &path("s")),
        ("dir", &path("")),
        ("pidfile", &path("pid")),
        ("logfile", ""),
        ("daemonize", "no"),
        ("supervised", "no"),
        ("cluster-enabled", "no"),
        ("requirepass", &password),
        ("syslog-enabled", "no"),
    ] {
        text.push_str(&line(name, value));
    }
    text.push_str("replicaof no one\n");
    if text.contains("tls-port") || boot.says().contains_key("tls-port") {
        text.push_str("tls-port 0\n");
    }
    let log = folder.path().join("log");
    let watch = Watch::over(folder.path());
    let mut child = spawn(boot, None, &text, process, Some(&log)).map_err(|e| e.to_string())?;
    let address = Address::Unix(folder.path().join("s"));
    let looked = look_at(&mut child, &address, options, &password).await;
    let _ = child.kill();
    let _ = child.wait();
    drop(watch);
    let (info, configuration, modules, users) = looked.map_err(|why| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().filter(|l| !l.trim().is_empty()).collect::<Vec<_>>();
        let said = last.iter().rev().take(2).rev().copied().collect::<Vec<_>>().join(" / ");
        format!("{why}; it said: {said}")
    })?;
    Ok(Rehearsal { engine: info.engine(), configuration, modules, users, boot: boot.clone() })
}

/// A relative `aclfile` is looked for in `dir`, which is another one in a rehearsal. A link, so that no secret is copied.
fn link_acl_file(boot: &Boot, process: &Process, folder: &Path) {
    let said = boot.says();
    let Some(file) = said.get("aclfile").map(Path::new).filter(|f| f.is_relative()) else { return };
    if file.components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
        return;
    }
    // The process has gone to its `dir`: one that is relative is where it is.
    let dir = said.get("dir").map(Path::new).filter(|dir| dir.is_absolute());
    let home = dir.unwrap_or(&process.cwd);
    let there = folder.join(file);
    // Where it cannot be linked the rehearsal fails, and says of which file.
    let _ = there.parent().map(std::fs::create_dir_all);
    let _ = std::os::unix::fs::symlink(home.join(file), there);
}

/// Ends a rehearsal, and removes its folder, should we be killed meanwhile: nobody else knows of it.
struct Watch(Option<Child>);

impl Watch {
    /// Before the process is started, or there would be a moment in which nobody ends it.
    fn over(folder: &Path) -> Self {
        /// Its input ends with us. The process is the one that prints into the folder; one that is being started just then
        /// does so a moment later.
        const SCRIPT: &str = r#"cat >/dev/null
            for round in 1 2 3; do
                for out in /proc/[0-9]*/fd/1; do
                    [ "$out" -ef "$1/log" ] && pid="${out#/proc/}" && kill -9 "${pid%%/*}"
                done
                sleep 0.3
            done
            rm -rf "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(folder).current_dir("/").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Without it a rehearsal is only not cleaned up after a kill.
        Self(command.spawn().ok())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shell) = &mut self.0 {
            let _ = shell.kill();
            let _ = shell.wait();
        }
    }
}

async fn look_at(
    child: &mut Child,
    address: &Address,
    options: &ConnectOptions,
    password: &str,
) -> Result<(Info, Configuration, Vec<Module>, Option<Users>), String> {
    let mut connection = reach(child, address, options, password).await?;
    let info = connection.call(&["INFO"]).await.map_err(|e| e.to_string())?;
    let info = Info::parse(&resp::text(&info).unwrap_or_default());
    let configuration = Configuration::read(&mut connection).await.map_err(|e| e.to_string())?;
    let modules = preflight::modules(&mut connection).await;
    let users = Users::read(&mut connection).await;
    Ok((info, configuration, modules, users))
}

/// Connects to a process that is starting: as the default user with the password it was given, or as ourselves.
pub(crate) async fn reach(
    child: &mut Child,
    address: &Address,
    options: &ConnectOptions,
    password: &str,
) -> Result<Connection, String> {
    let bootstrap = ConnectOptions {
        user: None,
        password: Some(Secret::new(password.to_owned())),
        ..options.clone()
    };
    let deadline = Instant::now() + UP;
    loop {
        let mut last = String::new();
        for options in [&bootstrap, options] {
            match connect(address, options).await {
                Ok(mut connection) => match connection.call(&["INFO", "server"]).await {
                    Ok(_) => return Ok(connection),
                    Err(error) => last = error.problem.to_string(),
                },
                Err(error) => last = error.problem.to_string(),
            }
        }
        if let Ok(Some(status)) = child.try_wait()
            && !status.success()
        {
            return Err(format!("it ended at once ({status})"));
        }
        if Instant::now() > deadline {
            return Err(format!("it did not come up in {} s: {last}", UP.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Starts `boot`'s program as the user of `process`, with `text` as configuration after `file`.
pub(crate) fn spawn(
    boot: &Boot,
    file: Option<&Path>,
    text: &str,
    process: &Process,
    output: Option<&Path>,
) -> Result<Child, ActError> {
    let fail = |what: &str, e: std::io::Error| {
        ActError::Unsafe(format!("cannot {what} `{}`: {e}", boot.program.display()))
    };
    let sink = |path: Option<&Path>| match path {
        Some(path) => OpenOptions::new().create(true).append(true).open(path).map(Stdio::from),
        None => Ok(Stdio::null()),
    };
    let mut command = Command::new(&boot.program);
    let settings = in_memory(text).map_err(|e| fail("give settings to", e))?;
    command.args(file).arg("-").current_dir(&process.cwd).stdin(settings);
    command.stdout(sink(output).map_err(|e| fail("open the log of", e))?);
    command.stderr(sink(output).map_err(|e| fail("open the log of", e))?);
    // A group of its own: Ctrl-C at our terminal is not meant for it.
    command.process_group(0);
    if rustix::process::geteuid().as_raw() != process.uid {
        command.gid(process.gid).uid(process.uid);
    }
    command.spawn().map_err(|e| fail("start", e))
}

/// A file in memory, whole before the process starts: were we killed now, it would not start with half of its settings.
fn in_memory(text: &str) -> std::io::Result<Stdio> {
    let memory = rustix::fs::memfd_create("unfrag", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// A password for as long as a process is being made ready.
pub(crate) fn random_word() -> Result<String, ActError> {
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|e| ActError::Unsafe(format!("cannot draw a random password: {e}")))?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}
