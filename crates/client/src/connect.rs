//! One connection to one server: [`connect`] and [`Connection`].
//!
//! A plain multiplexed connection: no pool, no hidden reconnect (a half-done change must not go on over a new
//! connection), no retry. Every wait has a limit, every reply has one too (see `wire`), and every failure is a
//! [`ClientError`]. We do TCP, TLS and the handshake commands ourselves, because the client library's errors do not
//! tell these steps apart.

use crate::error::{ClientError, Problem, Stranger, TlsProblem, one_line};
use crate::target::Address;
use crate::wire::{self, Fault, Guarded, Record};
use crate::{ConnectOptions, Secret, TlsOptions};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use unfrag_model::sample::CommandCost;

/// The name we give ourselves, for those who read CLIENT LIST.
pub const CLIENT_NAME: &str = "unfrag";

/// A connection to one server. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    link: MultiplexedConnection,
    record: Arc<Record>,
    _driver: Arc<Driver>,
    peer: Arc<Peer>,
}

/// What is known of the other end, and how to treat it.
#[derive(Debug)]
struct Peer {
    name: String,
    address: Address,
    is_local: bool,
    has_identity: bool,
    response_timeout: Duration,
    max_reply_bytes: u64,
    password: Option<Secret>,
    handshake: Vec<CommandCost>,
}

/// The task that moves bytes; it ends with the last clone of its connection.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A byte stream to a server, whatever carries it.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A stream that stands, and whether its other end is on this machine.
pub(crate) struct Reached {
    pub(crate) wire: Box<dyn Wire>,
    pub(crate) is_local: bool,
}

/// Connects, speaks TLS if asked to, authenticates, selects the database and names the connection.
pub async fn connect(
    address: &Address,
    options: &ConnectOptions,
) -> Result<Connection, ClientError> {
    let reached = reach(address, options).await?;
    Connection::open(reached.wire, address, reached.is_local, options).await
}

/// Connects and speaks TLS if asked to, and says nothing yet.
pub(crate) async fn reach(
    address: &Address,
    options: &ConnectOptions,
) -> Result<Reached, ClientError> {
    let fail = |problem: Problem| ClientError::new(address.to_string(), problem);
    let after = options.connect_timeout;
    match address {
        Address::Unix(path) => {
            let stream = timeout(after, UnixStream::connect(path)).await;
            let stream = stream
                .map_err(|_| fail(Problem::ConnectTimeout { after }))?
                .map_err(|e| fail(socket_problem(&e)))?;
            // A socket file is always this machine's; the process behind it is checked before it is believed.
            Ok(Reached { wire: Box::new(stream), is_local: true })
        }
        Address::Tcp(host, port) => {
            // Before anyone is asked: a wrong file is wrong wherever nobody listens.
            let tls = options.tls.as_ref().map(|tls| Tls::prepare(tls, host)).transpose();
            let tls = tls.map_err(|problem| fail(problem.into()))?;
            let begun = Instant::now();
            let stream = timeout(after, connect_tcp(host, *port)).await;
            let stream =
                stream.map_err(|_| fail(Problem::ConnectTimeout { after }))?.map_err(fail)?;
            let is_local = is_this_machine(&stream);
            let Some(tls) = tls else {
                return Ok(Reached { wire: Box::new(stream), is_local });
            };
            let left = after.saturating_sub(begun.elapsed());
            let stream = match timeout(left, tls.shake_hands(stream)).await {
                Ok(stream) => stream.map_err(fail)?,
                Err(_) if speaks_plaintext(host, *port).await => {
                    return Err(fail(TlsProblem::ServerSpeaksPlaintext.into()));
                }
                Err(_) => return Err(fail(TlsProblem::HandshakeTimeout { after }.into())),
            };
            Ok(Reached { wire: Box::new(stream), is_local })
        }
    }
}

/// TLS made ready for one host.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    wanted: String,
    has_identity: bool,
}

