//! [`Link`]: the connection that acts, with what is asked of a server over and over.

use crate::ActError;
use std::time::{Duration, Instant};
use unfrag_client::connect::CLIENT_NAME;
use unfrag_client::sample::MAX_CLIENTS_LISTED;
use unfrag_client::{Address, ClientError, ConnectOptions, Connection, Problem, connect, resp};
use unfrag_model::Info;

/// The name our acting connection takes: two of them on one server find each other by it.
pub(crate) const ACTING_NAME: &str = "unfrag-acting";

/// A server's own figures are sampled every 100 ms; after a change they are worth reading after this.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// A script of somebody's that runs longer than `lua-time-limit` (5 s) has every other command answered with BUSY, and
/// not done. Scripts like that take seconds; one that takes longer than this is stuck.
const BUSY_MOST: Duration = Duration::from_secs(60);

/// The acting connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) address: Address,
    pub(crate) options: ConnectOptions,
    /// The process it speaks with.
    pub(crate) run_id: String,
    /// Waits while a script holds the server.
    is_patient: bool,
    /// Since when it is held by one.
    busy_since: Option<Instant>,
}

impl Link {
    pub(crate) async fn open(
        address: &Address,
        options: &ConnectOptions,
    ) -> Result<Self, ActError> {
        let mut connection = connect(address, options).await?;
        let info = info_of(&connection.call(&["INFO"]).await?);
        let run_id = info.text("run_id").unwrap_or_default().to_owned();
        Ok(Self::over(connection, address.clone(), options.clone(), run_id))
    }

    /// Over a connection that is there already.
    pub(crate) const fn over(
        connection: Connection,
        address: Address,
        options: ConnectOptions,
        run_id: String,
    ) -> Self {
        Self { connection, address, options, run_id, is_patient: false, busy_since: None }
    }

