//! How to reach servers: redis-cli's flags, a fleet file, and the targets they name.

use crate::exit::UsageError;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use unfrag_client::{
    Address, ConnectOptions, Secret, Target, TlsOptions, Uri, fleet, secret_source,
};

/// redis-cli's connection flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers (as in redis-cli)")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that redis-cli has")]
pub(crate) struct ConnectArgs {
    /// host:port, a socket's path, redis://, rediss://, valkey://, unix://, redis+sentinel://NAME@HOST; several at will.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Host (127.0.0.1).
    #[arg(short = 'h', value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Port (6379).
    #[arg(short = 'p', value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Unix socket; overrides host and port.
    #[arg(short = 's', value_name = "SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Password. Others can see it in `ps`: REDISCLI_AUTH, --pass-file and --askpass are safer.
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    pub(crate) password: Option<Secret>,
    /// ACL user.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Ask for the password.
    #[arg(long, conflicts_with_all = ["password", "pass_file"])]
    pub(crate) askpass: bool,
    /// Read the password from a file; its last line end is dropped.
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(crate) pass_file: Option<PathBuf>,
    /// Server URI, as a target: `redis://user:password@host:port/db`, `rediss://` with TLS.
    #[arg(short = 'u', value_name = "URI")]
    pub(crate) uri: Option<String>,
    /// Database number.
    #[arg(short = 'n', value_name = "DB", default_value_t = 0)]
    pub(crate) db: u32,
    /// The whole Cluster that it belongs to; check and keys mean it by themselves.
    #[arg(short = 'c')]
    pub(crate) cluster: bool,
    /// Also read the replicas of a primary, and the primary of a replica.
    #[arg(long)]
    pub(crate) replicas: bool,
    /// Many servers with their own credentials, in TOML.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "host", "port", "socket", "uri"])]
    pub(crate) fleet: Option<PathBuf>,
    /// Seconds to wait, for a connection and for a reply.
    #[arg(short = 't', value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// Speak RESP2, the default.
    #[arg(short = '2', conflicts_with = "resp3")]
    pub(crate) resp2: bool,
    /// Speak RESP3.
    #[arg(short = '3')]
    pub(crate) resp3: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// ACL user on Sentinels.
    #[arg(long, value_name = "USER")]
    pub(crate) sentinel_user: Option<String>,
    /// Password on Sentinels, where they have one of their own.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) sentinel_pass: Option<Secret>,
    /// Taken for redis-cli's sake; unfrag never prints that warning.
    #[arg(long, hide = true)]
    no_auth_warning: bool,
}

/// redis-cli's TLS flags.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// Connect with TLS.
    #[arg(long)]
    tls: bool,
    /// Server name to send and to verify.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// CA certificate to trust (the system's by default).
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Folder of CA certificates to trust.
    #[arg(long, value_name = "DIR")]
    cacertdir: Option<PathBuf>,
    /// Client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Client key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Verify who signed the server's certificate and not for which name it is: redis-cli does no more.
    #[arg(long)]
    tls_any_name: bool,
    /// Do not verify the server's certificate.
    #[arg(long)]
    insecure: bool,
}

/// What was named: targets, each with how to reach it, and warnings about where that came from.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) targets: Vec<(Target, ConnectOptions)>,
    pub(crate) warnings: Vec<String>,
}

impl ConnectArgs {
    /// The targets; one at 127.0.0.1:6379 when none is named, as in redis-cli.
    pub(crate) fn named(&self) -> anyhow::Result<Named> {
        let base = self.options()?;
        if let Some(path) = &self.fleet {
            let loaded = fleet::load(path, &base)?;
            let targets = loaded.targets.into_iter().map(|m| (m.target, m.options)).collect();
            return Ok(Named { targets, warnings: loaded.warnings });
        }
        let mut targets = vec![];
        for text in self.uri.iter().chain(&self.targets) {
            let uri: Uri = text.parse().context("failed to read a target")?;
            targets.push((uri.target.clone(), base.clone().with_uri(&uri)));
        }
        if targets.is_empty() || self.host.is_some() || self.port.is_some() || self.socket.is_some()
        {
            targets.push((Target::Server(self.address()?), base));
        }
        Ok(Named { targets, warnings: vec![] })
    }