impl Tls {
    fn prepare(options: &TlsOptions, host: &str) -> Result<Self, TlsProblem> {
        Ok(Self {
            connector: TlsConnector::from(Arc::new(options.client_config()?)),
            name: options.server_name(host)?,
            wanted: options.sni.as_deref().unwrap_or(host).to_owned(),
            has_identity: options.cert.is_some(),
        })
    }

    async fn shake_hands(self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Problem> {
        let shaken = self.connector.connect(self.name, stream).await;
        shaken.map_err(|e| handshake_problem(&e, &self.wanted, self.has_identity))
    }
}

/// A plaintext server reads a ClientHello as the beginning of an inline command and waits for the rest of the line, so
/// that it looks as if it hung. It answers a PING.
async fn speaks_plaintext(host: &str, port: u16) -> bool {
    let asked = async {
        let mut stream = connect_tcp(host, port).await.ok()?;
        stream.write_all(b"PING\r\n").await.ok()?;
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.ok()?;
        // `+PONG`, or an error such as `-NOAUTH`.
        Some(matches!(first, [b'+' | b'-']))
    };
    timeout(PLAINTEXT_WAIT, asked).await.ok().flatten().unwrap_or(false)
}

/// How long a PING may take when the reason for a failure is looked for. The failure itself is certain by then.
const PLAINTEXT_WAIT: Duration = Duration::from_millis(500);

/// Tries every address of the name in the resolver's order.
async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, Problem> {
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => {
            return Err(Problem::UnknownHost {
                host: host.to_owned(),
                reason: one_line(&error.to_string()),
            });
        }
    };
    let mut problem =
        Problem::UnknownHost { host: host.to_owned(), reason: "it has no address".to_owned() };
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A request is one small packet that waits for an answer: never hold it back.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => problem = tcp_problem(&error),
        }
    }
    Err(problem)
}

fn tcp_problem(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Problem::Refused,
        io::ErrorKind::PermissionDenied => Problem::SocketDenied,
        _ => Problem::Unreachable { reason: one_line(&error.to_string()) },
    }
}

fn socket_problem(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::NoSocket,
        io::ErrorKind::ConnectionRefused => Problem::SocketRefused,
        io::ErrorKind::PermissionDenied => Problem::SocketDenied,
        _ => Problem::Unreachable { reason: one_line(&error.to_string()) },
    }
}

fn handshake_problem(error: &io::Error, wanted: &str, has_identity: bool) -> Problem {
    match wire::tls_error(error) {
        Some(tls) => TlsProblem::from_rustls(tls, wanted, has_identity).into(),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => TlsProblem::ClosedInHandshake.into(),
            _ => Problem::Unreachable { reason: one_line(&error.to_string()) },
        },
    }
}

/// True when the peer's address is one of this machine's (or of this network namespace's): the kernel then takes the
/// same address for our end. That a tunnel may stand behind it is checked where it matters, in `host`.
fn is_this_machine(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => peer.ip().is_loopback() || local.ip() == peer.ip(),
        _ => false,
    }
}

