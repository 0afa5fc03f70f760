//! [`Boot`]: the command line of the next start, and the few settings of it that decide what is loaded. Pure but for
//! reading the configuration file.

use crate::restart::configuration::quoted;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What will be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) program: PathBuf,
    /// The configuration file, absolute.
    pub(crate) file: Option<PathBuf>,
    /// `--name value…` after it, as lines of a configuration file.
    pub(crate) lines: Vec<String>,
    /// Known from the supervisor; false when it is only what the running process tells of itself.
    pub(crate) is_certain: bool,
}

/// Includes in includes end here, as a loop would not.
const MAX_INCLUDES: usize = 16;

impl Boot {
    /// From a command line; `None` when no server program is in it.
    pub(crate) fn from_words(words: &[String], known: &str, cwd: &Path) -> Option<Self> {
        let is_server = |word: &String| {
            let name = Path::new(word).file_name().unwrap_or_default().to_string_lossy();
            name == known || name.ends_with("redis-server") || name.ends_with("valkey-server")
        };
        let at = words.iter().position(is_server)?;
        let ends =
            |w: &String| matches!(w.as_str(), "&" | "&&" | "||" | ";" | "|") || w.contains('>');
        let rest: Vec<String> =
            words.iter().skip(at + 1).take_while(|w| !ends(w)).cloned().collect();
        let file = rest.first().filter(|w| !w.starts_with('-')).map(|w| cwd.join(w));
        let options = rest.iter().skip(usize::from(file.is_some()));
        let mut lines: Vec<String> = vec![];
        for word in options {
            match word.strip_prefix("--") {
                Some(name) => lines.push(name.to_owned()),
                None if lines.is_empty() => {}
                None => {
                    let line = lines.pop().unwrap_or_default();
                    lines.push(format!("{line} {}", quoted(word)));
                }
            }
        }
        let program = words.get(at).map(PathBuf::from)?;
        Some(Self { program, file, lines, is_certain: true })
    }

    /// From a shell's command line.
    pub(crate) fn from_shell(line: &str, known: &str, cwd: &Path) -> Option<Self> {
        Self::from_words(&shlex::split(line)?, known, cwd)
    }

    /// What the file and the arguments say of a setting, the last word counting.
    pub(crate) fn says(&self) -> BTreeMap<String, String> {
        let mut said = BTreeMap::new();
        if let Some(file) = &self.file {
            read_file(file, &mut said, 0);
        }
        for line in &self.lines {
            take_line(line, &mut said);
        }
        said
    }

    /// Settings that files named in the configuration file set, or the name of one that cannot be followed.
    pub(crate) fn included_names(&self) -> Result<BTreeSet<String>, String> {
        let text = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let mut names = BTreeSet::new();
        for line in text.unwrap_or_default().lines() {
            let words = shlex::split(line.trim()).unwrap_or_default();
            let [word, path] = words.as_slice() else { continue };
            if word.eq_ignore_ascii_case("include") {
                let path = Path::new(path);
                if !(path.is_absolute() && path.is_file()) {
                    return Err(path.display().to_string());
                }
                let mut said = BTreeMap::new();
                read_file(path, &mut said, 0);
                names.extend(said.into_keys());
            }
        }
        Ok(names)
    }
}

fn read_file(path: &Path, said: &mut BTreeMap<String, String>, depth: usize) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.split_once(char::is_whitespace) {
            Some((word, rest)) if word.eq_ignore_ascii_case("include") && depth < MAX_INCLUDES => {
                read_file(Path::new(rest.trim().trim_matches('"')), said, depth + 1);
            }
            _ => take_line(line, said),
        }
    }
}

fn take_line(line: &str, said: &mut BTreeMap<String, String>) {
    let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = name.to_ascii_lowercase().replace("slaveof", "replicaof");
    let value = value.trim().trim_matches(['"', '\'']).to_owned();
    said.insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_in_any_dress() {
        let cwd = Path::new("/srv");
        let line =
            "sudo -u redis exec /usr/bin/redis-server conf/a.conf --port 7 --save '' > /dev/null";
        let boot = Boot::from_shell(line, "redis-server", cwd).unwrap();
        assert_eq!(boot.program, Path::new("/usr/bin/redis-server"));
        assert_eq!(boot.file.as_deref(), Some(Path::new("/srv/conf/a.conf")));
        assert_eq!(boot.lines, ["port \"7\"", "save \"\""]);
        assert_eq!(boot.says().get("port").map(String::as_str), Some("7"));
        assert!(Boot::from_shell("/etc/init.d/cache restart", "redis-server", cwd).is_none());
    }

    #[test]
    fn the_last_word_counts_includes_too() {
        let folder = tempfile::tempdir().unwrap();
        let (main, more) = (folder.path().join("main"), folder.path().join("more"));
        std::fs::write(&more, "appendonly yes\ndir /b\n").unwrap();
        std::fs::write(&main, format!("dir /a\n# dir /x\ninclude {}\nPort 5\n", more.display()))
            .unwrap();
        let words = ["redis-server".to_owned(), main.display().to_string()];
        let boot = Boot::from_words(&words, "", folder.path()).unwrap();
        let said = boot.says();
        assert_eq!((said["dir"].as_str(), said["appendonly"].as_str()), ("/b", "yes"));
        assert_eq!(said["port"], "5");
    }
}
