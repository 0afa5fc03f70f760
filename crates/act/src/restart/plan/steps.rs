//! The steps of each mode in words, with every command that is sent. Pure.

use super::{Mode, PlannedStep, Wish};
use crate::restart::facts::Facts;
use crate::restart::rolling;
use crate::restart::supervisor::Supervisor;
use unfrag_model::human;

pub(super) fn of(mode: Mode, facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    match mode {
        Mode::Plain => plain(facts, wish),
        Mode::Swap => swap(facts, wish),
        Mode::Rolling => rolling::steps(facts, wish),
    }
}

/// A step on one server.
pub(in crate::restart) fn step(
    name: &'static str,
    node: &str,
    what: impl Into<String>,
    commands: &[&str],
) -> PlannedStep {
    let commands = commands.iter().map(|&c| c.to_owned()).collect();
    PlannedStep { name, node: node.to_owned(), what: what.into(), commands }
}

fn backup(facts: &Facts, wish: &Wish) -> Option<PlannedStep> {
    let path = wish.backup.as_ref()?;
    let what = format!("a snapshot, verified, copied to {}", path.display());
    Some(step("backup", &facts.target(), what, &["BGSAVE", "INFO"]))
}

/// With consent, what was set at run time is kept.
pub(in crate::restart) fn rewrite(facts: &Facts, wish: &Wish) -> Option<PlannedStep> {
    let file = facts.next.as_ref().ok()?.boot.file.clone().filter(|_| wish.rewrite_config)?;
    let what = format!("settings changed at run time are written into {}", file.display());
    let save = if facts.configuration.text("aclfile").is_empty() { "" } else { "ACL SAVE" };
    Some(step("rewrite", &facts.target(), what, &["CONFIG REWRITE", save]))
}

fn plain(facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let node = facts.target();
    let start = facts.start_line();
    let digest = if wish.digest { "DEBUG DIGEST" } else { "RANDOMKEY, TYPE, lengths of 200 keys" };
    let mut all: Vec<PlannedStep> = backup(facts, wish).into_iter().collect();
    all.extend(rewrite(facts, wish));
    if !facts.info.is_replica() && facts.at_least(6, 2) {
        all.push(step(
            "pause",
            &node,
            "writes are held back; the pause ends by itself if unfrag dies",
            &["CLIENT PAUSE MILLISECONDS WRITE"],
        ));
    }
    all.push(step(
        "record",
        &node,
        "keys by database, and a sample of their values",
        &["INFO", digest],
    ));
    let (what, commands): (&str, &[&str]) = if facts.is_saved_first() {
        let commands = &["CLIENT PAUSE MILLISECONDS WRITE", "SAVE", "INFO", "SHUTDOWN NOSAVE"];
        (
            "it saves everything while writes wait, and then ends; if it cannot save, it stays",
            commands,
        )
    } else if facts.ends_without_saving() {
        ("it writes the rest of its append-only file and ends", &["SHUTDOWN NOSAVE"])
    } else {
        ("it saves everything and ends; if it cannot save, it stays", &["SHUTDOWN SAVE"])
    };
    all.push(step("stop", &node, what, commands));
    all.push(step("start", &node, "the same server again", &[&start]));
    all.push(step("load", &node, "until all data is loaded", &["PING", "INFO"]));
    all.push(step(
        "verify",
        &node,
        "the file it saved, the keys by database, the sample, every setting, RSS",
        &["INFO", digest, "CONFIG GET *"],
    ));
    all
}

fn swap(facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let mut all: Vec<PlannedStep> = backup(facts, wish).into_iter().collect();
    if wish.supervised {
        all.push(keep(facts));
    }
    all.extend(launch(facts));
    all.extend(exchange(facts, wish));
    if wish.supervised {
        all.extend(give_back(facts, wish));
    }
    all.extend([verify(facts), retire(facts, wish)]);
    if wish.supervised {
        let what = "who answers is the supervisor's own process, and the configuration file is what it was";
        all.push(step("own", &facts.target(), what, &["INFO", &own_process(facts)]));
    }
    all
}

fn own_process(facts: &Facts) -> String {
    match &facts.supervisor {
        Some(Supervisor::Systemd { unit }) => format!("systemctl show {unit} --property=MainPID"),
        Some(Supervisor::Supervisord { program, .. }) => format!("supervisorctl pid {program}"),
        _ => String::new(),
    }
}

fn config_file(facts: &Facts) -> String {
    let file = facts.next.as_ref().ok().and_then(|next| next.boot.file.clone());
    file.map_or_else(|| "the configuration file".to_owned(), |file| file.display().to_string())
}

fn keep(facts: &Facts) -> PlannedStep {
    let file = config_file(facts);
    let what =
        format!("{file} gets a second name, is rewritten once, and put back: that can be done");
    step("keep", &facts.target(), what, &["CONFIG REWRITE"])
}