impl Connection {
    async fn open<S>(
        stream: S,
        address: &Address,
        is_local: bool,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, record) = Guarded::new(stream, options.max_reply_bytes);
        // All limits on time are ours, and so are the handshake commands: see the head of this file.
        let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let peer = Peer {
            name: address.to_string(),
            address: address.clone(),
            is_local,
            has_identity: options.tls.as_ref().is_some_and(|t| t.cert.is_some()),
            response_timeout: options.response_timeout,
            max_reply_bytes: options.max_reply_bytes,
            password: options.password.clone(),
            handshake: vec![],
        };
        let (link, driver) =
            MultiplexedConnection::new_with_config(&quiet, stream, config)
                .await
                .map_err(|e| peer.fail(peer.broken("the handshake", &record, 0, &e)))?;
        let driver = Arc::new(Driver(tokio::spawn(driver)));
        let mut connection = Self { link, record, _driver: driver, peer: Arc::new(peer) };
        let handshake = connection.shake_hands(options).await?;
        if let Some(peer) = Arc::get_mut(&mut connection.peer) {
            peer.handshake = handshake;
        }
        Ok(connection)
    }

    /// HELLO or AUTH, SELECT, CLIENT SETNAME: at most three commands.
    async fn shake_hands(
        &mut self,
        options: &ConnectOptions,
    ) -> Result<Vec<CommandCost>, ClientError> {
        let mut costs = vec![];
        let user = options.user.as_deref().filter(|u| !u.is_empty());
        let password = options.password.as_ref().filter(|p| !p.is_empty());
        if options.resp3 {
            let mut hello = redis::cmd("HELLO");
            hello.arg(3);
            if let Some(password) = password {
                hello.arg("AUTH").arg(user.unwrap_or("default")).arg(password.expose());
            }
            costs.push(self.must(&hello, "HELLO 3").await?);
        } else if let Some(password) = password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = user {
                auth.arg(user);
            }
            costs.push(self.must(auth.arg(password.expose()), "AUTH").await?);
        }
        if options.db != 0 {
            let label = format!("SELECT {}", options.db);
            costs.push(self.must(redis::cmd("SELECT").arg(options.db), &label).await?);
        }
        costs.push(self.name_ourselves().await?);
        Ok(costs)
    }

    async fn must(&mut self, command: &Cmd, label: &str) -> Result<CommandCost, ClientError> {
        let (result, cost) = self.timed(command, label).await;
        result.map(|_| cost)
    }

    /// CLIENT SETNAME. A server that does not let us is read all the same; one that wants a password, or is no Redis
    /// at all, shows it here, on the first command.
    async fn name_ourselves(&mut self) -> Result<CommandCost, ClientError> {
        let mut command = redis::cmd("CLIENT");
        command.arg("SETNAME").arg(CLIENT_NAME);
        let (result, cost) = self.timed(&command, "CLIENT SETNAME unfrag").await;
        match result {
            Err(error)
                if !matches!(
                    *error.problem,
                    Problem::NoPermission { .. }
                        | Problem::UnknownCommand { .. }
                        | Problem::Reply { .. }
                        | Problem::Loading { .. }
                        | Problem::MasterDown
                ) =>
            {
                Err(error)
            }
            _ => Ok(cost),
        }
    }

    /// The server's name for people, without secrets.
    pub fn name(&self) -> &str {
        &self.peer.name
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.peer.address
    }

    /// True when the address is this machine's. Behind it may still be a tunnel or a container.
    pub fn is_local(&self) -> bool {
        self.peer.is_local
    }

    /// What the handshake sent, with its cost; no secrets.
    pub fn handshake(&self) -> &[CommandCost] {
        &self.peer.handshake
    }

    /// Waits this long for each reply from now on. Clones keep theirs.
    pub fn set_response_timeout(&mut self, response_timeout: Duration) {
        let old = &self.peer;
        self.peer = Arc::new(Peer {
            name: old.name.clone(),
            address: old.address.clone(),
            password: old.password.clone(),
            handshake: old.handshake.clone(),
            response_timeout,
            ..*old.as_ref()
        });
    }

    /// Sends a command given as words and returns its reply.
    pub async fn call(&mut self, words: &[&str]) -> Result<Value, ClientError> {
        self.read(words).await.0
    }

    /// As [`Connection::call`], with what it cost.
    pub async fn read(&mut self, words: &[&str]) -> (Result<Value, ClientError>, CommandCost) {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        self.timed(&command, &words.join(" ")).await
    }

    /// Sends any command. `label` names it in errors: no key names, no secrets.
    pub async fn send(&mut self, command: &Cmd, label: &str) -> Result<Value, ClientError> {
        self.timed(command, label).await.0
    }

    /// Sends a pipeline and returns each reply; error replies are values here, for the caller to judge.
    pub async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        label: &str,
    ) -> Result<Vec<Value>, ClientError> {
        let (count, before) = (pipeline.len(), self.record.bytes_read());
        let reply =
            timeout(self.peer.response_timeout, self.link.send_packed_commands(pipeline, 0, count))
                .await;
        match reply {
            Err(_) => Err(self.peer.late(label)),
            Ok(Err(error)) => {
                Err(self.peer.fail(self.peer.broken(label, &self.record, before, &error)))
            }
            Ok(Ok(values)) => Ok(values),
        }
    }

    /// Sends one command, and times it.
    async fn timed(
        &mut self,
        command: &Cmd,
        label: &str,
    ) -> (Result<Value, ClientError>, CommandCost) {
        let (begun, before) = (Instant::now(), self.record.bytes_read());
        let reply =
            timeout(self.peer.response_timeout, self.link.send_packed_command(command)).await;
        let cost = CommandCost {
            command: label.to_owned(),
            server_us: None,
            round_trip_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            reply_bytes: self.record.bytes_read().saturating_sub(before),
        };
        if matches!(reply, Ok(Ok(_))) {
            self.record.forget_error();
        }
        let result = match reply {
            Err(_) => Err(self.peer.late(label)),
            Ok(Err(error)) => {
                Err(self.peer.fail(self.peer.broken(label, &self.record, before, &error)))
            }
            Ok(Ok(Value::ServerError(error))) => Err(self.peer.refused(label, &error)),
            Ok(Ok(value)) => Ok(value),
        };
        (result, cost)
    }
}

