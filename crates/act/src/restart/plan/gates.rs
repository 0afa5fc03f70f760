//! What must not be done to which server, and why. Pure. The sources are the servers' own (server.c, rdb.c, aof.c).

mod supervised;

use super::{Mode, Objection, Wish};
use crate::restart::configuration::Difference;
use crate::restart::facts::Facts;
use crate::restart::launch::{REHEARSED, Rehearsal};
use crate::restart::process::Process;
use crate::restart::supervisor::Supervisor;
use unfrag_client::Role;
use unfrag_client::topology::DeploymentKind;
use unfrag_model::human;
use unfrag_model::text::counted;

/// A reason, and whether `--allow` may pass over it.
type Reason = (String, bool);

fn hard(why: impl Into<String>) -> Reason {
    (why.into(), false)
}

fn soft(why: impl Into<String>) -> Reason {
    (why.into(), true)
}

/// Everything that stands against a mode; empty when nothing does.
pub(super) fn against(mode: Mode, facts: &Facts, wish: &Wish) -> Vec<Objection> {
    let mut reasons = alive(facts);
    reasons.extend(backed_up(mode, facts, wish));
    reasons.extend(match mode {
        Mode::Plain => plain(facts, wish),
        Mode::Swap => swap(facts, wish),
        Mode::Rolling => rolling(facts, wish),
    });
    reasons.into_iter().map(|(why, overridable)| Objection { mode, why, overridable }).collect()
}

fn alive(facts: &Facts) -> Vec<Reason> {
    let mut reasons = vec![];
    if facts.configuration.is_empty() {
        reasons.push(hard("CONFIG GET is not allowed: what it would load at its start is unknown"));
    }
    if facts.info.flag("loading") == Some(true) {
        reasons.push(hard("it is loading its data"));
    }
    reasons
}

/// A backup that is wished for is one that there will be.
fn backed_up(mode: Mode, facts: &Facts, wish: &Wish) -> Option<Reason> {
    if mode == Mode::Rolling && wish.backup.is_some() {
        return Some(hard(
            "a rolling restart takes no --backup: unfrag rdb fetch takes one before",
        ));
    }
    facts.backup_trouble.clone().map(hard)
}

fn plain(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    let mut reasons = startable(facts, wish);
    reasons.extend(savable(facts));
    reasons.extend(loaded_too_late(facts));
    reasons.extend(killed_while_it_saves(facts));
    let replicas = facts.info.count("connected_slaves").unwrap_or(0);
    let followers = counted(replicas, "replica");
    if replicas > 0 && !facts.info.is_replica() {
        match facts.deployment.kind {
            DeploymentKind::Cluster => reasons.push(hard(format!(
                "it is a Cluster's primary with {followers}: while it is away they elect one of their own, and \
                 what it takes afterwards is lost (use --mode rolling)"
            ))),
            DeploymentKind::Sentinel => reasons.push(hard(
                "Sentinels watch it: they would fail over while it is away (use --mode rolling)",
            )),
            _ => reasons.push(soft(format!(
                "it has {followers}: --mode rolling keeps serving"
            ))),
        }
    } else if facts.is_watched_by_sentinel && !facts.info.is_replica() {
        reasons.push(hard(
            "Sentinels watch it: they would fail over while it is away (name it as redis+sentinel://NAME@HOST)",
        ));
    }
    reasons
}

/// What the stop writes is what the next start reads.
fn savable(facts: &Facts) -> Vec<Reason> {
    let mut reasons = vec![];
    if let Some(trouble) = &facts.disk.trouble {
        reasons.push(hard(format!("it could not save: {trouble}")));
    }
    let needs = facts.snapshot_needs_bytes();
    if let Some(free) = facts.disk.free_bytes.filter(|&free| free < needs) {
        reasons.push(soft(format!(
            "a snapshot may take {}, and {} are free in {}",
            human(needs),
            human(free),
            facts.disk.folder.display()
        )));
    }
    if facts.info.text("rdb_last_bgsave_status") == Some("err") {
        reasons.push(soft(
            "its last snapshot failed (rdb_last_bgsave_status:err): its log says why; SHUTDOWN SAVE would fail alike, and \
             the server would stay up",
        ));
    }
    if facts.is_append_only() && facts.info.text("aof_last_write_status") == Some("err") {
        reasons.push(hard("its append-only file cannot be written (aof_last_write_status:err)"));
    }
    reasons
}

