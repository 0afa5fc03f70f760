//! The operating system's side of a server: its command line, and an end that leaves nothing running.

use super::{Options, ports::Ports};
use crate::Kind;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the server prints, in its folder.
pub(super) const LOG: &str = "server.log";
/// Its unix socket, there too.
pub(super) const SOCKET: &str = "server.sock";

/// All that one start of a server takes; a restart takes the same again.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) kind: Kind,
    pub(super) options: Options,
    pub(super) ports: Ports,
}

impl Recipe {
    pub(super) fn spawn(&self, folder: &Path) -> std::io::Result<Child> {
        let log = File::create(folder.join(LOG))?;
        let mut command = Command::new(&self.program);
        if self.options.sentinel {
            command.arg(folder.join("sentinel.conf")).arg("--sentinel");
        }
        command.args(["--port", &self.ports.plain.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--daemonize", "no"]).arg("--dir").arg(folder);
        if !self.options.sentinel {
            command.args(["--save", "", "--appendonly", "no"]);
            command.arg("--unixsocket").arg(folder.join(SOCKET));
            if self.kind.is_7_or_later() {
                command.args(["--enable-debug-command", "local"]);
            }
        }
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password, "--masterauth", password]);
        }
        if let Some(tls) = &self.options.tls {
            command.args(tls.server_args(self.ports.tls));
        }
        command.args(&self.options.args);
        if self.options.keeps_freed_pages {
            // As the distributions' jemalloc and as the servers' own call it.
            for name in ["MALLOC_CONF", "JE_MALLOC_CONF"] {
                command.env(name, "dirty_decay_ms:-1");
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn()
    }
}

/// Ends our own child and what it forked: nothing of a test's server is worth saving.
///
/// A killed server's BGSAVE goes on writing without it (Redis 6.2.5: to the last key). The server is stopped
/// first, so that it neither forks nor reaps while its children are listed: the ids killed are theirs.
pub(super) fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        signal(child.id(), Signal::STOP);
        for forked in children(child.id()) {
            kill(forked);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends a process by its id.
pub(super) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _ = kill_process(pid, signal);
    }
}

/// Only the main thread of a server forks.
fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    listed.unwrap_or_default().split_whitespace().filter_map(|p| p.parse().ok()).collect()
}
