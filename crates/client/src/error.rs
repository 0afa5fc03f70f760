//! Everything that goes wrong between us and a server: [`ClientError`], and [`Problem`] inside it.
//!
//! A message says what happened, to what, and what it means; [`ClientError::hint`] says what to do. No message holds a
//! secret: what servers echo is scrubbed before it gets here.

use crate::Secret;
use redis::{ServerError, ServerErrorKind};
use std::path::PathBuf;
use std::time::Duration;

/// A server that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {problem}")]
pub struct ClientError {
    /// The server, without secrets.
    pub target: String,
    /// What happened. Part of the message, and so not its source.
    pub problem: Box<Problem>,
}

/// What kind of thing went wrong; all of these are exit code 4 except [`ErrorKind::Usage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No connection, or it broke.
    Unreachable,
    /// The server refuses us: password, rights, certificate, protected mode.
    NotAllowed,
    /// The server is there and cannot answer now: loading, running a script, full of clients.
    Busy,
    /// What answers is no Redis or Valkey server, or answers nonsense.
    NotRedis,
    /// What we were told to use is wrong: a certificate file, a name that Sentinel does not know. Exit code 2.
    Usage,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The host name does not resolve.
    #[error("the host name `{host}` cannot be resolved: {reason}")]
    UnknownHost {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// Connection refused.
    #[error("connection refused: the machine is there, and nothing listens on this port")]
    Refused,
    /// No such socket file.
    #[error("there is no unix socket at this path")]
    NoSocket,
    /// The socket file is there and nothing serves it.
    #[error("the unix socket is there, and no server listens on it")]
    SocketRefused,
    /// The socket or port may not be used by this user.
    #[error("this user may not connect to it (permission denied)")]
    SocketDenied,
    /// Any other failure to connect.
    #[error("it cannot be reached: {reason}")]
    Unreachable {
        /// The system's words.
        reason: String,
    },
    /// No connection in time.
    #[error("no connection within {}", seconds(*.after))]
    ConnectTimeout {
        /// The limit.
        after: Duration,
    },
    /// No whole reply in time.
    #[error("no answer to {command} within {}: the server accepts connections and does not serve them", seconds(*.after))]
    ResponseTimeout {
        /// The command.
        command: String,
        /// The limit.
        after: Duration,
    },
    /// Closed before a reply.
    #[error("the server closed the connection without answering {command}")]
    Closed {
        /// The command.
        command: String,
        /// Whether it had answered anything on this connection before.
        had_answered: bool,
    },
    /// Closed inside a reply.
    #[error(
        "the server closed the connection in the middle of its answer to {command} ({bytes} bytes had come)"
    )]
    ClosedHalfWay {
        /// The command.
        command: String,
        /// Bytes received.
        bytes: u64,
    },
    /// Something else listens there.
    #[error("this is not a Redis or Valkey server: {speaks}")]
    NotRedis {
        /// What it seems to be.
        speaks: Stranger,
    },
    /// A reply over the limit, announced or sent.
    #[error(
        "the answer to {command} is larger than any real one ({bytes} bytes announced or sent, the limit is {limit}); nothing of it was kept"
    )]
    ReplyTooLarge {
        /// The command.
        command: String,
        /// Bytes.
        bytes: u64,
        /// The limit in force.
        limit: u64,
    },
    /// An array with more elements than any reply has.
    #[error(
        "the answer to {command} announces {elements} elements, more than any real one; nothing of it was kept"
    )]
    TooManyElements {
        /// The command.
        command: String,
        /// Elements.
        elements: u64,
    },
    /// RESP, and not the reply this command has.
    #[error("{command} was answered with {got}, which no Redis or Valkey server does")]
    UnexpectedReply {
        /// The command.
        command: String,
        /// What came, in words.
        got: String,
    },
    /// WRONGPASS.
    #[error("wrong user name or password: {reply}")]
    WrongPassword {
        /// The server's words.
        reply: String,
    },
    /// A password was given and the server has none.
    #[error("a password was given, and the server's default user has none: {reply}")]
    NoPasswordSet {
        /// The server's words.
        reply: String,
    },
    /// NOAUTH.
    #[error("the server wants a password and none was given")]
    AuthRequired,
    /// NOPERM.
    #[error("this user may not run {command}: {reply}")]
    NoPermission {
        /// The command.
        command: String,
        /// The server's words.
        reply: String,
    },
    /// The dataset is being loaded.
    #[error("the server is still loading its dataset{}", progress(*.percent, *.seconds_left))]
    Loading {
        /// Loaded share.
        percent: Option<u8>,
        /// The server's estimate.
        seconds_left: Option<u64>,
    },
    /// MASTERDOWN.
    #[error("this replica has lost its primary and refuses to serve stale data (MASTERDOWN)")]
    MasterDown,
    /// BUSY.
    #[error("the server is stuck in a script or function and answers nothing else (BUSY)")]
    BusyScript,
    /// Protected mode.
    #[error("the server refuses connections from other machines (protected mode)")]
    ProtectedMode,
    /// maxclients reached.
    #[error("the server has reached its maximum number of clients")]
    TooManyClients,
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(#[from] TlsProblem),
    /// The command does not exist there.
    #[error("the server does not know {command}: {reply}")]
    UnknownCommand {
        /// The command.
        command: String,
        /// The server's words.
        reply: String,
    },
    /// Any other error reply.
    #[error("{command} failed: {reply}")]
    Reply {
        /// The command.
        command: String,
        /// The server's words.
        reply: String,
    },
    /// A data server where a Sentinel was looked for.
    #[error("a server listens there, not a Sentinel")]
    NotASentinel,
    /// Sentinels answered, and none knows the name.
    #[error("no Sentinel knows a primary named `{name}`{}", known_names(.known))]
    UnknownSentinelName {
        /// The name asked for.
        name: String,
        /// Names they do know.
        known: Vec<String>,
    },
    /// No Sentinel answered.
    #[error("none of the Sentinels answers: {reasons}")]
    NoSentinelAnswers {
        /// Each one's reason.
        reasons: String,
    },
}

