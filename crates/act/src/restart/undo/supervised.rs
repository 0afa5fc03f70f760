//! A supervised swap that was killed. While the first process lives, the way is back to it; without it, forward to a
//! process that the supervisor has started. Who serves keeps serving until the other one has everything.

use super::{APPEARS, WAITS, address, comes_up, find, find_link, go_back};
use crate::ActError;
use crate::journal::Unfinished;
use crate::link::Link;
use crate::restart::acl;
use crate::restart::configuration::Configuration;
use crate::restart::plain::unpause;
use crate::restart::process::ProcessId;
use crate::restart::record::{Phase, RestartRecord, SecondRecord, SupervisedRecord};
use crate::restart::supervisor::Started;
use crate::restart::swap::pair::{
    Pair, own_files, revert_files, set_ports, state, write_append_only,
};
use crate::restart::swap::{supervised as forward, the_same_settings};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use unfrag_client::ConnectOptions;
use unfrag_model::text::counted;

/// A hand-over that the servers give up is asked for so often.
const TRIES: usize = 5;

struct Undo<'a> {
    run: &'a Unfinished,
    options: &'a ConnectOptions,
    unit: &'a SupervisedRecord,
    /// The swap from the first process to the second.
    away: SecondRecord,
    /// Roles were told to change, in that swap.
    handing: bool,
    /// Where the file is that somebody edited while it was another one.
    edited: OnceLock<PathBuf>,
}

pub(super) async fn finish(
    unit: &SupervisedRecord,
    run: &Unfinished,
    options: &ConnectOptions,
) -> Result<String, ActError> {
    let is_away = |r: &SecondRecord| r.first_run_id == run.run_id;
    let away = run.restart.iter().rev().find_map(|r| match r {
        RestartRecord::Second(record) if is_away(record) => Some((**record).clone()),
        _ => None,
    });
    let Some(mut away) = away else {
        forward::put_back_file(&unit.file, &unit.kept, None)?;
        return Ok(format!("{} is what it was; the server serves as before", unit.file.display()));
    };
    if away.second.as_ref().is_none_or(|s| !s.is_alive())
        && let Some(found) = find(&away).filter(|found| Some(found) != unit.own.as_ref())
    {
        away.second = Some(found);
    }
    let handing = run.restart.iter().any(|r| matches!(r, RestartRecord::HandingOver { .. }));
    let undo = Undo { run, options, unit, away, handing, edited: OnceLock::new() };
    let said = undo.finish().await?;
    Ok(match undo.edited.get() {
        Some(edited) => format!("{said}; {}", forward::said_of_edit(&unit.file, edited)),
        None => said,
    })
}