impl Peer {
    fn fail(&self, problem: Problem) -> ClientError {
        ClientError::new(self.name.clone(), problem)
    }

    fn late(&self, label: &str) -> ClientError {
        let command = label.to_owned();
        self.fail(Problem::ResponseTimeout { command, after: self.response_timeout })
    }

    fn refused(&self, label: &str, error: &redis::ServerError) -> ClientError {
        let mut problem = Problem::from_reply(label, error);
        if let Some(password) = &self.password {
            problem.scrub(password);
        }
        self.fail(problem)
    }

    /// Why a connection broke: what the guard saw counts for more than what the client library concluded. `before` is
    /// how many bytes had come when the command was sent.
    fn broken(&self, label: &str, record: &Record, before: u64, error: &RedisError) -> Problem {
        let command = label.to_owned();
        match record.fault() {
            Some(Fault::NotResp(bytes)) => return stranger(bytes),
            Some(Fault::TooLarge { bytes }) => {
                let limit = self.max_reply_bytes;
                return Problem::ReplyTooLarge { command, bytes: *bytes, limit };
            }
            Some(Fault::TooManyElements { elements }) => {
                return Problem::TooManyElements { command, elements: *elements };
            }
            Some(Fault::Tls(tls)) => {
                return TlsProblem::from_rustls(tls.clone(), &self.name, self.has_identity).into();
            }
            None => {}
        }
        // Turned away at the door: the reason came before the question.
        let last_error = record.last_error().map(|line| redis::parse_redis_value(&line));
        if let Some(Ok(Value::ServerError(error))) = last_error {
            return Problem::from_reply(label, &error);
        }
        if !record.at_end() && error.kind() == redis::ErrorKind::Parse {
            return Problem::UnexpectedReply {
                command,
                got: "a reply that cannot be parsed".into(),
            };
        }
        match record.bytes_read().saturating_sub(before) {
            0 => Problem::Closed { command, had_answered: before > 0 },
            bytes => Problem::ClosedHalfWay { command, bytes },
        }
    }
}

fn stranger(bytes: &[u8]) -> Problem {
    // A TLS alert (0x15), then version 3.x: what a TLS server answers to plain text.
    if matches!(bytes, [0x15, 3, ..]) {
        return TlsProblem::ServerWantsTls.into();
    }
    Problem::NotRedis { speaks: Stranger::from_bytes(bytes) }
}
