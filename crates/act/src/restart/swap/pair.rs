//! [`Pair`]: the two processes, and what exchanges their places. Every part can be done twice, for `undo` does it again.

use super::{launch::put_back, let_in, port};
use crate::ActError;
use crate::link::Link;
use crate::restart::process::ProcessId;
use crate::restart::record::SecondRecord;
use std::path::Path;
use std::time::{Duration, Instant};
use unfrag_client::{Address, resp};
use unfrag_model::Info;

/// The servers give the exchange up by themselves after this.
const EXCHANGE_MS: u64 = 1000;

/// A process that was told to end, or killed, is gone by then.
const ENDS: Duration = Duration::from_secs(20);

/// Two processes of one server.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) first: Link,
    pub(crate) second: Link,
    pub(crate) record: SecondRecord,
    /// Settings of the second one that go back to the first one's value in the end.
    pub(crate) settle: Vec<(String, String)>,
    /// A connection to the second one for one word.
    pub(crate) nudge: Option<Link>,
    /// Settings of the first one that were empty and were filled in.
    pub(crate) filled: Vec<String>,
}

/// Replication and keyspace in one small round trip.
pub(crate) async fn state(link: &mut Link) -> Result<Info, ActError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("replication").cmd("INFO").arg("keyspace");
    let replies = link.connection.send_all(&pipeline, "INFO").await?;
    let text: String = replies.iter().filter_map(resp::text).collect::<Vec<_>>().join("\r\n");
    Ok(Info::parse(&text))
}

impl Pair {
    /// The way back, once places are exchanged: the second one is the primary now, `other` is to take over from it. It
    /// is the first one, or its successor at the first one's present port.
    pub(crate) fn way_back(
        record: &SecondRecord,
        serving: Link,
        other: Link,
        other_id: ProcessId,
    ) -> Result<Self, ActError> {
        let Some(serving_id) = record.second.clone() else {
            return Err(ActError::Unsafe("the second process's number is not known".to_owned()));
        };
        let turned = record
            .ports
            .iter()
            .map(|(name, [clients, own, later])| (name.clone(), [*clients, *later, *own]));
        let record = SecondRecord {
            first: serving_id,
            first_run_id: serving.run_id.clone(),
            second: Some(other_id),
            ports: turned.collect(),
            made_append_only: None,
            ..record.clone()
        };
        Ok(Self {
            first: serving,
            second: other,
            record,
            settle: vec![],
            nudge: None,
            filled: vec![],
        })
    }

    /// Where the second one listens before it takes over.
    pub(crate) fn spare_address(&self) -> String {
        Address::tcp(&self.record.host, port(&self.record, 1).unwrap_or(0)).to_string()
    }

    /// The second one becomes a replica of the first, and the first one is given what it needs to follow the second.
    pub(super) async fn follow(&mut self) -> Result<(), ActError> {
        let options = self.first.options.clone();
        let from = port(&self.record, 0).unwrap_or(0).to_string();
        self.second.connection.call(&["REPLICAOF", &self.record.host, &from]).await?;
        if let Some(password) = options.password.as_ref().filter(|_| !self.filled.is_empty()) {
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg("masterauth").arg(password.expose());
            self.first.connection.send(&set, "CONFIG SET masterauth").await?;

            if let Some(user) = options.user.as_deref().filter(|u| !u.is_empty()) {
                self.first.config_set("masteruser", user).await?;
            }
        }
        Ok(())
    }

    /// Waits until what is sent is there a moment later. A primary sends nothing to a new replica before its first
    /// acknowledgement, so that an offset near the primary's proves nothing yet.
    pub(crate) async fn caught_up(&mut self, at_most: Duration) -> Result<(), ActError> {
        /// A lag of this many milliseconds is a part of the pause.
        const NEAR: Duration = Duration::from_millis(30);
        self.ask_for_acknowledgement().await?;
        let deadline = Instant::now() + at_most;
        loop {
            let begun = Instant::now();
            let sent = state(&mut self.first).await?.count("master_repl_offset");
            while state(&mut self.second).await?.count("slave_repl_offset") < sent {
                if begun.elapsed() > Duration::from_secs(1) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if begun.elapsed() < NEAR {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ActError::Unsafe("the second process does not catch up".to_owned()));
            }
        }
    }

