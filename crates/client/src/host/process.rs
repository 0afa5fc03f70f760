//! Is the process of that number on this machine the server that answered?
//!
//! The number comes from inside the server's own pid namespace. It is believed when the program has the server's name
//! and it has run for as long as the server says; or that of a process in a container, when our connection ends there.

use super::container::{self, Ends};
use super::text;
use std::ffi::OsStr;
use std::path::Path;
use unfrag_model::Info;

/// Ticks of `/proc/PID/stat` a second: 100 on every Linux that user programs see, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// Both clocks are whole seconds somewhere, and the server starts its clock after reading its configuration.
const TOLERANCE_S: f64 = 10.0;
/// The server's uptime follows the wall clock, which is corrected now and then.
const TOLERANCE_SHARE: f64 = 0.002;
/// `/proc/PID/comm` holds this many bytes of the name.
const COMM_BYTES: usize = 15;

/// The server's process, or why it is none of this machine's. `known` is the one it was a moment ago.
pub(super) fn find(
    info: &Info,
    root: &Path,
    ends: &[Ends],
    known: Option<u32>,
) -> Result<u32, String> {
    let pid = info.count("process_id").and_then(|pid| u32::try_from(pid).ok());
    let Some(pid) = pid else { return Err("INFO does not tell the server's process".to_owned()) };
    let Some(why) = why_not(info, pid, root) else { return Ok(pid) };
    let alike = |&there: &u32| why_not(info, there, root).is_none();
    if let Some(known) = known.filter(alike)
        && container::is_called(known, pid, root)
    {
        return Ok(known);
    }
    let mut is_hidden = false;
    // All processes are gone through, which takes milliseconds: not where none can be told, as at each look of a watch.
    let called = if ends.is_empty() { vec![] } else { container::called(pid, root) };
    for there in called.into_iter().filter(alike) {
        match container::holds(there, ends, root) {
            Some(true) => return Ok(there),
            Some(false) => {}
            None => is_hidden = true,
        }
    }
    let end = if is_hidden {
        "root can tell whether it is that of a container here"
    } else {
        "the server runs in a container, or on another machine behind this address"
    };
    Err(format!("the process is not visible from here: {why}; {end}"))
}

fn why_not(info: &Info, pid: u32, root: &Path) -> Option<String> {
    let Some(stat) = text(root, &format!("proc/{pid}/stat")) else {
        return Some(format!("there is no process {pid}"));
    };
    if !has_the_name(info, pid, root) {
        return Some(format!("process {pid} is another program"));
    }
    (!has_the_age(info, &stat, root)).then(|| format!("process {pid} started at another time"))
}

/// The file the process runs, or the name it was started by, is the server's. `redis-server` is a link to another name
/// in some packages: either will do.
fn has_the_name(info: &Info, pid: u32, root: &Path) -> bool {
    let Some(executable) = info.text("executable") else { return false };
    let link = std::fs::read_link(root.join(format!("proc/{pid}/exe")));
    if link.is_ok_and(|exe| std::fs::canonicalize(executable).is_ok_and(|own| own == exe)) {
        return true;
    }
    let name = Path::new(executable).file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
    let comm = text(root, &format!("proc/{pid}/comm")).unwrap_or_default();
    let comm = comm.trim_end().as_bytes();
    !comm.is_empty() && name.get(..name.len().min(COMM_BYTES)) == Some(comm)
}

fn has_the_age(info: &Info, stat: &str, root: &Path) -> bool {
    let age = || {
        let boot_s: f64 = text(root, "proc/uptime")?.split(' ').next()?.parse().ok()?;
        Some(boot_s - started_ticks(stat)? / TICKS_PER_SECOND)
    };
    match (age(), info.count("uptime_in_seconds")) {
        (Some(age), Some(uptime)) => {
            let uptime = uptime as f64;
            (age - uptime).abs() <= TOLERANCE_S.max(uptime * TOLERANCE_SHARE)
        }
        _ => false,
    }
}

/// Field 22 of `/proc/PID/stat`. The second field is the name in brackets and may hold brackets and spaces.
fn started_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}
