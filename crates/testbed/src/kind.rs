//! [`Kind`]: which servers there are, what they can do, and where their binaries are.

use crate::Error;
use std::path::PathBuf;

/// The real servers unfrag is tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bundled jemalloc 5.1.0, before COPY; not one of [`Kind::ALL`].
    Redis60,
    /// Bundled jemalloc 5.1.0, defrag in long slices.
    Redis6,
    /// Debian's build: system jemalloc 5.3.0, defrag refused.
    Redis7,
    /// Bundled jemalloc 5.3.0, defrag in short slices.
    Redis8,
    /// libc.
    Valkey8,
    /// libc.
    Valkey9,
}

impl Kind {
    /// The five that everything is tried on.
    pub const ALL: [Self; 5] =
        [Self::Redis6, Self::Redis7, Self::Redis8, Self::Valkey8, Self::Valkey9];

    /// `redis-6.2.5`: also the folder it is kept in.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis60 => "redis-6.0.9",
            Self::Redis6 => "redis-6.2.5",
            Self::Redis7 => "redis-7.0.15",
            Self::Redis8 => "redis-8.2.3",
            Self::Valkey8 => "valkey-8.1.8",
            Self::Valkey9 => "valkey-9.1.2",
        }
    }

    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Has a jemalloc, bundled or not.
    pub const fn has_jemalloc(self) -> bool {
        !matches!(self, Self::Valkey8 | Self::Valkey9)
    }

    /// Accepts `activedefrag yes`.
    pub const fn can_defrag(self) -> bool {
        matches!(self, Self::Redis60 | Self::Redis6 | Self::Redis8)
    }

    /// Has the options and commands that came with Redis 7.0.
    pub const fn is_7_or_later(self) -> bool {
        !matches!(self, Self::Redis60 | Self::Redis6)
    }

    /// Its binary, where `scripts/servers.py` put it.
    pub fn binary(self) -> Result<PathBuf, Error> {
        let program = if matches!(self, Self::Valkey8 | Self::Valkey9) {
            "valkey-server"
        } else {
            "redis-server"
        };
        let path = servers_folder().join(self.name()).join(program);
        if path.is_file() { Ok(path) } else { Err(Error::NoBinary { name: self.name(), path }) }
    }
}

/// `UNFRAG_SERVERS`, or `target/servers` of the first folder above that has one.
fn servers_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("UNFRAG_SERVERS") {
        return folder.into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let executable = std::env::current_exe().unwrap_or_default();
    here.ancestors()
        .chain(executable.ancestors())
        .map(|folder| folder.join("target/servers"))
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| PathBuf::from("target/servers"))
}

/// True where this server can be started. Missing, it is a failure in CI and a printed skip elsewhere.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test's own report")]
pub fn require(kind: Kind) -> bool {
    match kind.binary() {
        Ok(_) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}
