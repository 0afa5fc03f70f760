//! The same samples from files: pasted INFO, MEMORY STATS, MALLOC-STATS, CONFIG GET and logs. [`Sources::samples`].
//!
//! One file may hold everything pasted together, and several servers one after another. What is no such text (a snapshot,
//! an archive, a binary) is said to be so, and nothing is read beyond a limit.

mod input;

pub use input::Text;

use input::{RDB, is_standard_input, name};
use std::io;
use std::path::{Path, PathBuf};
use unfrag_model::log::LogFacts;
use unfrag_model::sample::{Source, Unread};
use unfrag_model::{Config, Info, MallocStats, MemoryStats, Sample, paste};

/// Bytes read of one input. INFO has 4 to 20 KB a server and MALLOC-STATS at most 200 KB, so that this is a thousand
/// servers pasted together; the text is held once, decoded, while it is parsed.
pub const MAX_INPUT_BYTES: u64 = 16 << 20;

/// Servers in one input: what [`MAX_INPUT_BYTES`] holds of real ones.
pub const MAX_SERVERS: usize = 1000;

/// Where the texts are. `-` is standard input, which only one of them can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// INFO, perhaps with the rest pasted into it; or a folder of files with the usual names.
    pub file: Option<PathBuf>,
    /// MEMORY MALLOC-STATS.
    pub malloc_stats: Option<PathBuf>,
    /// MEMORY STATS.
    pub memory_stats: Option<PathBuf>,
    /// CONFIG GET, or a redis.conf.
    pub config: Option<PathBuf>,
    /// The server's log, and output of `free`, `top`, `smaps`.
    pub log: Option<PathBuf>,
}

/// An input that cannot be used. Exit code 5.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system will not give it.
    #[error("cannot read {name}")]
    Unreadable {
        /// The file, or `standard input`.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("{name} is empty")]
    Empty {
        /// The input.
        name: String,
    },
    /// More than any such text.
    #[error("{name} is larger than {} MiB; INFO text of a thousand servers is smaller", MAX_INPUT_BYTES >> 20)]
    TooLarge {
        /// The input.
        name: String,
    },
    /// No text.
    #[error("{name} is not text: it is {what}")]
    NotText {
        /// The input.
        name: String,
        /// What it seems to be.
        what: &'static str,
    },
    /// Text of another kind.
    #[error("{name} holds no {wanted}")]
    NothingFound {
        /// The input.
        name: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// More servers than one report can be about.
    #[error("{name} holds the INFO of {servers} servers; {MAX_SERVERS} at a time are read")]
    TooManyServers {
        /// The input.
        name: String,
        /// How many were found.
        servers: usize,
    },
    /// A folder without any of the files.
    #[error("the folder {name} holds none of info.txt, malloc-stats.txt, memory-stats.txt")]
    EmptyFolder {
        /// The folder.
        name: String,
    },
    /// `-` given twice.
    #[error("standard input can be only one of the files")]
    StandardInputTwice,
    /// No file at all.
    #[error("no file was given")]
    NoFile,
}

impl FileError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotText { what, .. } if *what == RDB => {
                Some("`unfrag keys` and `unfrag rdb` read snapshots")
            }
            Self::NotText { .. } | Self::TooLarge { .. } | Self::Empty { .. } => {
                Some("give the output of `redis-cli INFO everything`")
            }
            Self::NothingFound { .. } | Self::EmptyFolder { .. } => Some(
                "give the output of `redis-cli INFO everything`; also --malloc-stats, --memory-stats and --config",
            ),
            _ => None,
        }
    }
}

impl Sources {
    /// Only this file or folder.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }

    /// Reads the inputs and makes one sample for each server in them.
    pub fn samples(&self) -> Result<Vec<Sample>, FileError> {
        let all = [&self.file, &self.malloc_stats, &self.memory_stats, &self.config, &self.log];
        if all.iter().filter(|path| path.as_deref().is_some_and(is_standard_input)).count() > 1 {
            return Err(FileError::StandardInputTwice);
        }
        if let Some(folder) = self.file.as_deref().filter(|path| path.is_dir()) {
            let texts = self.in_folder(folder)?.texts()?;
            return samples(&folder.display().to_string(), &texts);
        }
        let first = all.iter().find_map(|path| path.as_deref()).ok_or(FileError::NoFile)?;
        samples(&name(first), &self.texts()?)
    }

