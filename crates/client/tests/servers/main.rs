//! The client against real servers of all five kinds, and against the few fakes for what no real one does.

#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod deployments;
mod failures;
mod rights;
mod sampling;
mod tls;

use std::net::TcpStream;
use unfrag_client::sample::MAX_CLIENTS_LISTED;
use unfrag_client::{Address, ClientError, ConnectOptions, SampleOptions, connect, sample};
use unfrag_model::Sample;
use unfrag_testbed::{Kind, Options, Server, measure, require};

/// A password that must never be seen again.
const CANARY: &str = "canary-1f9d03";

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A server of this kind, or `None` where it is not installed (which in CI is a failure).
fn start(kind: Kind, options: &Options) -> Option<Server> {
    require(kind).then(|| Server::start(kind, options).expect("a server"))
}

fn address(server: &Server) -> Address {
    Address::tcp("127.0.0.1", server.port())
}

fn read(address: &Address, options: &ConnectOptions) -> Result<Sample, ClientError> {
    block_on(async {
        let mut connection = connect(address, options).await?;
        sample(&mut connection, &SampleOptions::default()).await
    })
}

/// One connection more than are listed, and the one that counted them.
fn crowd(server: &Server) -> (Vec<TcpStream>, redis::Connection) {
    let connect = |_| TcpStream::connect(("127.0.0.1", server.port())).expect("connected");
    let all: Vec<_> = (0..=MAX_CLIENTS_LISTED).map(connect).collect();
    let mut own = server.connection().expect("a connection");
    measure::wait_until("the connections", || {
        Ok(measure::field(&mut own, "connected_clients")? > all.len() as u64)
    })
    .expect("all connected");
    (all, own)
}

/// The error, after a look that no secret is in it.
fn error(address: &Address, options: &ConnectOptions) -> ClientError {
    let error = read(address, options).expect_err("no sample");
    let shown = format!("{error} {error:?} {:?}", error.hint());
    assert!(!shown.contains(CANARY), "{shown}");
    error
}
