//! Reading a server's figures, for tests and trials.

use crate::Error;
use redis::Connection;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// All fields of `INFO everything`.
pub fn info(connection: &mut Connection) -> Result<HashMap<String, String>, Error> {
    let text: String = command(connection, "read INFO", redis::cmd("INFO").arg("everything"))?;
    Ok(text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect())
}

/// One numeric field of INFO; 0 when absent.
pub fn field(connection: &mut Connection, name: &str) -> Result<u64, Error> {
    Ok(info(connection)?.get(name).and_then(|v| v.parse().ok()).unwrap_or(0))
}

/// `used_memory` and `used_memory_rss`, after the server's next sample of itself (it takes one every 100 ms).
pub fn used_and_rss(connection: &mut Connection) -> Result<(u64, u64), Error> {
    std::thread::sleep(Duration::from_millis(300));
    let info = info(connection)?;
    let get = |name: &str| info.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
    Ok((get("used_memory"), get("used_memory_rss")))
}

/// `DEBUG DIGEST` of the whole data.
pub fn digest(connection: &mut Connection) -> Result<String, Error> {
    command(connection, "digest the data", redis::cmd("DEBUG").arg("DIGEST"))
}

/// Keys in the selected database.
pub fn keys(connection: &mut Connection) -> Result<u64, Error> {
    command(connection, "count keys", &redis::cmd("DBSIZE"))
}

/// A client's connection, logged in by its URL. It waits for an answer for as long as the server lives: a read with a
/// time limit would fail with `EINTR` whenever this process gets a signal or is stopped for a moment (signal(7)).
pub fn connect(url: &str) -> redis::RedisResult<Connection> {
    let client = redis::Client::open(url)?;
    loop {
        match client.get_connection_with_timeout(PATIENCE) {
            // The log-in has a limit.
            Err(error) if is_interrupted(&error) => {}
            result => return result,
        }
    }
}

fn is_interrupted(error: &redis::RedisError) -> bool {
    type Shared = std::sync::Arc<dyn std::error::Error + Send + Sync>;
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<Shared>());
    source
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::Interrupted)
}

/// Runs a command, naming what it was for when it fails.
pub fn command<T: redis::FromRedisValue>(
    connection: &mut Connection,
    what: &'static str,
    cmd: &redis::Cmd,
) -> Result<T, Error> {
    cmd.query(connection).map_err(|source| Error::Command { what, source })
}

/// Runs a line as it is typed: words between blanks, none quoted.
pub fn typed(connection: &mut Connection, line: &str) -> Result<(), Error> {
    let mut cmd = redis::Cmd::new();
    for word in line.split_whitespace() {
        cmd.arg(word);
    }
    command(connection, "run a typed line", &cmd)
}

/// Long beyond what anything takes on a starved machine: only what never comes is waited for so long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Waits for a condition, asking every 20 ms, for [`PATIENCE`] at most.
pub fn wait_until(
    what: &'static str,
    mut holds: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::Late(what))
}
