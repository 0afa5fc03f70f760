//! Users and their rights, carried from one process to another exactly as ACL LIST has them.

use crate::ActError;
use std::collections::BTreeSet;
use unfrag_client::{Connection, resp};

/// Gives `to` the users that `from` has, the default user last: our own connection to `to` may be his.
pub(crate) async fn carry(from: &mut Connection, to: &mut Connection) -> Result<usize, ActError> {
    let (ours, theirs) = (list(from).await?, list(to).await?);
    let names: BTreeSet<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    for (name, _) in theirs.iter().filter(|(name, _)| !names.contains(name.as_str())) {
        to.send(redis::cmd("ACL").arg("DELUSER").arg(name), "ACL DELUSER").await?;
    }
    let (default, others): (Vec<_>, Vec<_>) = ours.iter().partition(|(name, _)| name == "default");
    for (name, rules) in others.into_iter().chain(default) {
        if theirs.iter().any(|(n, r)| n == name && r == rules) {
            continue;
        }
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(name).arg("reset");
        for rule in rules {
            command.arg(rule);
        }
        to.send(&command, "ACL SETUSER").await?;
    }
    Ok(names.len())
}

/// True when both have the same users with the same rules.
pub(crate) async fn are_equal(
    one: &mut Connection,
    other: &mut Connection,
) -> Result<bool, ActError> {
    // Servers print the rules of commands in the order of a hash table; each was given in the first one's order.
    let sorted = |mut all: Vec<(String, Vec<String>)>| {
        for (_, rules) in &mut all {
            rules.sort();
        }
        all.sort();
        all
    };
    Ok(sorted(list(one).await?) == sorted(list(other).await?))
}

/// `user NAME RULE…` a line. Selectors hold blanks; the server puts their words together again.
async fn list(connection: &mut Connection) -> Result<Vec<(String, Vec<String>)>, ActError> {
    let value = connection.call(&["ACL", "LIST"]).await?;
    let lines = resp::elements(&value).unwrap_or_default().iter().filter_map(resp::text);
    Ok(lines
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1).map(str::to_owned);
            // What is meant where nothing is said; `reset` makes it explicit (7.0).
            Some((words.next()?, words.filter(|w| w != "sanitize-payload").collect()))
        })
        .collect())
}