    /// The usual names in a folder, unless files are named one by one.
    fn in_folder(&self, folder: &Path) -> Result<Self, FileError> {
        let unreadable =
            |source| FileError::Unreadable { name: folder.display().to_string(), source };
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(unreadable)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        names.sort();
        let find = |wanted: &[&str]| {
            let is = |path: &&PathBuf| {
                let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase());
                name.is_some_and(|n| wanted.iter().any(|w| n.replace('_', "-") == *w))
            };
            names.iter().find(is).cloned()
        };
        let starts_with_info = |path: &&PathBuf| {
            let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase());
            name.is_some_and(|n| n.strip_suffix(".txt").is_some_and(|n| n.starts_with("info")))
        };
        let info = find(&["info.txt", "info-everything.txt", "info-all.txt"])
            .or_else(|| names.iter().find(starts_with_info).cloned());
        let found = Self {
            file: info,
            malloc_stats: self.malloc_stats.clone().or_else(|| find(&["malloc-stats.txt"])),
            memory_stats: self.memory_stats.clone().or_else(|| find(&["memory-stats.txt"])),
            config: self
                .config
                .clone()
                .or_else(|| find(&["config.txt", "config-get.txt", "redis.conf", "valkey.conf"])),
            log: self.log.clone().or_else(|| find(&["log.txt"])),
        };
        if found.file.is_none() && found.malloc_stats.is_none() && found.memory_stats.is_none() {
            return Err(FileError::EmptyFolder { name: folder.display().to_string() });
        }
        Ok(found)
    }

    fn texts(&self) -> Result<Texts, FileError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(Text::read).transpose();
        Ok(Texts {
            main: read(&self.file)?,
            malloc_stats: read(&self.malloc_stats)?,
            memory_stats: read(&self.memory_stats)?,
            config: read(&self.config)?,
            log: read(&self.log)?,
        })
    }
}

/// The inputs' texts, by what they should hold.
#[derive(Debug, Default)]
pub struct Texts {
    /// INFO, perhaps with the rest pasted into it.
    pub main: Option<Text>,
    /// MEMORY MALLOC-STATS.
    pub malloc_stats: Option<Text>,
    /// MEMORY STATS.
    pub memory_stats: Option<Text>,
    /// CONFIG GET, or a redis.conf.
    pub config: Option<Text>,
    /// Log lines.
    pub log: Option<Text>,
}

/// Samples from texts. `name` is what the first is called; further ones are numbered.
pub fn samples(name: &str, texts: &Texts) -> Result<Vec<Sample>, FileError> {
    let main = words(texts.main.as_ref());
    let too_many = |servers| FileError::TooManyServers { name: name.to_owned(), servers };
    // Before any of them is built: a thousandfold paste would take a thousand times the memory.
    let likely = ["redis_version:", "used_memory:"].map(|field| main.matches(field).count());
    if let Some(&servers) = likely.iter().max().filter(|n| **n > MAX_SERVERS) {
        return Err(too_many(servers));
    }
    let mut servers = servers_of(main);
    if servers.len() > MAX_SERVERS {
        return Err(too_many(servers.len()));
    }
    let mut rest = Beside::read(texts)?;
    if servers.is_empty() {
        let nothing_else = rest.malloc_stats.is_none() && rest.memory_stats.is_none();
        // The debug log of a server that defragments has the allocator's figures.
        if nothing_else && rest.log.allocator.is_none() {
            let wanted = "INFO text of a Redis or Valkey server";
            return Err(FileError::NothingFound { name: name.to_owned(), wanted });
        }
        servers.push(Info::default());
    }
    let several = servers.len() > 1;
    let unread = if several { rest.cannot_be_told_apart() } else { vec![] };
    let samples = servers.into_iter().enumerate().map(|(n, info)| Sample {
        target: if several { format!("{name}#{}", n + 1) } else { name.to_owned() },
        source: Source::File,
        info,
        memory_stats: rest.memory_stats.take(),
        malloc_stats: rest.malloc_stats.take(),
        config: rest.config.clone(),
        log: std::mem::take(&mut rest.log),
        unread: unread.clone(),
        ..Sample::default()
    });
    Ok(samples.collect())
}