    /// The second one tells the first at once what it has.
    pub(crate) async fn ask_for_acknowledgement(&mut self) -> Result<(), ActError> {
        if self.nudge.is_none() {
            self.get_ready_to_ask().await?;
        }
        if let Some(link) = self.nudge.take() {
            link.ask_for_acknowledgement();
        }
        Ok(())
    }

    /// Connects for the next question, ahead of time.
    pub(super) async fn get_ready_to_ask(&mut self) -> Result<(), ActError> {
        self.nudge = Some(Link::open(&self.second.address, &self.second.options).await?);
        Ok(())
    }

    /// FAILOVER: the servers do it, or give it up.
    pub(crate) async fn hand_over(&mut self) -> Result<(), ActError> {
        let (host, to) = (self.record.host.clone(), port(&self.record, 1).unwrap_or(0).to_string());
        let limit = EXCHANGE_MS.to_string();
        let words = ["FAILOVER", "TO", &host, &to, "TIMEOUT", &limit];
        self.first.connection.call(&words).await?;
        if self.is_handed_over().await? {
            Ok(())
        } else {
            Err(ActError::Unsafe(
                "the servers gave the exchange of roles up: nothing was changed".to_owned(),
            ))
        }
    }

    /// Waits until no exchange is under way, and tells how it came out.
    pub(crate) async fn is_handed_over(&mut self) -> Result<bool, ActError> {
        let deadline = Instant::now() + Duration::from_millis(EXCHANGE_MS * 10);
        loop {
            let first = state(&mut self.first).await?;
            if first.text("master_failover_state") == Some("no-failover") {
                return Ok(first.is_replica() && !state(&mut self.second).await?.is_replica());
            }
            if Instant::now() > deadline {
                return Err(ActError::Unsafe("the exchange of roles does not end".to_owned()));
            }
        }
    }

    /// The first one leaves the ports that clients know, the second one takes them.
    pub(crate) async fn exchange_ports(&mut self) -> Result<(), ActError> {
        set_ports(&mut self.first, &self.record, 2).await?;
        self.take_ports().await
    }

