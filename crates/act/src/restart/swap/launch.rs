//! The second process: started empty beside the first, closed to everybody, given everything that makes it the same.
//!
//! A server that starts in another one's folder would load what lies there. With `appendonly yes` it reads only
//! append-only files, and with `appendonly no` only the snapshot (server.c: loadDataFromDisk); so the second process starts
//! with the opposite of what the first one has, and the one kind of file it would then read is put out of its way: it is
//! the kind that no start of the first one reads either, so a machine that dies in that moment loses nothing.

use super::pair::{Pair, take_back_append_only};
use super::spare_path;
use crate::ActError;
use crate::link::Link;
use crate::restart::acl;
use crate::restart::boot::Boot;
use crate::restart::configuration::{Configuration, line};
use crate::restart::execute::Work;
use crate::restart::facts::Facts;
use crate::restart::launch::{REHEARSED, Rehearsal, random_word, reach, rehearse, spawn};
use crate::restart::preflight::{modules, of_running};
use crate::restart::process::{Process, ProcessId};
use crate::restart::record::{RestartRecord, SecondRecord};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use unfrag_client::{Address, Connection};
use unfrag_model::text::counted;

/// Settings that the second process has of its own until it takes over, and what for.
const OWN: [(&str, &str); 7] = [
    // It starts empty: the copy need not go over the disk, nor replace the first one's snapshot.
    ("repl-diskless-load", "on-empty-db"),
    // A replica that evicts by itself would lack keys.
    ("replica-ignore-maxmemory", "yes"),
    // The first one must find it under the port it listens on.
    ("replica-announce-ip", ""),
    ("replica-announce-port", "0"),
    ("replica-serve-stale-data", "yes"),
    // Nobody but its primary writes to it.
    ("replica-read-only", "yes"),
    ("cluster-enabled", "no"),
];

pub(super) async fn launch(work: &mut Work<'_>) -> Result<Pair, ActError> {
    let (facts, node) = (work.facts, work.facts.target());
    let process = facts.process.as_ref().map_err(|e| ActError::Unsafe(e.clone()))?;
    work.begin("launch", &node)?;
    let boot = of_running(&facts.info, process)
        .ok_or_else(|| ActError::Unsafe("its command line is not known".to_owned()))?;
    let rehearsal = rehearse(&boot, process, work.options).await.map_err(ActError::Unsafe)?;
    if rehearsal.engine != facts.engine {
        return Err(ActError::Unsafe(format!(
            "a second process would be {}, and this is {}",
            rehearsal.engine, facts.engine
        )));
    }
    if facts.is_append_only() {
        // Its files must stay the ones that the second process finds at its start.
        work.settings
            .set(&mut work.link, &mut work.journal, "auto-aof-rewrite-percentage", "0")
            .await?;
    }
    let mut record = record(facts, process)?;
    let password = random_word()?;
    let text = text(facts, &rehearsal, &record, &password, work);
    work.record(RestartRecord::Second(Box::new(record.clone())))?;
    let asides = put_aside(work, &record)?;
    let started = start(work, &boot, &text, process, &mut record, &password).await;
    if started.is_err() {
        take_back_append_only(&mut work.link, &record).await;
    }
    for (from, to) in &asides {
        put_back(from, to);
    }
    let connection = started?;
    let mut pair = Pair {
        first: Link::open(&facts.address, work.options).await?,
        second: link_of(connection, &record, work)?,
        nudge: None,
        filled: vec![],
        settle: settle(facts),
        record,
    };
    work.done(format!("process {}", pair.record.second.as_ref().map_or(0, |p| p.pid)));
    match carry(work, &mut pair, Some(&rehearsal)).await {
        Ok(()) => Ok(pair),
        Err(error) => {
            pair.revert().await;
            Err(error)
        }
    }
}

fn link_of(
    connection: Connection,
    record: &SecondRecord,
    work: &Work<'_>,
) -> Result<Link, ActError> {
    let port = super::port(record, 1).ok_or_else(|| ActError::Unsafe("no port".to_owned()))?;
    let address = Address::tcp(&record.host, port);
    Ok(Link::over(connection, address, work.options.clone(), String::new()))
}