/// What comes with INFO, from files of its own or pasted into the same one.
struct Beside {
    malloc_stats: Option<MallocStats>,
    memory_stats: Option<MemoryStats>,
    config: Config,
    log: LogFacts,
}

impl Beside {
    fn read(texts: &Texts) -> Result<Self, FileError> {
        let main = words(texts.main.as_ref());
        let malloc_stats = match &texts.malloc_stats {
            // A build without jemalloc answers one sentence, which is no error of the user's.
            Some(own) if own.text.contains("Stats not supported") => None,
            Some(own) => Some(own.must(MallocStats::parse(&own.text), "jemalloc statistics")?),
            None if main.contains("jemalloc statistics") => MallocStats::parse(main),
            None => None,
        };
        let memory_stats = match &texts.memory_stats {
            Some(own) => {
                let stats = Some(MemoryStats::parse(&own.text)).filter(|m| !m.is_empty());
                Some(own.must(stats, "MEMORY STATS")?)
            }
            None => pasted_memory_stats(main),
        };
        let config = match &texts.config {
            Some(own) => {
                let config = Some(Config::parse(&own.text)).filter(|c| !c.is_empty());
                own.must(config, "settings of a server")?
            }
            None => pasted_config(main),
        };
        // A file may be all log, all INFO, or both.
        let log = LogFacts::parse(&[main, words(texts.log.as_ref())].join("\n"));
        Ok(Self { malloc_stats, memory_stats, config, log })
    }

    /// With several servers in one text nobody can say whose the rest is: it is left out, and said so.
    fn cannot_be_told_apart(&mut self) -> Vec<Unread> {
        let why = "several servers are in one text, and whose this is cannot be told";
        let unread = |what: &str| Unread { what: what.to_owned(), why: why.to_owned() };
        let mut all = vec![];
        all.extend(self.malloc_stats.take().map(|_| unread("MEMORY MALLOC-STATS")));
        all.extend(self.memory_stats.take().map(|_| unread("MEMORY STATS")));
        if !self.config.is_empty() {
            self.config = Config::default();
            all.push(unread("CONFIG GET"));
        }
        self.log = LogFacts::default();
        all
    }
}

impl Text {
    /// What was found in it, or the error that it is not there.
    fn must<T>(&self, found: Option<T>, wanted: &'static str) -> Result<T, FileError> {
        found.ok_or_else(|| FileError::NothingFound { name: self.name.clone(), wanted })
    }
}

fn words(text: Option<&Text>) -> &str {
    text.map_or("", |t| t.text.as_str())
}

/// The servers whose INFO is in `text`: as servers print it, or else in another form.
fn servers_of(text: &str) -> Vec<Info> {
    let parse = |text: &str| -> Vec<Info> {
        Info::parse_all(text).into_iter().filter(is_a_servers_info).collect()
    };
    let as_printed = parse(text);
    if as_printed.iter().any(has_memory_figures) {
        return as_printed;
    }
    let converted = parse(&paste::info_lines(text));
    // One or two names of INFO are in many a sentence.
    let found = converted.iter().any(|info| has_memory_figures(info) && info.len() > 2);
    if found { converted } else { as_printed }
}

fn has_memory_figures(info: &Info) -> bool {
    ["used_memory", "used_memory_rss", "allocator_allocated", "mem_fragmentation_bytes"]
        .iter()
        .any(|field| info.count(field).is_some())
}

/// Fields of which a server's INFO has at least one, whatever part was pasted. Prose has colons, too.
fn is_a_servers_info(info: &Info) -> bool {
    const KNOWN: [&str; 14] = [
        "redis_version",
        "valkey_version",
        "used_memory",
        "used_memory_human",
        "used_memory_rss",
        "used_memory_rss_human",
        "used_memory_peak",
        "maxmemory",
        "mem_fragmentation_ratio",
        "mem_fragmentation_bytes",
        "allocator_allocated",
        "connected_clients",
        "uptime_in_seconds",
        "evicted_keys",
    ];
    KNOWN.iter().any(|field| info.text(field).is_some())
}

