//! The client against real servers of all five kinds, and against the few fakes for what no real one does.

#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod deployments;
mod failures;
mod rights;
mod sampling;
mod tls;

use unfrag_client::{Address, ClientError, ConnectOptions, SampleOptions, connect, sample};
use unfrag_model::Sample;
use unfrag_testbed::{Kind, Options, Server, require};

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

/// The error, after a look that no secret is in it.
fn error(address: &Address, options: &ConnectOptions) -> ClientError {
    let error = read(address, options).expect_err("no sample");
    let shown = format!("{error} {error:?} {:?}", error.hint());
    assert!(!shown.contains(CANARY), "{shown}");
    error
}
