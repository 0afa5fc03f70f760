//! [`info_lines`]: INFO's `name:value` lines out of the forms in which people, programs and log collectors pass INFO on:
//! JSON, a client library's dictionary, tables, columns, and log lines with a container's name or a time before each.
//!
//! Only names that INFO has are looked for, so that prose between them stays prose.

use super::lines;

/// How INFO's names begin. A name counts where something that separates it from a value follows.
const BEGINNINGS: [&str; 39] = [
    "used_memory",
    "used_cpu_",
    "mem_",
    "allocator_",
    "maxmemory",
    "rss_overhead_",
    "total_",
    "active_defrag_",
    "lazyfree",
    "rdb_",
    "aof_",
    "current_",
    "redis_version",
    "redis_mode",
    "redis_git_",
    "valkey_version",
    "server_name",
    "server_mode",
    "uptime_in_",
    "connected_",
    "client_",
    "blocked_clients",
    "cluster_",
    "evicted_",
    "expired_",
    "keyspace_",
    "errorstat_",
    "cmdstat_",
    "number_of_",
    "instantaneous_",
    "latest_fork_usec",
    "maxclients",
    "master_",
    "repl_",
    "module_fork_",
    "process_",
    "arch_bits",
    "bgsave_in_progress",
    "bgrewriteaof_in_progress",
];
/// Whole names.
const NAMES: [&str; 10] = [
    "os",
    "role",
    "loading",
    "executable",
    "config_file",
    "run_id",
    "module",
    "use_tcmalloc",
    "mvcc_depth",
    "vm_enabled",
];
/// Headings of INFO's sections.
const SECTIONS: [&str; 16] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "latencystats",
    "cluster",
    "keyspace",
    "threads",
    "sentinel",
    "debug",
];

/// The INFO that `text` holds in another form, as a server would have printed it. Empty when there is none.
pub fn info_lines(text: &str) -> String {
    let mut info = String::new();
    for line in lines(text) {
        if let Some(section) = heading(&line) {
            info.push_str(&format!("# {section}\n"));
        }
        let mut rest = line.as_ref();
        while let Some((name, value, after)) = next_field(rest) {
            info.push_str(&format!("{name}:{value}\n"));
            rest = after;
        }
    }
    info
}

/// `# Memory` at the end of a line, whatever is before it.
fn heading(line: &str) -> Option<&str> {
    let (_, name) = line.rsplit_once("# ")?;
    SECTIONS.iter().any(|s| name.trim().eq_ignore_ascii_case(s)).then_some(name.trim())
}

/// The first field in `text`, and what follows its value.
fn next_field(text: &str) -> Option<(&str, String, &str)> {
    let mut from = 0;
    while let Some((start, end)) = next_word(text, from) {
        let name = text.get(start..end)?;
        from = end;
        let Some(value) = text.get(end..).filter(|_| is_name(name)).and_then(after_separator)
        else {
            continue;
        };
        let (value, after) = split_value(value);
        if !value.is_empty() {
            return Some((name, value, after));
        }
    }
    None
}

