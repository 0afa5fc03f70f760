//! Records histories of real servers for `replay`: `record FOLDER`. Takes about four minutes.
//!
//! Each scenario runs on a real server; INFO is read once a second and counts for ten (`uptime_in_seconds` is stretched
//! alike), so that four minutes are forty. Only the clock is not real. Whether there is something to act on is known by
//! construction and written beside it.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use redis::Connection;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const LOOKS: u64 = 240;
const STRETCH: u64 = 10;

/// What happens at a look.
type Step = fn(&mut Connection, u64) -> Result<(), Failed>;

struct Scenario {
    name: &'static str,
    kind: Kind,
    args: &'static [&'static str],
    /// `real` where somebody should act, `benign` where nobody should be woken.
    truth: &'static str,
    why: &'static str,
    step: Step,
}

const MIB: u64 = 1 << 20;

const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "idle-tiny",
        kind: Kind::Redis7,
        args: &[],
        truth: "benign",
        why: "an empty server: the ratio compares its program text with nothing",
        step: |_, _| Ok(()),
    },
    Scenario {
        name: "fragmented-bundled",
        kind: Kind::Redis8,
        args: &[],
        truth: "real",
        why: "70 % of 300 MiB of strings deleted at random",
        step: |c, n| thin(c, n, 300 * MIB),
    },
    Scenario {
        name: "fragmented-debian",
        kind: Kind::Redis7,
        args: &[],
        truth: "real",
        why: "70 % of 300 MiB of strings deleted at random, on a server that cannot defrag",
        step: |c, n| thin(c, n, 300 * MIB),
    },
    Scenario {
        name: "fragmented-small",
        kind: Kind::Redis6,
        args: &[],
        truth: "benign",
        why: "70 % of 24 MiB deleted: the ratio is high, the waste is a dozen megabytes",
        step: |c, n| thin(c, n, 24 * MIB),
    },
    Scenario {
        name: "filling",
        kind: Kind::Redis8,
        args: &[],
        truth: "benign",
        why: "a new server fills steadily",
        step: |c, n| fill(c, n, 2000),
    },
    Scenario {
        name: "forks-under-writes",
        kind: Kind::Redis7,
        args: &[],
        truth: "benign",
        why: "saves every few minutes while keys are overwritten",
        step: |c, n| {
            fill(c, n % 40, 1500)?;
            if n % 24 == 10 {
                let _ = redis::cmd("BGSAVE").exec(c);
            }
            Ok(())
        },
    },
    Scenario {
        name: "flushed",
        kind: Kind::Redis6,
        args: &[],
        truth: "benign",
        why: "a cache is flushed and fills again",
        step: |c, n| {
            if n % 80 == 79 {
                redis::cmd("FLUSHALL").exec(c)?;
            }
            fill(c, n, 1500)
        },
    },
    Scenario {
        name: "maxmemory-reached",
        kind: Kind::Redis7,
        args: &["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"],
        truth: "real",
        why: "the data reached maxmemory and writes are refused; the ratio is fine",
        step: |c, n| {
            let _ = fill(c, n, 3000);
            Ok(())
        },
    },
];

fn main() -> Result<(), Failed> {
    let folder = std::env::args().nth(1).ok_or("usage: record FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    let threads: Vec<_> = SCENARIOS
        .iter()
        .map(|scenario| {
            let folder = folder.clone();
            std::thread::spawn(move || record(scenario, Path::new(&folder)))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a scenario panicked")??;
    }
    Ok(())
}

fn record(scenario: &Scenario, folder: &Path) -> Result<(), Failed> {
    let args: Vec<&str> = scenario.args.to_vec();
    let server = Server::start(scenario.kind, &Options::args(&args))?;
    let (mut worker, mut watcher) = (server.connection()?, server.connection()?);
    let mut text = format!("# {}\n# {}: {}\n", scenario.name, scenario.truth, scenario.why);
    let mut before: Vec<(String, String)> = vec![];
    for n in 0..LOOKS {
        let begun = Instant::now();
        (scenario.step)(&mut worker, n)?;
        let info: String = redis::cmd("INFO").query(&mut watcher)?;
        writeln!(text, "@{}", n * STRETCH)?;
        let now = fields(&info, n);
        // A line only for what changed: a recording is read again by people.
        for pair in now.iter().filter(|pair| !before.contains(pair)) {
            writeln!(text, "{}:{}", pair.0, pair.1)?;
        }
        before = now;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    let path = folder.join(format!("{}.txt", scenario.name));
    std::fs::write(&path, text)?;
    println!("{} ({} looks)", path.display(), LOOKS);
    Ok(())
}

/// Sections and fields that the rules read; statistics by command and addresses are left out.
fn fields(info: &str, n: u64) -> Vec<(String, String)> {
    const KEPT: [&str; 34] = [
        "redis_version",
        "valkey_version",
        "server_name",
        "redis_mode",
        "run_id",
        "arch_bits",
        "maxmemory",
        "maxmemory_policy",
        "total_system_memory",
        "loading",
        "rdb_bgsave_in_progress",
        "aof_rewrite_in_progress",
        "rdb_last_cow_size",
        "aof_last_cow_size",
        "current_cow_size",
        "aof_enabled",
        "rdb_changes_since_last_save",
        "rdb_last_bgsave_status",
        "role",
        "connected_slaves",
        "connected_clients",
        "evicted_keys",
        "expired_keys",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "master_sync_in_progress",
        "lazyfree_pending_objects",
        "number_of_cached_scripts",
        "tracking_clients",
        "errorstat_OOM",
        "db0",
        "process_id",
        "executable",
        "config_file",
    ];
    let mut kept = vec![("uptime_in_seconds".to_owned(), (n * STRETCH).to_string())];
    for line in info.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let memory = key.starts_with("used_memory")
            || key.starts_with("mem_")
            || key.starts_with("allocator_")
            || key.contains("rss_overhead")
            || key.contains("active_defrag");
        let path = matches!(key, "executable" | "config_file" | "process_id");
        if (memory || KEPT.contains(&key)) && !key.ends_with("_human") && !path {
            kept.push((key.to_owned(), value.trim().to_owned()));
        }
    }
    kept
}

fn thin(connection: &mut Connection, n: u64, bytes: u64) -> Result<(), Failed> {
    if n == 5 {
        Workload::Strings.run(connection, bytes, 7)?;
    }
    Ok(())
}

fn fill(connection: &mut Connection, n: u64, keys: u64) -> Result<(), Failed> {
    const SIZES: [usize; 8] = [40, 90, 150, 300, 420, 700, 1000, 1400];
    let value = "x".repeat(1400);
    let mut pipe = redis::pipe();
    for key in 0..keys {
        let size = SIZES.get(usize::try_from(key * 7 + n)? % SIZES.len()).copied().unwrap_or(40);
        pipe.cmd("SET")
            .arg(format!("k:{n}:{key}"))
            .arg(value.get(..size).unwrap_or_default())
            .ignore();
    }
    pipe.exec(connection)?;
    Ok(())
}
