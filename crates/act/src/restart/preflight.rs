//! [`look`]: gathers the [`Facts`]. It changes nothing; the next start is rehearsed in a folder of its own.

use crate::ActError;
use crate::link::Link;
use crate::restart::acl::Users;
use crate::restart::boot::Boot;
use crate::restart::configuration::Configuration;
use crate::restart::facts::{Disk, Facts, Module};
use crate::restart::launch::{self, Rehearsal};
use crate::restart::plan::Wish;
use crate::restart::process::{Process, free_bytes, why_not_writable};
use crate::restart::snapshot::why_not_backed_up_to;
use crate::restart::supervisor::{Account, Supervisor};
use redis::Value;
use std::path::PathBuf;
use unfrag_client::{
    Address, ConnectOptions, Connection, Deployment, DiscoverOptions, Role, Target, connect,
    discover, resp,
};
use unfrag_model::{Host, Info, Report, Sample};

/// Looks at one server and all that belong with it. `read` samples and diagnoses a server: that is another crate's art.
pub async fn look<R, F>(
    target: &Target,
    options: &ConnectOptions,
    wish: &Wish,
    mut read: R,
) -> Result<Facts, ActError>
where
    R: FnMut(Address) -> F,
    F: Future<Output = Result<(Sample, Report), ActError>>,
{
    let deployment = discover(target, options, DiscoverOptions { replication: true }).await?;
    let seed = deployment.nodes.iter().find(|n| n.is_seed);
    // Sentinels are asked for a name: the primary stands for it.
    let seed = seed.or_else(|| deployment.nodes.iter().find(|n| n.role == Role::Primary));
    let Some(address) = seed.map(|n| n.address.clone()) else {
        return Err(ActError::Unsafe("no server was found there".to_owned()));
    };
    let mut facts = one(&address, options, wish, &mut read).await?;
    for node in deployment.nodes.iter().filter(|n| n.address != address) {
        match one(&node.address, options, wish, &mut read).await {
            Ok(member) => facts.members.push(member),
            Err(error) => facts.deployment.problems.push(unfrag_model::sample::Unread {
                what: node.address.to_string(),
                why: error.to_string(),
            }),
        }
    }
    facts.quorum = quorum(target, options, &deployment).await;
    let found = std::mem::take(&mut facts.deployment.problems);
    facts.deployment = deployment;
    facts.deployment.problems.extend(found);
    Ok(facts)
}

async fn one<R, F>(
    address: &Address,
    options: &ConnectOptions,
    wish: &Wish,
    read: &mut R,
) -> Result<Facts, ActError>
where
    R: FnMut(Address) -> F,
    F: Future<Output = Result<(Sample, Report), ActError>>,
{
    let (sample, report) = read(address.clone()).await?;
    let mut link = Link::open(address, options).await?;
    let configuration = match Configuration::read(&mut link.connection).await {
        Ok(configuration) => configuration,
        Err(error) if error.is_lost_connection() => return Err(error),
        // What cannot be read is judged as such.
        Err(_) => Configuration::default(),
    };
    let process = process_of(&sample);
    let found_supervisor = match &process {
        Ok(process) => Supervisor::detect(process).await,
        Err(_) => None,
    };
    let named = wish.supervisor.clone().map(|s| s.or_found(found_supervisor.as_ref()));
    let supervisor = named.or_else(|| found_supervisor.clone());
    let main_pid = match &supervisor {
        Some(supervisor) if wish.supervised || wish.mode.is_none() => supervisor.main_pid().await,
        _ => None,
    };
    let account = match &supervisor {
        Some(supervisor) => supervisor.account(address, process.as_ref().ok()).await,
        None => Account::default(),
    };
    let next = rehearsed(&account, &sample, process.as_ref(), options).await;
    let disk = disk(&configuration, process.as_ref().ok());
    Ok(Facts {
        address: address.clone(),
        run_id: link.run_id.clone(),
        engine: sample.info.engine(),
        configuration,
        layers: report.layers,
        floor_rss_bytes: report.reclaim.restart.floor_rss_bytes,
        predicted_bytes: report.reclaim.restart.bytes.unwrap_or(0),
        supervisor,
        found_supervisor,
        stop_timeout_s: account.stop_timeout_s,
        hears_stop: account.hears_stop,
        stop_command: account.stop_command,
        ready_timeout_s: account.ready_timeout_s,
        supervisor_trouble: account.trouble,
        main_pid,
        next,
        disk,
        backup_trouble: wish.backup.as_deref().and_then(why_not_backed_up_to),
        room_bytes: sample.host.as_ref().and_then(room),
        is_watched_by_sentinel: sentinels_are_connected(&mut link.connection).await,
        modules: modules(&mut link.connection).await,
        users: Users::read(&mut link.connection).await,
        deployment: Deployment {
            kind: unfrag_client::topology::DeploymentKind::Single,
            nodes: vec![],
            problems: vec![],
            failed: vec![],
        },
        members: vec![],
        quorum: None,
        info: sample.info,
        process,
    })
}

