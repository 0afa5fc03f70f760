//! [`Site`]: a server with a configuration file, in the background, as an operator has it. Ended by process id.

use redis::Connection;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use unfrag_act::permit::Consent;
use unfrag_act::restart::{
    Facts, RestartEvent, RestartOutcome, RestartPlan, RestartRun, Supervisor, Wish, execute, look,
    plan,
};
use unfrag_act::{ActError, ChangePermit, Journals, Stop, Undone, undo};
use unfrag_client::{Address, ConnectOptions, SampleOptions, Target, connect, sample};
use unfrag_diagnose::diagnose;
use unfrag_testbed::Kind;
use unfrag_testbed::measure::{self, info, wait_until};

/// A running server and the state folder of the unfrag that works on it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    pub(crate) password: Option<String>,
}

/// Below the range that outgoing connections take, a Cluster's bus (ten thousand higher) included.
pub(crate) fn free_port() -> u16 {
    loop {
        let drawn = RandomState::new().build_hasher().finish() % 9000;
        let port = 12000 + u16::try_from(drawn).unwrap();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

impl Site {
    /// With these lines in its file.
    pub(crate) fn start(kind: Kind, lines: &str) -> Self {
        let site = Self::laid_out(kind, &format!("daemonize yes\n{lines}"));
        assert!(Command::new("sh").arg("-c").arg(site.start_line()).status().unwrap().success());
        site.wait_until_up();
        site
    }

    pub(crate) fn wait_until_up(&self) {
        wait_until("the server", || Ok(self.try_connection().is_some())).unwrap();
    }

    /// Its folder and file; somebody else starts it.
    pub(crate) fn laid_out(kind: Kind, lines: &str) -> Self {
        let site = Self {
            kind,
            port: free_port(),
            folder: tempfile::Builder::new().prefix("unfrag-site-").tempdir().unwrap(),
            password: lines.lines().find_map(|l| l.strip_prefix("requirepass ")).map(str::to_owned),
        };
        let folder = site.folder.path().display();
        let debug = if kind.is_7_or_later() { "enable-debug-command local\n" } else { "" };
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\npidfile {folder}/pid\n{debug}{lines}\n",
            site.port
        );
        std::fs::write(site.conf(), text).unwrap();
        site
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.folder.path().join("server.conf")
    }

    pub(crate) fn start_line(&self) -> String {
        format!("{} {}", self.kind.binary().unwrap().display(), self.conf().display())
    }

    pub(crate) fn wish(&self) -> Wish {
        Wish {
            supervisor: Some(Supervisor::Command { line: self.start_line() }),
            ..Wish::default()
        }
    }

    pub(crate) fn address(&self) -> Address {
        Address::tcp("127.0.0.1", self.port)
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            password: self.password.as_deref().map(Into::into),
            ..ConnectOptions::default()
        }
    }

    pub(crate) fn journals(&self) -> Journals {
        Journals::at(self.folder.path().join("state"))
    }

    pub(crate) fn try_connection(&self) -> Option<Connection> {
        try_connection(self.port, self.password.as_deref())
    }

    pub(crate) fn connection(&self) -> Connection {
        self.try_connection().unwrap()
    }

    pub(crate) fn info(&self) -> HashMap<String, String> {
        info(&mut self.connection()).unwrap()
    }

    pub(crate) fn fill(&self, keys: u64) {
        let mut connection = self.connection();
        // Not DEBUG POPULATE, which old servers do not write into their append-only file.
        let mut pipe = redis::pipe();
        for n in 0..keys {
            pipe.set(format!("key:{n}"), format!("{n:0100}"));
        }
        pipe.exec(&mut connection).unwrap();
        let mut pipe = redis::pipe();
        for n in 0..200 {
            pipe.rpush(format!("list:{n}"), vec![n, n + 1]).hset(format!("hash:{n}"), "f", n);
            pipe.sadd(format!("set:{n}"), n).zadd(format!("zset:{n}"), "m", n);
        }
        pipe.cmd("SELECT").arg(3).set("other", "database").cmd("SELECT").arg(0);
        pipe.exec(&mut connection).unwrap();
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut self.connection()).unwrap();
    }

    /// What is in no file and has to be carried over.
    pub(crate) fn set_at_run_time(&self) {
        self.set("maxmemory", "3gb");
        self.set("hash-max-listpack-entries", "77");
        redis::cmd("ACL")
            .arg(&["SETUSER", "bob", "on", ">secret", "~a*", "+get"])
            .exec(&mut self.connection())
            .unwrap();
    }

    pub(crate) fn facts(&self, wish: &Wish) -> Facts {
        facts(&Target::Server(self.address()), &self.options(), wish).unwrap()
    }

    pub(crate) fn plan(&self, wish: &Wish) -> RestartPlan {
        plan::make(&self.facts(wish), wish)
    }

    pub(crate) fn restart(&self, wish: &Wish) -> RestartOutcome {
        restart(
            &Target::Server(self.address()),
            &self.options(),
            &self.journals(),
            wish,
            &mut |_| {},
        )
    }

    /// Plans by what was looked at before, and does it.
    pub(crate) fn carry_out(
        &self,
        facts: &Facts,
        wish: &Wish,
        stop: Stop,
        events: &mut (dyn FnMut(RestartEvent) + Send),
    ) -> RestartOutcome {
        carry_out(facts, &self.options(), &self.journals(), wish, stop, events)
    }

    pub(crate) fn undo(&self) -> Result<Undone, ActError> {
        runtime().block_on(async {
            let permit = |run_id: &str| ChangePermit::mint(Consent::Flag, run_id);
            undo(&self.address(), &self.options(), &self.journals(), permit).await
        })
    }

    /// Server processes that have this site's folder as theirs, their own fork children left out.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let folder = std::fs::canonicalize(self.folder.path()).unwrap();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        // Below it, too: a test may have sent the server to another folder, and deleted that.
        let all: Vec<u32> = pids
            .filter(|pid| {
                let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
                cwd.is_ok_and(|cwd| cwd.starts_with(&folder))
            })
            .collect();
        all.iter().copied().filter(|pid| !parent(*pid).is_some_and(|p| all.contains(&p))).collect()
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl Drop for Site {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

pub(crate) fn try_connection(port: u16, password: Option<&str>) -> Option<Connection> {
    let login = password.map(|p| format!(":{p}@")).unwrap_or_default();
    measure::connect(&format!("redis://{login}127.0.0.1:{port}/")).ok()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn facts(
    target: &Target,
    options: &ConnectOptions,
    wish: &Wish,
) -> Result<Facts, ActError> {
    runtime().block_on(look(target, options, wish, |address| async move {
        let mut connection = connect(&address, options).await?;
        let sample = sample(&mut connection, &SampleOptions::default()).await?;
        let report = diagnose(&sample);
        Ok((sample, report))
    }))
}

pub(crate) fn restart(
    target: &Target,
    options: &ConnectOptions,
    journals: &Journals,
    wish: &Wish,
    events: &mut (dyn FnMut(RestartEvent) + Send),
) -> RestartOutcome {
    let facts = facts(target, options, wish).unwrap();
    carry_out(&facts, options, journals, wish, Stop::default(), events)
}

fn carry_out(
    facts: &Facts,
    options: &ConnectOptions,
    journals: &Journals,
    wish: &Wish,
    stop: Stop,
    events: &mut (dyn FnMut(RestartEvent) + Send),
) -> RestartOutcome {
    let plan = plan::make(facts, wish);
    let permit = ChangePermit::mint(Consent::Flag, facts.run_id());
    let run = RestartRun { plan: &plan, facts, wish, permit: &permit, options, journals, stop };
    runtime().block_on(execute(run, events)).unwrap()
}
