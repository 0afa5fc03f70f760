//! Which server of a deployment to read data from: [`least_missed`]. A replica that is up to date, so that the primary
//! neither forks nor answers for it; else the primary. Pure.

use crate::survey::Reading;
use unfrag_model::Info;

/// A replica is up to date when it heard its primary within this; `repl-ping-replica-period` is 10 s.
const SILENT_S_MAX: u64 = 15;
/// And when no more than this of the stream is on its way: what a busy primary writes in a moment.
const BEHIND_BYTES_MAX: u64 = 1 << 20;

/// Of every primary's group one reading, in the order of the primaries: a replica where one is healthy. What belongs to no
/// group (a server by itself, a failure) stays as it is.
pub fn least_missed(readings: Vec<Reading>) -> Vec<Reading> {
    let mut groups: Vec<(String, Vec<Reading>)> = vec![];
    for reading in readings {
        let name = group_of(&reading);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(reading),
            None => groups.push((name, vec![reading])),
        }
    }
    groups.into_iter().flat_map(|(_, members)| chosen(members)).collect()
}

/// The primary's name.
fn group_of(reading: &Reading) -> String {
    let primary = reading.node.as_ref().and_then(|node| node.primary.clone());
    primary.unwrap_or_else(|| reading.name.clone())
}

fn chosen(mut members: Vec<Reading>) -> Vec<Reading> {
    let info = |r: &Reading| r.result.as_ref().ok().map(|sample| sample.info.clone());
    let primary = members.iter().filter_map(info).find(|info| !info.is_replica());
    // Of several, the one that was named.
    members.sort_by_key(|r| !r.node.as_ref().is_some_and(|node| node.is_seed));
    let replica = members.iter().position(|r| {
        info(r).is_some_and(|info| info.is_replica() && is_healthy(&info, primary.as_ref()))
    });
    let place = replica
        .or_else(|| members.iter().position(|r| info(r).is_some_and(|info| !info.is_replica())));
    if let Some(place) = place {
        return vec![members.swap_remove(place)];
    }
    // Nothing that can be read from: the caller says why.
    members.truncate(1);
    members
}

fn is_healthy(info: &Info, primary: Option<&Info>) -> bool {
    let is = |key: &str, value: u64| info.count(key).unwrap_or(value) == value;
    let behind = primary.and_then(|p| {
        Some(p.count("master_repl_offset")?.saturating_sub(info.count("slave_repl_offset")?))
    });
    info.text("master_link_status") == Some("up")
        && is("master_sync_in_progress", 0)
        && is("loading", 0)
        && info.count("master_last_io_seconds_ago").is_some_and(|s| s <= SILENT_S_MAX)
        && behind.is_none_or(|bytes| bytes <= BEHIND_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Node, Role};
    use unfrag_model::Sample;

    const PRIMARY: &str = "role:master\nmaster_repl_offset:5000000";

    fn reading(port: u16, info: &str) -> Reading {
        let sample = Sample { info: Info::parse(info), ..Sample::default() };
        let role = if sample.info.is_replica() { Role::Replica } else { Role::Primary };
        let node = Node {
            address: Address::tcp("h", port),
            role,
            primary: Some("h:1".to_owned()),
            sentinel_name: None,
            is_seed: false,
        };
        Reading { name: format!("h:{port}"), node: Some(node), result: Ok(sample) }
    }

    fn names(readings: Vec<Reading>) -> Vec<String> {
        least_missed(readings).into_iter().map(|r| r.name).collect()
    }

    #[test]
    fn a_replica_that_is_up_to_date_is_read_instead_of_its_primary() {
        let replica = |more: &str| {
            format!(
                "role:slave\nmaster_link_status:up\nmaster_last_io_seconds_ago:1\nslave_repl_offset:4999999\n{more}"
            )
        };
        assert_eq!(names(vec![reading(1, PRIMARY), reading(2, &replica(""))]), ["h:2"]);
        for ill in [
            replica("").replace("status:up", "status:down"),
            replica("").replace("ago:1", "ago:100"),
            replica("").replace("4999999", "1000000"),
            replica("master_sync_in_progress:1"),
            replica("loading:1"),
        ] {
            assert_eq!(names(vec![reading(1, PRIMARY), reading(2, &ill)]), ["h:1"], "{ill}");
        }
    }
}