/// The way from our second process to one that the supervisor has started.
fn give_back(facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let (node, file) = (facts.target(), config_file(facts));
    let start = facts.start_line();
    let appends = facts.is_append_only();
    let mut all = vec![
        step(
            "rewrite",
            &node,
            format!(
                "the old process, a replica now, writes {file} for one start: replica, spare port, saves nothing"
            ),
            &[
                "(2nd) CONFIG SET repl-diskless-sync-delay 0",
                "(1st) REPLICAOF HOST PORT",
                "(1st) CONFIG SET save \"\"",
                "(1st) CONFIG SET repl-diskless-load on-empty-db",
                "(1st) CONFIG SET replica-ignore-maxmemory yes",
                if appends { "(2nd) CONFIG SET appendonly yes" } else { "" },
                if appends { "(1st) CONFIG SET appendonly no" } else { "" },
                "(1st) CONFIG REWRITE",
            ],
        ),
        step(
            "stop",
            &node,
            "the old process ends: it holds nothing that the second one does not hold",
            &["(1st) SHUTDOWN NOSAVE"],
        ),
        step(
            "start",
            &node,
            format!(
                "the supervisor's own process, a replica on the spare port; then {file} is put back at once"
            ),
            &[&start, &own_process(facts)],
        ),
        step("sync", &node, "it copies the data from the second process", &["(3rd) INFO"]),
        step(
            "carry",
            &node,
            "users and settings that are not in the file",
            &[
                "CONFIG GET *",
                "ACL LIST",
                "(3rd) CONFIG SET NAME VALUE",
                "(3rd) ACL SETUSER USER RULES",
            ],
        ),
    ];
    // The same steps again, to the supervisor's own.
    all.extend(exchange(facts, wish).into_iter().map(|step| PlannedStep {
        what: step.what.replace("the second process", "the supervisor's own process"),
        commands: step.commands.iter().map(|c| c.replace("(2nd)", "(3rd)")).collect(),
        ..step
    }));
    all
}

fn launch(facts: &Facts) -> Vec<PlannedStep> {
    let node = facts.target();
    vec![
        step(
            "launch",
            &node,
            "a second process: same binary, file and user, on a port of its own, empty, closed to all but unfrag",
            &["PROGRAM FILE -   (settings through standard input)"],
        ),
        step(
            "carry",
            &node,
            "modules, users and every setting that differs go to the second process",
            &[
                "CONFIG GET *",
                "MODULE LIST",
                "ACL LIST",
                "(2nd) CONFIG SET NAME VALUE",
                "(2nd) ACL SETUSER USER RULES",
            ],
        ),
        step(
            "sync",
            &node,
            "the second process copies the data as a replica",
            &[
                "CONFIG SET repl-diskless-sync-delay 0   (put back)",
                "(2nd) REPLICAOF HOST PORT",
                "(2nd) INFO",
            ],
        ),
    ]
}

fn exchange(facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let node = facts.target();
    let pause = format!("CLIENT PAUSE {} WRITE", wish.pause_max.as_millis());
    vec![
        step(
            "pause",
            &node,
            "writes are held back; the pause ends by itself, whatever becomes of unfrag",
            &[&pause],
        ),
        step(
            "compare",
            &node,
            "offsets equal, keys by database equal, a sample of values equal; or else it ends here",
            &[
                "INFO",
                "(2nd) INFO",
                if wish.digest { "DEBUG DIGEST" } else { "TYPE, lengths of 100 keys" },
            ],
        ),
        step(
            "hand-over",
            &node,
            "the servers themselves exchange roles, or give up within a second: never two primaries, never none",
            &["FAILOVER TO HOST PORT TIMEOUT 1000"],
        ),
        step(
            "ports",
            &node,
            "the second process listens where clients look",
            &["CONFIG SET port TEMPORARY", "(2nd) CONFIG SET port PORT"],
        ),
        step(
            "reconnect",
            &node,
            "old connections are closed: clients come back to the second process",
            &["CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub"],
        ),
    ]
}

fn verify(facts: &Facts) -> PlannedStep {
    step("verify", &facts.target(), "who answers, keys, settings, RSS", &["INFO", "CONFIG GET *"])
}

fn retire(facts: &Facts, wish: &Wish) -> PlannedStep {
    let (goes, which) = if wish.supervised {
        ("the second process", "(2nd) SHUTDOWN NOSAVE")
    } else {
        ("the old process", "(1st) SHUTDOWN NOSAVE")
    };
    if facts.is_append_only() {
        let what =
            format!("the append-only file is written by the process that stays; then {goes} ends");
        step("retire", &facts.target(), what, &["CONFIG SET appendonly yes", "INFO", which])
    } else {
        let what = format!("{goes} ends: it is a replica by now and holds nothing of its own");
        step("retire", &facts.target(), what, &[which, "BGSAVE   (where save points are set)"])
    }
}

/// How long clients wait.
pub(super) fn gap(mode: Mode, facts: &Facts, wish: &Wish) -> String {
    match mode {
        Mode::Plain => format!(
            "down while {} are saved and loaded again",
            human(facts.layers.used.unwrap_or(0))
        ),
        Mode::Swap if wish.supervised => "writes wait for some milliseconds, twice".to_owned(),
        Mode::Swap => "writes wait for some milliseconds, once".to_owned(),
        Mode::Rolling => "writes wait for a hand-over, once a shard".to_owned(),
    }
}