/// Failures of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// Signed by nobody we trust.
    #[error("the server's certificate is not signed by a certificate authority we trust")]
    UnknownAuthority,
    /// Another name.
    #[error("the server's certificate is not for `{wanted}`{}", other_names(.presented))]
    WrongName {
        /// The name we look for.
        wanted: String,
        /// The names it is for.
        presented: Vec<String>,
    },
    /// Any other fault of the certificate.
    #[error("the server's certificate is not acceptable: {reason}")]
    Certificate {
        /// In words.
        reason: String,
    },
    /// No TLS on that port.
    #[error("the server does not speak TLS on this port")]
    ServerSpeaksPlaintext,
    /// TLS on that port, and we speak none.
    #[error("the server wants TLS on this port")]
    ServerWantsTls,
    /// It wants a client certificate.
    #[error("the server wants a client certificate and none was given")]
    ClientCertificateRequired,
    /// It does not take ours.
    #[error("the server refuses our client certificate ({alert})")]
    ClientCertificateRefused {
        /// The TLS alert.
        alert: String,
    },
    /// Closed in the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    ClosedInHandshake,
    /// The handshake hangs.
    #[error("the handshake did not end within {}: the port may not speak TLS", seconds(*.after))]
    HandshakeTimeout {
        /// The limit.
        after: Duration,
    },
    /// Anything else.
    #[error("{reason}")]
    Other {
        /// In words.
        reason: String,
    },
    /// A file we were told to use.
    #[error("{what} `{}`: {reason}", path.display())]
    File {
        /// `CA file`, `client key`.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate without a key, or the other way round.
    #[error("a client certificate needs its key: give both --cert and --key")]
    HalfAnIdentity,
    /// Certificate and key are each fine and do not belong together, or are of no use.
    #[error("the client certificate and its key cannot be used together: {reason}")]
    Identity {
        /// In words.
        reason: String,
    },
    /// No CA on this machine and none given.
    #[error("no certificate authority is known on this machine, and none was given")]
    NoAuthorities,
    /// The name to verify is none.
    #[error("`{0}` cannot be the name in a certificate")]
    BadName(String),
}

/// What seems to listen there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// A web server.
    Http,
    /// An SSH server.
    Ssh,
    /// The first bytes it sent, made printable.
    Unknown(String),
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http => f.write_str("a web server (HTTP) listens on this port"),
            Self::Ssh => f.write_str("an SSH server listens on this port"),
            Self::Unknown(bytes) => write!(f, "its answer begins with \"{bytes}\""),
        }
    }
}

impl Stranger {
    /// Judges by the first bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let starts = |prefix: &str| {
            bytes.get(..prefix.len()).is_some_and(|b| b.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        // Python's and other small servers answer a request they cannot read with a bare page.
        if ["HTTP/", "<!doctype", "<html", "<head", "<?xml"].iter().any(|p| starts(p)) {
            return Self::Http;
        }
        if starts("SSH-") {
            return Self::Ssh;
        }
        Self::Unknown(
            bytes.iter().take(40).flat_map(|b| b.escape_ascii()).map(char::from).collect(),
        )
    }
}

impl ClientError {
    /// A problem with `target`.
    pub fn new(target: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { target: target.into(), problem: Box::new(problem.into()) }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.problem.kind()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        self.problem.hint()
    }

    /// True when the same connection may answer other commands.
    pub fn is_reply(&self) -> bool {
        self.problem.is_reply()
    }
}

