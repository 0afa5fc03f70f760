//! The configuration file while it is another one: its own inode waits beside it under a second name.
//!
//! CONFIG REWRITE writes a new file and renames it into place (config.c: rewriteConfigOverwriteFile, since 6.2), so a
//! hard link keeps the old one whole: its bytes, owner, mode and times. One rename puts it back. **While the second
//! name is there, the file may not be what it was; when it is not there, it is.**
//!
//! Somebody may edit the file just then. What they wrote is never thrown away: it is told from what the server wrote by
//! its [`Written`], and moved beside the file under a third name, for them to merge.

use crate::ActError;
use crate::restart::boot::Boot;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What tells the file that the server wrote from one that somebody has edited since. No content: that holds secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Written {
    fn of(file: &Path) -> Option<Self> {
        let meta = file.metadata().ok()?;
        Some(Self {
            inode: meta.ino(),
            bytes: meta.len(),
            seconds: meta.mtime(),
            nanoseconds: meta.mtime_nsec(),
        })
    }
}

/// Where the file waits.
pub(in crate::restart) fn kept_path(file: &Path) -> PathBuf {
    super::super::spare_path(file)
}

fn fail(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> ActError {
    let text = format!("cannot {what} `{}`", path.display());
    move |error| ActError::Unsafe(format!("{text}: {error}"))
}

/// Gives the file its second name, if it is still what it was.
pub(super) fn keep(file: &Path, kept: &Path, original: &[u8]) -> Result<(), ActError> {
    fs::hard_link(file, kept).map_err(fail("keep a second name of", file))?;
    sync_folder(file)?;
    if fs::read(kept).is_ok_and(|now| now == original) {
        return Ok(());
    }
    fs::remove_file(kept).map_err(fail("give up the second name of", file))?;
    Err(ActError::Unsafe(format!(
        "somebody has changed `{}` since this began: it stays as they left it, and what it would start is not known",
        file.display()
    )))
}

/// The file is what it was. Nothing to do where it is so already. Where somebody has edited what the server had
/// `written`, that is kept, and its name returned.
pub(in crate::restart) fn put_back(
    file: &Path,
    kept: &Path,
    written: Option<&Written>,
) -> Result<Option<PathBuf>, ActError> {
    let Ok(old) = kept.symlink_metadata() else { return Ok(None) };
    let is_same = file.symlink_metadata().is_ok_and(|now| is_one(&now, &old));
    let edited = match written {
        Some(written) if !is_same && Written::of(file).is_some_and(|now| now != *written) => {
            Some(set_aside(file)?)
        }
        _ => None,
    };
    // Renaming one name of a file to another name of the same file does nothing at all.
    let done = if is_same { fs::remove_file(kept) } else { fs::rename(kept, file) };
    done.map_err(fail("put back", file))?;
    sync_folder(file)?;
    Ok(edited)
}

/// A third name, which nothing has yet.
fn set_aside(file: &Path) -> Result<PathBuf, ActError> {
    for number in 1.. {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".edited-{number}"));
        match fs::hard_link(file, &name) {
            Ok(()) => return Ok(name.into()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail("keep what was edited of", file)(error)),
        }
    }
    Err(ActError::Unsafe("no name is left".to_owned()))
}

/// After CONFIG REWRITE: it is another file, which may be read by whoever could read the old one, and by no others.
pub(super) fn rewritten(file: &Path, kept: &Path, original: &[u8]) -> Result<Written, ActError> {
    let old = kept.symlink_metadata().map_err(fail("read", kept))?;
    let new = file.symlink_metadata().map_err(fail("read", file))?;
    if is_one(&old, &new) {
        if fs::read(file).is_ok_and(|text| text != original) {
            fs::write(file, original).map_err(fail("put back", file))?;
        }
        return Err(ActError::Unsafe(
            "CONFIG REWRITE did not replace the configuration file".to_owned(),
        ));
    }
    let mode = fs::metadata(kept).map_or(0o600, |m| m.permissions().mode() & 0o777);
    let open = new.permissions().mode() & 0o777;
    if open & !mode != 0 {
        fs::set_permissions(file, PermissionsExt::from_mode(open & mode))
            .map_err(fail("set the mode of", file))?;
    }
    Written::of(file).ok_or_else(|| {
        ActError::Unsafe(format!("`{}` is gone after CONFIG REWRITE", file.display()))
    })
}

