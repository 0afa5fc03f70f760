//! The host's view of a server that is a process of this machine: procfs and cgroups to a [`Host`].
//!
//! An address of this machine proves nothing: a tunnel, a port-forward or a container may stand behind it. The process is
//! believed only when it looks like the server (see `process`). All files hang under one root directory, so that tests
//! can lay out a machine of their own.

mod cgroup;
mod container;
mod process;
mod procfs;

pub(crate) use container::Ends;

use std::path::Path;
use unfrag_model::sample::Unread;
use unfrag_model::{Host, Sample};

pub(crate) const WHAT: &str = "host";

/// Fills [`Sample::host`], or says why it stays empty. `ends` are of connections to this server.
pub(crate) fn read(sample: &mut Sample, is_local: bool, root: &Path, ends: &[Ends]) {
    let known = sample.host.as_ref().and_then(|host| host.pid);
    let why = if !is_local {
        "the server runs on another machine".to_owned()
    } else {
        match process::find(&sample.info, root, ends, known) {
            Ok(pid) => {
                sample.host = Some(figures(pid, root, &mut sample.unread));
                return;
            }
            Err(why) => why,
        }
    };
    sample.unread.push(Unread { what: WHAT.to_owned(), why });
}

fn figures(pid: u32, root: &Path, unread: &mut Vec<Unread>) -> Host {
    let mut host = Host { pid: Some(pid), ..Host::default() };
    procfs::process(&mut host, pid, root, unread);
    procfs::machine(&mut host, root);
    host.cgroup = cgroup::binding(pid, root, host.memory_total);
    host
}