/// Somebody starts it again, as the same server with the same settings.
fn startable(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    let mut reasons = vec![];
    if facts.supervisor.is_none() {
        reasons.push(hard(
            "nobody here is known to start it again: say who with --supervisor or --start-command",
        ));
        return reasons;
    }
    if let Some(trouble) = &facts.supervisor_trouble {
        reasons.push(hard(trouble.clone()));
    }
    if let (Some(Supervisor::Command { .. }), Some(found)) =
        (&facts.supervisor, &facts.found_supervisor)
    {
        reasons.push(soft(format!(
            "its process belongs to another supervisor (`{found}`), which would start it as well"
        )));
    }
    match &facts.next {
        Err(why) if facts.process.is_ok() && !why.contains("container") => {
            // What is tried are its words: a shell might also start a second server for good.
            let hint = match &facts.supervisor {
                Some(Supervisor::Command { .. }) => {
                    "; its words were tried, without a shell: where it takes one (cd, variables), make it sh -c '...'"
                }
                _ => "",
            };
            reasons.push(hard(format!("the next start was tried and failed: {why}{hint}")));
        }
        Err(why) => {
            reasons.push(soft(format!("the next start cannot be tried from here: {why}")));
        }
        Ok(_) => reasons.extend(next_start(facts, wish)),
    }
    reasons
}

/// Bytes of memory that a start fills a second, a guess on the slow side: 825 MiB of small keys were saved and loaded again
/// in 14.5 s (Redis 8.2.3, `make bench-restart KEYS=5000000`).
const LOADS_PER_SECOND: u64 = 100_000_000;

/// A supervisor that kills a start before everything is loaded starts it again, and kills it again.
fn loaded_too_late(facts: &Facts) -> Option<Reason> {
    let limit_s = facts.ready_timeout_s?;
    let used = facts.layers.used.unwrap_or(0);
    let needs_s = used / LOADS_PER_SECOND;
    (needs_s > limit_s).then(|| {
        soft(format!(
            "its unit is Type=notify and kills a start that is not ready after {limit_s} s; loading {} may take {needs_s} s \
             at 100 MB/s (TimeoutStartSec=infinity in a drop-in lets it)",
            human(used)
        ))
    })
}

/// Where writes cannot be held back meanwhile, it has to save as it ends (see `save_first`).
fn killed_while_it_saves(facts: &Facts) -> Option<Reason> {
    let limit_s = facts.stop_timeout_s.filter(|_| facts.dies_saving())?;
    (!facts.ends_without_saving()).then(|| {
        soft(format!(
            "its unit is told of the stop by the server itself and kills it after {limit_s} s, saved or not \
             (TimeoutStopSec=infinity in a drop-in lets it save)"
        ))
    })
}

fn next_start(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    let Ok(next) = &facts.next else { return vec![] };
    let mut reasons = vec![];
    if next.engine.flavor != facts.engine.flavor {
        reasons.push(hard(format!(
            "the next start would be {}, and this is {}: they do not read each other's files",
            next.engine, facts.engine
        )));
        return reasons;
    }
    if next.engine.version < facts.engine.version {
        reasons.push(hard(format!(
            "the next start would be {}, older than this {}: it may not read its files",
            next.engine, facts.engine
        )));
    }
    reasons.extend(what_is_loaded(facts));
    let differences = facts.configuration.differences(&next.configuration, &REHEARSED);
    let is_kept = wish.rewrite_config && next.boot.file.is_some();
    if !differences.is_empty() && !is_kept {
        const SHOWN: usize = 6;
        let all: Vec<String> = differences.iter().take(SHOWN).map(Difference::shown).collect();
        let more = differences.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let how = match next.boot.file {
            Some(_) => "; --rewrite-config writes them into the file",
            None => "",
        };
        reasons.push(soft(format!(
            "settings that were changed at run time would be gone: {}{more}{how}",
            all.join(", ")
        )));
    }
    if !is_kept {
        reasons.extend(logins(facts, next));
    }
    reasons
}

