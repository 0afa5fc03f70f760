//! Names of servers: [`Target`], and the URIs that people write them in ([`Uri`]).
//!
//! A `Target` holds no secret and may be printed. What a URI says beside the address (user, password, database, TLS)
//! comes out of [`Uri`] and goes into [`crate::ConnectOptions`].

use crate::Secret;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What servers listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 6379;
/// What Sentinels listen on unless told otherwise.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Something to read: one server, or a name that Sentinels resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One server process (which may turn out to belong to a Cluster, or to be a Sentinel).
    Server(Address),
    /// A primary and its replicas, by the name Sentinels know them under.
    Sentinel {
        /// The name of `SENTINEL MONITOR`.
        name: String,
        /// Sentinels to ask, in order.
        sentinels: Vec<Address>,
    },
}

/// Where one process listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Host name or IP address, without brackets, and port.
    Tcp(String, u16),
    /// Path of a unix socket.
    Unix(PathBuf),
}

/// A target as typed, with what else was typed into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// What to read.
    pub target: Target,
    /// ACL user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Database number.
    pub db: Option<u32>,
    /// True for `rediss`, `valkeys`, `rediss+sentinel`.
    pub tls: bool,
    /// `?protocol=`: true for RESP3, false for RESP2.
    pub resp3: Option<bool>,
}

/// Why a text is no target. No variant holds more of the text than cannot be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was there.
    #[error("empty target")]
    Empty,
    /// `http://…`.
    #[error("unknown scheme `{0}://`")]
    UnknownScheme(String),
    /// `redis://:pass@/0`.
    #[error("no host in the target")]
    NoHost,
    /// A host that cannot be one.
    #[error("`{0}` is not a host name or an IP address")]
    BadHost(String),
    /// `host:abc`. Without the text: in `redis://user:password` with the host forgotten, it is the password.
    #[error("what follows the host's colon is not a port (1 to 65535)")]
    BadPort,
    /// `7000`.
    #[error("`{0}` is only a port: write 127.0.0.1:{0}")]
    OnlyAPort(u16),
    /// `redis://host/abc`.
    #[error("`{0}` is not a database number")]
    BadDatabase(String),
    /// `%zz` in the user or the password.
    #[error(
        "a percent escape in the user or the password is not two hexadecimal digits of UTF-8 text"
    )]
    BadEscape,
    /// `?colour=red`.
    #[error("unknown parameter `{0}` in the target")]
    UnknownParameter(String),
    /// `user:pass@host` with no scheme.
    #[error("the target has `@` but no scheme: write redis://user:password@host:port")]
    CredentialsWithoutScheme,
    /// `redis+sentinel://host`.
    #[error("no name of a primary: write redis+sentinel://NAME@HOST:PORT,HOST:PORT")]
    NoSentinelName,
}

impl Address {
    /// `host` and `port`; brackets around an IPv6 address are taken away.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp(host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
    }

    /// The path, for a unix socket.
    pub fn as_socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(..) => None,
        }
    }

    /// `host:port`, `host`, `[::1]:port`, `::1`.
    fn parse_tcp(text: &str, default_port: u16) -> Result<Self, TargetError> {
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number > 0 => number,
                _ => return Err(TargetError::BadPort),
            },
            None => default_port,
        };
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let bad = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#' | '[' | ']')
        };
        if host.contains(bad) || host.len() > MAX_HOST_BYTES {
            return Err(TargetError::BadHost(host.chars().take(60).collect()));
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

/// Longest name that DNS carries, in text form.
const MAX_HOST_BYTES: usize = 255;

/// Host without brackets, and the port's text.
fn split_port(text: &str) -> Result<(&str, Option<&str>), TargetError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or_else(|| TargetError::BadHost(text.to_owned()))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(TargetError::BadHost(text.to_owned())),
        };
    }
    // More than one colon without brackets is an IPv6 address and no port.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// A server by host and port.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Server(Address::tcp(host, port))
    }

    /// A server by its unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Server(Address::Unix(path.into()))
    }

    /// The target as people would name it, without secrets.
    pub fn display_name(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Sentinel { name, sentinels } => {
                write!(f, "{name}@")?;
                for (n, address) in sentinels.iter().enumerate() {
                    write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl From<Target> for Uri {
    fn from(target: Target) -> Self {
        Self { target, user: None, password: None, db: None, tls: false, resp3: None }
    }
}

impl FromStr for Uri {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return parse_bare(text) };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "redis" | "valkey" => parse_server(rest, false),
            "rediss" | "valkeys" => parse_server(rest, true),
            "unix" | "redis+unix" | "valkey+unix" | "redis-socket" => parse_unix(rest),
            "redis+sentinel" | "redis-sentinel" | "valkey+sentinel" => parse_sentinel(rest, false),
            "rediss+sentinel" | "rediss-sentinel" | "valkeys+sentinel" => {
                parse_sentinel(rest, true)
            }
            _ => Err(TargetError::UnknownScheme(scheme.chars().take(30).collect())),
        }
    }
}

