//! The journal: every change with its inverse, on disk before it is made. Read [`Journal`] first.
//!
//! One file a run, JSON lines, append-only, under `$XDG_STATE_HOME/unfrag` or `~/.local/state/unfrag`. A run holds its
//! file's lock while it lives; a file without an `end` line and without a lock is a run that was killed.

use crate::ActError;
use crate::reshape::spec::{Job, Spec};
use crate::restart::RestartRecord;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Begin {
        /// The server, without secrets.
        target: String,
        /// Its process.
        run_id: String,
        /// Ours.
        pid: u32,
        /// Milliseconds since 1970.
        at_unix_ms: u64,
    },
    /// A setting is about to be changed.
    Set {
        /// Its name.
        name: String,
        /// What it is: the inverse is to set this.
        from: String,
        /// What it will be.
        to: String,
    },
    /// A setting was put back and read back.
    Restored {
        /// Its name.
        name: String,
    },
    /// Keys are about to be set aside under names that begin so.
    SetAside {
        /// The inverse is to delete what is left under it.
        prefix: String,
        /// They expire by themselves after this.
        ttl_ms: u64,
    },
    /// Nothing is left under that prefix.
    Cleaned {
        /// The prefix.
        prefix: String,
    },
    /// A restart is about to do something that another unfrag would have to finish.
    Restart {
        /// What.
        record: RestartRecord,
    },
    /// A step of a restart begins.
    Step {
        /// Its name.
        name: String,
        /// The server.
        node: String,
    },
    /// A reshape is about to begin, or to go on.
    Reshape {
        /// What; the inverse is the same the other way, for what was moved.
        spec: Spec,
        /// No earlier run has left anything in the new layout.
        is_first: bool,
    },
    /// These are about to be moved, each in one atomic step.
    Moving {
        /// Their database.
        db: u32,
        /// Hashes with their fields, or keys.
        jobs: Vec<Job>,
    },
    /// The run ended with everything put back.
    End,
}

/// The folder journals are kept in.
#[derive(Debug, Clone)]
pub struct Journals {
    folder: PathBuf,
}

impl Journals {
    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The user's: `$XDG_STATE_HOME/unfrag`, or `~/.local/state/unfrag`, or `/var/lib/unfrag` of a user without a home.
    pub fn of_user() -> Self {
        Self::at(folder_of_user())
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins the journal of a run. Refuses while another run on this process lives, or has left changes behind.
    pub fn begin(&self, target: &str, run_id: &str) -> Result<Journal, ActError> {
        self.refuse_others(target, run_id)?;
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ActError::Journal { path, source }
        };
        std::fs::create_dir_all(&self.folder).map_err(fail(&self.folder))?;
        let at_unix_ms = now_ms();
        let path = self.folder.join(format!("{at_unix_ms}-{}.jsonl", short(run_id)));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(fail(&path))?;
        file.try_lock().map_err(|e| match e {
            TryLockError::Error(source) => ActError::Journal { path: path.clone(), source },
            TryLockError::WouldBlock => {
                ActError::Busy { who: path.display().to_string(), how: "end it where it runs" }
            }
        })?;
        // The folder's entry must survive a power cut as well.
        File::open(&self.folder).and_then(|f| f.sync_all()).map_err(fail(&self.folder))?;
        let mut journal = Journal { path, file };
        journal.write(&Entry::Begin {
            target: target.to_owned(),
            run_id: run_id.to_owned(),
            pid: std::process::id(),
            at_unix_ms,
        })?;
        Ok(journal)
    }

    /// Refuses while another run on this server lives, or has left changes behind. `run_id` is empty where it is not
    /// known, for the server is down.
    pub fn refuse_others(&self, target: &str, run_id: &str) -> Result<(), ActError> {
        // A restart's journal outlives the process it began with.
        let is_ours =
            |r: &Unfinished| r.run_id == run_id || (r.target == target && !r.restart.is_empty());
        match self.unfinished()?.into_iter().find(is_ours) {
            Some(run) if run.is_running => Err(run.busy()),
            Some(run) => Err(ActError::Interrupted { target: run.target, path: run.path }),
            None => Ok(()),
        }
    }

