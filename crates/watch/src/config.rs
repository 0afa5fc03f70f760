//! The configuration file: TOML, everything in it optional, nothing in it unknown.

use crate::alert::Patience;
use crate::history::Retention;
use crate::http::Headers;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use unfrag_model::Severity;
use unfrag_model::bytes::parse_count;

/// What the file can say. Times are `10s`, `5m`, `2h`, `30d`; sizes `100MB`, `4GB` (powers of 1024).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Targets, as on the command line.
    pub targets: Vec<String>,
    /// A fleet file; relative to this file.
    pub fleet: Option<PathBuf>,
    /// Where to listen.
    pub listen: Option<String>,
    /// Where the history is.
    pub data: Option<PathBuf>,
    /// Between two cheap looks.
    pub interval: Option<Time>,
    /// Between two whole samples.
    pub deep_interval: Option<Time>,
    /// What is kept.
    pub history: HistoryConfig,
    /// The store that figures are sent to.
    pub remote_write: Option<RemoteWriteConfig>,
    /// When to alert, and whom.
    pub alerts: AlertConfig,
    /// The page.
    pub web: WebConfig,
    /// What may be done without asking.
    pub policy: crate::policy::PolicyConfig,
}

/// `[history]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// How long points are kept as they came.
    pub raw: Option<Time>,
    /// How long minutes are kept.
    pub minutes: Option<Time>,
    /// How long hours and events are kept.
    pub hours: Option<Time>,
    /// The most the file may hold.
    pub max_size: Option<Size>,
    /// A store that scrapes us, or is written to, `http://host:9090`: charts and trends are read back from it.
    pub prometheus: Option<String>,
    /// Headers that it is asked with.
    pub prometheus_headers: Headers,
    /// Whether figures are kept here as well; events, outcomes and decisions always are.
    pub local: Option<bool>,
}

/// `[remote_write]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// Where it takes them, `http://host:9090/api/v1/write`.
    pub url: String,
    /// Between two times that figures are sent.
    pub interval: Option<Time>,
    /// A file with the secret: a bearer token, or the user's password. Relative to this file.
    pub secret_file: Option<PathBuf>,
    /// Who we are to it, where it wants a name and a password.
    pub user: Option<String>,
    /// More headers, such as a tenant's.
    #[serde(default)]
    pub headers: Headers,
}

/// `[alerts]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// The least that fires: `watch`, `act`, `urgent`.
    pub min: Option<Severity>,
    /// How long an urgent finding has to stand.
    pub urgent_after: Option<Time>,
    /// How long one to act on has to stand.
    pub act_after: Option<Time>,
    /// How long one to watch has to stand.
    pub watch_after: Option<Time>,
    /// How long it has to be gone.
    pub over_after: Option<Time>,
    /// How long a server has to be silent.
    pub lost_after: Option<Time>,
    /// Whom to tell.
    pub to: Vec<SinkConfig>,
}

/// `[[alerts.to]]`: one of three.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum SinkConfig {
    /// Alertmanager's address, `http://host:9093`.
    Alertmanager(String),
    /// An address that takes a JSON document.
    Webhook(String),
    /// A program and its arguments; the JSON document comes on its standard input.
    Command(Vec<String>),
}

/// `[web]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Names under which the page may be asked for, besides addresses and localhost.
    pub hosts: Vec<String>,
    /// A file with the token that allows acting.
    pub token_file: Option<PathBuf>,
}

/// A time with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub Duration);

/// A size with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// Longer than anything is kept.
const MAX_TIME: Duration = Duration::from_secs(20 * 365 * 86400);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(at).unwrap_or((&text, ""));
        let unit_s = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "y" => 365.0 * 86400.0,
            _ => return Err(format!("`{text}` is no time: write 10s, 5m, 2h, 30d")),
        };
        let number: f64 =
            number.parse().map_err(|_| format!("`{text}` is no time: write 10s, 5m"))?;
        let seconds = number * unit_s;
        if (0.0..=MAX_TIME.as_secs_f64()).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(format!("`{text}` is out of range"))
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = parse_count(&text).filter(|b| *b > 0);
        bytes.map(Self).ok_or_else(|| format!("`{text}` is no size: write 100MB, 4GB"))
    }
}

impl Time {
    /// Whole seconds.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX)
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("the configuration `{}` is not understood: {message}", path.display())]
    Invalid {
        /// Its path.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
}