/// Users and passwords that were changed at run time: clients, and we, would not get in any more, or anybody would.
fn logins(facts: &Facts, next: &Rehearsal) -> Option<Reason> {
    let users = facts.users.as_ref().zip(next.users.as_ref());
    let names = users.map(|(ours, next_ones)| {
        let alike = facts.engine == next.engine;
        ours.differing(next_ones, alike)
    });
    let mut names: Vec<String> =
        names.unwrap_or_default().iter().map(|name| format!("user {name}")).collect();
    let (now, said) = (facts.configuration.text("requirepass"), next.boot.says());
    let then = said.get("requirepass").map_or("", String::as_str);
    // What is written with escapes is not taken apart here.
    if now != then && !then.contains('\\') {
        names.push("requirepass (a secret)".to_owned());
    }
    let how = match (&next.boot.file, facts.configuration.text("aclfile")) {
        (None, _) => "",
        (Some(_), "") => "; --rewrite-config writes them into the file",
        (Some(_), _) => "; --rewrite-config saves them (ACL SAVE)",
    };
    let all = names.join(", ");
    (!names.is_empty()).then(|| {
        soft(format!(
            "logins that were changed at run time would be as its files have them: {all}{how}"
        ))
    })
}

/// `loadDataFromDisk`: with `appendonly yes` only the append-only files are read, the snapshot never, even when there
/// are none. The settings that a rehearsal cannot have are read from the text of the next start.
fn what_is_loaded(facts: &Facts) -> Vec<Reason> {
    let Ok(next) = &facts.next else { return vec![] };
    let mut reasons = vec![];
    let (now, then) = (&facts.configuration, &next.configuration);
    if then.is_yes("appendonly") && !facts.is_append_only() {
        reasons.push(hard(
            "the next start has appendonly yes and this server has it off: it would come up EMPTY, for the snapshot is \
             then not read (CONFIG SET appendonly yes, and wait for aof_rewrite_in_progress:0, first)",
        ));
    }
    for name in ["dbfilename", "appenddirname", "appendfilename"] {
        let matters = name == "dbfilename" || facts.is_append_only();
        if matters && now.text(name) != then.text(name) {
            reasons.push(hard(format!(
                "the next start reads another file: {name} is `{}` there and `{}` here",
                then.text(name),
                now.text(name)
            )));
        }
    }
    let said = next.boot.says();
    let is_known = next.boot.is_certain;
    // A relative one is meant from wherever the start command runs.
    let folder = said.get("dir").map(std::path::PathBuf::from).filter(|dir| dir.is_absolute());
    match (folder, &facts.process) {
        (Some(folder), Ok(process)) if !same_folder(&process.cwd, &folder) => {
            reasons.push(hard(format!(
                "the next start reads its data from `{}` and this server saves to `{}`",
                folder.display(),
                process.cwd.display()
            )));
        }
        (None, Ok(process)) if is_known => {
            let here = std::env::current_dir().unwrap_or_default();
            if !same_folder(&process.cwd, &here) {
                reasons.push(soft(format!(
                    "the next start names no absolute `dir`: it may look for its data elsewhere than in `{}`",
                    process.cwd.display()
                )));
            }
        }
        _ => {}
    }
    if is_known {
        let port = said.get("port").map_or("6379", String::as_str);
        if port != now.text("port") {
            reasons.push(hard(format!(
                "the next start listens on port {port}, and clients know {}",
                now.text("port")
            )));
        }
    }
    reasons
}