/// MEMORY STATS inside a longer text: from the line of its first name on.
fn pasted_memory_stats(text: &str) -> Option<MemoryStats> {
    let begin = text.find("peak.allocated")?;
    let line = text.get(..begin)?.rfind('\n').map_or(0, |n| n + 1);
    let stats = MemoryStats::parse(text.get(line..)?);
    stats.count("total.allocated").is_some().then_some(stats)
}

/// Directives inside a longer text: lines of a name that only a directive has, and its value on the same line or, from
/// CONFIG GET, on the next.
fn pasted_config(text: &str) -> Config {
    let lines: Vec<String> = paste::lines(text).map(|l| without_number(&l).to_owned()).collect();
    let mut pairs = vec![];
    for (n, line) in lines.iter().enumerate() {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if !is_directive(name) {
            continue;
        }
        let next = lines.get(n + 1).map_or("", String::as_str);
        let value = if value.is_empty() { next } else { value }.trim().trim_matches('"');
        let long = name == "client-output-buffer-limit" || name == "save";
        if !value.is_empty() && (long || !value.contains(' ')) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    Config::from_pairs(pairs)
}

/// Names with a dash that begin like one of these are directives and nothing else.
fn is_directive(name: &str) -> bool {
    const BEGINNINGS: [&str; 7] = [
        "maxmemory-",
        "active-defrag-",
        "replica-ignore-",
        "slave-ignore-",
        "client-output-buffer-",
        "lazyfree-lazy-",
        "jemalloc-bg-",
    ];
    const NAMES: [&str; 3] = ["activedefrag", "appendonly", "repl-backlog-size"];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|b| name.starts_with(b))
}