    /// Runs that have not ended: alive, or killed.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, ActError> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(vec![]) };
        let mut runs = vec![];
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "jsonl")
                && let Some(run) = Unfinished::read(&path)
                    .map_err(|source| ActError::Journal { path: path.clone(), source })?
            {
                runs.push(run);
            }
        }
        runs.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(runs)
    }
}

/// Where this user's journals and outcomes are kept.
pub(crate) fn folder_of_user() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    // Without HOME, what the system's list of users says; never a folder that anyone may have made before us.
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let state = set("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")));
    state.unwrap_or_else(|| PathBuf::from("/var/lib")).join("unfrag")
}

/// The journal of a run in progress.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line and returns when it is on disk.
    pub fn write(&mut self, entry: &Entry) -> Result<(), ActError> {
        let fail = |source| ActError::Journal { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(entry).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(fail)
    }

    /// Writes a line that must survive us, and not the machine: for what ends with the machine anyway, where waiting
    /// for the disk would hold clients up.
    pub(crate) fn note(&mut self, entry: &Entry) -> Result<(), ActError> {
        let fail = |source| ActError::Journal { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(entry).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)
    }

    /// Opens the journal of a killed run to finish it; `None` while it lives.
    pub(crate) fn reopen(path: &Path) -> Result<Option<Self>, ActError> {
        let fail = |source| ActError::Journal { path: path.to_owned(), source };
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// The last line: everything is put back. The file is removed, for it has nothing more to say.
    pub(crate) fn end(mut self) -> Result<(), ActError> {
        self.write(&Entry::End)?;
        let _ = std::fs::remove_file(crate::control::file_of(&self.path));
        let path = self.path.clone();
        std::fs::remove_file(&path).map_err(|source| ActError::Journal { path, source })
    }
}

/// A setting that was changed and not yet put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSetting {
    /// Its name.
    pub name: String,
    /// What it was before.
    pub from: String,
    /// Every value announced since, in order. The last may never have been taken: the run was killed, or the server
    /// refused it, so that an earlier one is still ours to put back.
    pub announced: Vec<String>,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its journal.
    pub path: PathBuf,
    /// The server, as it was named.
    pub target: String,
    /// The process it worked on.
    pub run_id: String,
    /// The process it was.
    pub pid: u32,
    /// It lives: the lock is held.
    pub is_running: bool,
    /// It is a restart.
    pub is_restart: bool,
    /// Settings still changed, in the order in which they were.
    pub settings: Vec<ChangedSetting>,
    /// Prefixes under which keys may still be set aside.
    pub prefixes: Vec<String>,
    /// What a restart had announced, in order.
    pub restart: Vec<RestartRecord>,
    /// A reshape, and what it has moved or was about to.
    pub reshape: Option<Moved>,
}

/// What a reshape has moved or was about to, by database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What was to be done.
    pub spec: Spec,
    /// No earlier run had left anything in the new layout.
    pub is_first: bool,
    /// In order.
    pub jobs: Vec<(u32, Job)>,
}

impl Unfinished {
    /// Of a run that lives: what it is, and how it is ended in order.
    pub(crate) fn busy(&self) -> ActError {
        let (what, how) = if self.is_restart {
            (
                "a restart",
                "end it there with Ctrl-C, which puts back or completes what it has begun",
            )
        } else if self.reshape.is_some() {
            ("a reshape", "end it there with Ctrl-C")
        } else {
            ("a fix", "end it with `unfrag fix --abort` on this machine")
        };
        let who = format!("{what}, process {} on this machine, {}", self.pid, self.path.display());
        ActError::Busy { who, how }
    }

    /// `None` when that run has ended. A last line that was cut off by the kill announced a change that was not made.
    fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            // It ended while we looked.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let entries: Vec<Entry> =
            text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let Some(Entry::Begin { target, run_id, pid, .. }) = entries.first() else {
            return Ok(None);
        };
        if entries.last() == Some(&Entry::End) {
            return Ok(None);
        }
        let (settings, prefixes) = outstanding(&entries);
        let restart = entries.iter().filter_map(|e| match e {
            Entry::Restart { record } => Some(record.clone()),
            _ => None,
        });
        let restart: Vec<RestartRecord> = restart.collect();
        let is_restart =
            !restart.is_empty() || entries.iter().any(|e| matches!(e, Entry::Step { .. }));
        let is_running = File::open(path)
            .is_ok_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)));
        Ok(Some(Self {
            path: path.to_owned(),
            target: target.clone(),
            run_id: run_id.clone(),
            pid: *pid,
            is_running,
            is_restart,
            settings,
            prefixes,
            restart,
            reshape: moved(entries),
        }))
    }
}

