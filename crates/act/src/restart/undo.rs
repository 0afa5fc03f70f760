//! [`finish`]: completes or reverts a restart that was killed. It asks the servers what they are, and believes them
//! rather than the journal, which says only what was about to be done.

mod supervised;

use crate::ActError;
use crate::journal::Unfinished;
use crate::link::Link;
use crate::permit::ChangePermit;
use crate::restart::execute::up_again;
use crate::restart::plain::{not_let_in, not_started, shut_out, unpause};
use crate::restart::process::ProcessId;
use crate::restart::record::{RestartRecord, SecondRecord};
use crate::restart::rolling;
use crate::restart::supervisor::{Started, Supervisor};
use crate::restart::swap::pair::{Pair, own_files, revert_files, state, take_back_append_only};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions, Target, Uri};
use unfrag_model::Info;
use unfrag_model::text::{counted, grouped};

/// A stop that was under way saves everything first; a start loads it. Longer than this a person should look.
const WAITS: Duration = Duration::from_secs(3600);
/// Until a process that was started answers at all.
const APPEARS: Duration = Duration::from_secs(90);

/// Leaves exactly one server that takes writes and has them all; tells what it did. Twice is as good as once.
pub(crate) async fn finish(
    run: &Unfinished,
    options: &ConnectOptions,
    permit: &ChangePermit,
) -> Result<Vec<String>, ActError> {
    if permit.run_id() != run.run_id {
        return Err(ActError::Changed { what: "the permit is for another process".to_owned() });
    }
    let mut said = vec![];
    for record in &run.restart {
        // A folder waits until the process that may have begun another in its place has ended.
        if let RestartRecord::Aside { from, to } = record
            && !to.is_dir()
        {
            crate::restart::swap::put_back(from, to);
        }
    }
    let unit = run.restart.iter().rev().find_map(|r| match r {
        RestartRecord::Supervised(unit) => Some(unit),
        _ => None,
    });
    if let Some(unit) = unit {
        said.push(supervised::finish(unit, run, options).await?);
        return Ok(said);
    }
    let second = run.restart.iter().rev().find_map(|r| match r {
        RestartRecord::Second(record) => Some(record),
        _ => None,
    });
    if let Some(record) = second {
        said.push(finish_swap(record, run, options).await?);
        return Ok(said);
    }
    for (index, record) in run.restart.iter().enumerate() {
        let later = run.restart.get(index + 1..).unwrap_or_default();
        if let RestartRecord::Stopping { node, run_id, process, supervisor, output, keys } = record
        {
            let is_up = |r: &RestartRecord| matches!(r, RestartRecord::Up { node: n } if n == node);
            if !later.iter().any(is_up) {
                let stopped = Stopped { node, run_id, process, supervisor, output, keys: *keys };
                said.push(stopped.finish(options).await?);
            }
        }
    }
    said.extend(rolling::finish(run, options).await?);
    for record in &run.restart {
        if let RestartRecord::Paused { node } = record
            && let Ok(mut link) = Link::open(&address(node)?, options).await
        {
            unpause(&mut link.connection).await;
        }
    }
    Ok(said)
}

/// A Sentinel rewrites the file of a server whose role it changes, with what was set for the hand-over in it: once that
/// is put back, the file is to have it, too. A swap touches no file, and its undo does not either.
pub(crate) async fn keep_settings(link: &mut Link, records: &[RestartRecord]) {
    if records.iter().any(|r| matches!(r, RestartRecord::Second(_))) {
        return;
    }
    if records.iter().any(|r| matches!(r, RestartRecord::HandingOver { back: false, .. })) {
        // Without a file there is nothing to keep it in.
        let _ = link.connection.call(&["CONFIG", "REWRITE"]).await;
    }
}

/// An address as the journal has it.
pub(super) fn address(text: &str) -> Result<Address, ActError> {
    match text.parse::<Uri>() {
        Ok(Uri { target: Target::Server(address), .. }) => Ok(address),
        _ => Err(ActError::Unsafe(format!("the journal names no server: {text}"))),
    }
}

/// A server that was being stopped and started.
struct Stopped<'a> {
    node: &'a str,
    run_id: &'a str,
    process: &'a Option<ProcessId>,
    supervisor: &'a Supervisor,
    output: &'a Option<PathBuf>,
    keys: Option<u64>,
}