fn process_of(sample: &Sample) -> Result<Process, String> {
    if let Some(pid) = sample.host.as_ref().and_then(|h| h.pid) {
        return Process::read(pid).ok_or_else(|| {
            format!(
                "process {pid} of this machine may not be looked at: run as its user or as root"
            )
        });
    }
    let why = sample.unread.iter().find(|u| u.what == "host").map(|u| u.why.clone());
    Err(why.unwrap_or_else(|| "its process is not seen from here".to_owned()))
}

/// What the machine, or the tightest control group, still has.
fn room(host: &Host) -> Option<u64> {
    let group = host.cgroup.as_ref().and_then(|g| Some(g.limit.saturating_sub(g.current?)));
    match (host.memory_available, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (one, other) => one.or(other),
    }
}

async fn rehearsed(
    account: &Account,
    sample: &Sample,
    process: Result<&Process, &String>,
    options: &ConnectOptions,
) -> Result<Rehearsal, String> {
    let process = process.map_err(String::clone)?;
    if !process.shares_namespaces {
        return Err(
            "it runs in a container: its files are not where they seem from here".to_owned()
        );
    }
    let boot = match &account.boot {
        Some(boot) => boot.clone(),
        None => of_running(&sample.info, process).ok_or("its command line is not known")?,
    };
    let mut rehearsal = launch::rehearse(&boot, process, options).await?;
    rehearsal.boot = boot;
    Ok(rehearsal)
}

/// The command line of the running process, or what it tells of itself: program and configuration file.
pub(crate) fn of_running(info: &Info, process: &Process) -> Option<Boot> {
    let program = program(info, process);
    if let Some(words) = &process.command_line {
        let boot = Boot::from_words(words, &process.binary_name(), &process.cwd);
        return boot.map(|b| Boot { program, is_certain: false, ..b });
    }
    let file = info.text("config_file").filter(|f| !f.is_empty()).map(PathBuf::from);
    Some(Boot { program, file, lines: vec![], is_certain: false })
}

/// The name it was started by, where that leads to the binary that it runs. Debian's redis-server is a link to
/// redis-check-rdb, and the binary looks at its name to know what it is.
fn program(info: &Info, process: &Process) -> PathBuf {
    let named = info.text("executable").map(PathBuf::from);
    let is_same =
        |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|p| p == process.executable);
    named.filter(is_same).unwrap_or_else(|| process.executable.clone())
}

fn disk(configuration: &Configuration, process: Option<&Process>) -> Disk {
    let folder = PathBuf::from(configuration.text("dir"));
    let Some(process) = process.filter(|p| p.shares_namespaces) else { return Disk::default() };
    if configuration.is_empty() {
        return Disk::default();
    }
    let gone = process.cwd.to_string_lossy().ends_with(" (deleted)");
    let trouble = if gone {
        Some("its working folder was deleted: it has nowhere to save to".to_owned())
    } else {
        why_not_writable(&folder, process.uid, process.gid)
    };
    let snapshot = folder.join(configuration.text("dbfilename"));
    Disk {
        trouble,
        free_bytes: free_bytes(&folder),
        snapshot_bytes: std::fs::metadata(snapshot).ok().map(|m| m.len()),
        folder,
    }
}

/// A Sentinel names its connections `sentinel-…-cmd`.
async fn sentinels_are_connected(connection: &mut Connection) -> bool {
    let listed = connection.call(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await;
    let listed = listed.ok().and_then(|v| resp::text(&v)).unwrap_or_default();
    listed.lines().any(|l| l.contains(" name=sentinel-"))
}

pub(crate) async fn modules(connection: &mut Connection) -> Vec<Module> {
    let Ok(value) = connection.call(&["MODULE", "LIST"]).await else { return vec![] };
    let rows = resp::elements(&value).unwrap_or_default();
    rows.iter()
        .map(|row| {
            let mut module = Module {
                name: String::new(),
                version: String::new(),
                path: String::new(),
                args: vec![],
            };
            for (name, value) in resp::pairs(row) {
                let text = || resp::text(value).unwrap_or_default();
                match name.as_str() {
                    "name" => module.name = text(),
                    "ver" => module.version = text(),
                    "path" => module.path = text(),
                    "args" => {
                        let words: &[Value] = resp::elements(value).unwrap_or_default();
                        module.args = words.iter().filter_map(resp::text).collect();
                    }
                    _ => {}
                }
            }
            module
        })
        .collect()
}

/// Asks one Sentinel whether enough of them could agree on a failover.
async fn quorum(
    target: &Target,
    options: &ConnectOptions,
    deployment: &Deployment,
) -> Option<Result<Address, String>> {
    let name = deployment.nodes.iter().find_map(|n| n.sentinel_name.clone())?;
    let asked: Vec<Address> = match target {
        Target::Sentinel { sentinels, .. } => sentinels.clone(),
        Target::Server(address) => vec![address.clone()],
    };
    let mut last = Err("no Sentinel answers".to_owned());
    for address in asked {
        last = match connect(&address, &options.for_sentinel()).await {
            Ok(mut connection) => match connection.call(&["SENTINEL", "CKQUORUM", &name]).await {
                Ok(_) => return Some(Ok(address)),
                Err(error) => Err(error.problem.to_string()),
            },
            Err(error) => Err(error.problem.to_string()),
        };
    }
    Some(last)
}