impl Config {
    /// Reads a file. Paths in it are taken from where it lies.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
        let mut config = Self::parse(&text).map_err(invalid)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let secret = config.remote_write.as_mut().and_then(|remote| remote.secret_file.as_mut());
        let files = [&mut config.fleet, &mut config.data, &mut config.web.token_file];
        for file in files.into_iter().flatten().chain(secret) {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    /// Reads a text and checks everything that can be checked without a server.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        if let Some(address) =
            config.history.prometheus.as_ref().filter(|a| !crate::http::is_address(a))
        {
            return Err(format!(
                "history.prometheus: `{address}` is no http:// or https:// address"
            ));
        }
        if config.history.local == Some(false) && config.history.prometheus.is_none() {
            return Err(
                "history.local = false needs history.prometheus: figures would be kept nowhere"
                    .to_owned(),
            );
        }
        if let Some(url) =
            config.remote_write.as_ref().map(|r| &r.url).filter(|u| !is_plain_address(u))
        {
            // One with a password in it is not repeated.
            let url = url.split_once('@').map_or(url.as_str(), |_| "the url");
            return Err(format!(
                "remote_write.url: `{url}` is no http:// or https:// address; a user and a secret_file stand beside it"
            ));
        }
        for sink in &config.alerts.to {
            crate::notify::check(sink)?;
        }
        crate::policy::Policy::new(&config.policy)?;
        Ok(config)
    }
}

/// An address that can be asked and holds no credentials: those would be in logs, and are not sent.
fn is_plain_address(text: &str) -> bool {
    crate::http::is_address(text) && !text.contains('@')
}

impl AlertConfig {
    /// With defaults where nothing is said.
    pub fn patience(&self) -> Patience {
        let default = Patience::default();
        let or = |time: Option<Time>, default: i64| time.map_or(default, Time::seconds);
        Patience {
            min: self.min.unwrap_or(default.min),
            urgent_s: or(self.urgent_after, default.urgent_s),
            act_s: or(self.act_after, default.act_s),
            watch_s: or(self.watch_after, default.watch_s),
            hold_s: or(self.over_after, default.hold_s),
            lost_s: or(self.lost_after, default.lost_s),
        }
    }
}

impl HistoryConfig {
    /// With defaults where nothing is said.
    pub fn retention(&self) -> Retention {
        let default = Retention::default();
        let or = |time: Option<Time>, default: i64| time.map_or(default, Time::seconds);
        Retention {
            raw_s: or(self.raw, default.raw_s),
            minute_s: or(self.minutes, default.minute_s),
            hour_s: or(self.hours, default.hour_s),
            max_bytes: self.max_size.map_or(default.max_bytes, |s| s.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_says_the_defaults() {
        let text = include_str!("../../../docs/watch.toml");
        let config = Config::parse(text).unwrap();
        assert_eq!(config.alerts.to.len(), 3);
        assert!(!config.policy.enabled);
        // What is commented out is the default: in force it changes nothing.
        let spoken: String = text
            .lines()
            .map(|l| {
                l.strip_prefix("# ")
                    .filter(|l| l.contains(" = ") || l.starts_with('['))
                    .unwrap_or(l)
            })
            .map(|l| l.to_owned() + "\n")
            .collect();
        let all = Config::parse(&spoken).unwrap();
        assert_eq!(all.alerts.patience(), Patience::default());
        assert_eq!(all.history.retention(), Retention::default());
        let interval = all.remote_write.and_then(|remote| remote.interval);
        assert_eq!(interval, Some(Time(crate::remote::INTERVAL)));
        assert_eq!(all.interval, Some(Time(crate::schedule::Cadence::default().interval)));
        assert_eq!(all.deep_interval, Some(Time(crate::schedule::Cadence::default().deep)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("interval = \"10\"", "is no time"),
            ("intervall = \"10s\"", "intervall"),
            ("[history]\nmax_size = \"much\"", "is no size"),
            ("[[alerts.to]]\nwebhook = \"example.com\"", "is no http"),
            ("[[alerts.to]]\ncommand = []", "needs at least a program"),
            ("[history]\nprometheus_headers = { \"a b\" = \"c\" }", "is no header"),
            ("[remote_write]\nurl = \"store:9090\"", "is no http"),
            ("[remote_write]\nurl = \"http://me:canary@store/\"", "`the url` is no http"),
            ("[remote_write]\ninterval = \"15s\"", "url"),
            ("[[alerts.to]]\npigeon = \"x\"", "pigeon"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