impl Stopped<'_> {
    async fn finish(&self, options: &ConnectOptions) -> Result<String, ActError> {
        let node = self.node;
        let address = address(node)?;
        if let Ok(mut link) = Link::open(&address, options).await
            && link.run_id == self.run_id
        {
            // A stop that is under way answers nobody; this one was never sent, or refused.
            link.info().await?;
            unpause(&mut link.connection).await;
            return Ok(format!("{node} was not stopped and serves as before"));
        }
        if let Some(process) = self.process
            && !process.gone(WAITS).await
        {
            return Err(ActError::Unsafe(format!(
                "{node}: process {} is still saving",
                process.pid
            )));
        }
        let mut started = Started::default();
        // Who listens may be a proxy, or the front of a published port. A supervisor minds no second order to start.
        let may_be_up = matches!(self.supervisor, Supervisor::Command { .. });
        let may_be_up = may_be_up && is_listening(&address).await;
        if Link::open(&address, options).await.is_err() && !may_be_up {
            started = self.supervisor.start(&address, self.output.as_deref()).await?;
        }
        let (_, info) =
            comes_up(&address, options, self.run_id, &mut started, self.supervisor).await?;
        self.judge(info.keys().unwrap_or(0))
    }

    fn judge(&self, keys: u64) -> Result<String, ActError> {
        let node = self.node;
        match self.keys {
            Some(before) if before > 0 && keys == 0 => Err(ActError::Unsafe(format!(
                "{node} came up EMPTY and had {}: stop it before it saves, and look at its folder",
                counted(before, "key")
            ))),
            Some(before) => {
                let (keys, before) = (counted(keys, "key"), grouped(before));
                Ok(format!("{node} is up again with {keys} ({before} when it was stopped)"))
            }
            None => Ok(format!("{node} is up again with {}", counted(keys, "key"))),
        }
    }
}

