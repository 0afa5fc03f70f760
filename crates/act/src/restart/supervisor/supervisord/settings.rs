//! What supervisord's own configuration says of a program: its control interface tells neither the command nor the stop
//! timeout. Reads files; what they mean is pure.

use std::path::{Path, PathBuf};

/// One program's section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Its command, for a shell's eyes.
    pub(super) command: String,
    pub(super) stop_wait_s: u64,
}

/// Files that one configuration may include: more is a mistake.
const MAX_FILES: usize = 1000;
/// supervisord's own default.
const STOP_WAIT_S: u64 = 10;

/// The configuration that a supervisord was started with, from its command line; `None` where it was to look for one.
pub(super) fn named(words: &[String], cwd: &Path) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "-c" || word == "--configuration" {
            return words.next().map(|path| cwd.join(path));
        }
        let value = word.strip_prefix("--configuration=");
        if let Some(path) = value.or_else(|| word.strip_prefix("-c")).filter(|p| !p.is_empty()) {
            return Some(cwd.join(path));
        }
    }
    None
}

/// Where supervisord and supervisorctl look when nothing is named.
pub(super) fn usual() -> Option<PathBuf> {
    let all = ["/etc/supervisord.conf", "/etc/supervisor/supervisord.conf"];
    all.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The section of a program, `group:name` or `name`, in a configuration or what it includes.
pub(super) fn program(file: &Path, name: &str) -> Option<Program> {
    let name = name.rsplit(':').next()?;
    let text = std::fs::read_to_string(file).ok()?;
    let folder = file.parent()?;
    let included = value(&text, "include", "files").map(|v| filled(&v, folder, name));
    let patterns = included.flatten().unwrap_or_default();
    let others = patterns.split_whitespace().flat_map(|p| matching(&folder.join(p)));
    std::iter::once(file.to_owned()).chain(others.take(MAX_FILES)).find_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        let section = format!("program:{name}");
        let command = value(&text, &section, "command")?;
        let wait = value(&text, &section, "stopwaitsecs").and_then(|v| v.parse().ok());
        Some(Program {
            command: filled(&command, path.parent()?, name)?,
            stop_wait_s: wait.unwrap_or(STOP_WAIT_S),
        })
    })
}

/// A value of an ini file; what follows ` ;` is a comment, an indented line goes on.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut is_there = false;
    let mut found: Option<String> = None;
    for line in text.lines() {
        let line = line.split_once(" ;").map_or(line, |(before, _)| before);
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            is_there = name == section;
        } else if let Some(value) = found.as_mut().filter(|_| line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(line.trim());
        } else if found.is_some() {
            break;
        } else if is_there && let Some((name, value)) = line.split_once(['=', ':']) {
            found = (name.trim() == key).then(|| value.trim().to_owned());
        }
    }
    found
}

/// With `%(here)s` and `%(program_name)s` filled in; `None` when there is more to fill in than we know.
fn filled(text: &str, here: &Path, name: &str) -> Option<String> {
    let text = text.replace("%(here)s", &here.display().to_string());
    let text = text.replace("%(program_name)s", name);
    (!text.contains("%(")).then(|| text.replace("%%", "%"))
}

/// Files for a pattern with `*` in its last part.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((begins, ends)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let entries = pattern.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = paths
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix(begins).is_some_and(|rest| rest.ends_with(ends))
        })
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_file_and_in_what_it_includes() {
        let folder = tempfile::tempdir().unwrap();
        let (main, more) = (folder.path().join("main.conf"), folder.path().join("conf.d"));
        std::fs::create_dir(&more).unwrap();
        std::fs::write(
            &main,
            "; top\n[supervisord]\nlogfile=/x ; y\n[include]\nfiles = conf.d/*.conf\n",
        )
        .unwrap();
        let cache = "[program:other]\ncommand=/bin/cat\n[program:cache]\nautorestart = true\ncommand=redis-server\n   %(here)s/a.conf ; note\nstopwaitsecs=30\n";
        std::fs::write(more.join("cache.conf"), cache).unwrap();
        let found = program(&main, "group:cache").unwrap();
        assert_eq!(found.command, format!("redis-server {}/a.conf", more.display()));
        assert_eq!(found.stop_wait_s, 30);
        assert_eq!(program(&main, "other").unwrap().stop_wait_s, STOP_WAIT_S);
        assert_eq!(program(&main, "nobody"), None);
        std::fs::write(more.join("z.conf"), "[program:env]\ncommand=redis-server %(ENV_CONF)s\n")
            .unwrap();
        assert_eq!(program(&main, "env"), None, "what it would be is not known here");
    }

    #[test]
    fn the_file_that_it_was_started_with() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let at = |line: &str| named(&words(line), Path::new("/srv"));
        assert_eq!(at("python supervisord -n -c a.conf"), Some("/srv/a.conf".into()));
        assert_eq!(at("supervisord --configuration=/b"), Some("/b".into()));
        assert_eq!(at("supervisord -n"), None);
    }
}
