//! The configuration file while it is another one: its own inode waits beside it under a second name.
//!
//! CONFIG REWRITE writes a new file and renames it into place (config.c: rewriteConfigOverwriteFile, since 6.2), so a
//! hard link keeps the old one whole: its bytes, owner, mode and times. One rename puts it back. **While the second
//! name is there, the file may not be what it was; when it is not there, it is.**

use crate::ActError;
use crate::restart::boot::Boot;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the file waits.
pub(in crate::restart) fn kept_path(file: &Path) -> PathBuf {
    super::super::spare_path(file)
}

fn fail(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> ActError {
    let text = format!("cannot {what} `{}`", path.display());
    move |error| ActError::Unsafe(format!("{text}: {error}"))
}

/// Gives the file its second name.
pub(super) fn keep(file: &Path, kept: &Path) -> Result<(), ActError> {
    fs::hard_link(file, kept).map_err(fail("keep a second name of", file))?;
    sync_folder(file)
}

/// The file is what it was. Nothing to do where it is so already.
pub(in crate::restart) fn put_back(file: &Path, kept: &Path) -> Result<(), ActError> {
    let Ok(old) = kept.symlink_metadata() else { return Ok(()) };
    let is_same = file.symlink_metadata().is_ok_and(|now| is_one(&now, &old));
    // Renaming one name of a file to another name of the same file does nothing at all.
    let done = if is_same { fs::remove_file(kept) } else { fs::rename(kept, file) };
    done.map_err(fail("put back", file))?;
    sync_folder(file)
}

/// After CONFIG REWRITE: it is another file, which may be read by whoever could read the old one, and by no others.
pub(super) fn rewritten(file: &Path, kept: &Path, original: &[u8]) -> Result<(), ActError> {
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
    Ok(())
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
        keep(&file, &kept).unwrap();
        assert!(rewritten(&file, &kept, b"port 1\n").is_err(), "nothing was replaced");
        let new = folder.path().join("new");
        fs::write(&new, "port 2\nreplicaof \"h\" 1\nsave \"\"\n").unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o644)).unwrap();
        fs::rename(&new, &file).unwrap();
        rewritten(&file, &kept, b"port 1\n").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let wanted =
            [("port", "2".to_owned()), ("save", String::new()), ("appendonly", "no".into())];
        says(&file, &wanted).unwrap();
        assert!(says(&file, &[("port", "1".to_owned())]).is_err());
        put_back(&file, &kept).unwrap();
        put_back(&file, &kept).unwrap();
        let after = file.metadata().unwrap();
        assert!(is_one(&before, &after) && !kept.exists());
        assert_eq!(fs::read(&file).unwrap(), b"port 1\n");
        // Killed before the server had replaced it.
        keep(&file, &kept).unwrap();
        put_back(&file, &kept).unwrap();
        assert!(!kept.exists() && file.exists());
    }
}