impl Problem {
    /// The problem behind an error reply to `command`.
    pub fn from_reply(command: &str, error: &ServerError) -> Self {
        let command = command.to_owned();
        let detail = error.details().unwrap_or_default();
        let reply = || one_line(&format!("{} {detail}", error.code()));
        if let Some(kind) = error.kind() {
            match kind {
                ServerErrorKind::BusyLoading => {
                    return Self::Loading { percent: None, seconds_left: None };
                }
                ServerErrorKind::MasterDown => return Self::MasterDown,
                ServerErrorKind::NoPerm => return Self::NoPermission { command, reply: reply() },
                _ => {}
            }
        }
        let lower = detail.to_ascii_lowercase();
        let says = |phrase: &str| lower.contains(phrase);
        match error.code() {
            "NOAUTH" => Self::AuthRequired,
            "WRONGPASS" => Self::WrongPassword { reply: reply() },
            "BUSY" => Self::BusyScript,
            "DENIED" => Self::ProtectedMode,
            "ERR" if says("max number of clients") => Self::TooManyClients,
            "ERR" if says("unknown command") || says("unknown subcommand") => {
                Self::UnknownCommand { command, reply: without_arguments(&reply()) }
            }
            "ERR" if says("invalid password") => Self::WrongPassword { reply: reply() },
            // 6.0 on: "AUTH <password> called without any password configured"; before: "Client sent AUTH, but no …".
            "ERR" if says("without any password") || says("no password is set") => {
                Self::NoPasswordSet { reply: reply() }
            }
            "ERR" if says("operation not permitted") => Self::AuthRequired,
            _ => Self::Reply { command, reply: reply() },
        }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongPassword { .. }
            | Self::NoPasswordSet { .. }
            | Self::AuthRequired
            | Self::NoPermission { .. }
            | Self::ProtectedMode
            | Self::SocketDenied
            | Self::UnknownCommand { .. }
            | Self::Reply { .. } => ErrorKind::NotAllowed,
            Self::Loading { .. } | Self::MasterDown | Self::BusyScript | Self::TooManyClients => {
                ErrorKind::Busy
            }
            Self::NotRedis { .. }
            | Self::ReplyTooLarge { .. }
            | Self::TooManyElements { .. }
            | Self::UnexpectedReply { .. } => ErrorKind::NotRedis,
            Self::UnknownSentinelName { .. } | Self::NotASentinel => ErrorKind::Usage,
            Self::Tls(tls) => tls.kind(),
            _ => ErrorKind::Unreachable,
        }
    }

    /// Takes the password out of the server's words: some echo what they were sent.
    pub(crate) fn scrub(&mut self, password: &Secret) {
        match self {
            Self::NoPermission { reply, .. }
            | Self::WrongPassword { reply }
            | Self::NoPasswordSet { reply }
            | Self::UnknownCommand { reply, .. }
            | Self::Reply { reply, .. } => *reply = password.scrub(reply),
            _ => {}
        }
    }

    /// True for an error reply: the connection itself is sound.
    pub fn is_reply(&self) -> bool {
        matches!(
            self,
            Self::NoPermission { .. }
                | Self::UnknownCommand { .. }
                | Self::Reply { .. }
                | Self::Loading { .. }
                | Self::MasterDown
                | Self::AuthRequired
                | Self::WrongPassword { .. }
                | Self::NoPasswordSet { .. }
                | Self::BusyScript
                | Self::UnexpectedReply { .. }
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownHost { .. } => "check the spelling, or give the IP address",
            Self::Refused => {
                "check the port (-p) and that the server runs; it may listen on a unix socket only (-s)"
            }
            Self::NoSocket | Self::SocketRefused => {
                "check the path (`unixsocket` in the server's configuration) and that the server runs"
            }
            Self::SocketDenied => {
                "run as a user in the socket's group, or see `unixsocketperm` in the server's configuration"
            }
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => {
                "check the address and the firewall between here and there; -t SECONDS waits longer"
            }
            Self::ResponseTimeout { .. } => {
                "it may be busy with one slow command, swapping, or not a Redis server at all; -t SECONDS waits longer"
            }
            Self::Closed { had_answered: true, .. } => {
                "it may have been stopped, or CLIENT KILL or its `timeout` setting closed the connection: see its log"
            }
            Self::Closed { .. } => {
                "if the server listens with TLS on this port, add --tls; a proxy in between may also have closed it"
            }
            Self::ClosedHalfWay { .. } => {
                "the server may have crashed or hit its output buffer limit: see its log"
            }
            Self::NotRedis { .. } => "check the port (-p)",
            Self::ReplyTooLarge { .. }
            | Self::TooManyElements { .. }
            | Self::UnexpectedReply { .. } => {
                "check that host and port are a Redis or Valkey server's and no proxy rewrites its answers"
            }
            Self::WrongPassword { .. } => {
                "check --user and the password; one read from a file is taken without its last line end"
            }
            Self::NoPasswordSet { .. } => "leave the password out, or name an ACL user with --user",
            Self::AuthRequired => "give one with -a, --askpass, --pass-file or REDISCLI_AUTH",
            Self::NoPermission { .. } => "`unfrag acl` prints the rights that each command needs",
            Self::Loading { .. } => {
                "figures of a half-loaded server mean nothing: try again when it has finished"
            }
            Self::MasterDown => "ask the primary, or wait until replication is up again",
            Self::BusyScript => "SCRIPT KILL (or FUNCTION KILL) ends it, if it has written nothing",
            Self::ProtectedMode => {
                "run unfrag on the server's machine, or set a password and a bind address on the server"
            }
            Self::TooManyClients => "raise maxclients or close idle connections, then try again",
            Self::Tls(tls) => return tls.hint(),
            Self::UnknownCommand { .. } => {
                "the server's vendor or its configuration removed or renamed the command"
            }
            Self::UnknownSentinelName { .. } => {
                "names are case-sensitive; `SENTINEL MASTERS` lists them"
            }
            Self::NotASentinel => {
                "give the server itself as host:port, or the Sentinels' port (26379 by default)"
            }
            Self::NoSentinelAnswers { .. } => {
                "check the Sentinels' addresses (their port is 26379 by default), and --sentinel-user/--sentinel-pass"
            }
            Self::Reply { .. } => return None,
        })
    }
}

