//! `unfrag watch`: the command line and the configuration file to a [`Setup`]; the daemon does the rest.

use crate::connect_args::ConnectArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use crate::watch_args::{LogForm, WatchArgs};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use unfrag_client::{ConnectOptions, Secret, Uri, fleet, secret_source};
use unfrag_watch::config::{Config, RemoteWriteConfig, Time};
use unfrag_watch::daemon::{self, Setup};
use unfrag_watch::fleet::Settings;
use unfrag_watch::follow::{self, Seed};
use unfrag_watch::history::prometheus::Prometheus;
use unfrag_watch::log;
use unfrag_watch::policy::Policy;
use unfrag_watch::publish;
use unfrag_watch::remote::Remote;
use unfrag_watch::web::Access;

/// 9121 is redis_exporter's.
const LISTEN: &str = "127.0.0.1:9122";

pub(crate) fn run(args: &WatchArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(text) = printed(args)? {
        printer.data(&text);
        return Ok(Exit::Fine);
    }
    let level = args.log_level.parse().map_err(|_| UsageError {
        message: format!("`{}` is no log level: error, warn, info, debug, trace", args.log_level),
    })?;
    let form = match args.log {
        LogForm::Text => log::Form::Text,
        LogForm::Json => log::Form::Json,
    };
    log::init(form, level, printer.paint().color);
    // An option typed once holds for every reload as well.
    let base = args.connect.options()?;
    let named = Named::new(&args.connect)?;
    let setup = setup(args, &base, &named, printer)?;
    let reload = {
        let again = Again { args: args_of(args), base, named };
        Box::new(move || again.setup().map_err(|e| format!("{e:#}")))
    };
    let is_text = matches!(args.log, LogForm::Text);
    daemon::run(setup, reload, |address| {
        // Among JSON every line is JSON; the log says the address as well.
        if is_text {
            printer.talk(&format!(
                "the page is at http://{address}/ and metrics at http://{address}/metrics"
            ));
        }
    })?;
    Ok(Exit::Fine)
}

/// What is to be printed instead of watching.
fn printed(args: &WatchArgs) -> anyhow::Result<Option<String>> {
    Ok(if args.print_rules {
        Some(publish::rules().to_owned())
    } else if args.print_dashboard {
        Some(serde_json::to_string_pretty(&publish::dashboard())? + "\n")
    } else if args.print_unit {
        Some(publish::unit().to_owned())
    } else {
        None
    })
}

/// Targets given on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    seeds: Vec<Seed>,
    fleet: Option<PathBuf>,
}

impl Named {
    pub(crate) fn new(connect: &ConnectArgs) -> anyhow::Result<Self> {
        let said = connect.is_named();
        if connect.fleet.is_some() || !said {
            return Ok(Self { seeds: vec![], fleet: connect.fleet.clone() });
        }
        let named = connect.named()?;
        let seeds = named.targets.into_iter().map(|(target, options)| Seed {
            name: target.to_string(),
            target,
            options,
            replication: connect.replicas,
        });
        Ok(Self { seeds: seeds.collect(), fleet: None })
    }
    /// These, and those of a configuration; the default server when there are none.
    pub(crate) fn seeds(
        &self,
        config: &Config,
        base: &ConnectOptions,
        replication: bool,
    ) -> anyhow::Result<Vec<Seed>> {
        let mut seeds = self.seeds.clone();
        if let Some(path) = self.fleet.as_ref().or(config.fleet.as_ref()) {
            for member in fleet::load(path, base)?.targets {
                let (name, target, options) = (member.name, member.target, member.options);
                seeds.push(Seed { name, target, options, replication });
            }
        }
        for text in &config.targets {
            let uri: Uri = text.parse().context("failed to read a target of the configuration")?;
            let (name, options) = (uri.target.to_string(), base.clone().with_uri(&uri));
            seeds.push(Seed { name, target: uri.target, options, replication });
        }
        if seeds.is_empty() {
            let target: Uri =
                "127.0.0.1:6379".parse().context("failed to read the default target")?;
            let (name, target) = (target.target.to_string(), target.target);
            seeds.push(Seed { name, target, options: base.clone(), replication });
        }
        Ok(seeds)
    }
}

/// What a reload needs of the command line.
#[derive(Debug, Clone)]
struct Kept {
    config: Option<PathBuf>,
    listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    interval: Option<String>,
    deep_interval: Option<String>,
    token_file: Option<PathBuf>,
    host_name: Vec<String>,
    replicas: bool,
    share: Option<(u64, u64)>,
}

