//! [`undo`]: finishes the clean-up of a run that was killed. Idempotent: a second undo finds nothing to do.

use crate::ActError;
use crate::journal::{Journal, Journals};
use crate::link::Link;
use crate::outcome::Skipped;
use crate::permit::ChangePermit;
use crate::remedy::repack;
use crate::reshape;
use crate::restart;
use crate::settings::{Restored, Settings};
use serde::Serialize;
use unfrag_client::{Address, ConnectOptions};

/// What was put back on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Interrupted runs found for this server.
    pub runs: u64,
    /// Settings put back.
    pub restored_config: Vec<Restored>,
    /// Keys that had been set aside and are deleted now.
    pub keys_deleted: u64,
    /// What was done to complete or to revert a restart.
    pub restarted: Vec<String>,
    /// Keys that a reshape had moved, and that are as they were.
    pub keys_restored: u64,
    /// Keys of a reshape that somebody has written since: they are left as they are.
    pub left: Vec<Skipped>,
}

impl Undone {
    /// True when nothing is left to put back.
    pub fn is_complete(&self) -> bool {
        self.restored_config.iter().all(|r| r.restored)
    }
}

/// Undoes every interrupted run on this server. A run is this server's when the process is the same, or when it has
/// the same address and was restarted since: settings that were changed at run time went with the old process, unless
/// somebody wrote them into its configuration file, which reading them back shows.
pub async fn undo(
    address: &Address,
    options: &ConnectOptions,
    journals: &Journals,
    permit: impl Fn(&str) -> ChangePermit,
) -> Result<Undone, ActError> {
    let restarted = restarts(address, options, journals, &permit).await?;
    let mut link = Link::open(address, options).await?.with_patience();
    let permit = permit(&link.run_id);
    if permit.run_id() != link.run_id {
        return Err(ActError::Changed { what: "the permit is for another process".to_owned() });
    }
    let mut undone = Undone { restarted, ..Undone::default() };
    for run in journals.unfinished()? {
        if run.run_id != link.run_id && run.target != address.to_string() {
            continue;
        }
        let Some(mut journal) = Journal::reopen(&run.path)? else {
            return Err(run.busy());
        };
        undone.runs += 1;
        if !run.restart.is_empty() && run.run_id != link.run_id {
            // What was set on the process that is gone went with it.
            journal.end()?;
            continue;
        }
        let mut settings = Settings::left_behind(run.settings);
        undone.restored_config.extend(settings.restore(&mut link, &mut journal).await);
        restart::keep_settings(&mut link, &run.restart).await;
        for prefix in &run.prefixes {
            undone.keys_deleted +=
                repack::delete_left_behind(&mut link, &mut journal, prefix).await?;
        }
        if let Some(moved) = &run.reshape {
            let (restored, left) = reshape::revert(&mut link, journals, &run.target, moved).await?;
            undone.keys_restored += restored;
            undone.left.extend(left);
        }
        if undone.is_complete() {
            journal.end()?;
        }
    }
    Ok(undone)
}

/// Completes or reverts restarts of this server: they come first, for the server may not even be up.
async fn restarts(
    address: &Address,
    options: &ConnectOptions,
    journals: &Journals,
    permit: &impl Fn(&str) -> ChangePermit,
) -> Result<Vec<String>, ActError> {
    let mut said = vec![];
    for run in journals.unfinished()? {
        if run.restart.is_empty() || run.target != address.to_string() {
            continue;
        }
        let Some(journal) = Journal::reopen(&run.path)? else {
            return Err(run.busy());
        };
        said.extend(restart::finish(&run, options, &permit(&run.run_id)).await?);
        drop(journal);
    }
    Ok(said)
}
