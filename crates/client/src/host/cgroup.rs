//! The memory limit that binds a process: the tightest of its control groups, version 1 or 2, all the way up.

use super::text;
use std::path::Path;
use unfrag_model::host::Cgroup;

/// Version 1 writes "no limit" as the largest page-aligned number; no machine has an exbibyte.
const UNLIMITED: u64 = 1 << 60;
/// How far up we go; the kernel itself allows no deeper tree by default than a path can name.
const MAX_DEPTH: usize = 64;

/// File names of one version.
struct Names {
    version: u8,
    limit: &'static str,
    high: Option<&'static str>,
    current: &'static str,
    events: &'static str,
}

const V2: Names = Names {
    version: 2,
    limit: "memory.max",
    high: Some("memory.high"),
    current: "memory.current",
    events: "memory.events",
};

const V1: Names = Names {
    version: 1,
    limit: "memory.limit_in_bytes",
    high: None,
    current: "memory.usage_in_bytes",
    events: "memory.oom_control",
};

/// The group whose limit binds, or `None` without any limit. Where only `memory.high` is set, the machine's memory is
/// the hard limit.
pub(super) fn binding(pid: u32, root: &Path, memory_total: Option<u64>) -> Option<Cgroup> {
    let groups = text(root, &format!("proc/{pid}/cgroup"))?;
    let found = |(mount, path, names): (&str, String, &Names)| {
        walk(root, mount, &path, names, memory_total)
    };
    candidates(&groups).into_iter().filter_map(found).min_by_key(|c| c.limit)
}

/// A limit in bytes, and the group that sets it.
type Bound = (u64, String);

/// Mount point, path and version of each hierarchy with a memory controller that the process is in.
fn candidates(groups: &str) -> Vec<(&'static str, String, &'static Names)> {
    let mut all = vec![];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.split(',').any(|c| c == "memory") {
            all.push(("sys/fs/cgroup/memory", path.to_owned(), &V1));
        } else if controllers.is_empty() {
            all.push(("sys/fs/cgroup", path.to_owned(), &V2));
        }
    }
    all
}

fn walk(
    root: &Path,
    mount: &str,
    path: &str,
    names: &Names,
    memory_total: Option<u64>,
) -> Option<Cgroup> {
    let (mut limit, mut high): (Option<Bound>, Option<Bound>) = (None, None);
    for group in ancestors(path) {
        let read = |name: &str| bytes(text(root, &format!("{mount}{group}/{name}"))?.trim());
        tighten(&mut limit, read(names.limit), &group);
        tighten(&mut high, names.high.and_then(read), &group);
    }
    let high_bytes = high.as_ref().map(|(bytes, _)| *bytes);
    let (limit, group) = match (limit, high) {
        (Some(limit), _) => limit,
        (None, Some((_, group))) => (memory_total?, group),
        (None, None) => return None,
    };
    let read = |name: &str| text(root, &format!("{mount}{group}/{name}"));
    Some(Cgroup {
        version: names.version,
        high: high_bytes.filter(|&bytes| bytes < limit),
        current: read(names.current).and_then(|t| t.trim().parse().ok()),
        oom_kills: read(names.events).and_then(|t| oom_kills(&t)),
        path: if group.is_empty() { "/".to_owned() } else { group },
        limit,
    })
}

/// The group and all above it, as paths without a trailing slash. A path with `..` lies outside what this container
/// sees; then only the mount's root is there, which is the container's own group.
fn ancestors(path: &str) -> Vec<String> {
    let mut all = vec![];
    let mut rest = if path.split('/').any(|part| part == "..") { "" } else { path };
    rest = rest.trim_end_matches('/');
    while !rest.is_empty() && all.len() < MAX_DEPTH {
        all.push(rest.to_owned());
        rest = rest.rsplit_once('/').map_or("", |(up, _)| up);
    }
    all.push(String::new());
    all
}

fn tighten(tightest: &mut Option<Bound>, bytes: Option<u64>, group: &str) {
    let Some(bytes) = bytes else { return };
    if tightest.as_ref().is_none_or(|(least, _)| bytes < *least) {
        *tightest = Some((bytes, group.to_owned()));
    }
}

/// A limit; `max` and huge numbers are none.
fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&bytes| bytes < UNLIMITED)
}

fn oom_kills(events: &str) -> Option<u64> {
    events.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
}
