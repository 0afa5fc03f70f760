//! How much a chunk may set aside, and how far behind replicas are. Pure.

use unfrag_model::Info;

/// Under this a chunk is no more than what the thread cache hands straight back.
pub(super) const CHUNK_LEAST_BYTES: u64 = 3 << 20;
/// Above this it costs headroom for nothing.
const CHUNK_MOST_BYTES: u64 = 256 << 20;

/// What a chunk sets aside when there is room for it, given the share of the data it should be.
pub(super) fn wanted(share_bytes: u64) -> u64 {
    share_bytes.clamp(CHUNK_LEAST_BYTES, CHUNK_MOST_BYTES)
}

/// What a chunk of a pass sets aside. A pass leaves about one chunk's holes, so where there is little waste, as after
/// defrag, only chunks of less than that take any of it away: a pass with chunks of 9.4 MiB over 8.6 MiB of waste left 7.8
/// (`unfrag fix` on `unfrag lab --server redis-8.2.3 --workload churn --fill 400`).
pub(super) fn of_pass(share_bytes: u64, waste_bytes: u64) -> u64 {
    wanted(share_bytes.min(waste_bytes / 2))
}

/// A pass with chunks about as large as the last one's would leave as many holes: of 134 MiB of strings a second one with
/// chunks of 3 MiB took 11 s and made 4.5 MiB of 2.9, of 157 MiB of sessions 14 s and 1 MiB of RSS (`unfrag fix` on `unfrag
/// lab --server redis-7.0.15 --fill 400`, workloads strings and ttl).
pub(super) fn is_finer(wanted: u64, last: u64) -> bool {
    wanted < last - last / 10
}

/// Bytes the slowest replica in line is behind.
pub(super) fn replica_lag(info: &Info) -> u64 {
    let here = info.count("master_repl_offset").unwrap_or(0);
    let online = info.replicas().into_iter().filter(|r| r.state == "online");
    online.filter_map(|r| r.offset).map(|o| here.saturating_sub(o)).max().unwrap_or(0)
}

/// Bytes a chunk may set aside, at most `wanted`; `None` when there is not even room for the least. Kept away from
/// maxmemory, where the server would evict or refuse writes, and from the limit, where the kernel would kill.
pub(super) fn chunk_room(info: &Info, limit: Option<u64>, wanted: u64) -> Option<u64> {
    let counted = info
        .count("used_memory")?
        .saturating_sub(info.count("mem_not_counted_for_evict").unwrap_or(0));
    let below = |ceiling: u64, now: u64| {
        // Copies, those that soak the cache, names, and what others write meanwhile.
        (ceiling - ceiling / 100).saturating_sub(now) / 2
    };
    let by_maxmemory =
        info.maxmemory().filter(|&m| m > 0).map_or(u64::MAX, |maxmemory| below(maxmemory, counted));
    let rss = info.count("used_memory_rss").unwrap_or(0);
    let by_limit = limit.map_or(u64::MAX, |limit| below(limit, rss));
    let room = by_maxmemory.min(by_limit).min(wanted);
    (room >= CHUNK_LEAST_BYTES.min(wanted)).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_stay_away_from_limits() {
        let info = |used: u64, maxmemory: u64| {
            Info::parse(&format!(
                "used_memory:{used}\nmaxmemory:{maxmemory}\nused_memory_rss:{used}"
            ))
        };
        let mb = 1 << 20;
        assert_eq!(chunk_room(&info(100 * mb, 0), None, 8 * mb), Some(8 * mb));
        assert_eq!(chunk_room(&info(100 * mb, 104 * mb), None, 8 * mb), None);
        let room = chunk_room(&info(100 * mb, 112 * mb), None, 8 * mb).unwrap();
        assert!(room < 6 * mb, "{room}");
        assert_eq!(chunk_room(&info(100 * mb, 0), Some(101 * mb), 8 * mb), None);
    }

    #[test]
    fn a_chunk_is_less_than_the_waste_it_is_to_pack() {
        let mb = 1 << 20;
        assert_eq!(of_pass(9 * mb, 200 * mb), 9 * mb);
        assert_eq!(of_pass(9 * mb, 8 * mb), 4 * mb);
        assert_eq!(of_pass(9 * mb, mb), CHUNK_LEAST_BYTES);
    }

    #[test]
    fn each_pass_has_finer_chunks_than_the_last() {
        let mb = 1 << 20;
        assert!(is_finer(60 * mb, u64::MAX));
        assert!(is_finer(15 * mb, 20 * mb));
        // Both as small as a chunk can be.
        assert!(!is_finer(of_pass(2 * mb, 5 * mb), of_pass(2 * mb, 10 * mb)));
        assert!(!is_finer(CHUNK_LEAST_BYTES, CHUNK_LEAST_BYTES + CHUNK_LEAST_BYTES / 20));
    }

    #[test]
    fn lag_is_the_slowest_replica_in_line() {
        let info = Info::parse(
            "master_repl_offset:100\nslave0:ip=a,port=1,state=online,offset=90,lag=0\nslave1:ip=b,port=1,state=wait_bgsave,offset=0,lag=0",
        );
        assert_eq!(replica_lag(&info), 10);
    }
}