fn record(facts: &Facts, process: &Process) -> Result<SecondRecord, ActError> {
    let configuration = &facts.configuration;
    let host = host(configuration.text("bind"));
    let mut ports = vec![];
    for name in ["port", "tls-port"] {
        let port = u16::try_from(configuration.number(name)).unwrap_or(0);
        if port != 0 {
            ports.push((name.to_owned(), [port, free_port(&host)?, free_port(&host)?]));
        }
    }
    // Replication goes over TLS where it is told to, or where there is nothing else.
    if configuration.is_yes("tls-replication") {
        ports.sort_by_key(|(name, _)| name != "tls-port");
    }
    let path = |name: &str| {
        let text = configuration.text(name);
        (!text.is_empty()).then(|| process.cwd.join(text))
    };
    let append_only = facts.disk.folder.join(configuration.text("appenddirname"));
    let is_on = facts.is_append_only();
    Ok(SecondRecord {
        first: process.id.clone(),
        first_run_id: facts.run_id.clone(),
        second: None,
        program: process.executable.clone(),
        address: facts.target(),
        host,
        ports,
        pid_file: path("pidfile").filter(|p| p.exists()),
        socket: path("unixsocket").as_deref().map(sockets),
        found_append_only: append_only.exists(),
        made_append_only: (!is_on).then_some(append_only),
        append_only: is_on,
        saves: !configuration.text("save").trim().is_empty(),
    })
}

/// The socket that clients look for, and the one that the second process makes. `unixsocket` cannot be set at run time:
/// a process that came of a swap keeps the spare name, and clients go on looking for the other name of the same socket.
fn sockets(running: &Path) -> (PathBuf, PathBuf) {
    const SPARE: [&str; 2] = [".unfrag", ".unfrag-2"];
    let file = |path: &Path| path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()));
    let shorter = |end: &&str| {
        let name = running.as_os_str().as_bytes().strip_suffix(end.as_bytes())?;
        Some(PathBuf::from(OsStr::from_bytes(name)))
    };
    let other = SPARE
        .iter()
        .filter_map(shorter)
        .find(|p| file(p).is_some_and(|f| Some(f) == file(running)));
    let known = other.unwrap_or_else(|| running.to_owned());
    let with = |end: &&'static str| {
        let mut name = known.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let spare = SPARE.iter().map(with).find(|p| p.as_path() != running);
    let spare = spare.unwrap_or_else(|| spare_path(&known));
    (known, spare)
}

/// An address that the server listens on, the machine's own if it can be.
fn host(bind: &str) -> String {
    let all: Vec<&str> = bind.split_whitespace().map(|b| b.trim_start_matches('-')).collect();
    let is_any = |b: &&str| matches!(*b, "*" | "0.0.0.0" | "127.0.0.1");
    match all.first() {
        Some(first) if !all.iter().any(is_any) => match *first {
            "::" | "::*" => "::1".to_owned(),
            address => address.to_owned(),
        },
        _ => "127.0.0.1".to_owned(),
    }
}

fn free_port(host: &str) -> Result<u16, ActError> {
    let listener = TcpListener::bind((host, 0));
    let port = listener.and_then(|l| l.local_addr()).map(|a| a.port());
    port.map_err(|e| ActError::Unsafe(format!("no free port on {host}: {e}")))
}

/// The configuration of the second process, as far as it is not in the file: secrets among it.
fn text(
    facts: &Facts,
    rehearsal: &Rehearsal,
    record: &SecondRecord,
    password: &str,
    work: &Work<'_>,
) -> String {
    let ours = &facts.configuration;
    let mut text = rehearsal.boot.lines.join("\n") + "\n";
    for difference in ours.differences(&rehearsal.configuration, &REHEARSED) {
        text.push_str(&line(&difference.name, &difference.ours));
    }
    for name in REHEARSED.iter().filter(|name| ours.has(name)) {
        if !matches!(
            *name,
            "replicaof" | "slaveof" | "port" | "tls-port" | "unixsocket" | "requirepass"
        ) {
            text.push_str(&line(name, ours.text(name)));
        }
    }
    for module in facts.modules.iter().filter(|m| !m.path.is_empty()) {
        if !rehearsal.modules.iter().any(|r| r.name == module.name) {
            text.push_str(&format!("loadmodule {} {}\n", module.path, module.args.join(" ")));
        }
    }
    let ports = ["port", "tls-port"].into_iter().filter(|name| ours.has(name));
    for name in ports {
        let own = record.ports.iter().find(|(n, _)| n == name).and_then(|(_, p)| p.get(1));
        text.push_str(&line(name, &own.copied().unwrap_or(0).to_string()));
    }
    if let Some((_, spare)) = &record.socket {
        text.push_str(&line("unixsocket", &spare.display().to_string()));
    }
    if ours.number("port") == 0 {
        text.push_str("tls-replication yes\n");
    }
    // As whom it follows the first one.
    if ours.text("masterauth").is_empty()
        && let Some(password) = &work.options.password
    {
        text.push_str(&line("masterauth", password.expose()));
        if let Some(user) = work.options.user.as_deref().filter(|u| !u.is_empty()) {
            text.push_str(&line("masteruser", user));
        }
    }
    for (name, value) in OWN {
        text.push_str(&line(name, value));
    }
    // A replica from its first moment, of nobody yet: there is never a second server that takes writes.
    let nobody = super::port(record, 2).unwrap_or(0);
    text.push_str(&format!("replicaof {} {nobody}\n", record.host));
    text.push_str(&line("dir", ours.text("dir")));
    text.push_str(&line("requirepass", password));
    text.push_str(&line("appendonly", if record.append_only { "no" } else { "yes" }));
    text
}