/// What the file says now is what that one start must find.
pub(super) fn says(file: &Path, wanted: &[(&str, String)]) -> Result<(), ActError> {
    let boot = Boot {
        program: PathBuf::new(),
        file: Some(file.to_owned()),
        lines: vec![],
        is_certain: true,
    };
    let said = boot.says();
    // What a server has by default it does not write down.
    let usual = |name: &str| if name == "appendonly" { "no" } else { "" };
    for (name, value) in wanted {
        let got = said.get(*name).map_or(usual(name), String::as_str);
        if got != value {
            return Err(ActError::Unsafe(format!(
                "after CONFIG REWRITE `{}` says {name} {got:?} and not {value:?}",
                file.display()
            )));
        }
    }
    Ok(())
}

fn is_one(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn sync_folder(file: &Path) -> Result<(), ActError> {
    let Some(folder) = file.parent() else { return Ok(()) };
    File::open(folder).and_then(|f| f.sync_all()).map_err(fail("write to disk", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_very_same_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.conf");
        let kept = kept_path(&file);
        fs::write(&file, "port 1\n").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let before = file.metadata().unwrap();
        keep(&file, &kept, b"port 1\n").unwrap();
        assert!(rewritten(&file, &kept, b"port 1\n").is_err(), "nothing was replaced");
        let new = folder.path().join("new");
        fs::write(&new, "port 2\nreplicaof \"h\" 1\nsave \"\"\n").unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o644)).unwrap();
        fs::rename(&new, &file).unwrap();
        let written = rewritten(&file, &kept, b"port 1\n").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let wanted =
            [("port", "2".to_owned()), ("save", String::new()), ("appendonly", "no".into())];
        says(&file, &wanted).unwrap();
        assert!(says(&file, &[("port", "1".to_owned())]).is_err());
        assert_eq!(put_back(&file, &kept, Some(&written)).unwrap(), None);
        assert_eq!(put_back(&file, &kept, Some(&written)).unwrap(), None);
        let after = file.metadata().unwrap();
        assert!(is_one(&before, &after) && !kept.exists());
        assert_eq!(fs::read(&file).unwrap(), b"port 1\n");
        // Killed before the server had replaced it.
        keep(&file, &kept, b"port 1\n").unwrap();
        assert_eq!(put_back(&file, &kept, None).unwrap(), None);
        assert!(!kept.exists() && file.exists());
    }

    #[test]
    fn what_somebody_edits_meanwhile_is_kept_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.conf");
        let kept = kept_path(&file);
        fs::write(&file, "port 1\n").unwrap();
        let wrong = keep(&file, &kept, b"port 0\n").unwrap_err().to_string();
        assert!(wrong.contains("somebody has changed") && !kept.exists(), "{wrong}");
        for round in 1..3 {
            keep(&file, &kept, b"port 1\n").unwrap();
            fs::remove_file(&file).unwrap();
            fs::write(&file, "port 2\n").unwrap();
            let written = rewritten(&file, &kept, b"port 1\n").unwrap();
            fs::write(&file, "port 2\nmaxmemory 5gb\n").unwrap();
            let edited = put_back(&file, &kept, Some(&written)).unwrap().unwrap();
            assert_eq!(edited, folder.path().join(format!("a.conf.edited-{round}")));
            assert_eq!(fs::read(edited).unwrap(), b"port 2\nmaxmemory 5gb\n");
            assert_eq!(fs::read(&file).unwrap(), b"port 1\n");
        }
    }
}
