//! Which commands this user may run on this server, found out without running them: [`probe`].
//!
//! A plan must know beforehand whether the server's vendor removed a command, its configuration renamed it, or the ACL
//! forbids it. COMMAND INFO tells what exists; ACL DRYRUN (7.0 on) tells what is allowed.

use crate::error::{ClientError, one_line};
use crate::{Connection, resp};
use redis::{Cmd, Value};

/// Whether a command can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It exists and the ACL allows it.
    Allowed,
    /// It exists; whether the ACL allows it, the server does not tell us.
    Exists,
    /// The server does not have it, or it was renamed.
    Absent,
    /// The ACL forbids it; the server's words.
    Denied(String),
    /// Nothing could be found out; the reason.
    Unknown(String),
}

/// Judges each command, given with its arguments (`["CONFIG", "SET", "hz", "10"]`). Nothing is executed. An error means
/// that the connection is gone.
pub async fn probe(
    connection: &mut Connection,
    commands: &[&[&str]],
) -> Result<Vec<Availability>, ClientError> {
    let mut all = exists(connection, commands).await?;
    let user = match connection.call(&["ACL", "WHOAMI"]).await {
        Ok(value) => resp::text(&value),
        Err(error) if error.is_reply() => None,
        Err(error) => return Err(error),
    };
    let Some(user) = user else { return Ok(all) };
    for (availability, command) in all.iter_mut().zip(commands) {
        if *availability == Availability::Absent {
            continue;
        }
        let mut dry_run = redis::cmd("ACL");
        dry_run.arg("DRYRUN").arg(&user).arg(*command);
        match connection.send(&dry_run, "ACL DRYRUN").await {
            Ok(Value::Okay) => *availability = Availability::Allowed,
            Ok(value) => {
                let why = resp::text(&value).unwrap_or_default();
                *availability = Availability::Denied(one_line(&why));
            }
            // Not this version's, or not allowed: what COMMAND INFO said stands.
            Err(error) if error.is_reply() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// By COMMAND INFO. Before 7.0 it knows no subcommands, and the container's name has to do.
async fn exists(
    connection: &mut Connection,
    commands: &[&[&str]],
) -> Result<Vec<Availability>, ClientError> {
    let mut question: Cmd = redis::cmd("COMMAND");
    question.arg("INFO");
    for command in commands {
        question.arg(command.first().copied().unwrap_or_default());
    }
    match connection.send(&question, "COMMAND INFO").await {
        Ok(value) => {
            let rows = resp::elements(&value).unwrap_or_default();
            let judge = |(n, _)| match rows.get(n) {
                Some(Value::Nil) | None => Availability::Absent,
                Some(_) => Availability::Exists,
            };
            Ok(commands.iter().enumerate().map(judge).collect())
        }
        Err(error) if error.is_reply() => {
            Ok(vec![Availability::Unknown(error.problem.to_string()); commands.len()])
        }
        Err(error) => Err(error),
    }
}