/// What goes back to the first one's value once the second has taken over. None of these is a secret: where the first
/// one has a `masterauth`, the second one has had the same from the start.
fn settle(facts: &Facts) -> Vec<(String, String)> {
    let ours = &facts.configuration;
    let own = OWN.iter().map(|(name, _)| *name).filter(|n| *n != "cluster-enabled");
    let mut names: Vec<&str> = own.collect();
    if ours.text("masterauth").is_empty() {
        names.extend(["masterauth", "masteruser"]);
    }
    names.push("tls-replication");
    names.push("auto-aof-rewrite-percentage");
    let known = names.into_iter().filter(|name| ours.has(name));
    known.map(|name| (name.to_owned(), ours.text(name).to_owned())).collect()
}

/// Puts the file that a start of the second process would read out of its way.
fn put_aside(
    work: &mut Work<'_>,
    record: &SecondRecord,
) -> Result<Vec<(PathBuf, PathBuf)>, ActError> {
    let facts = work.facts;
    let from = match &record.made_append_only {
        Some(folder) => folder.clone(),
        None => facts.disk.folder.join(facts.configuration.text("dbfilename")),
    };
    if !from.exists() {
        return Ok(vec![]);
    }
    let to = spare_path(&from);
    if to.exists() {
        return Err(ActError::Unsafe(format!(
            "`{}` is in the way: `{}` would be put there while the second process starts; it is of an earlier run, look \
             whether it is needed and move it",
            to.display(),
            from.display()
        )));
    }
    work.record(RestartRecord::Aside { from: from.clone(), to: to.clone() })?;
    std::fs::rename(&from, &to)
        .map_err(|e| ActError::Unsafe(format!("cannot move `{}` aside: {e}", from.display())))?;
    Ok(vec![(from, to)])
}

/// The file goes back, unless the server has made a newer one meanwhile.
pub(in crate::restart) fn put_back(from: &Path, to: &Path) {
    if !to.exists() {
        return;
    }
    if to.is_dir() {
        if !from.exists() {
            let _ = std::fs::rename(to, from);
        }
    } else if std::fs::hard_link(to, from).is_ok() || from.exists() {
        let _ = std::fs::remove_file(to);
    }
}

/// Starts it, and waits until it answers and holds nothing.
async fn start(
    work: &mut Work<'_>,
    boot: &Boot,
    text: &str,
    process: &Process,
    record: &mut SecondRecord,
    password: &str,
) -> Result<Connection, ActError> {
    let mut child = spawn(boot, boot.file.as_deref(), text, process, process.output.as_deref())?;
    record.second = ProcessId::of(child.id());
    work.record(RestartRecord::Second(Box::new(record.clone())))?;
    let port = super::port(record, 1).unwrap_or(0);
    let address = Address::tcp(&record.host, port);
    let reached = reach(&mut child, &address, work.options, password).await;
    let result = match reached {
        Ok(mut connection) => emptied(work, record, &mut connection).await.map(|()| connection),
        Err(why) => Err(ActError::Unsafe(format!("the second process did not start: {why}"))),
    };
    if result.is_err() {
        let _ = child.kill();
        let _ = child.wait();
        if let Some(id) = &record.second {
            id.kill();
        }
    }
    if !work.wish.supervised {
        join_group(process, record);
    }
    result
}

/// Its number is known for certain, and it holds nothing: neither keys nor append-only files of its own.
async fn emptied(
    work: &mut Work<'_>,
    record: &mut SecondRecord,
    connection: &mut Connection,
) -> Result<(), ActError> {
    let value = connection.call(&["INFO"]).await?;
    let info = unfrag_model::Info::parse(&unfrag_client::resp::text(&value).unwrap_or_default());
    let pid = info.count("process_id").and_then(|pid| u32::try_from(pid).ok());
    // A server that goes to the background is a child of its child.
    record.second = pid.and_then(ProcessId::of);
    work.record(RestartRecord::Second(Box::new(record.clone())))?;
    if let Some(folder) = &record.made_append_only {
        connection.call(&["CONFIG", "SET", "appendonly", "no"]).await?;
        if folder.is_dir() {
            std::fs::remove_dir_all(folder).map_err(|e| {
                ActError::Unsafe(format!("cannot remove the empty `{}`: {e}", folder.display()))
            })?;
        }
    }
    let keys = info.keys().unwrap_or(0);
    if keys > 0 {
        return Err(ActError::Unsafe(format!(
            "the second process came up with {} of its own",
            counted(keys, "key")
        )));
    }
    Ok(())
}

