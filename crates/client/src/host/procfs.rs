//! `/proc/PID/status`, `smaps_rollup`, `meminfo` and the two kernel settings that matter to a forking server.

use super::text;
use std::path::Path;
use unfrag_model::Host;
use unfrag_model::sample::Unread;

/// Over this resident size `smaps_rollup` is not read: the kernel walks every page for it while it holds the process's
/// memory map for reading, about 10 ns a page, so 32 GiB take about 0.1 s, during which the server can map no memory.
const MAX_WALKED_BYTES: u64 = 32 << 30;

/// Fills in what procfs says of the process.
pub(super) fn process(host: &mut Host, pid: u32, root: &Path, unread: &mut Vec<Unread>) {
    let status = text(root, &format!("proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| kib(&status, name);
    host.rss = kib("VmRSS");
    host.rss_peak = kib("VmHWM");
    host.anonymous = kib("RssAnon");
    host.file_backed = kib("RssFile").map(|file| file + kib("RssShmem").unwrap_or(0));
    host.swapped = kib("VmSwap");
    host.page_tables = kib("VmPTE");
    match huge_pages(host.rss, pid, root) {
        Ok(bytes) => host.anon_huge_pages = Some(bytes),
        Err(why) => {
            unread.push(Unread { what: format!("procfs smaps_rollup of process {pid}"), why });
        }
    }
}

fn huge_pages(rss: Option<u64>, pid: u32, root: &Path) -> Result<u64, String> {
    if rss.is_some_and(|rss| rss > MAX_WALKED_BYTES) {
        return Err("the process is so large that reading it would hold up the server".to_owned());
    }
    text(root, &format!("proc/{pid}/smaps_rollup"))
        .and_then(|rollup| kib(&rollup, "AnonHugePages"))
        .ok_or_else(|| "only root and the server's own user may read it".to_owned())
}

/// Fills in what procfs and sysfs say of the machine.
pub(super) fn machine(host: &mut Host, root: &Path) {
    let meminfo = text(root, "proc/meminfo").unwrap_or_default();
    host.memory_total = kib(&meminfo, "MemTotal");
    host.memory_available = kib(&meminfo, "MemAvailable");
    host.swap_total = kib(&meminfo, "SwapTotal");
    host.swap_used = host
        .swap_total
        .zip(kib(&meminfo, "SwapFree"))
        .map(|(total, free)| total.saturating_sub(free));
    host.overcommit_memory =
        text(root, "proc/sys/vm/overcommit_memory").and_then(|t| t.trim().parse().ok());
    host.thp_mode = text(root, "sys/kernel/mm/transparent_hugepage/enabled")
        .and_then(|modes| Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned()));
}

/// The bytes of a `Name:   123 kB` line.
fn kib(file: &str, name: &str) -> Option<u64> {
    let value = file.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