impl Undo<'_> {
    async fn finish(&self) -> Result<String, ActError> {
        let (away, options) = (&self.away, self.options);
        let second_lives = away.second.as_ref().is_some_and(ProcessId::is_alive);
        let second = match &away.second {
            Some(id) if second_lives && self.handing => {
                find_link(away, options, |_, info| info.count("process_id") == Some(id.pid.into()))
                    .await
            }
            _ => None,
        };
        if second_lives && self.handing && second.is_none() {
            return Err(ActError::Unsafe(
                "the second process runs and does not answer: nothing was done".to_owned(),
            ));
        }
        if self.unit.phase == Phase::Restarting {
            // It may have been told to end the moment before.
            away.first.gone(Duration::from_secs(2)).await;
        }
        let first = find_link(away, options, |link, _| link.run_id == self.run.run_id).await;
        if first.is_none() && away.first.is_alive() {
            return Err(ActError::Unsafe(
                "the first process runs and does not answer: nothing was done".to_owned(),
            ));
        }
        match (first, second) {
            (Some(first), Some(second)) => self.back(first, second).await,
            (Some(_), None) => {
                self.put_back()?;
                go_back(away, self.handing, options).await
            }
            (None, Some(second)) => self.forward(second).await,
            (None, None) => self.alone().await,
        }
    }

    fn put_back(&self) -> Result<(), ActError> {
        let SupervisedRecord { file, kept, written, .. } = self.unit;
        if let Some(edited) = forward::put_back_file(file, kept, written.as_ref())? {
            let _ = self.edited.set(edited);
        }
        Ok(())
    }

    /// Both live: the first one serves again.
    async fn back(&self, first: Link, second: Link) -> Result<String, ActError> {
        self.put_back()?;
        let filled = self.run.restart.iter().find_map(|r| match r {
            RestartRecord::Filled { names } => Some(names.clone()),
            _ => None,
        });
        let filled = filled.unwrap_or_default();
        let record = self.away.clone();
        let mut pair = Pair { first, second, record, settle: vec![], nudge: None, filled };
        let was_handed_over = pair.is_handed_over().await?;
        if was_handed_over {
            pair.exchange_ports().await?;
            pair.send_clients_over().await?;
        }
        if was_handed_over {
            let mut back = self.way_back().await?;
            let port = back.clients_port().to_string();
            let words = ["REPLICAOF", &back.record.host.clone(), &port];
            back.second.connection.call(&words).await?;
            self.exchange(&mut back).await?;
            forward::reclaim_append_only(&mut back, WAITS).await?;
            back.retire(WAITS).await?;
            for name in &pair.filled {
                back.second.config_set(name, "").await?;
            }
        } else {
            // The way back may have been under way already.
            if self.away.append_only {
                forward::reclaim_append_only(&mut self.way_back().await?, WAITS).await?;
            }
            pair.revert().await;
            take_ports(&mut pair.first, &self.away).await?;
        }
        Ok("the first process serves as before; the second one was ended".to_owned())
    }

    /// From the second process to the first, with links to where they listen now.
    async fn way_back(&self) -> Result<Pair, ActError> {
        let (away, options) = (&self.away, self.options);
        let gone = |which: &str| ActError::Unsafe(format!("the {which} process does not answer"));
        let pid = away.second.as_ref().map(|id| u64::from(id.pid));
        let second = find_link(away, options, |_, info| info.count("process_id") == pid).await;
        let first = find_link(away, options, |link, _| link.run_id == self.run.run_id).await;
        let (second, first) =
            (second.ok_or_else(|| gone("second"))?, first.ok_or_else(|| gone("first"))?);
        Pair::way_back(away, second, first, away.first.clone())
    }

    /// The first process has ended.
    async fn forward(&self, mut second: Link) -> Result<String, ActError> {
        if let Some(successor) = self.successor(Some(&second)).await {
            return self.hand_over(second, successor).await;
        }
        if state(&mut second).await?.is_replica() {
            // Its primary is gone: it has what that one had sent.
            second.connection.call(&["REPLICAOF", "NO", "ONE"]).await?;
        }
        take_ports(&mut second, &self.away).await?;
        let second = Link::open(&address(&self.away.address)?, self.options).await?;
        if self.unit.kept.symlink_metadata().is_ok() {
            let at = address(&self.away.address)?;
            let started = forward::start(self.unit, &at, &self.away, &second, APPEARS).await;
            if let Ok((link, _)) = started {
                return self.hand_over(second, link).await;
            }
        }
        self.plainly(second).await
    }

    /// A server that the supervisor has started at the spare port, or where clients look.
    async fn successor(&self, second: Option<&Link>) -> Option<Link> {
        let known = second.map(|link| link.run_id.clone());
        find_link(&self.away, self.options, |link, _| {
            link.run_id != self.run.run_id && Some(&link.run_id) != known.as_ref()
        })
        .await
    }

    /// The second process hands over to the successor, if it has not done so.
    async fn hand_over(&self, mut second: Link, mut own: Link) -> Result<String, ActError> {
        self.put_back()?;
        let pid = own.info().await?.count("process_id").and_then(|pid| u32::try_from(pid).ok());
        let id = pid.and_then(ProcessId::of);
        let id = id.ok_or_else(|| ActError::Unsafe("its process is not seen".to_owned()))?;
        forward::is_own(&self.unit.supervisor, &mut own).await?;
        if !state(&mut second).await?.is_replica() && !state(&mut own).await?.is_replica() {
            return Err(ActError::Unsafe(format!(
                "{} and {} both take writes: the second process has what was answered before; nothing was done",
                second.address, own.address
            )));
        }
        let mut pair = Pair::way_back_to(&self.away, second, own, id, self.unit.settle.clone())?;
        self.exchange(&mut pair).await?;
        pair.settle().await?;
        pair.retire(WAITS).await?;
        let pid = pair.record.second.as_ref().map_or(0, |s| s.pid);
        Ok(format!(
            "the supervisor's own process {pid} serves at {}; {}; {} is what it was",
            self.away.address,
            pair.retired("second"),
            self.unit.file.display()
        ))
    }

    /// Roles and ports, once the one that is to serve has everything.
    async fn exchange(&self, pair: &mut Pair) -> Result<(), ActError> {
        let mut tries = 0;
        while !pair.is_handed_over().await? {
            wait_for_copy(pair).await?;
            acl::carry(&mut pair.first.connection, &mut pair.second.connection).await?;
            let ours = Configuration::read(&mut pair.first.connection).await?;
            the_same_settings(&ours, pair).await?;
            unpause(&mut pair.first.connection).await;
            pair.ask_for_acknowledgement().await?;
            tries += 1;
            match pair.hand_over().await {
                Err(error) if tries == TRIES => return Err(error),
                _ => {}
            }
        }
        pair.exchange_ports().await?;
        pair.send_clients_over().await
    }

    /// No successor comes up: a plain restart of who serves, through the supervisor.
    async fn plainly(&self, mut second: Link) -> Result<String, ActError> {
        self.put_back()?;
        if self.away.append_only {
            write_append_only(&mut second, WAITS).await?;
        }
        second.connection.set_response_timeout(WAITS);
        if let Err(error) = second.connection.call(&["SHUTDOWN", "SAVE"]).await
            && error.is_reply()
        {
            return Err(ActError::Unsafe(format!(
                "the second process serves at {}, the supervisor does not start its own, and a restart cannot save: {}",
                self.away.address, error.problem
            )));
        }
        if let Some(id) = &self.away.second {
            id.gone(WAITS).await;
        }
        self.start_anew("the second process saved everything").await
    }

    /// The second process is gone as well.
    async fn alone(&self) -> Result<String, ActError> {
        revert_files(&self.away).await;
        let Some(mut own) = self.successor(None).await else {
            self.put_back()?;
            return self.start_anew("both processes are gone").await;
        };
        self.put_back()?;
        let handed =
            self.run.restart.iter().rposition(|r| matches!(r, RestartRecord::HandingOver { .. }));
        let came = self.run.restart.iter().rposition(
            |r| matches!(r, RestartRecord::Second(s) if s.first_run_id != self.run.run_id),
        );
        if state(&mut own).await?.is_replica() {
            if came.is_none() || handed < came {
                // How much of the data it has is not known; what is on disk is what a crash would have left.
                let id = own.info().await?.count("process_id").and_then(|p| u32::try_from(p).ok());
                let _ = own.connection.call(&["SHUTDOWN", "NOSAVE"]).await;
                if let Some(id) = id.and_then(ProcessId::of) {
                    id.gone(APPEARS).await;
                }
                return self.start_anew("the second process had died").await;
            }
            own.connection.call(&["REPLICAOF", "NO", "ONE"]).await?;
        }
        take_ports(&mut own, &self.away).await?;
        for (name, value) in &self.unit.settle {
            if own.config_get(name).await?.is_some_and(|now| now != *value) {
                own.config_set(name, value).await?;
            }
        }
        if self.away.append_only {
            write_append_only(&mut own, WAITS).await?;
        }
        own_files(&SecondRecord { second: self.unit.own.clone(), ..self.away.clone() });
        Ok(format!("the supervisor's own process serves at {}", self.away.address))
    }

    /// The supervisor starts it as it always does.
    async fn start_anew(&self, why: &str) -> Result<String, ActError> {
        let at = address(&self.away.address)?;
        let (supervisor, output) = (&self.unit.supervisor, self.unit.output.as_deref());
        let mut started = Started::default();
        if Link::open(&at, self.options).await.is_err() {
            started = supervisor.start(&at, output).await?;
        }
        let (_, info) =
            comes_up(&at, self.options, &self.run.run_id, &mut started, supervisor).await?;
        let keys = counted(info.keys().unwrap_or(0), "key");
        Ok(format!("{why}: started by its supervisor with {keys} from disk"))
    }
}

/// It listens where clients look; who did so before may need a moment to let go.
async fn take_ports(link: &mut Link, record: &SecondRecord) -> Result<(), ActError> {
    let begun = Instant::now();
    while let Err(error) = set_ports(link, record, 0).await {
        if begun.elapsed() > Duration::from_secs(1) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The one that is to serve has everything that the other one has.
async fn wait_for_copy(pair: &mut Pair) -> Result<(), ActError> {
    let begun = Instant::now();
    loop {
        let info = pair.second.info().await?;
        if info.text("master_link_status") == Some("up")
            && info.flag("master_sync_in_progress") != Some(true)
        {
            return pair.caught_up(WAITS).await;
        }
        if begun.elapsed() > WAITS {
            return Err(ActError::Unsafe("it does not synchronise".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