impl TlsProblem {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. }
            | Self::HalfAnIdentity
            | Self::Identity { .. }
            | Self::NoAuthorities
            | Self::BadName(_) => ErrorKind::Usage,
            Self::ClosedInHandshake | Self::HandshakeTimeout { .. } => ErrorKind::Unreachable,
            _ => ErrorKind::NotAllowed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownAuthority | Self::NoAuthorities => {
                "give its certificate authority with --cacert FILE"
            }
            Self::WrongName { .. } => {
                "redis-cli does not check names, unfrag does: give the name in the certificate with --sni NAME, or skip only this check with --tls-any-name"
            }
            Self::Certificate { .. } => {
                "--insecure skips every check, and then anyone in between can read along"
            }
            Self::ServerSpeaksPlaintext | Self::HandshakeTimeout { .. } => {
                "leave --tls out (and write redis://, not rediss://), or use the server's `tls-port`"
            }
            Self::ServerWantsTls => "add --tls (and --cacert, --cert, --key as the server needs)",
            Self::ClientCertificateRequired => "give one with --cert FILE --key FILE",
            Self::ClientCertificateRefused { .. } => {
                "check that --cert is signed by the authority the server trusts (`tls-ca-cert-file`) and has not expired"
            }
            Self::ClosedInHandshake => {
                "the server's log says why; it may want a client certificate, or not speak TLS on this port"
            }
            _ => return None,
        })
    }
}

/// The reply without the arguments that old servers echo: `…, with args beginning with: 'user' 'password'`.
fn without_arguments(reply: &str) -> String {
    let lower = reply.to_ascii_lowercase();
    let end = lower.find(", with args").unwrap_or(reply.len());
    reply.get(..end).unwrap_or(reply).to_owned()
}

/// Text from outside on one printable line of bearable length.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.trim().chars().map(clean).take(LONGEST).collect();
    line
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        whole if whole.fract() == 0.0 => format!("{whole:.0} s"),
        part => format!("{part:.1} s"),
    }
}

fn progress(percent: Option<u8>, seconds_left: Option<u64>) -> String {
    match (percent, seconds_left) {
        (Some(percent), Some(left)) => format!(" ({percent} % done, about {left} s left)"),
        (Some(percent), None) => format!(" ({percent} % done)"),
        _ => String::new(),
    }
}

fn other_names(names: &[String]) -> String {
    match names {
        [] => ", nor does it say for which name it is".to_owned(),
        names => format!(" but for {}", names.join(", ")),
    }
}

fn known_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; known are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoed_arguments_are_cut() {
        let reply = "ERR unknown command 'AUTH', with args beginning with: 'canary' ";
        assert_eq!(without_arguments(reply), "ERR unknown command 'AUTH'");
    }

    #[test]
    fn strangers() {
        assert_eq!(Stranger::from_bytes(b"HTTP/1.1 400 Bad"), Stranger::Http);
        assert_eq!(Stranger::from_bytes(b"<!DOCTYPE HTML PUBLIC"), Stranger::Http);
        assert_eq!(Stranger::from_bytes(b"SSH-2.0-x"), Stranger::Ssh);
        let text = Stranger::from_bytes(b"J\x00\n5.7").to_string();
        assert_eq!(text, "its answer begins with \"J\\x00\\n5.7\"");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_secs(3)), "3 s");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5 s");
    }
}