/// The memory limits of the first one are to hold for the second. Where we may not, it stays in our own group. Never in
/// a supervised swap: when a unit's process ends, systemd ends all that is in the unit's group.
fn join_group(process: &Process, record: &SecondRecord) {
    let (Some(id), Some(path)) = (
        &record.second,
        process.cgroup.lines().find_map(|l| l.strip_prefix("0::")).map(str::to_owned),
    ) else {
        return;
    };
    let ours = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !ours.contains(&format!("0::{path}\n")) {
        let _ = std::fs::write(format!("/sys/fs/cgroup{path}/cgroup.procs"), id.pid.to_string());
    }
}

/// Modules, users, settings: the same as the first one's, or an error. `start` is what its start gives it by itself.
pub(super) async fn carry(
    work: &mut Work<'_>,
    pair: &mut Pair,
    start: Option<&Rehearsal>,
) -> Result<(), ActError> {
    let (facts, node) = (work.facts, work.facts.target());
    work.begin_or_go_on("carry", &node)?;
    let theirs = modules(&mut pair.second.connection).await;
    let is_there = |m: &crate::restart::facts::Module| {
        theirs.iter().any(|t| t.name == m.name && t.version == m.version)
    };
    if let Some(missing) = facts.modules.iter().find(|m| !is_there(m)) {
        return Err(ActError::Unsafe(format!(
            "module {} (version {}) cannot be loaded into the second process",
            missing.name, missing.version
        )));
    }
    let requirepass = facts.configuration.text("requirepass").to_owned();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg(&requirepass);
    pair.second.connection.send(&set, "CONFIG SET requirepass").await?;
    let users = if facts.at_least(6, 0) {
        acl::carry(&mut pair.first.connection, &mut pair.second.connection).await?
    } else {
        1
    };
    // From here on it knows the same users: we come as ourselves.
    pair.second = Link::open(&pair.second.address.clone(), work.options).await?;
    let mut carried = settings(work, pair).await?;
    if let Some(start) = start {
        // Those it was started with are carried as well.
        let given = facts.configuration.differences(&start.configuration, &REHEARSED);
        carried.extend(given.into_iter().map(|d| d.name));
    }
    if !acl::are_equal(&mut pair.first.connection, &mut pair.second.connection).await? {
        return Err(ActError::Unsafe("the users of both processes differ".to_owned()));
    }
    work.record(RestartRecord::Settle { settings: pair.settle.clone() })?;
    work.done(format!(
        "{}, {}, {} beyond what its start says",
        counted(users as u64, "user"),
        counted(facts.modules.len() as u64, "module"),
        counted(carried.len() as u64, "setting")
    ));
    Ok(())
}

/// Settings that still differ are set, one by one; what cannot be set is a reason to stop.
async fn settings(work: &mut Work<'_>, pair: &mut Pair) -> Result<BTreeSet<String>, ActError> {
    set_differing(&work.facts.configuration, pair, &[]).await
}

/// As the first one has them, but for what each has of its own for a while. For `undo`, which knows only the servers.
pub(in crate::restart) async fn the_same_settings(
    ours: &Configuration,
    pair: &mut Pair,
) -> Result<BTreeSet<String>, ActError> {
    let mut but: Vec<&str> = OWN.iter().map(|(name, _)| *name).collect();
    but.extend(["masterauth", "masteruser", "tls-replication", "auto-aof-rewrite-percentage"]);
    // What a first process was given, and is given back by its journal.
    but.extend(["save", "repl-diskless-sync", "repl-diskless-sync-delay"]);
    set_differing(ours, pair, &but).await
}

async fn set_differing(
    ours: &Configuration,
    pair: &mut Pair,
    more: &[&str],
) -> Result<BTreeSet<String>, ActError> {
    let mut but: Vec<&str> = vec!["port", "tls-port", "unixsocket", "appendonly", "replicaof"];
    let settled: Vec<String> = pair.settle.iter().map(|(name, _)| name.clone()).collect();
    but.extend(settled.iter().map(String::as_str));
    but.extend(more);
    let second = Configuration::read(&mut pair.second.connection).await?;
    let differences = ours.differences(&second, &but);
    for difference in &differences {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(&difference.name).arg(&difference.ours);
        pair.second.connection.send(&set, &format!("CONFIG SET {}", difference.name)).await?;
    }
    let second = Configuration::read(&mut pair.second.connection).await?;
    match ours.differences(&second, &but).first() {
        None => Ok(differences.into_iter().map(|d| d.name).collect()),
        Some(left) => Err(ActError::Unsafe(format!(
            "the second process cannot be given the setting {}",
            left.shown()
        ))),
    }
}
