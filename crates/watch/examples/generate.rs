//! Generates a day of history for `make bench-watch`: `generate FOLDER FIRST_PORT COUNT`, as the daemon would have written it,
//! with figures that never stand still (a harder case to compress than most servers are).
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use unfrag_watch::history::{History, Job, Retention};
use unfrag_watch::point::{Column, Point};

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: generate FOLDER FIRST_PORT COUNT";
    let folder = args.next().ok_or(usage)?;
    let first: i64 = args.next().ok_or(usage)?.parse()?;
    let count: i64 = args.next().ok_or(usage)?.parse()?;
    let history = History::open(Path::new(&folder), Retention::default())?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let begin = now - 86400;
    let started = Instant::now();
    for port in first..first + count {
        let (key, _) = history.key(&format!("127.0.0.1:{port}"))?;
        let mut dice = u64::try_from(port)?;
        let mut used = 200_000_000 + 1000 * port;
        for hour in 0..24 {
            let points: Vec<Point> = (0..360)
                .map(|n| point(begin + hour * 3600 + n * 10, &mut used, &mut dice))
                .collect();
            history.write(Job::Pack(key, points));
        }
        if port % 50 == 0 {
            history.flush();
        }
    }
    history.flush();
    println!(
        "{count} servers, a day at 10 s each, written in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn point(at_s: i64, used: &mut i64, dice: &mut u64) -> Point {
    let mut roll = |most: i64| -> i64 {
        *dice =
            dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*dice >> 33).cast_signed() % most
    };
    *used = (*used + roll(200_000) - 99_000).max(50_000_000);
    let allocated = *used + 600_000 + roll(4096);
    let active = allocated + *used / 4 / 4096 * 4096 + roll(64) * 4096;
    let resident = active + 9_000_000 + roll(100) * 4096;
    let rss = resident + 4_000_000 + roll(50) * 4096;
    let limit = 1i64 << 31;
    let mut point = Point::unknown(at_s);
    for (column, value) in [
        (Column::Up, 1),
        (Column::Verdict, i64::from(roll(50) == 0)),
        (Column::Used, *used),
        (Column::Allocated, allocated),
        (Column::Active, active),
        (Column::Resident, resident),
        (Column::Rss, rss),
        (Column::Limit, limit),
        (Column::Maxmemory, 1 << 30),
        (Column::Fragmentation, active - allocated),
        (Column::Retained, resident - active),
        (Column::Outside, rss - resident),
        (Column::Waste, rss - *used - 20_000_000 + roll(1000)),
        (Column::ReclaimPurge, resident - active),
        (Column::ReclaimDefrag, (active - allocated) * 8 / 10),
        (Column::ReclaimRestart, rss - *used - 20_000_000),
        (Column::Headroom, limit - rss),
        (Column::Cow, 1 << 20),
        (Column::Buffers, 100_000 + roll(50_000)),
        (Column::Keys, *used / 300),
        (Column::Ops, 1000 + roll(400)),
        (Column::Evicted, 0),
        (Column::Defragging, 0),
        (Column::Forking, 0),
        (Column::Swapped, 0),
        (Column::RoundTrip, 300 + roll(400)),
        (Column::Clients, 50 + roll(5)),
        (Column::Peak, 400_000_000),
        (Column::IsReplica, 0),
    ] {
        point.set(column, Some(value));
    }
    point
}
