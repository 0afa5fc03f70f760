//! What `swap --supervised` asks beyond a swap: somebody keeps the server, tells what it will start, and a configuration
//! file that can be rewritten and put back decides what that start becomes.

use super::{Reason, hard, savable, startable};
use crate::restart::boot::Boot;
use crate::restart::facts::Facts;
use crate::restart::plan::Wish;
use crate::restart::process::{Process, why_not_writable};
use crate::restart::supervisor::Supervisor;
use crate::restart::swap::supervised::{FOR_A_WHILE, kept_path};
use std::path::Path;

/// Everything that stands against it, what stands against a swap left out.
pub(super) fn against(facts: &Facts, wish: &Wish) -> Vec<Reason> {
    // What was set at run time is written into the file for that one start, and set again where it cannot be.
    let wish = Wish { rewrite_config: true, ..wish.clone() };
    let mut reasons = startable(facts, &wish);
    reasons.extend(owner(facts));
    reasons.extend(stopped_by_its_unit(facts));
    reasons.extend(savable(facts));
    if let (Ok(next), Ok(process)) = (&facts.next, &facts.process) {
        reasons.extend(start(&next.boot));
        reasons.extend(file(facts, process, &next.boot));
        if next.engine != facts.engine {
            reasons.push(hard(format!(
                "the supervisor would start {}, and this is {}: both processes must be of one version (--mode plain \
                 upgrades)",
                next.engine, facts.engine
            )));
        }
    }
    reasons.extend(connections(facts));
    reasons
}

/// The supervisor's own process is the server's.
fn owner(facts: &Facts) -> Option<Reason> {
    let supervisor = facts.supervisor.as_ref()?;
    if let Supervisor::Container { .. } = supervisor {
        return Some(hard("it runs in a container: its next start cannot be tried from here"));
    }
    if let (Supervisor::Command { .. }, Some(found)) = (supervisor, &facts.found_supervisor) {
        return Some(hard(format!(
            "its process belongs to `{found}`, which would start a second one beside the start command's"
        )));
    }
    let pid = facts.process.as_ref().ok()?.id.pid;
    (supervisor.keeps_a_process() && facts.main_pid != Some(pid)).then(|| {
        let theirs = facts.main_pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
        hard(format!(
            "the server is process {pid} and the supervisor's own is {theirs}: a script between them must `exec` the server"
        ))
    })
}

/// systemd runs `ExecStop` as a unit's process ends, also when it ended by itself: `redis-cli -p PORT shutdown` would end the
/// second process, which serves at that port by then. Seen with systemd 252.
fn stopped_by_its_unit(facts: &Facts) -> Option<Reason> {
    let command = facts.stop_command.as_ref()?;
    Some(hard(format!(
        "its unit runs `{command}` as the first process ends, which may end who serves by then (an empty ExecStop= in a \
         drop-in takes it away)"
    )))
}

/// What the command line sets, no file can change.
fn start(boot: &Boot) -> Vec<Reason> {
    if !boot.is_certain {
        return vec![hard(
            "what the supervisor will run cannot be read (its configuration, or a start command that names the server \
             itself): it might set a port of its own",
        )];
    }
    let names = boot.lines.iter().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| FOR_A_WHILE.contains(&name.to_ascii_lowercase().as_str()))
        .map(|name| {
            hard(format!(
                "its command line says --{name}, which no configuration file can change: move that into the file first"
            ))
        })
        .collect()
}

fn file(facts: &Facts, process: &Process, boot: &Boot) -> Vec<Reason> {
    let Some(file) = &boot.file else {
        return vec![hard(
            "it is started without a configuration file: there is nothing to rewrite",
        )];
    };
    let shown = file.display();
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let running = facts.info.text("config_file").map(Path::new).and_then(real);
    if running.is_none() || running != real(file) {
        return vec![hard(format!(
            "it runs with the configuration file `{}` and would be started with `{shown}`",
            facts.info.text("config_file").unwrap_or_default()
        ))];
    }
    let mut reasons = vec![];
    let Some(folder) = file.parent() else { return reasons };
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (uid, gid) in [(process.uid, process.gid), us] {
        if let Some(why) = why_not_writable(folder, uid, gid) {
            reasons
                .push(hard(format!("its configuration file `{shown}` cannot be replaced: {why}")));
        }
    }
    let kept = kept_path(file);
    if kept.symlink_metadata().is_ok() {
        reasons.push(hard(format!(
            "`{}` is in the way: it is where an interrupted run keeps the configuration file (`unfrag undo`)",
            kept.display()
        )));
    }
    match boot.included_names() {
        Err(pattern) => reasons.push(hard(format!(
            "its configuration file includes `{pattern}`: what that sets is not known"
        ))),
        Ok(names) => {
            for name in FOR_A_WHILE.iter().filter(|name| names.contains(**name)) {
                reasons.push(hard(format!(
                    "a file that `{shown}` includes sets {name}: CONFIG REWRITE changes only `{shown}`"
                )));
            }
        }
    }
    reasons
}

fn connections(facts: &Facts) -> Vec<Reason> {
    let configuration = &facts.configuration;
    let mut reasons = vec![];
    if !configuration.text("unixsocket").is_empty() {
        reasons.push(hard(
            "it listens on a unix socket, which its restarted process would take away before it may be written to",
        ));
    }
    if configuration.number("port") == 0 && !configuration.is_yes("tls-replication") {
        reasons.push(hard(
            "it speaks TLS only and tls-replication is no: it could not follow the second process",
        ));
    }
    let announced = |name: &str| !matches!(configuration.text(name), "" | "0");
    for name in ["replica-announce-ip", "replica-announce-port"] {
        if announced(name) {
            reasons
                .push(hard(format!("{name} is set: the second process would not find it there")));
        }
    }
    reasons
}