/// Waits until a server that was started, by us or by others, has loaded everything.
async fn comes_up(
    address: &Address,
    options: &ConnectOptions,
    old_run_id: &str,
    started: &mut Started,
    supervisor: &Supervisor,
) -> Result<(Link, Info), ActError> {
    let begun = Instant::now();
    loop {
        if let Some(up) = up_again(address, options, old_run_id).await {
            return Ok(up);
        }
        if let Err(error) = Link::open(address, options).await
            && let Some(why) = not_let_in(&error)
        {
            return Err(shut_out(address, &why));
        }
        let listens = is_listening(address).await;
        if let Some(why) = started.failed().filter(|_| !listens) {
            return Err(ActError::Unsafe(format!(
                "{address} is down: {}. Mend what that says or start it in another way, then run `unfrag undo {address}` \
                 again",
                not_started(supervisor, address, &why)
            )));
        }
        if begun.elapsed() > WAITS || (!listens && begun.elapsed() > APPEARS) {
            let seconds = begun.elapsed().as_secs();
            return Err(ActError::Unsafe(format!(
                "{address} does not come up in {seconds} s: look at its log, start it, then run `unfrag undo {address}` again"
            )));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_listening(address: &Address) -> bool {
    match address {
        Address::Tcp(host, port) => {
            tokio::net::TcpStream::connect((host.as_str(), *port)).await.is_ok()
        }
        Address::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
    }
}

/// Two processes: the roles that they have tell whether to go back or on.
async fn finish_swap(
    record: &SecondRecord,
    run: &Unfinished,
    options: &ConnectOptions,
) -> Result<String, ActError> {
    let mut record = record.clone();
    if record.second.as_ref().is_none_or(|s| !s.is_alive())
        && let Some(found) = found_in_time(&record).await
    {
        record.second = Some(found);
    }
    let handing = run.restart.iter().any(|r| matches!(r, RestartRecord::HandingOver { .. }));
    let second_lives = record.second.as_ref().is_some_and(ProcessId::is_alive);
    if !handing || !second_lives {
        return go_back(&record, handing, options).await;
    }
    let second = find_link(&record, options, |link, info| {
        let pid = info.count("process_id");
        pid.is_some()
            && pid == record.second.as_ref().map(|s| u64::from(s.pid))
            && link.run_id != record.first_run_id
    })
    .await;
    let second = second.ok_or_else(|| {
        ActError::Unsafe("the second process runs and does not answer: nothing was done".to_owned())
    })?;
    let settle = run.restart.iter().rev().find_map(|r| match r {
        RestartRecord::Settle { settings } => Some(settings.clone()),
        _ => None,
    });
    let first = find_link(&record, options, |link, _| link.run_id == record.first_run_id).await;
    let Some(first) = first else {
        return go_on_alone(second, &record, settle.unwrap_or_default()).await;
    };
    let filled = run.restart.iter().find_map(|r| match r {
        RestartRecord::Filled { names } => Some(names.clone()),
        _ => None,
    });
    let mut pair = Pair {
        first,
        second,
        record,
        settle: settle.unwrap_or_default(),
        nudge: None,
        filled: filled.unwrap_or_default(),
    };
    if !pair.is_handed_over().await? {
        pair.revert().await;
        return Ok("the first process serves as before; the second one was ended".to_owned());
    }
    pair.exchange_ports().await?;
    pair.send_clients_over().await?;
    pair.settle().await?;
    pair.retire(WAITS).await?;
    Ok(format!(
        "the exchange was completed: the second process serves at {}; {}",
        pair.record.address,
        pair.retired("first")
    ))
}

/// The first process has ended already.
async fn go_on_alone(
    mut second: Link,
    record: &SecondRecord,
    settle: Vec<(String, String)>,
) -> Result<String, ActError> {
    if record.first.is_alive() {
        let why = "the first process runs and does not answer: nothing was done";
        return Err(ActError::Unsafe(why.to_owned()));
    }
    if state(&mut second).await?.is_replica() {
        // Its primary is gone: it has what that one had sent.
        second.connection.call(&["REPLICAOF", "NO", "ONE"]).await?;
    }
    let mut pair = Pair {
        // There is no first one any more; what follows speaks to the second only.
        first: Link::open(&second.address, &second.options).await?,
        second,
        record: record.clone(),
        settle,
        nudge: None,
        filled: vec![],
    };
    pair.take_ports().await?;
    pair.settle().await?;
    own_files(&pair.record);
    Ok(format!("the second process serves at {}; the first one had ended", pair.record.address))
}

/// The first process stays, or comes back; what there is of the second one goes.
async fn go_back(
    record: &SecondRecord,
    handing: bool,
    options: &ConnectOptions,
) -> Result<String, ActError> {
    revert_files(record).await;
    let first = find_link(record, options, |link, _| link.run_id == record.first_run_id).await;
    let Some(mut first) = first else {
        let answers = Link::open(&address(&record.address)?, options).await.is_ok();
        return if answers {
            Ok(format!(
                "another process serves at {}: both of the exchange are gone",
                record.address
            ))
        } else {
            Err(ActError::Unsafe("both processes are gone: start the server by hand".to_owned()))
        };
    };
    take_back_append_only(&mut first, record).await;
    unpause(&mut first.connection).await;
    if handing && state(&mut first).await?.is_replica() {
        // The second one took over and died: what it had sent is here.
        first.connection.call(&["REPLICAOF", "NO", "ONE"]).await?;
        crate::restart::swap::pair::set_ports(&mut first, record, 0).await?;
        return Ok("the second process had died: the first one is the primary again, with all that it was sent".to_owned());
    }
    Ok("the first process serves as before; the second one was ended".to_owned())
}

/// Which of the addresses in the record leads to the process that is meant.
async fn find_link(
    record: &SecondRecord,
    options: &ConnectOptions,
    is_meant: impl Fn(&Link, &Info) -> bool,
) -> Option<Link> {
    let mut addresses = vec![address(&record.address).ok()?];
    for (_, ports) in &record.ports {
        addresses.extend(ports.iter().map(|port| Address::tcp(&record.host, *port)));
    }
    for address in addresses {
        if let Ok(mut link) = Link::open(&address, options).await
            && let Ok(info) = link.info().await
            && is_meant(&link, &info)
        {
            return Some(link);
        }
    }
    None
}

/// Looks once, or, where it was about to be started when unfrag died, for as long as a start takes to show its title.
async fn found_in_time(record: &SecondRecord) -> Option<ProcessId> {
    const SHOWS: Duration = Duration::from_secs(2);
    let begun = Instant::now();
    loop {
        let found = find(record);
        if found.is_some() || record.second.is_some() || begun.elapsed() > SHOWS {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A second process whose number was not yet in the journal: it runs the same program and has its port in its title.
fn find(record: &SecondRecord) -> Option<ProcessId> {
    let program = std::fs::canonicalize(&record.program).ok()?;
    let own = record.ports.first().and_then(|(_, ports)| ports.get(1))?;
    let wanted = format!(":{own}");
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let folder = Path::new("/proc").join(pid.to_string());
        let title = std::fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
        std::fs::read_link(folder.join("exe")).is_ok_and(|exe| exe == program)
            && title.split(['\0', ' ']).any(|word| word.ends_with(&wanted))
    })
    .find_map(|pid| ProcessId::of(pid).filter(|id| *id != record.first))
}