/// The next run of letters, digits and `_`.
fn next_word(text: &str, from: usize) -> Option<(usize, usize)> {
    let start = from + text.get(from..)?.find(is_word)?;
    let rest = text.get(start..)?;
    Some((start, start + rest.find(|c| !is_word(c)).unwrap_or(rest.len())))
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(word: &str) -> bool {
    // `master_1` is a container's name, not a field's.
    let numbered = word.rsplit_once('_').is_some_and(|(_, n)| n.parse::<u32>().is_ok());
    let database = word.strip_prefix("db").is_some_and(|n| n.parse::<u32>().is_ok());
    let named = NAMES.contains(&word) || BEGINNINGS.iter().any(|b| word.starts_with(b));
    database || (named && !numbered)
}

/// What follows the separator between a name and its value.
fn after_separator(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(['"', '\'', '`']);
    let unspaced = text.trim_start();
    let value = match unspaced.strip_prefix([':', '=', '|']) {
        Some(value) => value,
        // Columns: blanks, and one word to the end of the line.
        None if unspaced.len() < text.len() && !unspaced.contains(' ') => unspaced,
        None => return None,
    };
    Some(value.trim_start())
}

/// A value, and what follows it.
fn split_value(text: &str) -> (String, &str) {
    if let Some((inner, after)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) {
        // A database's counts, which INFO prints as `keys=1,expires=0`.
        let plain: String = inner.chars().filter(|c| !"\"' ".contains(*c)).collect();
        return (plain.replace(':', "="), after);
    }
    for quote in ['"', '\'', '`'] {
        if let Some((inner, after)) = text.strip_prefix(quote).and_then(|t| t.split_once(quote)) {
            return (inner.trim().to_owned(), after);
        }
    }
    let text = text.trim_start_matches(['"', '\'', '`']);
    let end = text
        .char_indices()
        .find(|&(at, c)| c == '|' || c == '}' || (c == ',' && begins_a_field(text, at)))
        .map_or(text.len(), |(at, _)| at);
    let (value, after) = text.split_at_checked(end).unwrap_or((text, ""));
    (value.trim_end_matches(['"', '\'', '`', ',', ' ']).to_owned(), after)
}

/// True when a name of INFO follows the comma at `at`.
fn begins_a_field(text: &str, at: usize) -> bool {
    let Some(rest) = text.get(at + 1..) else { return false };
    let rest = rest.trim_start_matches([' ', '"', '\'']);
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    rest.get(..end).is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Info;

    #[test]
    fn every_form_of_the_same_figures() {
        for form in [
            "{\"used_memory\": 1000, \"used_memory_rss\": 3000, \"db0\": {\"keys\": 7, \"expires\": 2}}",
            "{\n  \"used_memory\": \"1000\",\n  \"used_memory_rss\": \"3000\",\n  \"db0\": \"keys=7,expires=2\"\n}",
            "{'used_memory': 1000, 'used_memory_rss': 3000, 'db0': {'keys': 7, 'expires': 2, 'avg_ttl': 0}}",
            "| Field | Value |\n|---|---|\n| `used_memory` | 1,000 |\n| used_memory_rss | 3,000 |\n| db0 | keys=7,expires=2 |",
            "used_memory | 1000\nused_memory_rss | 3000\ndb0 | keys=7,expires=2",
            "used_memory\t1000\nused_memory_rss\t3000\ndb0\tkeys=7,expires=2",
            "used_memory = 1000\nused_memory_rss = 3000\ndb0 = keys=7,expires=2",
            "1. used_memory:1000\n2. used_memory_rss:3000\n3. db0:keys=7,expires=2",
            "used_memory:1000, used_memory_rss:3000, db0:keys=7,expires=2",
            "12:00:01 redis.1   | used_memory:1000\n12:00:01 redis.1   | used_memory_rss:3000\n12:00:01 redis.1   | db0:keys=7,expires=2",
            "cache-0 redis used_memory:1000\ncache-0 redis used_memory_rss:3000\ncache-0 redis db0:keys=7,expires=2",
            "Jan 16 12:00:01 redis-server[7]: used_memory:1000\nJan 16 12:00:01 redis-server[7]: used_memory_rss:3000\nJan 16 12:00:01 redis-server[7]: db0:keys=7,expires=2",
            "2025-01-08T13:29:05.09Z I0108 15:29:05.09 1 *:142] used_memory:1000\n2025-01-08T13:29:05.09Z I0108 15:29:05.09 1 *:142] used_memory_rss:3000\n2025-01-08T13:29:05.09Z I0108 15:29:05.09 1 *:142] db0:keys=7,expires=2",
        ] {
            let info = Info::parse(&info_lines(form));
            let got = [
                info.count("used_memory"),
                info.count("used_memory_rss"),
                info.keys(),
                info.keys_with_ttl(),
            ];
            assert_eq!(got, [Some(1000), Some(3000), Some(7), Some(2)], "{form}");
        }
    }

    #[test]
    fn values_keep_their_words_and_headings_are_found() {
        let log =
            "master_1  | # Server\nmaster_1  | os:Linux 5.4.0 x86_64\nmaster_1  | # Keyspace\n";
        let info = Info::parse(&info_lines(log));
        assert_eq!(info.text("os"), Some("Linux 5.4.0 x86_64"));
        assert_eq!(info.keys(), Some(0));
    }

    #[test]
    fn prose_is_left_alone() {
        let prose = "Our used_memory is too high, and maxmemory does not help.\nThe role of the cache: sessions.\n";
        assert_eq!(info_lines(prose), "");
    }
}
