//! How to connect: [`ConnectOptions`], the same for one server or a whole deployment.

use crate::target::Uri;
use crate::{Secret, TlsOptions};
use std::time::Duration;

/// Until a connection stands: name resolution, TCP, TLS. redis-cli waits for ever; a monitoring tool must not.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Until one whole reply is here. The slowest reading, MEMORY MALLOC-STATS, took 28 ms on the largest server we hold
/// figures of; a fork of a 100 GB server can block it for a second or two. Five leaves room for both.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one reply. The largest honest ones are CLIENT LIST of a thousand clients (about 400 KB, a megabyte with long
/// names) and MALLOC-STATS with fifty arenas (about a megabyte). While it is taken in and parsed a reply is held up to six
/// times, and the process must stay under 30 MB.
pub const MAX_REPLY_BYTES: u64 = 3 << 20;

/// How to reach a server and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// ACL user; without one the password is the default user's.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Database to select.
    pub db: u32,
    /// TLS, when the server wants it.
    pub tls: Option<TlsOptions>,
    /// Speak RESP3 (`HELLO 3`).
    pub resp3: bool,
    /// Time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time for one whole reply.
    pub response_timeout: Duration,
    /// Largest reply that is taken, in bytes.
    pub max_reply_bytes: u64,
    /// ACL user on Sentinels.
    pub sentinel_user: Option<String>,
    /// Password on Sentinels. They do not share the servers' password.
    pub sentinel_password: Option<Secret>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            db: 0,
            tls: None,
            resp3: false,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            max_reply_bytes: MAX_REPLY_BYTES,
            sentinel_user: None,
            sentinel_password: None,
        }
    }
}

impl ConnectOptions {
    /// These options, with what the URI says on top, as redis-cli has it: the URI wins over flags.
    #[must_use]
    pub fn with_uri(mut self, uri: &Uri) -> Self {
        // A password in the URI without a user is the default user's, not the flag's user's.
        if uri.password.is_some() || uri.user.is_some() {
            self.user.clone_from(&uri.user);
        }
        if uri.password.is_some() {
            self.password.clone_from(&uri.password);
        }
        self.db = uri.db.unwrap_or(self.db);
        self.resp3 = uri.resp3.unwrap_or(self.resp3);
        if uri.tls && self.tls.is_none() {
            self.tls = Some(TlsOptions::default());
        }
        self
    }

    /// These options with both timeouts set to `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.response_timeout = timeout;
        self
    }

    /// The options for a Sentinel: its own credentials, no database.
    #[must_use]
    pub fn for_sentinel(&self) -> Self {
        Self {
            user: self.sentinel_user.clone(),
            password: self.sentinel_password.clone(),
            db: 0,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_wins_over_flags_and_no_secret_is_printed() {
        let flags = ConnectOptions {
            user: Some("flag".into()),
            password: Some("canary".into()),
            sentinel_password: Some("canary".into()),
            ..ConnectOptions::default()
        };
        let uri: Uri = "rediss://:canary2@h/4".parse().expect("a URI");
        let options = flags.clone().with_uri(&uri);
        assert_eq!(options.user, None);
        assert_eq!(options.password.as_ref().map(Secret::expose), Some("canary2"));
        assert_eq!((options.db, options.tls.is_some()), (4, true));
        assert!(!format!("{options:?}").contains("canary"));
        assert!(flags.for_sentinel().user.is_none());
    }
}
