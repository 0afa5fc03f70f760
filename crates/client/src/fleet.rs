//! The fleet file: many targets with their own credentials, in TOML. [`parse`] is pure; [`load`] reads the file and the
//! password files it names.
//!
//! ```toml
//! [defaults]
//! user = "unfrag"
//! password_file = "/etc/unfrag/password"
//!
//! [[target]]
//! name = "sessions"
//! uri = "redis+sentinel://sessions@10.0.0.1,10.0.0.2,10.0.0.3"
//!
//! [[target]]
//! host = "10.0.1.5"
//! port = 6380
//! tls = true
//! cacert = "/etc/unfrag/ca.pem"
//! ```
//!
//! No error message holds a line of the file: the line at fault may be the one with the password.

mod table;

use crate::secret_source::SecretError;
use crate::target::{TargetError, Uri};
use crate::{ConnectOptions, Target};
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{Hidden, Table, is_world_readable, secret};

/// Largest fleet file: ten thousand targets of 400 bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Longest timeout that can be meant, in seconds.
const MAX_TIMEOUT_S: f64 = 3600.0;

/// The file's targets, in its order. Passwords in files and variables are not read yet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    entries: Vec<Entry>,
}

/// One target of a fleet.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    uri: Uri,
    settings: Table,
}

/// A fleet with its passwords: what to connect to, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// One for each `[[target]]`, in the file's order.
    pub targets: Vec<Member>,
    /// What the owner of the file should know.
    pub warnings: Vec<String>,
}

/// One target of a loaded fleet.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name given to it, or else its address.
    pub name: String,
    /// What to read.
    pub target: Target,
    /// How to reach it.
    pub options: ConnectOptions,
}

/// What is wrong with a fleet file.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file cannot be read.
    #[error("cannot read the fleet file `{}`", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no fleet file at all.
    #[error("the fleet file `{}` {reason}", path.display())]
    NotAFleet {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TOML or field names are wrong.
    #[error("fleet file, line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, without the text of the line.
        reason: String,
    },
    /// No `[[target]]` at all.
    #[error("the fleet file has no [[target]]")]
    NoTargets,
    /// An address in the defaults.
    #[error("[defaults] cannot have `{0}`: it belongs to one target")]
    AddressInDefaults(&'static str),
    /// A target that cannot be one.
    #[error("fleet file, [[target]] number {number}{}: {problem}", called(.name.as_ref()))]
    Entry {
        /// Which, from 1.
        number: usize,
        /// Its name, if it has one.
        name: Option<String>,
        /// What is wrong.
        problem: EntryProblem,
    },
    /// A password that is not where it should be.
    #[error("target `{name}` of the fleet file has no password")]
    Password {
        /// The target's name.
        name: String,
        /// Why.
        source: SecretError,
    },
}

/// What is wrong with one target.
#[derive(Debug, thiserror::Error)]
pub enum EntryProblem {
    /// None of them.
    #[error("it needs one of `uri`, `host` or `socket`")]
    NoAddress,
    /// More than one of them.
    #[error("it has more than one of `uri`, `host` and `socket`")]
    TwoAddresses,
    /// `port` beside `uri` or `socket`.
    #[error("`port` goes with `host` only")]
    PortWithoutHost,
    /// Two passwords.
    #[error(
        "it has more than one password (of `password`, `password_file`, `password_env`, the URI)"
    )]
    TwoPasswords,
    /// A URI or host that is none.
    #[error("{0}")]
    Target(TargetError),
    /// A timeout that is none.
    #[error("`timeout` is not a number of seconds above 0 and up to 3600")]
    Timeout,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    target: Vec<Table>,
}

/// Reads the text of a fleet file.
pub fn parse(text: &str) -> Result<Fleet, FleetError> {
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if let Some(field) = file.defaults.address_field() {
        return Err(FleetError::AddressInDefaults(field));
    }
    if file.target.is_empty() {
        return Err(FleetError::NoTargets);
    }
    let defaults = &file.defaults;
    let entry = |(n, table): (usize, Table)| {
        let name = table.name.clone();
        Entry::new(table, defaults).map_err(|problem| FleetError::Entry {
            number: n + 1,
            name,
            problem,
        })
    };
    let entries = file.target.into_iter().enumerate().map(entry).collect::<Result<_, _>>()?;
    Ok(Fleet { entries })
}

/// Reads a fleet file and the passwords it points to. `base` is what flags say; the file's own words win.
pub fn load(path: &Path, base: &ConnectOptions) -> Result<Loaded, FleetError> {
    let unreadable = |source| FleetError::Unreadable { path: path.to_owned(), source };
    let not_a_fleet = |reason| FleetError::NotAFleet { path: path.to_owned(), reason };
    let mut bytes = vec![];
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(not_a_fleet("is larger than any list of servers"));
    }
    let text = String::from_utf8(bytes).map_err(|_| not_a_fleet("is not text"))?;
    let fleet = parse(&text)?;
    let mut loaded = fleet.resolve(path.parent().unwrap_or(Path::new("")), base)?;
    if fleet.entries.iter().any(Entry::holds_a_password) && is_world_readable(path) {
        let path = path.display();
        loaded.warnings.push(format!(
            "{path} holds passwords and every user of this machine may read it: chmod o-r {path}"
        ));
    }
    Ok(loaded)
}

