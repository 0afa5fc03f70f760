//! Users and their rights, carried from one process to another exactly as ACL LIST has them.

use crate::ActError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use unfrag_client::{Connection, resp};

/// Users and their rules, hashes of passwords among them, which are never shown.
#[derive(Clone, Default)]
pub(crate) struct Users(Vec<(String, Vec<String>)>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

impl Users {
    /// Those of a server; `None` where they may not be read, or before 6.0.
    pub(crate) async fn read(connection: &mut Connection) -> Option<Self> {
        list(connection).await.ok().map(Self)
    }

    /// Names of users that the next start has not, has otherwise, or has beside these. `alike`: both servers are of one
    /// version and write the same rules in the same words. Passwords of the default user are not compared: a rehearsal
    /// has one of its own.
    pub(crate) fn differing(&self, next: &Self, alike: bool) -> Vec<String> {
        let (ours, theirs) = (self.rules(alike), next.rules(alike));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).copied().collect();
        names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
    }

    fn rules(&self, alike: bool) -> BTreeMap<&String, Vec<&String>> {
        let is_password = |rule: &str| rule == "nopass" || rule.starts_with('#');
        let users = self.0.iter().map(|(name, rules)| {
            let kept =
                rules.iter().filter(|rule| alike && !(name == "default" && is_password(rule)));
            let mut kept: Vec<&String> = kept.collect();
            kept.sort();
            (name, kept)
        });
        users.collect()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_a_start_would_not_have() {
        let of = |users: &[(&str, &str)]| {
            let rules = |text: &str| text.split(' ').map(str::to_owned).collect();
            Users(users.iter().map(|(name, text)| ((*name).to_owned(), rules(text))).collect())
        };
        let now = of(&[("default", "on #ab ~* +@all"), ("app", "on #cd ~a +get"), ("bob", "on")]);
        let next =
            of(&[("default", "on nopass ~* +@all"), ("app", "~a on +get #cd"), ("eve", "on")]);
        assert_eq!(now.differing(&next, true), ["bob", "eve"]);
        assert_eq!(
            now.differing(&of(&[("app", "on #00 ~a +get")]), true),
            ["app", "bob", "default"]
        );
        assert_eq!(now.differing(&next, false), ["bob", "eve"]);
        assert_eq!(format!("{now:?}"), "Users(3)");
    }
}