/// What the entries changed and did not put back. Pure.
fn outstanding(entries: &[Entry]) -> (Vec<ChangedSetting>, Vec<String>) {
    let mut settings: Vec<ChangedSetting> = vec![];
    let mut prefixes: Vec<String> = vec![];
    for entry in entries {
        match entry {
            Entry::Set { name, from, to } => announce(&mut settings, name, from, to),
            Entry::Restored { name } => settings.retain(|s| s.name != *name),
            Entry::SetAside { prefix, .. } if !prefixes.contains(prefix) => {
                prefixes.push(prefix.clone());
            }
            Entry::Cleaned { prefix } => prefixes.retain(|p| p != prefix),
            _ => {}
        }
    }
    (settings, prefixes)
}

/// Notes one more value. Driven up and down, a setting still goes back to what it was first.
pub(crate) fn announce(settings: &mut Vec<ChangedSetting>, name: &str, from: &str, to: &str) {
    match settings.iter_mut().find(|s| s.name == name) {
        Some(known) => {
            known.announced.retain(|t| t != to);
            known.announced.push(to.to_owned());
        }
        None => settings.push(ChangedSetting {
            name: name.to_owned(),
            from: from.to_owned(),
            announced: vec![to.to_owned()],
        }),
    }
}

fn moved(entries: Vec<Entry>) -> Option<Moved> {
    let mut moved: Option<Moved> = None;
    for entry in entries {
        match (entry, &mut moved) {
            (Entry::Reshape { spec, is_first }, None) => {
                moved = Some(Moved { spec, is_first, jobs: vec![] });
            }
            (Entry::Moving { db, jobs }, Some(moved)) => {
                moved.jobs.extend(jobs.into_iter().map(|job| (db, job)));
            }
            _ => {}
        }
    }
    moved
}

fn short(run_id: &str) -> String {
    run_id.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, from: &str, to: &str) -> Entry {
        Entry::Set { name: name.into(), from: from.into(), to: to.into() }
    }

    #[test]
    fn what_is_outstanding_goes_back_to_its_first_value() {
        let entries = [
            set("hz", "10", "500"),
            set("activedefrag", "no", "yes"),
            set("hz", "500", "100"),
            Entry::Restored { name: "activedefrag".into() },
            Entry::SetAside { prefix: "a".into(), ttl_ms: 1 },
            Entry::SetAside { prefix: "b".into(), ttl_ms: 1 },
            Entry::Cleaned { prefix: "a".into() },
        ];
        let (settings, prefixes) = outstanding(&entries);
        let hz = ChangedSetting {
            name: "hz".to_owned(),
            from: "10".to_owned(),
            announced: vec!["500".to_owned(), "100".to_owned()],
        };
        assert_eq!(settings, [hz]);
        assert_eq!(prefixes, ["b"]);
    }

    #[test]
    fn a_second_run_is_refused_while_one_lives_and_after_it_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::at(folder.path());
        let mut journal = journals.begin("here", "run1").unwrap();
        journal.write(&set("hz", "10", "500")).unwrap();
        assert!(matches!(journals.begin("here", "run1"), Err(ActError::Busy { .. })));
        assert!(journals.begin("there", "run2").is_ok(), "another server is another matter");
        drop(journal);
        assert!(matches!(journals.begin("here", "run1"), Err(ActError::Interrupted { .. })));
        let left = &journals.unfinished().unwrap()[0];
        let journal = Journal::reopen(&left.path).unwrap().unwrap();
        journal.end().unwrap();
        assert!(journals.begin("here", "run1").is_ok());
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::at(folder.path());
        let journal = journals.begin("here", "run1").unwrap();
        let mut file = OpenOptions::new().append(true).open(journal.path()).unwrap();
        file.write_all(b"{\"entry\":\"set\",\"name\":\"hz\",\"fr").unwrap();
        drop(journal);
        assert_eq!(journals.unfinished().unwrap()[0].settings, []);
    }
}