impl Fleet {
    /// Number of targets.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without a single target, which [`parse`] refuses.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the passwords that files and variables hold; relative paths start at `directory`.
    pub fn resolve(&self, directory: &Path, base: &ConnectOptions) -> Result<Loaded, FleetError> {
        let mut loaded = Loaded::default();
        for entry in &self.entries {
            let options = entry.options(directory, base, &mut loaded.warnings);
            let options = options
                .map_err(|source| FleetError::Password { name: entry.name.clone(), source })?;
            let target = entry.uri.target.clone();
            loaded.targets.push(Member { name: entry.name.clone(), target, options });
        }
        Ok(loaded)
    }
}

impl Entry {
    fn new(table: Table, defaults: &Table) -> Result<Self, EntryProblem> {
        let uri = table.uri()?;
        let passwords = table.password_sources() + usize::from(uri.password.is_some());
        if passwords > 1 || defaults.password_sources() > 1 {
            return Err(EntryProblem::TwoPasswords);
        }
        let settings = table.over(defaults);
        if settings.timeout.is_some_and(|s| !(s > 0.0 && s <= MAX_TIMEOUT_S)) {
            return Err(EntryProblem::Timeout);
        }
        let name = settings.name.clone().unwrap_or_else(|| uri.target.to_string());
        Ok(Self { name, uri, settings })
    }

    fn options(
        &self,
        directory: &Path,
        base: &ConnectOptions,
        warnings: &mut Vec<String>,
    ) -> Result<ConnectOptions, SecretError> {
        let set = &self.settings;
        let mut options = base.clone();
        let mut read =
            |inline: &Option<Hidden>, file: &Option<PathBuf>, variable: &Option<String>| {
                secret(inline.as_ref(), file.as_deref(), variable.as_deref(), directory, warnings)
            };
        if let Some(password) = read(&set.password, &set.password_file, &set.password_env)? {
            options.password = Some(password);
        }
        if let Some(password) =
            read(&set.sentinel_password, &set.sentinel_password_file, &set.sentinel_password_env)?
        {
            options.sentinel_password = Some(password);
        }
        options.user = set.user.clone().or(options.user);
        options.sentinel_user = set.sentinel_user.clone().or(options.sentinel_user);
        options.db = set.db.unwrap_or(options.db);
        options.resp3 = set.resp3.unwrap_or(options.resp3);
        options.tls = set.tls(directory, options.tls.take());
        if let Some(seconds) = set.timeout {
            options = options.with_timeout(Duration::from_secs_f64(seconds));
        }
        Ok(options.with_uri(&self.uri))
    }

    fn holds_a_password(&self) -> bool {
        self.settings.password.is_some()
            || self.settings.sentinel_password.is_some()
            || self.uri.password.is_some()
    }
}

/// Line, column and a message without the file's own text.
fn syntax(text: &str, error: &toml::de::Error) -> FleetError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    FleetError::Syntax { line, column, reason: without_values(error.message()) }
}

/// `invalid type: string "…", expected u16` without the value: what is typed into the wrong field may be a password. The
/// names of fields stay.
fn without_values(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    if first.starts_with("unknown field") || first.starts_with("missing field") {
        return first.to_owned();
    }
    if let Some((_, expected)) = first.rsplit_once(", expected ") {
        return format!("the value has the wrong type, expected {expected}");
    }
    // A syntax error names at most the one or two characters it wanted.
    let quoted = first.split(['`', '"', '\'']).enumerate();
    quoted
        .map(|(n, part)| if n % 2 == 1 && part.chars().count() > 3 { "…" } else { part })
        .collect::<Vec<_>>()
        .join("`")
}

