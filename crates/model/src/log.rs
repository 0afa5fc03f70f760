//! What people paste beside INFO: server log lines, `free`, `top`, `smaps`. Read [`LogFacts`] first.
//!
//! Only unmistakable lines are taken; anything else is passed over.

use crate::bytes::parse_count;
use crate::host::Host;
use crate::paste;

/// Facts found in pasted log and shell output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a sentence that was or was not in the log"
)]
pub struct LogFacts {
    /// Allocator figures of the defrag debug line (`allocated=…, active=…, resident=…`).
    pub allocator: Option<AllocatorLine>,
    /// `Can't save in background: fork: …` was logged.
    pub fork_failed: bool,
    /// The process aborted on a failed allocation (`Out Of Memory allocating …`).
    pub allocation_failed: bool,
    /// The kernel's OOM killer was seen (`Out of memory: Kill process`, `oom-kill`, `Killed process`).
    pub kernel_oom_kill: bool,
    /// Clients got `OOM command not allowed`.
    pub oom_reply: bool,
    /// The copy-on-write bytes of a finished child (`… of memory used by copy-on-write`).
    pub cow: Option<u64>,
    /// The startup warning about transparent huge pages.
    pub thp_warning: bool,
    /// Clients were closed for passing their output buffer limit.
    pub output_buffer_overflow: bool,
    /// What `free`, `top` and `smaps` told of the host.
    pub host: Host,
}

/// One line of the server's own view of its allocator, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatorLine {
    /// Live allocations.
    pub allocated: u64,
    /// Pages holding them.
    pub active: u64,
    /// Pages in RAM.
    pub resident: u64,
}

impl LogFacts {
    /// Reads pasted text; lines it does not know are passed over.
    pub fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for line in paste::lines(text) {
            facts.phrases(&line);
            if let Some(found) = allocator_line(&line) {
                facts.allocator = Some(found);
            }
            free_swap(&line, &mut facts.host);
            smaps(&line, &mut facts.host);
        }
        facts
    }

    fn phrases(&mut self, line: &str) {
        let lower = line.to_ascii_lowercase();
        let has = |phrase: &str| lower.contains(phrase);
        self.fork_failed |= has("can't save in background: fork")
            || has("can't rewrite append only file in background: fork");
        self.allocation_failed |=
            has("out of memory allocating") || has("out-of-memory allocating");
        self.kernel_oom_kill |= has("out of memory: kill")
            || has("oom-kill")
            || has("oomkilled")
            || has("memory cgroup out of memory");
        self.oom_reply |= has("oom command not allowed");
        self.thp_warning |= has("transparent huge pages (thp)") && has("enabled");
        self.output_buffer_overflow |= has("overcoming of output buffer limits");
        if let Some((before, _)) = lower.split_once(" of memory used by copy-on-write") {
            let mut words = before.rsplit(' ').take(2);
            let (unit, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            self.cow = parse_count(&format!("{number}{unit}")).or(self.cow);
        }
    }
}

fn allocator_line(line: &str) -> Option<AllocatorLine> {
    let get = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok().filter(|&b| b <= crate::bytes::PLAUSIBLE_MAX)
    };
    Some(AllocatorLine {
        allocated: get("allocated=")?,
        active: get("active=")?,
        resident: get("resident=")?,
    })
}

/// `Swap: total used free` of `free` (its unit does not matter for "none") or
/// `Swap: 4095992k total, 8348k used` of `top`.
fn free_swap(line: &str, host: &mut Host) {
    let Some(rest) = line.strip_prefix("Swap:") else { return };
    let numbers: Vec<u64> = rest
        .split([' ', ',', '\t'])
        .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(parse_count)
        .collect();
    // One figure is `Swap: 0 kB` of a smaps entry, not the host's.
    if let [total, used, ..] = numbers.as_slice() {
        host.swap_total = Some(*total);
        host.swap_used = Some(*used);
    }
}

fn smaps(line: &str, host: &mut Host) {
    let kib = |name: &str| {
        let value = line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim();
        value.parse::<u64>().ok()?.checked_mul(1024)
    };
    if let Some(huge) = kib("AnonHugePages:") {
        host.anon_huge_pages = Some(host.anon_huge_pages.unwrap_or(0).saturating_add(huge));
    }
    if let Some(swapped) = kib("VmSwap:") {
        host.swapped = Some(swapped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_off_and_nearly_unused() {
        let off = LogFacts::parse("Swap:           0B         0B         0B");
        assert_eq!(off.host.is_swapping(), Some(false));
        let top = LogFacts::parse(
            "Swap:  4095992k total,     8348k used,  4087644k free,   144400k cached",
        );
        assert_eq!(top.host.swap_used, Some(8_348 * 1024));
        assert_eq!(LogFacts::parse("Swap:                  0 kB").host.swap_total, None);
    }

    #[test]
    fn the_defrag_debug_line() {
        let line = "59047:S 12 Nov 16:51:37.134 . allocated=10, active=27, resident=28, frag=177% (184% rss), frag_bytes=17";
        let want = AllocatorLine { allocated: 10, active: 27, resident: 28 };
        assert_eq!(LogFacts::parse(line).allocator, Some(want));
    }

    #[test]
    fn copy_on_write_is_read_with_its_unit() {
        let facts =
            LogFacts::parse("2:C 1 Jan 00:00:00.0 * RDB: 512 MB of memory used by copy-on-write");
        assert_eq!(facts.cow, Some(512 << 20));
    }
}