struct Again {
    args: Kept,
    base: ConnectOptions,
    named: Named,
}

fn args_of(args: &WatchArgs) -> Kept {
    Kept {
        config: args.config.clone(),
        listen: args.listen,
        data: args.data.clone(),
        interval: args.interval.clone(),
        deep_interval: args.deep_interval.clone(),
        token_file: args.token_file.clone(),
        host_name: args.host_name.clone(),
        replicas: args.connect.replicas,
        share: args.share,
    }
}

fn setup(
    args: &WatchArgs,
    base: &ConnectOptions,
    named: &Named,
    printer: &Printer,
) -> anyhow::Result<Setup> {
    let again = Again { args: args_of(args), base: base.clone(), named: named.clone() };
    let setup = again.setup()?;
    if !setup.listen.ip().is_loopback() {
        printer.talk(&format!(
            "warning: {} can be reached from other machines, and what is shown there is not secret to them",
            setup.listen
        ));
    }
    Ok(setup)
}

impl Again {
    fn setup(&self) -> anyhow::Result<Setup> {
        let config = match &self.args.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let args = &self.args;
        let mut settings = Settings { patience: config.alerts.patience(), ..Settings::default() };
        settings.keeps_points = config.history.local.unwrap_or(true);
        let store = config.history.prometheus.as_deref();
        settings.prometheus =
            store.map(|base| Prometheus::new(base, &config.history.prometheus_headers));
        if let Some(interval) = time("--interval", args.interval.as_deref())?.or(config.interval) {
            // More often than this, INFO itself is what the server does.
            settings.cadence.interval = interval.0.max(Duration::from_millis(50));
        }
        if let Some(deep) =
            time("--deep-interval", args.deep_interval.as_deref())?.or(config.deep_interval)
        {
            settings.cadence.deep = deep.0;
        }
        let listen = match (args.listen, &config.listen) {
            (Some(listen), _) => listen,
            (None, text) => {
                let text = text.as_deref().unwrap_or(LISTEN);
                text.parse().map_err(|_| UsageError {
                    message: format!("`{text}` is no address to listen on: write 127.0.0.1:9122"),
                })?
            }
        };
        let token_file = args.token_file.clone().or_else(|| config.web.token_file.clone());
        let hosts = args.host_name.iter().chain(&config.web.hosts).cloned().collect();
        let remote = config.remote_write.as_ref().map(remote).transpose()?;
        Ok(Setup {
            seeds: follow::share(self.named.seeds(&config, &self.base, args.replicas)?, args.share),
            settings,
            sinks: config.alerts.to.clone(),
            remote,
            policy: Policy::new(&config.policy).map_err(|message| UsageError { message })?,
            access: Access { hosts, token: token(token_file.as_deref())? },
            listen,
            data: args
                .data
                .clone()
                .or_else(|| config.data.clone())
                .unwrap_or_else(daemon::default_data),
            retention: config.history.retention(),
        })
    }
}

fn time(flag: &str, text: Option<&str>) -> Result<Option<Time>, UsageError> {
    let parsed = text.map(|t| Time::try_from(t.to_owned())).transpose();
    parsed.map_err(|why| UsageError { message: format!("{flag}: {why}") })
}

/// Holds the secret of the store that is written to, where no file does.
const REMOTE_SECRET: &str = "UNFRAG_REMOTE_WRITE_SECRET";

fn remote(config: &RemoteWriteConfig) -> anyhow::Result<Remote> {
    let secret = match &config.secret_file {
        Some(path) => Some(secret_source::from_file_called("secret file of remote_write", path)?),
        None => secret_source::from_variable(REMOTE_SECRET).ok().filter(|s| !s.is_empty()),
    };
    Remote::new(config, secret.as_ref()).map_err(|message| UsageError { message }.into())
}

/// A shorter token could be tried out.
const MIN_TOKEN: usize = 16;

/// From the file, or from the credential `token` that systemd hands over.
fn token(file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|folder| Path::new(&folder).join("token"))
        // One that may not be looked at is said, not passed over.
        .filter(|path| !path.try_exists().is_ok_and(|exists| !exists));
    let Some(path) = file.map(Path::to_owned).or(credential) else { return Ok(None) };
    let token = secret_source::from_file_called("token file", &path)?;
    if token.expose().len() < MIN_TOKEN {
        let message = format!(
            "the token in `{}` is shorter than {MIN_TOKEN} characters; `head -c 24 /dev/urandom | base64` makes one",
            path.display()
        );
        return Err(UsageError { message }.into());
    }
    Ok(Some(token))
}
