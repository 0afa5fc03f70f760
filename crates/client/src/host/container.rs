//! A server in a container: it knows itself by a number of its own namespace, and this machine has another one for it.
//!
//! `NSpid` in `/proc/PID/status` ends with the number that the server knows. Containers that came up together all have a
//! server number 1 of the same age; so one is believed only when it holds the server's end of a connection of ours, whose
//! addresses are taken from CLIENT LIST: there they are as the server sees them, whatever forwards them in between.

use super::text;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A line is 150 bytes: 200,000 connections, more than a server takes.
const MAX_TABLE_BYTES: u64 = 32 << 20;

/// The two ends of a connection of ours, as the server sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    /// Told since 6.2.
    pub(crate) server: Option<SocketAddr>,
}

/// The numbers of all processes that call themselves `own` in a namespace below ours.
pub(super) fn called(own: u32, root: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| is_called(pid, own, root)).collect()
}

/// In a namespace below ours, the process calls itself so.
pub(super) fn is_called(pid: u32, own: u32, root: &Path) -> bool {
    let status = text(root, &format!("proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
    let mut numbers = line.split_whitespace();
    // The first is ours.
    numbers.next().is_some() && numbers.next_back().and_then(|n| n.parse().ok()) == Some(own)
}

/// The process has the server's end of one of these open. `None` when only root may look.
pub(super) fn holds(pid: u32, ends: &[Ends], root: &Path) -> Option<bool> {
    let sockets: Vec<String> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| File::open(root.join(format!("proc/{pid}/net/{table}"))).ok())
        .flat_map(|table| sockets_of(BufReader::new(table.take(MAX_TABLE_BYTES)), ends))
        .collect();
    if sockets.is_empty() {
        return Some(false);
    }
    let open = std::fs::read_dir(root.join(format!("proc/{pid}/fd"))).ok()?;
    let mut links = open.flatten().filter_map(|e| std::fs::read_link(e.path()).ok());
    Some(links.any(|link| link.to_str().is_some_and(|l| sockets.iter().any(|s| s == l))))
}

/// `socket:[NUMBER]` of the lines that are the server's end of one of these.
fn sockets_of(table: impl BufRead, ends: &[Ends]) -> Vec<String> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ours, theirs) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
        let is_it = ends.iter().any(|e| {
            plain(e.client) == theirs && e.server.is_none_or(|server| plain(server) == ours)
        });
        is_it.then(|| fields.get(9).map(|number| format!("socket:[{number}]"))).flatten()
    };
    table.lines().map_while(Result::ok).skip(1).filter_map(|line| socket(&line)).collect()
}

/// Version 4 is the same address in both tables.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: 32 bits at a time, each as this machine has them in memory.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = if ip.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(at)?);
        }
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a real `/proc/PID/net/tcp` and `tcp6`.
    const TABLES: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 020011AC:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7001 1 0 100 0 0 10 0\n   1: 020011AC:18EB 010011AC:D431 01 00000000:00000000 00:00000000 00000000     0        0 7002 1 0 20 4 30 10 -1\n   2: 00000000000000000000000001000000:18EB 00000000000000000000000001000000:D432 01 00000000:00000000 00:00000000 00000000     0        0 7003 1 0 20 4 30 10 -1\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_sockets_of_a_connection() {
        let ends = |client: &str, server: Option<&str>| Ends {
            client: client.parse().unwrap(),
            server: server.map(|s| s.parse().unwrap()),
        };
        let of = |e: Ends| sockets_of(TABLES.as_bytes(), &[e]);
        let own = ["socket:[7002]".to_owned()];
        assert_eq!(of(ends("172.17.0.1:54321", Some("172.17.0.2:6379"))), own);
        assert_eq!(of(ends("172.17.0.1:54321", None)), own);
        assert_eq!(of(ends("[::1]:54322", Some("[::1]:6379"))), ["socket:[7003]"]);
        assert!(of(ends("172.17.0.1:54321", Some("172.17.0.3:6379"))).is_empty());
        assert!(of(ends("172.17.0.1:54322", Some("172.17.0.2:6379"))).is_empty());
    }
}