    /// The second one listens where clients look.
    pub(crate) async fn take_ports(&mut self) -> Result<(), ActError> {
        let deadline = Instant::now() + Duration::from_millis(EXCHANGE_MS);
        while let Err(error) = set_ports(&mut self.second, &self.record, 0).await {
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some((socket, spare)) = &self.record.socket {
            link_over(spare, socket);
        }
        Ok(())
    }

    /// Connections to the first one are closed; their clients come back, and find the second.
    pub(crate) async fn send_clients_over(&mut self) -> Result<(), ActError> {
        for kind in ["normal", "pubsub"] {
            self.first.connection.call(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await?;
        }
        Ok(())
    }

    /// What the second one had of its own goes back to what the first one has.
    pub(crate) async fn settle(&mut self) -> Result<(), ActError> {
        for (name, value) in self.settle.clone() {
            let now = self.second.config_get(&name).await?.unwrap_or_default();
            if now != value {
                self.second.config_set(&name, &value).await?;
            }
        }
        Ok(())
    }

    /// Lets the first one go, once nothing depends on it.
    pub(crate) async fn retire(&mut self, wait_max: Duration) -> Result<(), ActError> {
        if self.record.append_only {
            // Until its own file is complete the first one, as its replica, keeps the old one up to date.
            write_append_only(&mut self.second, wait_max).await?;
        }
        if state(&mut self.second).await?.is_replica() {
            return Err(ActError::Unsafe(
                "the second process is no primary: the first one stays".to_owned(),
            ));
        }
        // It is a replica and holds nothing that the second one does not hold.
        let _ = self.first.connection.call(&["SHUTDOWN", "NOSAVE"]).await;
        if !self.record.first.gone(ENDS).await {
            self.record.first.kill();
            self.record.first.gone(ENDS).await;
        }
        own_files(&self.record);
        Ok(())
    }

    /// What that was, in words.
    pub(crate) fn retired(&self, which: &str) -> String {
        let file =
            if self.record.append_only { "; the append-only file is the new one's" } else { "" };
        format!("the {which} process has ended{file}")
    }

    /// The first one stays what it was, the second one goes. Only before the exchange of roles.
    pub(crate) async fn revert(&mut self) {
        let_in(&mut self.first).await;
        revert_files(&self.record).await;
        take_back_append_only(&mut self.first, &self.record).await;
        for name in std::mem::take(&mut self.filled) {
            let _ = self.first.config_set(&name, "").await;
        }
    }
}

/// The server behind `link` has an append-only file of its own, complete.
pub(crate) async fn write_append_only(link: &mut Link, wait_max: Duration) -> Result<(), ActError> {
    link.config_set("appendonly", "yes").await?;
    let deadline = Instant::now() + wait_max;
    loop {
        let info = link.info().await?;
        let busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
            .iter()
            .any(|name| info.flag(name) == Some(true));
        if !busy && info.flag("aof_enabled") == Some(true) {
            if info.text("aof_last_bgrewrite_status") == Some("ok") {
                return Ok(());
            }
            return Err(ActError::Unsafe(
                "the second process cannot write its append-only file".to_owned(),
            ));
        }
        if Instant::now() > deadline {
            return Err(ActError::Unsafe("the append-only file is not written in time".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server removes its socket and its pid file when it ends: both are the second one's by now.
pub(crate) fn own_files(record: &SecondRecord) {
    if let Some((socket, spare)) = &record.socket {
        link_over(spare, socket);
    }
    if let (Some(path), Some(second)) = (&record.pid_file, &record.second) {
        let _ = std::fs::write(path, format!("{}\n", second.pid));
    }
}

/// Ends the second process and takes away what it left.
pub(crate) async fn revert_files(record: &SecondRecord) {
    if let Some(second) = &record.second {
        second.kill();
        second.gone(ENDS).await;
    }
    if let Some((_, spare)) = &record.socket {
        let _ = std::fs::remove_file(spare);
    }
    if let Some(path) = &record.pid_file {
        let _ = std::fs::write(path, format!("{}\n", record.first.pid));
    }
}

/// The folder of a server that is empty takes less: 177 bytes on 7.0.15 and Valkey 9.1.2, 190 on 8.2.3 (started with
/// `--appendonly yes`, `stat` of its files).
const EMPTY_APPEND_ONLY_BYTES: u64 = 4096;

/// Takes away the folder of append-only files that a second process had just begun, and puts back an older one of the
/// server's. The second process has ended; the first one is asked whether it has begun to keep one meanwhile.
pub(crate) async fn take_back_append_only(first: &mut Link, record: &SecondRecord) {
    let Some(folder) = &record.made_append_only else { return };
    let keeps_none = first.info().await.is_ok_and(|i| i.flag("aof_enabled") == Some(false));
    if !keeps_none {
        return;
    }
    let spare = super::spare_path(folder);
    let is_seconds = spare.exists() || !record.found_append_only;
    if is_seconds && bytes_in(folder).is_some_and(|bytes| bytes <= EMPTY_APPEND_ONLY_BYTES) {
        // What cannot be removed stays, and the older one beside it.
        let _ = std::fs::remove_dir_all(folder);
    }
    put_back(folder, &spare);
}

/// Bytes of the files in a folder that holds nothing but files.
fn bytes_in(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).ok()? {
        let metadata = entry.ok()?.metadata().ok()?;
        bytes += metadata.is_file().then_some(metadata.len())?;
    }
    Some(bytes)
}

/// Port 0 of a triple is the clients', 1 the second one's own, 2 the first one's afterwards.
pub(crate) async fn set_ports(
    link: &mut Link,
    record: &SecondRecord,
    which: usize,
) -> Result<(), ActError> {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET");
    for (name, ports) in &record.ports {
        set.arg(name).arg(ports.get(which).copied().unwrap_or(0));
    }
    link.connection.send(&set, "CONFIG SET port").await?;
    Ok(())
}

/// `name` leads to what `file` is, without a moment in which it leads nowhere.
fn link_over(file: &Path, name: &Path) {
    let mut between = name.as_os_str().to_owned();
    between.push(".unfrag-new");
    let _ = std::fs::remove_file(&between);
    if std::fs::hard_link(file, &between).is_ok() {
        let _ = std::fs::rename(&between, name);
        // Where both are names of one file already, renaming does nothing and leaves both.
        let _ = std::fs::remove_file(&between);
    }
}
