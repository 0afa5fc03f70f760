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

    /// Names, and the values that they have now, in the order in which they were first set.
    pub(crate) fn now(&self) -> Vec<(String, String)> {
        let now = |s: &ChangedSetting| Some((s.name.clone(), s.announced.last()?.clone()));
        self.changed.iter().filter_map(now).collect()
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
    /// changed since is left alone. What cannot be put back stays known with the value that it had: the next call tries
    /// again.
    pub(crate) async fn restore(
        &mut self,
        link: &mut Link,
        journal: &mut Journal,
    ) -> Vec<Restored> {
        let (mut all, mut left) = (vec![], vec![]);
        // A server that is gone is waited for once, and not once for each setting.
        let mut gone: Option<String> = None;
        while let Some(changed) = self.changed.pop() {
            let result = match &gone {
                Some(why) => Err(why.clone()),
                None => put_back_anew(link, &changed, &mut gone).await.map_err(|e| e.to_string()),
            };
            let (name, value) = (changed.name.clone(), changed.from.clone());
            let (restored, note) = match result {
                Ok(note) => (true, note),
                Err(why) => (false, Some(why)),
            };
            if restored {
                // The server is as it was; a journal that cannot be written only makes `undo` look again.
                let _ = journal.write(&Entry::Restored { name: name.clone() });
            } else {
                left.push(changed);
            }
            all.push(Restored { name, value, restored, note });
        }
        left.reverse();
        self.changed = left;
        all
    }
}

/// Over a new connection if this one is gone; `gone` becomes why there is none.
async fn put_back_anew(
    link: &mut Link,
    changed: &ChangedSetting,
    gone: &mut Option<String>,
) -> Result<Option<String>, ActError> {
    match put_back(link, changed).await {
        Err(error) if error.is_lost_connection() => {
            link.reopen().await.inspect_err(|error| *gone = Some(error.to_string()))?;
            put_back(link, changed).await
        }
        done => done,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journals;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use unfrag_client::{Address, ConnectOptions};
    use unfrag_testbed::{Kind, Options, Server, measure, require};

    async fn link(server: &Server, options: &ConnectOptions) -> Link {
        let address = Address::Tcp("127.0.0.1".to_owned(), server.port());
        Link::open(&address, options).await.unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// As when the right to CONFIG SET goes before a pause: what is set again later still goes back to what it was first.
    #[test]
    fn what_could_not_be_put_back_keeps_the_value_that_it_had() {
        if !require(Kind::Redis6) {
            return;
        }
        let server = Server::start(Kind::Redis6, &Options::default()).unwrap();
        let mut admin = server.connection().unwrap();
        let mut rights = |rules: &str| {
            measure::typed(&mut admin, &format!("ACL SETUSER default {rules}")).unwrap();
        };
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::at(folder.path());
        runtime().block_on(async {
            let mut link = link(&server, &ConnectOptions::default()).await;
            let mut journal = journals.begin("here", &link.run_id).unwrap();
            let mut settings = Settings::default();
            settings.set(&mut link, &mut journal, "hz", "500").await.unwrap();
            rights("-config +config|get");
            let denied = settings.restore(&mut link, &mut journal).await;
            assert!(denied.iter().all(|r| !r.restored) && denied.len() == 1, "{denied:?}");
            rights("+config|set");
            settings.set(&mut link, &mut journal, "hz", "100").await.unwrap();
            let done = settings.restore(&mut link, &mut journal).await;
            assert!(done.iter().all(|r| r.restored && r.value == "10"), "{done:?}");
            assert_eq!(link.config_get("hz").await.unwrap().as_deref(), Some("10"));
            assert_eq!(settings.restore(&mut link, &mut journal).await, []);
        });
        let left = journals.unfinished().unwrap();
        assert!(left.iter().all(|run| run.settings.is_empty()), "{left:?}");
    }

    /// What listens where it should be hangs up on everyone, and counts them.
    #[test]
    fn a_server_that_is_gone_is_waited_for_once() {
        if !require(Kind::Redis6) {
            return;
        }
        let server = Server::start(Kind::Redis6, &Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::at(folder.path());
        let tries = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let elsewhere = Address::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let counted = Arc::clone(&tries);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        let once = runtime().block_on(async {
            let mut link = link(&server, &ConnectOptions::default()).await;
            let mut journal = journals.begin("here", &link.run_id).unwrap();
            let mut settings = Settings::default();
            for (name, value) in [("hz", "500"), ("lfu-decay-time", "2"), ("timeout", "9000")] {
                settings.set(&mut link, &mut journal, name, value).await.unwrap();
            }
            drop(server);
            link.address = elsewhere;
            assert!(link.reopen().await.is_err());
            let once = tries.load(Ordering::SeqCst);
            let left = settings.restore(&mut link, &mut journal).await;
            assert!(left.len() == 3 && left.iter().all(|r| !r.restored), "{left:?}");
            once
        });
        assert!(once > 0);
        assert_eq!(tries.load(Ordering::SeqCst), 2 * once);
    }
}