/// `12) "name"` without its number and quotes.
fn without_number(line: &str) -> &str {
    match line.split_once(')') {
        Some((n, rest)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            rest.trim().trim_matches('"')
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Result<Vec<Sample>, FileError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        Sources::file(file.path()).samples()
    }

    #[test]
    fn what_is_no_info_is_told_by_kind() {
        for (bytes, want) in [
            (b"".to_vec(), "is empty"),
            (b" \r\n\r\n".to_vec(), "is empty"),
            (b"REDIS0011\xfa\x09redis-ver".to_vec(), "an RDB snapshot"),
            (b"\x1f\x8b\x08\x00".to_vec(), "compressed"),
            (b"\x7fELF\x02\x01\x01\x00\x00".to_vec(), "binary"),
            (vec![0xe9; 100], "binary"),
            (b"Dear team,\nnote: the server is slow.\n".to_vec(), "holds no INFO text"),
            (b"used_memory:1\n".repeat(MAX_SERVERS + 1), "the INFO of 1001 servers"),
            (b"x".repeat((16 << 20) + 1), "larger than 16 MiB"),
        ] {
            let error = file(&bytes).expect_err(want);
            assert!(error.to_string().contains(want), "{error}, not {want}");
        }
        let missing = Sources::file("/nonexistent/info.txt").samples().expect_err("no file");
        assert!(matches!(missing, FileError::Unreadable { .. }));
        assert!(matches!(Sources::default().samples(), Err(FileError::NoFile)));
        let twice = Sources { config: Some("-".into()), ..Sources::file("-") };
        assert!(matches!(twice.samples(), Err(FileError::StandardInputTwice)));
    }

    #[test]
    fn windows_text_is_text() {
        let text = "# Memory\r\nused_memory:5\r\n";
        let little: Vec<u8> =
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> =
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        for bytes in
            [little, big, text.as_bytes().to_vec(), [b"client_\xe9:1\n", text.as_bytes()].concat()]
        {
            let samples = file(&bytes).expect("a sample");
            assert_eq!(samples[0].info.count("used_memory"), Some(5));
        }
    }

    #[test]
    fn everything_pasted_together() {
        let text = "127.0.0.1:6379> INFO\nredis_version:7.2.4\nused_memory:1000\nmem_allocator:jemalloc-5.3.0\n\
            127.0.0.1:6379> MEMORY STATS\n 1) \"peak.allocated\"\n 2) (integer) 10\n 3) \"total.allocated\"\n 4) (integer) 7\n\
            127.0.0.1:6379> CONFIG GET maxmemory*\n1) \"maxmemory-policy\"\n2) \"allkeys-lru\"\n\
            activedefrag no\n\
            2:C 1 Jan 00:00:00.0 * RDB: 512 MB of memory used by copy-on-write\n\
            ___ Begin jemalloc statistics ___\nVersion: \"5.3.0-0-g0\"\n\
            Allocated: 100, active: 200, metadata: 3 (n_thp 0), resident: 300, mapped: 400, retained: 5\n\
            --- End jemalloc statistics ---\n";
        let samples = file(text.as_bytes()).expect("a sample");
        let [sample] = samples.as_slice() else { panic!("{} samples", samples.len()) };
        assert_eq!(sample.info.count("used_memory"), Some(1000));
        assert_eq!(sample.memory_stats.as_ref().and_then(|m| m.count("total.allocated")), Some(7));
        assert_eq!(sample.malloc_stats.as_ref().and_then(|m| m.totals.resident), Some(300));
        assert_eq!(sample.config.text("maxmemory-policy"), Some("allkeys-lru"));
        assert_eq!(sample.config.flag("activedefrag"), Some(false));
        assert_eq!(sample.log.cow, Some(512 << 20));
        assert!(sample.unread.is_empty());
    }

    #[test]
    fn several_servers_in_one_file_are_numbered() {
        let text = "redis_version:7.2.4\nused_memory:1\n\nredis_version:6.2.5\nused_memory:2\n\
            maxmemory-policy noeviction\n";
        let samples = file(text.as_bytes()).expect("samples");
        let used: Vec<_> = samples.iter().map(|s| s.info.count("used_memory")).collect();
        assert_eq!(used, [Some(1), Some(2)]);
        assert!(samples[1].target.ends_with("#2"), "{}", samples[1].target);
        assert_eq!(samples[1].unread[0].what, "CONFIG GET");
        assert!(samples[1].config.is_empty());
    }

    #[test]
    fn a_folder_is_read_by_the_usual_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        assert!(matches!(
            Sources::file(folder.path()).samples(),
            Err(FileError::EmptyFolder { .. })
        ));
        write("INFO_everything.txt", "used_memory:5\n");
        write("memory_stats.txt", "total.allocated\n7\n");
        write("config_get.txt", "maxmemory\n10\nmaxmemory-policy\nnoeviction\n");
        write("memory_doctor.txt", "Sam, I detected a few issues\n");
        write("malloc_stats.txt", "Stats not supported for the current allocator\n");
        let samples = Sources::file(folder.path()).samples().expect("a sample");
        assert_eq!(samples[0].info.count("used_memory"), Some(5));
        assert_eq!(samples[0].config.bytes("maxmemory"), Some(10));
        assert!(samples[0].memory_stats.is_some() && samples[0].malloc_stats.is_none());
        write("memory_stats.txt", "nothing of the kind\n");
        let error = Sources::file(folder.path()).samples().expect_err("no MEMORY STATS");
        assert!(error.to_string().contains("holds no MEMORY STATS"), "{error}");
    }

    #[test]
    fn info_from_a_log_collector_or_a_program_is_info() {
        for text in [
            "redis_1  | # Memory\nredis_1  | used_memory:5\nredis_1  | used_memory_rss:7\nredis_1  | maxmemory:9\n",
            "{\"used_memory\":5,\"used_memory_rss\":7,\"maxmemory\":9}",
        ] {
            let samples = file(text.as_bytes()).expect("a sample");
            let [sample] = samples.as_slice() else { panic!("{} samples", samples.len()) };
            assert_eq!(sample.info.maxmemory(), Some(9), "{text}");
        }
    }

    #[test]
    fn the_defrag_debug_log_alone_is_a_sample() {
        let text = "9:S 1 Jan 00:00:00.0 . allocated=10, active=27, resident=28, frag=177% (184% rss), frag_bytes=17\n";
        let samples = file(text.as_bytes()).expect("a sample");
        assert!(samples[0].info.is_empty() && samples[0].log.allocator.is_some());
    }

    #[test]
    fn one_reading_without_info_is_a_sample() {
        let text = "peak.allocated\n9\ntotal.allocated\n7\n";
        let samples = file(text.as_bytes()).expect("a sample");
        assert!(samples[0].info.is_empty() && samples[0].memory_stats.is_some());
    }
}