fn same_folder(one: &std::path::Path, other: &std::path::Path) -> bool {
    let real = |p: &std::path::Path| std::fs::canonicalize(p).ok();
    real(one).is_some() && real(one) == real(other)
}

fn swap(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    let mut reasons = vec![];
    if !facts.is_7() {
        reasons.push(hard(format!(
            "{} cannot change its port while it serves (7.0 and Valkey can)",
            facts.engine
        )));
    }
    if facts.info.is_replica() {
        reasons.push(hard("it is a replica: restart it, its primary keeps serving"));
    } else if facts.info.count("connected_slaves").unwrap_or(0) > 0 {
        reasons.push(hard("replicas follow it: --mode rolling is for that"));
    }
    if facts.info.flag("cluster_enabled") == Some(true) {
        reasons.push(hard("it is a node of a Cluster: --mode rolling is for that"));
    }
    if facts.is_watched_by_sentinel {
        reasons.push(hard("Sentinels watch it: name it as redis+sentinel://NAME@HOST"));
    }
    reasons.extend(second_process(facts));
    let configuration = &facts.configuration;
    if !configuration.is_empty()
        && configuration.number("port") == 0
        && configuration.number("tls-port") == 0
    {
        reasons.push(hard("it listens on a unix socket only: replication needs a port"));
    }
    if wish.supervised {
        reasons.extend(supervised::against(facts, wish));
    } else if let Some(found) = &facts.found_supervisor {
        reasons.push(hard(format!(
            "its process belongs to a supervisor (`{found}`), which would not own the second one and would start a third \
             (--supervised gives it its own back)"
        )));
    }
    reasons.extend(room(facts));
    reasons
}

fn second_process(facts: &Facts) -> Vec<Reason> {
    let process = match &facts.process {
        Ok(process) => process,
        Err(why) => {
            return vec![hard(format!("a second process cannot be started beside it: {why}"))];
        }
    };
    let mut reasons = vec![];
    if !process.shares_namespaces {
        reasons.push(hard("it runs in a container: a second process cannot be started beside it"));
    }
    if process.is_binary_replaced() {
        reasons.push(hard(
            "its binary was replaced since it started: a second process would be another version",
        ));
    }
    let us = rustix::process::geteuid().as_raw();
    if us != 0 && us != process.uid {
        reasons.push(hard(format!(
            "it runs as user {} and unfrag as {us}: run unfrag as that user or as root",
            process.uid
        )));
    }
    if let Some(trouble) = &facts.disk.trouble {
        reasons.push(hard(format!("the second process could not save: {trouble}")));
    }
    reasons
}

/// Pages that the synchronisation's fork child makes this server copy while clients write: a guess on the safe side.
const COPIED_PERCENT: u64 = 10;
/// Buffers of replication on both sides.
const BUFFERS_BYTES: u64 = 32 << 20;

fn room(facts: &Facts) -> Option<Reason> {
    let second = facts.floor_rss_bytes.or(facts.layers.used).unwrap_or(0);
    let copied = facts.layers.used.unwrap_or(0) / 100 * COPIED_PERCENT;
    let needs = second + copied + BUFFERS_BYTES;
    match facts.room_bytes {
        Some(room) if room >= needs => None,
        Some(room) => Some(hard(format!(
            "no room for a second copy: it needs {} (a fresh process {}, {} of pages copied while it synchronises, {} of \
             buffers), and {} are left before something is killed",
            human(needs),
            human(second),
            human(copied),
            human(BUFFERS_BYTES),
            human(room)
        ))),
        None => Some(hard(format!(
            "a second copy needs {}, and how much memory is left here cannot be read",
            human(needs)
        ))),
    }
}