    /// A command that a script of somebody's is in the way of is sent again until that script has ended.
    pub(crate) const fn with_patience(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// Sends words.
    pub(crate) async fn call(&mut self, words: &[&str]) -> Result<redis::Value, ActError> {
        loop {
            let result = self.connection.call(words).await;
            if !self.waits_for_a_script(&result).await {
                return Ok(result?);
            }
        }
    }

    /// Sends a command, named so in errors.
    pub(crate) async fn send(
        &mut self,
        command: &redis::Cmd,
        name: &str,
    ) -> Result<redis::Value, ActError> {
        loop {
            let result = self.connection.send(command, name).await;
            if !self.waits_for_a_script(&result).await {
                return Ok(result?);
            }
        }
    }

    /// True after a wait, when the command should be sent again.
    async fn waits_for_a_script<T>(&mut self, result: &Result<T, ClientError>) -> bool {
        const PAUSE: Duration = Duration::from_millis(100);
        let is_busy = |error: &ClientError| matches!(*error.problem, Problem::BusyScript);
        if !(self.is_patient && result.as_ref().is_err_and(is_busy)) {
            self.busy_since = None;
            return false;
        }
        let is_worth_it = self.busy_since.get_or_insert_with(Instant::now).elapsed() < BUSY_MOST;
        if is_worth_it {
            tokio::time::sleep(PAUSE).await;
        }
        is_worth_it
    }

    /// A new connection after the old one broke, to a server that takes commands: tries for as long as a short restart or
    /// a network blip lasts, and waits ten minutes for one that is up and loads its data.
    pub(crate) async fn reopen(&mut self) -> Result<(), ActError> {
        const TRIES: u32 = 20;
        const LOADING_MOST: Duration = Duration::from_secs(600);
        let (mut tries, begun) = (0, Instant::now());
        loop {
            let last = match self.open_again().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let is_loading = matches!(
                &last,
                ActError::Client(e) if matches!(*e.problem, Problem::Loading { .. })
            );
            tries += u32::from(!is_loading);
            if tries >= TRIES || begun.elapsed() >= LOADING_MOST {
                return Err(last);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn open_again(&mut self) -> Result<(), ActError> {
        let mut link = Self::open(&self.address, &self.options).await?;
        // While it loads it speaks, and says no to whatever touches a key.
        if link.info().await?.flag("loading") == Some(true) {
            let problem = Box::new(Problem::Loading { percent: None, seconds_left: None });
            return Err(ClientError { target: self.address.to_string(), problem }.into());
        }
        *self = Self { is_patient: self.is_patient, ..link };
        Ok(())
    }

    /// INFO without commandstats: some 6 KB.
    pub(crate) async fn info(&mut self) -> Result<Info, ActError> {
        Ok(info_of(&self.call(&["INFO"]).await?))
    }

    /// INFO, once the server has sampled itself again.
    pub(crate) async fn settled_info(&mut self) -> Result<Info, ActError> {
        tokio::time::sleep(SETTLE).await;
        self.info().await
    }

    pub(crate) async fn config_get(&mut self, name: &str) -> Result<Option<String>, ActError> {
        let value = self.call(&["CONFIG", "GET", name]).await?;
        Ok(resp::pairs(&value)
            .into_iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| resp::text(v)))
    }

    pub(crate) async fn config_set(&mut self, name: &str, value: &str) -> Result<(), ActError> {
        self.call(&["CONFIG", "SET", name, value]).await?;
        Ok(())
    }

    /// A replica that gets this acknowledges its offset to its primary at once, which it does by itself once a second; a
    /// FAILOVER waits for that. It has no reply, so the connection that sends it is of no use afterwards.
    pub(crate) fn ask_for_acknowledgement(mut self) {
        tokio::spawn(async move {
            self.connection.set_response_timeout(Duration::from_secs(1));
            let _ = self.connection.call(&["REPLCONF", "GETACK", "*"]).await;
        });
    }

    /// Takes the acting name and makes sure that nobody else has it.
    pub(crate) async fn claim(&mut self) -> Result<(), ActError> {
        let named = self.connection.call(&["CLIENT", "SETNAME", ACTING_NAME]).await;
        let clients = self.info().await?.count("connected_clients").unwrap_or(0);
        if clients > MAX_CLIENTS_LISTED {
            // The list would hold the server up; the journal's lock on this machine remains.
            return Ok(());
        }
        let listed = match named {
            Ok(_) => self.connection.call(&["CLIENT", "LIST"]).await,
            Err(error) => Err(error),
        };
        // A user who may not list clients is still guarded by the journal's lock on this machine.
        let list = match listed {
            Ok(value) => resp::text(&value).unwrap_or_default(),
            Err(error) if error.is_reply() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(who) = others(&list) {
            let _ = self.connection.call(&["CLIENT", "SETNAME", CLIENT_NAME]).await;
            let how = "end it where it runs (Ctrl-C; `unfrag fix --abort` for a fix)";
            return Err(ActError::Busy { who, how });
        }
        Ok(())
    }
}

/// Where the others are that act on this server, by a list of its clients in which we are as well.
fn others(list: &str) -> Option<String> {
    let wanted = format!(" name={ACTING_NAME} ");
    let mut acting: Vec<&str> = list.lines().filter(|l| l.contains(&wanted)).collect();
    if acting.len() < 2 {
        return None;
    }
    // Who asked for the list is in it as asking for it. Another one may have done so last as well, a moment ago: then
    // there is no telling them apart, and all are named.
    let asks = |l: &&str| l.split(' ').any(|f| matches!(f, "cmd=client" | "cmd=client|list"));
    if acting.iter().filter(|l| asks(l)).count() == 1 {
        acting.retain(|l| !asks(l));
    }
    let addresses = acting.iter().filter_map(|l| l.split(" addr=").nth(1)?.split(' ').next());
    Some(addresses.collect::<Vec<_>>().join(", "))
}

fn info_of(reply: &redis::Value) -> Info {
    Info::parse(&resp::text(reply).unwrap_or_default())
}

/// A fork child is at work: BGSAVE, AOF rewrite, a replica's full synchronisation, a module's.
pub(crate) fn is_forking(info: &Info) -> bool {
    ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "module_fork_in_progress"]
        .iter()
        .any(|field| info.flag(field) == Some(true))
}

/// Bytes of small free regions, by the server's own figures, comparable between two readings of one server.
pub(crate) fn waste(info: &Info) -> u64 {
    info.signed("allocator_frag_bytes").and_then(|b| u64::try_from(b).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_on_a_server_are_named_and_not_we() {
        let client = |port: u16, name: &str, command: &str| {
            format!(
                "id={port} addr=h:{port} laddr=h:6379 fd=8 name={name} age=0 idle=0 cmd={command} user=default\n"
            )
        };
        let (they, we) = (client(1, ACTING_NAME, "evalsha"), client(2, ACTING_NAME, "client|list"));
        let app = client(3, "app", "client|list");
        assert_eq!(others(&(we.clone() + &app)), None);
        assert_eq!(others(&(they.clone() + &we + &app)), Some("h:1".to_owned()));
        // Before 7.0 without the subcommand.
        let we = client(2, ACTING_NAME, "client");
        assert_eq!(others(&(they + &we)), Some("h:1".to_owned()));
        // Two that come at the same moment have both asked last.
        let they = client(1, ACTING_NAME, "client");
        assert_eq!(others(&(they + &we)), Some("h:1, h:2".to_owned()));
    }
}