/// `host:port`, `host`, `[::1]:6379`, or a socket path, which has a slash.
fn parse_bare(text: &str) -> Result<Uri, TargetError> {
    if text.contains('/') && !text.contains('@') {
        return Ok(Target::unix(text).into());
    }
    if text.contains('@') {
        return Err(TargetError::CredentialsWithoutScheme);
    }
    // The resolver takes `7000` for the address 0.0.27.88, which nobody means.
    if let Ok(port) = text.parse() {
        return Err(TargetError::OnlyAPort(port));
    }
    Ok(Target::Server(Address::parse_tcp(text, DEFAULT_PORT)?).into())
}

/// `[user[:pass]@]host[:port][/db][?parameters]`
fn parse_server(rest: &str, tls: bool) -> Result<Uri, TargetError> {
    let (rest, query) = split_query(rest);
    let (credentials, rest) = split_credentials(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let target = Target::Server(Address::parse_tcp(host, DEFAULT_PORT)?);
    let mut uri = Uri { tls, db: parse_database(path)?, ..target.into() };
    credentials.map_or(Ok(()), |text| uri.set_credentials(text))?;
    uri.set_parameters(query)?;
    Ok(uri)
}

/// `[user[:pass]@]/path[?parameters]`
fn parse_unix(rest: &str) -> Result<Uri, TargetError> {
    let (rest, query) = split_query(rest);
    // Only what stands before the path can be credentials: a path may hold an @.
    let (before, path) = rest.split_at_checked(rest.find('/').unwrap_or(0)).unwrap_or(("", rest));
    if path.is_empty() {
        return Err(TargetError::NoHost);
    }
    let mut uri: Uri = Target::unix(percent_decode(path)?).into();
    if let Some(credentials) = before.strip_suffix('@') {
        uri.set_credentials(credentials)?;
    } else if !before.is_empty() {
        return Err(TargetError::BadHost(before.chars().take(60).collect()));
    }
    uri.set_parameters(query)?;
    Ok(uri)
}

/// `[user:pass@]host[:port][,host2[:port2]…]/name[/db]`, or `name@host[:port],…[/db]`.
fn parse_sentinel(rest: &str, tls: bool) -> Result<Uri, TargetError> {
    let (rest, query) = split_query(rest);
    let (before_at, rest) = split_credentials(rest);
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let sentinels: Vec<Address> = hosts
        .split(',')
        .filter(|h| !h.is_empty())
        .map(|host| Address::parse_tcp(host, DEFAULT_SENTINEL_PORT))
        .collect::<Result<_, _>>()?;
    if sentinels.is_empty() {
        return Err(TargetError::NoHost);
    }
    // With a colon it is `user:pass@…/name`; without one it is the name, and the path is a database.
    let (name, db, credentials) = match before_at {
        Some(name) if !name.contains(':') => (percent_decode(name)?, path, None),
        credentials => {
            let (name, db) = path.split_once('/').unwrap_or((path, ""));
            (percent_decode(name)?, db, credentials)
        }
    };
    if name.is_empty() {
        return Err(TargetError::NoSentinelName);
    }
    let target = Target::Sentinel { name, sentinels };
    let mut uri = Uri { tls, db: parse_database(db)?, ..target.into() };
    credentials.map_or(Ok(()), |text| uri.set_credentials(text))?;
    uri.set_parameters(query)?;
    Ok(uri)
}

impl Uri {
    /// `user:pass`, `:pass`, or `pass` alone: redis-cli takes userinfo without a colon as the password, and taking it
    /// so here keeps it out of everything we print.
    fn set_credentials(&mut self, text: &str) -> Result<(), TargetError> {
        let (user, password) = text.split_once(':').unwrap_or(("", text));
        if !user.is_empty() {
            self.user = Some(percent_decode(user)?);
        }
        if !password.is_empty() {
            self.password = Some(Secret::new(percent_decode(password)?));
        }
        Ok(())
    }

    fn set_parameters(&mut self, query: &str) -> Result<(), TargetError> {
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "db" => self.db = parse_database(value)?,
                "user" | "username" => self.user = Some(percent_decode(value)?),
                "pass" | "password" => self.password = Some(Secret::new(percent_decode(value)?)),
                "protocol" => self.resp3 = Some(matches!(value, "3" | "resp3")),
                _ => {
                    return Err(TargetError::UnknownParameter(name.chars().take(30).collect()));
                }
            }
        }
        Ok(())
    }
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// What stands before the last `@` (a password may hold one unescaped), and the rest.
fn split_credentials(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, text),
    }
}

fn parse_database(text: &str) -> Result<Option<u32>, TargetError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || TargetError::BadDatabase(text.chars().take(30).collect());
    text.parse().map(Some).map_err(|_| bad())
}