    /// True when any server was named at all.
    pub(crate) fn is_named(&self) -> bool {
        self.uri.is_some()
            || !self.targets.is_empty()
            || self.host.is_some()
            || self.port.is_some()
            || self.socket.is_some()
    }

    /// The flags given that say how to connect, and not to what: without a server they do nothing.
    pub(crate) fn manner(&self) -> Vec<&'static str> {
        let tls = &self.tls;
        let flags = [
            ("-a", self.password.is_some()),
            ("--user", self.user.is_some()),
            ("--askpass", self.askpass),
            ("--pass-file", self.pass_file.is_some()),
            ("-n", self.db != 0),
            ("--replicas", self.replicas),
            ("-t", self.timeout.is_some()),
            ("-2", self.resp2),
            ("-3", self.resp3),
            ("--tls", tls.tls),
            ("--sni", tls.sni.is_some()),
            ("--cacert", tls.cacert.is_some()),
            ("--cacertdir", tls.cacertdir.is_some()),
            ("--cert", tls.cert.is_some()),
            ("--key", tls.key.is_some()),
            ("--tls-any-name", tls.tls_any_name),
            ("--insecure", tls.insecure),
            ("--sentinel-user", self.sentinel_user.is_some()),
            ("--sentinel-pass", self.sentinel_pass.is_some()),
        ];
        flags.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect()
    }

    fn address(&self) -> anyhow::Result<Address> {
        if let Some(socket) = &self.socket {
            return Ok(Address::Unix(socket.clone()));
        }
        let port = self.port.unwrap_or(unfrag_client::target::DEFAULT_PORT);
        if port == 0 {
            return Err(UsageError {
                message: "port 0 is no port; -p takes 1 to 65535".to_owned(),
            }
            .into());
        }
        Ok(Address::Tcp(self.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()), port))
    }

    /// How to connect, whatever to.
    pub(crate) fn options(&self) -> anyhow::Result<ConnectOptions> {
        let mut options = ConnectOptions {
            user: self.user.clone(),
            password: self.password()?,
            db: self.db,
            tls: self.tls.options(),
            resp3: self.resp3 && !self.resp2,
            sentinel_user: self.sentinel_user.clone(),
            sentinel_password: self.sentinel_pass.clone(),
            ..ConnectOptions::default()
        };
        if let Some(seconds) = self.timeout {
            /// Longer than anyone waits at a terminal.
            const MAX_SECONDS: f64 = 3600.0;
            if !(0.001..=MAX_SECONDS).contains(&seconds) {
                return Err(UsageError {
                    message: format!("-t takes 0.001 to {MAX_SECONDS} seconds"),
                }
                .into());
            }
            options = options.with_timeout(Duration::from_secs_f64(seconds));
        }
        Ok(options)
    }

    fn password(&self) -> anyhow::Result<Option<Secret>> {
        if self.askpass {
            let typed = rpassword::prompt_password("Please input password: ")
                .context("failed to read the password")?;
            return Ok(Some(Secret::new(secret_source::without_line_end(&typed))));
        }
        if let Some(path) = &self.pass_file {
            return Ok(Some(secret_source::from_file(path)?));
        }
        Ok(self.password.clone().or_else(secret_source::from_environment))
    }
}

impl TlsArgs {
    fn options(&self) -> Option<TlsOptions> {
        let wanted = self.tls
            || self.insecure
            || self.tls_any_name
            || self.sni.is_some()
            || self.cacert.is_some()
            || self.cacertdir.is_some()
            || self.cert.is_some();
        wanted.then(|| TlsOptions {
            ca_file: self.cacert.clone(),
            ca_dir: self.cacertdir.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            sni: self.sni.clone(),
            any_name: self.tls_any_name,
            insecure: self.insecure,
        })
    }
}
