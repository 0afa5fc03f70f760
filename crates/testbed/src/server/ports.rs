//! Ports for servers to listen on.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;

/// Where one server listens on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
}

/// Below 32768, where Linux begins to give ports to outgoing connections: one of those could take a server's port
/// while it restarts. A Cluster node also listens on its port + 10000, which must stay below, too.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;
const TO_CLUSTER_BUS: u16 = 10_000;

impl Ports {
    /// Two that nobody listens on now. Another process may be quicker to take them: the start is then tried again.
    pub(super) fn find() -> Self {
        Self { plain: free_port(), tls: free_port() }
    }
}

fn free_port() -> u16 {
    loop {
        let port = FIRST + random_below(COUNT);
        if is_free(port) && is_free(port + TO_CLUSTER_BUS) {
            return port;
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// From the keys that the standard library draws for every map: no two test processes walk the same ports.
fn random_below(end: u16) -> u16 {
    let drawn = RandomState::new().build_hasher().finish() % u64::from(end);
    u16::try_from(drawn).unwrap_or_default()
}
