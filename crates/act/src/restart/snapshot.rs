//! A snapshot as a backup: made, waited for, verified by our own reader, copied.

use crate::ActError;
use crate::link::Link;
use crate::restart::facts::Facts;
use crate::restart::verify;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// BGSAVE succeeded only when it is over, its status is ok, and the time or the count of saves has moved: a child that
/// was killed leaves both as they were (rdb.c: backgroundSaveDoneHandlerDisk).
pub(crate) async fn save(link: &mut Link, wait_max: Duration) -> Result<(), ActError> {
    let before = link.info().await?;
    if before.count("rdb_saves").is_none() {
        // Before 7.0 only the time tells, in whole seconds: a save within the same one would not show.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let deadline = Instant::now() + wait_max;
    loop {
        match link.connection.call(&["BGSAVE"]).await {
            Ok(_) => break,
            // Another child is at work.
            Err(error) if error.is_reply() && Instant::now() < deadline => {
                if !error.problem.to_string().contains("progress")
                    && !error.problem.to_string().contains("child")
                {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = link.info().await?;
        if now.flag("rdb_bgsave_in_progress") != Some(true) {
            let moved = |name: &str| now.count(name) > before.count(name);
            let is_new = moved("rdb_saves") || moved("rdb_last_save_time");
            if now.text("rdb_last_bgsave_status") == Some("ok") && is_new {
                return Ok(());
            }
            return Err(ActError::Unsafe(
                "the snapshot failed: the server's log says why".to_owned(),
            ));
        }
        if Instant::now() > deadline {
            return Err(ActError::Unsafe("the snapshot is not done in time".to_owned()));
        }
    }
}

/// A verified copy at `to`; the number of keys in it.
pub(crate) async fn backup(
    link: &mut Link,
    facts: &Facts,
    to: &Path,
    wait_max: Duration,
) -> Result<u64, ActError> {
    if facts.process.as_ref().is_ok_and(|p| !p.shares_namespaces) || facts.process.is_err() {
        let why = "the snapshot's file is not seen from here: `unfrag rdb fetch` takes one over the network";
        return Err(ActError::Unsafe(why.to_owned()));
    }
    save(link, wait_max).await?;
    let from = facts.disk.folder.join(facts.configuration.text("dbfilename"));
    let fail = |e: std::io::Error| {
        ActError::Unsafe(format!("cannot copy `{}` to `{}`: {e}", from.display(), to.display()))
    };
    let copy = copy_beside(&from, to).map_err(fail)?;
    let damaged = match verify::file_keys(copy.path().to_owned()).await {
        Some(Ok(keys)) => {
            keep(copy, to).map_err(fail)?;
            return Ok(keys);
        }
        Some(Err(why)) => format!("is damaged: {why}"),
        None => "cannot be read".to_owned(),
    };
    // The copy goes: what could be looked at is the server's own file, and a name that promises a backup would lie.
    Err(ActError::Unsafe(format!(
        "the snapshot `{}` {damaged}; there is no backup, and nothing was restarted (`unfrag rdb verify` shows every \
         problem of the file)",
        from.display()
    )))
}

/// A copy under a name of no meaning in the same folder; it goes when it is dropped. The server replaces its own file by
/// renaming, so the copy is of one file or of the other, never of both.
fn copy_beside(from: &Path, to: &Path) -> std::io::Result<NamedTempFile> {
    let mut source = std::fs::File::open(from)?;
    let mut copy = tempfile::Builder::new()
        .prefix(".unfrag-backup-")
        .suffix(".part")
        .tempfile_in(folder_of(to))?;
    std::io::copy(&mut source, copy.as_file_mut())?;
    copy.as_file().sync_all()?;
    Ok(copy)
}

/// It has the name that was wished for, and it is there after a power cut. Never over a file that is there: it could be
/// the very snapshot.
fn keep(copy: NamedTempFile, to: &Path) -> std::io::Result<()> {
    copy.persist_noclobber(to)?;
    std::fs::File::open(folder_of(to))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Why no backup can be written there; `None` when it can, as far as can be told.
pub(crate) fn why_not_backed_up_to(to: &Path) -> Option<String> {
    let shown = to.display();
    if to.is_dir() {
        return Some(format!("the backup `{shown}` is a folder: name a new file in it"));
    }
    if to.symlink_metadata().is_ok() {
        return Some(format!("the backup `{shown}` is there already: name a new file"));
    }
    (!folder_of(to).is_dir()).then(|| format!("the folder of the backup `{shown}` does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (dump, new) = (folder.path().join("dump.rdb"), folder.path().join("new.rdb"));
        std::fs::write(&dump, "precious").unwrap();
        assert!(keep(copy_beside(&dump, &dump).unwrap(), &dump).is_err());
        assert_eq!(std::fs::read(&dump).unwrap(), b"precious");
        keep(copy_beside(&dump, &new).unwrap(), &new).unwrap();
        assert_eq!(std::fs::read(&new).unwrap(), b"precious");
        // What is not kept is not there: nothing but the two.
        drop(copy_beside(&dump, &folder.path().join("damaged")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let why = |path: &Path| why_not_backed_up_to(path).unwrap_or_default();
        assert!(why(&dump).contains("there already"));
        assert!(why(folder.path()).contains("is a folder"));
        assert!(why(&folder.path().join("none/x.rdb")).contains("does not exist"));
        assert_eq!(why(&folder.path().join("another.rdb")), "");
    }
}
