//! [`Process`]: a server's process on this machine, as procfs has it.

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A process that cannot be mistaken for another one that took its number later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started_ticks: u64,
}

/// What a second process of the same kind must be given.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) executable: PathBuf,
    pub(crate) cwd: PathBuf,
    /// The file its standard output goes to, if it is one.
    pub(crate) output: Option<PathBuf>,
    /// Its own number, which another process started alike would not have.
    pub(crate) parent: u32,
    /// The command line, unless the server has written its title over it.
    pub(crate) command_line: Option<Vec<String>>,
    /// The control group of systemd's or the container's making.
    pub(crate) cgroup: String,
    /// It sees the same files and network as we do.
    pub(crate) shares_namespaces: bool,
}

impl Process {
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let status = text("status")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u32>().ok()
        };
        let executable = std::fs::read_link(folder.join("exe")).ok()?;
        Some(Self {
            id: ProcessId { pid, started_ticks: started_ticks(pid)? },
            uid: number("Uid:")?,
            gid: number("Gid:")?,
            parent: number("PPid:")?,
            cwd: std::fs::read_link(folder.join("cwd")).ok()?,
            output: std::fs::read_link(folder.join("fd/1")).ok().filter(|f| f.is_file()),
            command_line: text("cmdline").and_then(|line| original(&line)),
            cgroup: text("cgroup").unwrap_or_default(),
            shares_namespaces: ["net", "pid"].iter().all(|ns| same_namespace(pid, ns))
                && (same_namespace(pid, "mnt") || sees_the_same_files(pid)),
            executable,
        })
    }

    pub(crate) fn binary_name(&self) -> String {
        let name = self.executable.file_name().unwrap_or_default();
        name.to_string_lossy().trim_end_matches(" (deleted)").to_owned()
    }

    /// The binary that it runs is the one that a new process would run.
    pub(crate) fn is_binary_replaced(&self) -> bool {
        self.executable.to_string_lossy().ends_with(" (deleted)")
    }
}

impl ProcessId {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started_ticks: started_ticks(pid)? })
    }

    pub(crate) fn is_alive(&self) -> bool {
        started_ticks(self.pid) == Some(self.started_ticks) && !is_zombie(self.pid)
    }

    /// Ends it at once. Only for a process that holds nothing that another does not hold, too.
    pub(crate) fn kill(&self) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Waits for its end.
    pub(crate) async fn gone(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }
}

/// Field 22 of `/proc/PID/stat`; the second may hold brackets and spaces.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Ended, but for its parent's notice. A server has threads, and its first one is a zombie before the others have let go
/// of what they share: a start in that moment finds the port in use.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let first = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    first && threads < 2
}

/// The arguments, if there are any left: a server's title is one word, or words parted by blanks and not by zeros.
fn original(line: &str) -> Option<Vec<String>> {
    let words: Vec<String> =
        line.split('\0').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    (words.len() > 1).then_some(words)
}

fn same_namespace(pid: u32, kind: &str) -> bool {
    let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
    of("self").is_some() && of("self") == of(&pid.to_string())
}

/// A unit's `PrivateTmp` or `ProtectSystem` gives it mounts of its own, under which the files are the very same: the
/// program, its folder, the root.
fn sees_the_same_files(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let file = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    ["exe", "cwd", "root"].iter().all(|name| {
        let theirs = PathBuf::from(format!("/proc/{pid}/{name}"));
        let ours = std::fs::read_link(&theirs).ok().and_then(|path| file(&path));
        ours.is_some() && ours == file(&theirs)
    })
}

/// The user may create files in the folder, by its mode bits and its mount.
pub(crate) fn why_not_writable(folder: &Path, uid: u32, gid: u32) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let shown = folder.display();
    let Ok(meta) = std::fs::metadata(folder) else {
        return Some(format!("its folder `{shown}` is not there"));
    };
    if !meta.is_dir() {
        return Some(format!("`{shown}` is no folder"));
    }
    let read_only = rustix::fs::statvfs(folder)
        .is_ok_and(|s| s.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if read_only {
        return Some(format!("its folder `{shown}` is mounted read-only"));
    }
    let shift = if meta.uid() == uid {
        6
    } else if meta.gid() == gid {
        3
    } else {
        0
    };
    let may = uid == 0 || (meta.mode() >> shift) & 0o3 == 0o3;
    (!may).then(|| format!("its folder `{shown}` may not be written by user {uid}"))
}

/// Bytes that an ordinary user can still write there.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen with Redis 8.2.3: killed, its first thread a zombie, and its port still taken for whoever was to start next.
    #[test]
    fn a_process_is_there_while_any_thread_of_it_is() {
        let script = "import ctypes, threading, time\n\
                      threading.Thread(target=time.sleep, args=(600,)).start()\n\
                      ctypes.CDLL(None).pthread_exit(None)\n";
        let mut child = std::process::Command::new("python3").args(["-c", script]).spawn().unwrap();
        let first_has_ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z')
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !first_has_ended() {
            assert!(Instant::now() < deadline, "its first thread does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive());
        id.kill();
        let deadline = Instant::now() + Duration::from_secs(20);
        while id.is_alive() {
            assert!(Instant::now() < deadline, "it was not killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.wait().unwrap();
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is said")]
    fn mounts_of_its_own_and_the_same_files() {
        let start = |script: &str| {
            let mut command = std::process::Command::new("unshare");
            command.args(["--mount", "sh", "-c", script]).stdin(std::process::Stdio::null());
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        };
        let says_pid = |child: &mut std::process::Child| {
            let mut line = String::new();
            let output = child.stdout.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
            line.trim().parse::<u32>().ok()
        };
        let mut same = start("echo $$; exec sleep 30");
        let Some(pid) = says_pid(&mut same) else {
            eprintln!("skipped: no mount namespace can be made here");
            let _ = same.wait();
            return;
        };
        let mut other = start("mount -t tmpfs none /mnt && cd /mnt && echo $$; exec sleep 30");
        let hidden = says_pid(&mut other);
        let seen = Process::read(pid).map(|p| (p.shares_namespaces, same_namespace(pid, "mnt")));
        let unseen = hidden.and_then(Process::read).map(|p| p.shares_namespaces);
        for child in [&mut same, &mut other] {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert_eq!(seen, Some((true, false)));
        assert!(unseen.is_none_or(|shares| !shares), "its folder is another one");
    }
}
