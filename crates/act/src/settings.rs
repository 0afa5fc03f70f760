//! Changing settings for a while: journaled before, read back after, put back in the end.

use crate::ActError;
use crate::journal::{ChangedSetting, Entry, Journal, announce};
use crate::link::Link;
use serde::Serialize;
use unfrag_model::config::parse_memory;

/// A setting that was changed, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// What it was before, and should be again.
    pub value: String,
    /// Read back as such.
    pub restored: bool,
    /// Why not, or why it was left alone.
    pub note: Option<String>,
}

/// Settings changed so far.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    changed: Vec<ChangedSetting>,
}

impl Settings {
    /// Of a run that was killed.
    pub(crate) fn left_behind(changed: Vec<ChangedSetting>) -> Self {
        Self { changed }
    }

    /// Names, and the values that they had.
    pub(crate) fn before(&self) -> Vec<(String, String)> {
        self.changed.iter().map(|s| (s.name.clone(), s.from.clone())).collect()
    }

    /// Sets one. The journal knows before the server does.
    pub(crate) async fn set(
        &mut self,
        link: &mut Link,
        journal: &mut Journal,
        name: &str,
        value: &str,
    ) -> Result<(), ActError> {
        let known = self.changed.iter().find(|s| s.name == name).map(|s| s.from.clone());
        let from = match known {
            Some(from) => from,
            None => link.config_get(name).await?.ok_or_else(|| {
                ActError::Unsafe(format!("the server has no setting called {name}"))
            })?,
        };
        let (name, to) = (name.to_owned(), value.to_owned());
        announce(&mut self.changed, &name, &from, &to);
        journal.write(&Entry::Set { name: name.clone(), from, to })?;
        link.config_set(&name, value).await?;
        let got = link.config_get(&name).await?.unwrap_or_default();
        if same(&got, value) {
            Ok(())
        } else {
            Err(ActError::NotTaken { name, wanted: value.to_owned(), got })
        }
    }

    /// Puts everything back, last change first, over a new connection if this one is gone. What somebody else has
    /// changed since is left alone.
    pub(crate) async fn restore(
        &mut self,
        link: &mut Link,
        journal: &mut Journal,
    ) -> Vec<Restored> {
        let mut all = vec![];
        while let Some(changed) = self.changed.pop() {
            let mut result = put_back(link, &changed).await;
            if result.as_ref().is_err_and(ActError::is_lost_connection) {
                result = match link.reopen().await {
                    Ok(()) => put_back(link, &changed).await,
                    Err(error) => Err(error),
                };
            }
            let ChangedSetting { name, from, .. } = changed;
            let (restored, note) = match result {
                Ok(note) => (true, note),
                Err(error) => (false, Some(error.to_string())),
            };
            if restored {
                // The server is as it was; a journal that cannot be written only makes `undo` look again.
                let _ = journal.write(&Entry::Restored { name: name.clone() });
            }
            all.push(Restored { name, value: from, restored, note });
        }
        all
    }
}

async fn put_back(link: &mut Link, changed: &ChangedSetting) -> Result<Option<String>, ActError> {
    let ChangedSetting { name, from, announced } = changed;
    let now = link.config_get(name).await?.unwrap_or_default();
    if same(&now, from) {
        return Ok(None);
    }
    if !announced.iter().any(|to| same(&now, to)) {
        return Ok(Some(format!("left at {now}: somebody else has set it meanwhile")));
    }
    link.config_set(name, from).await?;
    let got = link.config_get(name).await?.unwrap_or_default();
    if same(&got, from) {
        Ok(None)
    } else {
        Err(ActError::NotTaken { name: name.clone(), wanted: from.clone(), got })
    }
}

/// Equal as the server means it: `1mb` is `1048576`.
fn same(a: &str, b: &str) -> bool {
    a == b || parse_memory(a).is_some_and(|bytes| Some(bytes) == parse_memory(b))
}