fn rolling(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    let kind = facts.deployment.kind;
    if kind == DeploymentKind::Single {
        return vec![hard("it has no replicas: --mode swap or --mode plain is for that")];
    }
    let mut reasons = vec![];
    if facts.is_watched_by_sentinel && kind != DeploymentKind::Sentinel {
        reasons.push(hard(
            "Sentinels watch it and would fight a failover of ours: name it as redis+sentinel://NAME@HOST:PORT",
        ));
    }
    match &facts.quorum {
        Some(Err(why)) => reasons.push(hard(format!("the Sentinels cannot fail over: {why}"))),
        None if kind == DeploymentKind::Sentinel => {
            reasons.push(hard("no Sentinel could be asked for its quorum"));
        }
        _ => {}
    }
    for problem in &facts.deployment.problems {
        reasons.push(soft(format!("{} cannot be read: {}", problem.what, problem.why)));
    }
    let nodes: Vec<&Facts> = std::iter::once(facts).chain(&facts.members).collect();
    for node in &nodes {
        reasons.extend(startable(node, wish).into_iter().map(|r| of_node(node, r)));
        reasons.extend(alive(node).into_iter().map(|r| of_node(node, r)));
        reasons.extend(loaded_too_late(node).map(|r| of_node(node, r)));
        if node.info.flag("cluster_enabled") == Some(true)
            && node.info.text("cluster_state").is_some_and(|s| s != "ok")
        {
            reasons.push(of_node(node, hard("it does not see the whole Cluster in order")));
        }
    }
    let primaries = facts.deployment.nodes.iter().filter(|n| n.role == Role::Primary);
    for primary in primaries {
        reasons.extend(shard(facts, &nodes, &primary.address.to_string()));
    }
    for node in &nodes {
        reasons.extend(comes_back_as_replica(kind, node).map(|r| of_node(node, r)));
    }
    if kind == DeploymentKind::Replicated && !facts.at_least(6, 2) {
        reasons.push(hard(format!("{} has no FAILOVER (6.2 has)", facts.engine)));
    }
    reasons
}

/// An old primary that restarts must come up as a replica: were it a primary for a moment, what it takes then is lost.
fn comes_back_as_replica(kind: DeploymentKind, node: &Facts) -> Option<Reason> {
    if kind == DeploymentKind::Cluster {
        return None;
    }
    let configuration = &node.configuration;
    if !configuration.text("requirepass").is_empty() && configuration.text("masterauth").is_empty()
    {
        return Some(hard("masterauth is not set: it could not follow another primary"));
    }
    let has_file = node.info.text("config_file").is_some_and(|f| !f.is_empty());
    let why = "it runs without a configuration file, so that its role cannot be kept: it would start as what its command \
               line says";
    (!has_file).then(|| if kind == DeploymentKind::Sentinel { soft(why) } else { hard(why) })
}

fn of_node(node: &Facts, (why, overridable): Reason) -> Reason {
    (format!("{}: {why}", node.target()), overridable)
}

/// One primary and its replicas.
fn shard(facts: &Facts, nodes: &[&Facts], primary: &str) -> Vec<Reason> {
    let Some(node) = nodes.iter().find(|n| n.target() == primary) else {
        return vec![hard(format!("{primary}: the primary itself cannot be read"))];
    };
    let mut reasons = vec![];
    let belongs = |n: &&&Facts| {
        let listed = facts.deployment.nodes.iter().find(|d| d.address == n.address);
        listed.is_some_and(|d| d.role == Role::Replica && d.primary.as_deref() == Some(primary))
    };
    let replicas: Vec<&&Facts> = nodes.iter().filter(belongs).collect();
    let mut proven = 0;
    for replica in &replicas {
        match unproven(node, replica) {
            None => proven += 1,
            Some(why) => reasons.push(soft(format!("{}: {why}", replica.target()))),
        }
    }
    if proven == 0 {
        reasons.push(hard(format!(
            "{primary}: no replica is proven to hold its data, so there is nobody to hand over to"
        )));
    }
    if saves_nothing(node) {
        reasons.push(soft(format!(
            "{primary}: this primary saves nothing (no save points, no append-only file): were it to crash and come back \
             meanwhile, its replicas would copy an empty server"
        )));
    }
    reasons
}