fn called(name: Option<&String>) -> String {
    name.map_or_else(String::new, |name| format!(" (`{}`)", crate::error::one_line(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn loaded(text: &str) -> Vec<Member> {
        let fleet = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        fleet.resolve(Path::new("/base"), &ConnectOptions::default()).expect("resolved").targets
    }

    #[test]
    fn targets_take_the_defaults_they_leave_out() {
        let all = loaded(
            r#"
            [defaults]
            user = "unfrag"
            password = "common"
            timeout = 1.5
            cacert = "ca.pem"

            [[target]]
            name = "sessions"
            uri = "redis+sentinel://sessions@10.0.0.1,10.0.0.2"
            sentinel_password = "watch"

            [[target]]
            host = "10.0.0.5"
            port = 6380
            password = "own"
            tls = false
            db = 3

            [[target]]
            uri = "redis://alice:hers@h/4"

            [[target]]
            socket = "/run/redis.sock"
            sni = "redis.internal"
            "#,
        );
        let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["sessions", "10.0.0.5:6380", "h:6379", "/run/redis.sock"]);
        let password = |n: usize| all[n].options.password.as_ref().map(Secret::expose);
        assert_eq!(
            [password(0), password(1), password(2)],
            [Some("common"), Some("own"), Some("hers")]
        );
        let sentinel = all[0].options.sentinel_password.as_ref().map(Secret::expose);
        assert_eq!((sentinel, all[0].options.user.as_deref()), (Some("watch"), Some("unfrag")));
        assert_eq!((all[1].options.db, all[1].options.tls.is_some()), (3, false));
        assert_eq!((all[2].options.db, all[2].options.user.as_deref()), (4, Some("alice")));
        let tls = all[3].options.tls.as_ref().expect("TLS");
        assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/base/ca.pem")));
        assert_eq!(all[3].options.connect_timeout, Duration::from_millis(1500));
    }

    #[test]
    fn errors_have_a_place_and_no_secret() {
        for (text, message) in [
            ("", "no [[target]]"),
            (
                "[[target]]\nhost = \"h\"\npasword = \"canary\"",
                "line 3, column 1: unknown field `pasword`",
            ),
            (
                "[[target]]\nhost = \"h\"\npassword = 666777888",
                "line 3, column 12: the value has the wrong type",
            ),
            ("[[target]]\nport = \"canary\"", "line 2, column 8: the value has the wrong type"),
            ("[[target]]\npassword = canary", "line 2, column 12"),
            ("[[target]]\npassword = \"canary", "line 2, column"),
            ("[[target]]\npassword \"canary\"", "line 2, column"),
            ("password: canary", "line 1, column"),
            ("[[target]]\npassword = \"canary\"\npassword = \"canary\"", "line 3, column"),
            ("[[target]]\nname = \"a\"", "number 1 (`a`): it needs one of"),
            ("[[target]]\nuri = \"redis://u:canary@h:x\"", "number 1: what follows"),
            ("[[target]]\nuri = \"redis://u:canary\"", "number 1: what follows"),
            (
                "[[target]]\nuri = \"redis://u:canary@h\"\npassword = \"canary\"",
                "more than one password",
            ),
            ("[[target]]\nhost = \"h\"\nsocket = \"s\"", "more than one of"),
            ("[[target]]\nsocket = \"s\"\nport = 1", "goes with `host`"),
            ("[[target]]\nhost = \"h\"\ntimeout = -1.0", "not a number of seconds"),
            ("[[target]]\nhost = \"h\"\ntimeout = nan", "not a number of seconds"),
            ("[defaults]\nhost = \"h\"\n[[target]]\nhost = \"h\"", "[defaults] cannot have `host`"),
        ] {
            let error = parse(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(error.to_string().contains(message), "{text}\n{error}");
            assert!(!shown.contains("canary") && !shown.contains("666777888"), "{shown}");
        }
    }

    #[test]
    fn passwords_come_from_files_beside_the_fleet_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("mode set");
            path
        };
        write("password", "canary\r\n", 0o644);
        let fleet =
            write("fleet.toml", "[[target]]\nhost = \"h\"\npassword_file = \"password\"\n", 0o644);
        let loaded = load(&fleet, &ConnectOptions::default()).expect("loaded");
        let password = loaded.targets[0].options.password.as_ref().map(Secret::expose);
        assert_eq!(password, Some("canary"));
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.contains("password file") && warning.contains("chmod o-r"), "{warning}");
        assert!(!format!("{loaded:?}").contains("canary"));

        let inline =
            write("inline.toml", "[[target]]\nhost = \"h\"\npassword = \"canary\"\n", 0o604);
        let loaded = load(&inline, &ConnectOptions::default()).expect("loaded");
        assert!(loaded.warnings[0].contains("holds passwords"), "{:?}", loaded.warnings);
        assert!(
            !format!("{:?} {loaded:?}", parse("[[target]]\nuri=\"redis://u:canary@h\""))
                .contains("canary")
        );

        let private =
            write("private.toml", "[[target]]\nhost = \"h\"\npassword = \"canary\"\n", 0o600);
        assert!(load(&private, &ConnectOptions::default()).expect("loaded").warnings.is_empty());
    }

    #[test]
    fn what_is_no_fleet_file_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("fleet.toml");
        assert!(load(&path, &ConnectOptions::default()).is_err());
        std::fs::write(&path, b"\xff\xfe").expect("written");
        let error = load(&path, &ConnectOptions::default()).expect_err("binary");
        assert!(error.to_string().contains("is not text"), "{error}");
    }
}