/// Largest text taken from procfs or a cgroup; meminfo and status have 1.5 KB each.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A small file's text; `None` when it is not there, not readable or no text.
fn text(root: &Path, path: &str) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(root.join(path)).ok()?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_model::Info;

    /// A machine in a temporary directory: these are laid-out files, not a real procfs. The test that reads the real
    /// one is in `tests/sampling.rs`.
    struct FakeMachine(tempfile::TempDir);

    impl FakeMachine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().expect("a temporary directory"));
            machine.file("proc/uptime", "1000.00 1.00\n");
            // Started 400 s after boot, at 100 ticks a second: 600 s ago. The name may hold anything.
            machine.file(
                "proc/77/stat",
                "77 (redis) server) S 1 77 77 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 5 0 40000 1 1",
            );
            machine.file("proc/77/comm", "redis-server\n");
            machine.file("proc/77/status", "Name:\tredis-server\nVmHWM:\t 900 kB\nVmRSS:\t 800 kB\nRssAnon:\t 700 kB\nRssFile:\t 60 kB\nRssShmem:\t 40 kB\nVmPTE:\t 8 kB\nVmSwap:\t 12 kB\n");
            machine.file("proc/77/smaps_rollup", "Rss: 800 kB\nAnonHugePages:    512 kB\n");
            machine.file(
                "proc/meminfo",
                "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nSwapTotal: 100 kB\nSwapFree: 60 kB\n",
            );
            machine.file("proc/sys/vm/overcommit_memory", "1\n");
            machine.file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
            machine
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }

        fn sample(&self, info: &str) -> Sample {
            let mut sample = Sample { info: Info::parse(info), ..Sample::default() };
            read(&mut sample, true, self.0.path(), &[]);
            sample
        }
    }

    const INFO: &str = "process_id:77\nexecutable:/usr/bin/redis-server\nuptime_in_seconds:600\n";

    #[test]
    fn every_figure_of_a_local_process() {
        let host = FakeMachine::new().sample(INFO).host.expect("a host");
        let kib = |n: u64| Some(n * 1024);
        assert_eq!((host.rss, host.rss_peak, host.anonymous), (kib(800), kib(900), kib(700)));
        assert_eq!((host.file_backed, host.swapped, host.page_tables), (kib(100), kib(12), kib(8)));
        assert_eq!((host.anon_huge_pages, host.thp_mode.as_deref()), (kib(512), Some("madvise")));
        assert_eq!((host.memory_total, host.memory_available), (kib(4096), kib(2048)));
        assert_eq!(
            (host.swap_total, host.swap_used, host.overcommit_memory),
            (kib(100), kib(40), Some(1))
        );
        assert_eq!((host.pid, host.cgroup), (Some(77), None));
    }

    #[test]
    fn another_process_of_that_number_is_not_believed() {
        for (info, reason) in [
            ("process_id:78\n", "no process 78"),
            (
                "process_id:77\nexecutable:/usr/sbin/valkey-server\nuptime_in_seconds:600\n",
                "another program",
            ),
            (
                "process_id:77\nexecutable:/usr/bin/redis-server\nuptime_in_seconds:60000\n",
                "started at another time",
            ),
            ("used_memory:1\n", "does not tell"),
        ] {
            let sample = FakeMachine::new().sample(info);
            assert_eq!(sample.host, None, "{info}");
            let [unread] = sample.unread.as_slice() else { panic!("{:?}", sample.unread) };
            assert!(unread.why.contains(reason), "{}", unread.why);
        }
    }

    /// As docker and podman make them: both call themselves 1, and came up together.
    #[test]
    fn in_a_container_it_is_the_one_that_our_connection_ends_at() {
        let machine = FakeMachine::new();
        for (pid, address, inode) in [(416, "0200", 7001), (426, "0300", 7002)] {
            let stat =
                "77 (redis-server) S 1 77 77 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 5 0 40000 1 1";
            let tcp = format!(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                 0: {address}11AC:18EB 010011AC:D431 01 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
            );
            machine.file(&format!("proc/{pid}/stat"), stat);
            machine.file(&format!("proc/{pid}/comm"), "redis-server\n");
            machine.file(&format!("proc/{pid}/status"), &format!("NSpid:\t{pid}\t1\n"));
            machine.file(&format!("proc/{pid}/net/tcp"), &tcp);
            let fd = machine.0.path().join(format!("proc/{pid}/fd"));
            std::fs::create_dir_all(&fd).expect("a directory");
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), fd.join("7")).expect("a link");
        }
        let info = "process_id:1\nexecutable:/usr/bin/redis-server\nuptime_in_seconds:600\n";
        let pid = |sample: &mut Sample, server: Option<&str>| {
            let ends = server.map(|server| Ends {
                client: "172.17.0.1:54321".parse().expect("an address"),
                server: Some(server.parse().expect("an address")),
            });
            read(sample, true, machine.0.path(), ends.as_slice());
            sample.host.as_ref().and_then(|h| h.pid)
        };
        let mut sample = Sample { info: Info::parse(info), ..Sample::default() };
        assert_eq!(pid(&mut sample, None), None);
        assert!(sample.unread[0].why.contains("in a container"), "{:?}", sample.unread);
        assert_eq!(pid(&mut sample, Some("172.17.0.4:6379")), None);
        assert_eq!(pid(&mut sample, Some("172.17.0.3:6379")), Some(426));
        assert_eq!(pid(&mut sample, None), Some(426), "it is known by then");
    }

    #[test]
    fn the_tightest_cgroup_up_the_tree_binds() {
        let machine = FakeMachine::new();
        machine.file("proc/77/cgroup", "0::/a/b/c\n");
        for (path, text) in [
            ("a/memory.max", "3000000\n"),
            ("a/memory.high", "1000000\n"),
            ("a/b/memory.max", "2000000\n"),
            ("a/b/memory.high", "max\n"),
            ("a/b/memory.current", "1500000\n"),
            ("a/b/memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n"),
            ("a/b/c/memory.max", "max\n"),
        ] {
            machine.file(&format!("sys/fs/cgroup/{path}"), text);
        }
        let cgroup = machine.sample(INFO).host.and_then(|h| h.cgroup).expect("a limit");
        assert_eq!((cgroup.version, cgroup.path.as_str(), cgroup.limit), (2, "/a/b", 2_000_000));
        assert_eq!(
            (cgroup.high, cgroup.current, cgroup.oom_kills),
            (Some(1_000_000), Some(1_500_000), Some(3))
        );
    }

    #[test]
    fn version_1_writes_unlimited_as_a_huge_number() {
        let machine = FakeMachine::new();
        machine.file("proc/77/cgroup", "11:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/x\n");
        let base = "sys/fs/cgroup/memory";
        machine.file(&format!("{base}/memory.limit_in_bytes"), "9223372036854771712\n");
        machine.file(&format!("{base}/docker/memory.limit_in_bytes"), "9223372036854771712\n");
        assert_eq!(machine.sample(INFO).host.expect("a host").cgroup, None);
        machine.file(&format!("{base}/docker/abc/memory.limit_in_bytes"), "1000000\n");
        machine.file(&format!("{base}/docker/abc/memory.usage_in_bytes"), "900000\n");
        machine.file(
            &format!("{base}/docker/abc/memory.oom_control"),
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        );
        let cgroup = machine.sample(INFO).host.and_then(|h| h.cgroup).expect("a limit");
        assert_eq!(
            (cgroup.version, cgroup.path.as_str(), cgroup.limit),
            (1, "/docker/abc", 1_000_000)
        );
        assert_eq!((cgroup.current, cgroup.oom_kills), (Some(900_000), Some(2)));
    }

    #[test]
    fn inside_a_container_the_mounts_root_is_the_containers_cgroup() {
        let machine = FakeMachine::new();
        machine.file("proc/77/cgroup", "0::/../../kubepods/pod1\n");
        machine.file("sys/fs/cgroup/memory.max", "500000\n");
        let cgroup = machine.sample(INFO).host.and_then(|h| h.cgroup).expect("a limit");
        assert_eq!((cgroup.path.as_str(), cgroup.limit), ("/", 500_000));
    }
}