/// Bytes of replication stream that a replica may be behind when we begin: it is waited for later.
const LAG_BYTES: u64 = 16 << 20;

/// Why a replica cannot be trusted to hold what its primary holds.
pub(super) fn unproven(primary: &Facts, replica: &Facts) -> Option<String> {
    let info = &replica.info;
    if info.text("master_link_status") != Some("up") {
        return Some("its link to the primary is down".to_owned());
    }
    if info.flag("master_sync_in_progress") == Some(true) || info.flag("loading") == Some(true) {
        return Some("it is still synchronising".to_owned());
    }
    let offset = |i: &unfrag_model::Info, name: &str| i.count(name).unwrap_or(0);
    let behind = offset(&primary.info, "master_repl_offset")
        .saturating_sub(offset(info, "slave_repl_offset"));
    if behind > LAG_BYTES {
        return Some(format!("it is {} behind its primary", human(behind)));
    }
    if replica.configuration.text("replica-ignore-maxmemory") == "no" {
        return Some(
            "replica-ignore-maxmemory is no: it evicts by itself and may lack keys its primary has"
                .to_owned(),
        );
    }
    None
}

fn saves_nothing(facts: &Facts) -> bool {
    !facts.configuration.is_empty()
        && !facts.is_append_only()
        && facts.configuration.text("save").trim().is_empty()
}

/// What is worth knowing before.
pub(super) fn warnings(mode: Mode, facts: &Facts) -> Vec<String> {
    let mut all = vec![];
    let process = facts.process.as_ref().ok();
    if mode == Mode::Plain {
        if saves_nothing(facts) {
            all.push(format!(
                "nothing is saved by itself here: the stop leaves {}/{} behind, which every later start loads; delete it \
                 afterwards where a crash is to come back empty",
                facts.configuration.text("dir"),
                facts.configuration.text("dbfilename")
            ));
        }
        if let Some(seconds) = facts.stop_timeout_s.filter(|_| facts.is_saved_first()) {
            all.push(format!(
                "its unit is told of the stop by the server itself and kills it after {seconds} s: so it saves before, while \
                 writes wait, and nothing afterwards"
            ));
        } else if let Some(seconds) = facts.stop_timeout_s.filter(|_| !facts.hears_stop) {
            all.push(format!(
                "the supervisor kills a stop after {seconds} s; it is not asked to stop it: SHUTDOWN SAVE takes what it takes"
            ));
        }
    }
    if let Ok(next) = &facts.next
        && next.engine.version > facts.engine.version
    {
        all.push(format!(
            "the next start will be {}, newer than this {}",
            next.engine, facts.engine
        ));
    }
    if mode != Mode::Swap && process.is_some_and(Process::is_binary_replaced) {
        all.push("its binary was replaced since it started".to_owned());
    }
    let scripts = facts.info.count("number_of_cached_scripts").unwrap_or(0);
    if scripts > 0 {
        all.push(format!(
            "any restart forgets {}: clients that send EVALSHA get NOSCRIPT once and send EVAL",
            counted(scripts, "cached script")
        ));
    }
    let subscribers = facts.info.count("pubsub_clients").unwrap_or(0);
    if subscribers > 0 {
        all.push(format!(
            "pub/sub: {} cut off, missing what is published meanwhile",
            counted(subscribers, "client")
        ));
    }
    if facts.deployment.kind == DeploymentKind::Replicated && mode == Mode::Rolling {
        all.push(format!(
            "clients that know only {} can read and not write while it restarts: it is made the primary again afterwards",
            facts.target()
        ));
    }
    all
}