fn percent_decode(text: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        bytes.push(value.and_then(|v| u8::try_from(v).ok()).ok_or(TargetError::BadEscape)?);
    }
    String::from_utf8(bytes).map_err(|_| TargetError::BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_way_to_write_a_server() {
        for (text, name) in [
            ("db1", "db1:6379"),
            ("db1:7000", "db1:7000"),
            ("10.0.0.5:7000", "10.0.0.5:7000"),
            ("[::1]:7000", "[::1]:7000"),
            ("::1", "[::1]:6379"),
            ("fe80::1", "[fe80::1]:6379"),
            ("/run/redis.sock", "/run/redis.sock"),
            ("./redis.sock", "./redis.sock"),
            ("redis://db1", "db1:6379"),
            ("redis://", "127.0.0.1:6379"),
            ("REDIS://db1:1/3", "db1:1"),
            ("redis://[::1]/3", "[::1]:6379"),
            ("valkey://u:p@db1:1/", "db1:1"),
            ("rediss://db1", "db1:6379"),
            ("valkeys://db1", "db1:6379"),
            ("unix:///run/a@b.sock", "/run/a@b.sock"),
            ("redis+unix:///run/r.sock?db=2", "/run/r.sock"),
            ("valkey+unix://u:p@/run/r.sock", "/run/r.sock"),
            ("redis+sentinel://cache@s1,s2:5000", "cache@s1:26379,s2:5000"),
            ("redis+sentinel://s1:1,[::1]:2/cache", "cache@s1:1,[::1]:2"),
            ("redis+sentinel://u:p@s1/cache", "cache@s1:26379"),
        ] {
            assert_eq!(parse(text).target.display_name(), name, "{text}");
        }
    }

    #[test]
    fn what_stands_beside_the_address() {
        let uri = parse("rediss://al%69ce:p%40ss%3A%2Fw@db1:1/3?protocol=3");
        assert_eq!(uri.user.as_deref(), Some("alice"));
        assert_eq!(uri.password.as_ref().map(Secret::expose), Some("p@ss:/w"));
        assert_eq!((uri.db, uri.tls, uri.resp3), (Some(3), true, Some(true)));
        assert_eq!(parse("redis://:p@h").user, None);
        assert_eq!(parse("redis://p@h").password.as_ref().map(Secret::expose), Some("p"));
        assert_eq!(parse("redis://u:a@b@h").password.as_ref().map(Secret::expose), Some("a@b"));
        assert_eq!(parse("redis+sentinel://cache@s1/5").db, Some(5));
        assert_eq!(parse("redis+sentinel://u:p@s1/cache/5").db, Some(5));
        let unix = parse("unix:///s?db=2&user=u&pass=p%26");
        assert_eq!(unix.password.as_ref().map(Secret::expose), Some("p&"));
        assert_eq!((unix.db, unix.user.as_deref()), (Some(2), Some("u")));
    }

    #[test]
    fn what_is_no_target() {
        let error = |text: &str| text.parse::<Uri>().expect_err(text);
        assert_eq!(error(" "), TargetError::Empty);
        assert_eq!(error("http://h"), TargetError::UnknownScheme("http".into()));
        for text in ["h:0", "h:70000", "h:"] {
            assert_eq!(error(text), TargetError::BadPort, "{text}");
        }
        assert_eq!(error("a b"), TargetError::BadHost("a b".into()));
        assert_eq!(error("redis://h/x"), TargetError::BadDatabase("x".into()));
        assert_eq!(error("redis://u:%zz@h"), TargetError::BadEscape);
        assert_eq!(error("redis://u:%f@h"), TargetError::BadEscape);
        assert_eq!(error("redis://h?x=1"), TargetError::UnknownParameter("x".into()));
        assert_eq!(error("redis+sentinel://h"), TargetError::NoSentinelName);
        assert_eq!(error("redis+sentinel:///name"), TargetError::NoHost);
        assert_eq!(error("u:p@h"), TargetError::CredentialsWithoutScheme);
        assert_eq!(error("[::1"), TargetError::BadHost("[::1".into()));
        assert_eq!(error("unix://"), TargetError::NoHost);
        assert_eq!(error("7000"), TargetError::OnlyAPort(7000));
    }

    #[test]
    fn no_secret_is_printed() {
        for text in [
            "redis://u:canary@h:1/2",
            "redis://canary@h",
            "unix:///s?pass=canary",
            "redis+sentinel://u:canary@s1/name",
            "redis://u:canary@h:x",
            "redis://u:canary",
            "redis://u:canary@h y",
            "u:canary@h",
            "redis://u:canary%zz@h",
        ] {
            let shown = match text.parse::<Uri>() {
                Ok(uri) => format!("{uri:?} {}", uri.target),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
