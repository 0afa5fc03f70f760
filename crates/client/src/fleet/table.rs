//! The tables of a fleet file: what they may say, and how a target's own words go over the defaults.

use super::EntryProblem;
use crate::secret_source::{self, SecretError};
use crate::target::{DEFAULT_PORT, Uri};
use crate::{Address, Secret, Target, TlsOptions};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `[defaults]` or a `[[target]]`: one shape, because serde cannot both share fields between two shapes and refuse
/// unknown ones. Text that may hold a secret is [`Hidden`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) name: Option<String>,
    pub(super) uri: Option<Hidden>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) socket: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Hidden>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_env: Option<String>,
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<Hidden>,
    pub(super) sentinel_password_file: Option<PathBuf>,
    pub(super) sentinel_password_env: Option<String>,
    pub(super) db: Option<u32>,
    pub(super) tls: Option<bool>,
    pub(super) cacert: Option<PathBuf>,
    pub(super) cacertdir: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) sni: Option<String>,
    pub(super) tls_any_name: Option<bool>,
    pub(super) insecure: Option<bool>,
    pub(super) resp3: Option<bool>,
    pub(super) timeout: Option<f64>,
}

/// Text with a redacted `Debug`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Table {
    pub(super) fn uri(&self) -> Result<Uri, EntryProblem> {
        if self.port.is_some() && self.host.is_none() {
            return Err(EntryProblem::PortWithoutHost);
        }
        match (&self.uri, &self.host, &self.socket) {
            (Some(uri), None, None) => uri.0.parse().map_err(EntryProblem::Target),
            (None, Some(host), None) => {
                // Through the parser, so that a host is judged alike everywhere.
                let address = Address::tcp(host, self.port.unwrap_or(DEFAULT_PORT));
                address.to_string().parse().map_err(EntryProblem::Target)
            }
            (None, None, Some(path)) => Ok(Target::unix(path).into()),
            (None, None, None) => Err(EntryProblem::NoAddress),
            _ => Err(EntryProblem::TwoAddresses),
        }
    }

    /// The first field that only a target may have.
    pub(super) fn address_field(&self) -> Option<&'static str> {
        let fields = [
            ("name", self.name.is_some()),
            ("uri", self.uri.is_some()),
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("socket", self.socket.is_some()),
        ];
        fields.iter().find(|(_, is_there)| *is_there).map(|(name, _)| *name)
    }

    pub(super) fn password_sources(&self) -> usize {
        [self.password.is_some(), self.password_file.is_some(), self.password_env.is_some()]
            .iter()
            .filter(|is_there| **is_there)
            .count()
    }

    /// This table, with the defaults for what it leaves out. A password of its own, from wherever, leaves the defaults'
    /// password and its sources out.
    pub(super) fn over(self, defaults: &Self) -> Self {
        let d = defaults.clone();
        let own_password = self.password_sources() > 0;
        let own_sentinel = self.sentinel_password.is_some()
            || self.sentinel_password_file.is_some()
            || self.sentinel_password_env.is_some();
        let kept = |own: bool, table: &Self| if own { Self::default() } else { table.clone() };
        let (server, sentinel) = (kept(own_password, &d), kept(own_sentinel, &d));
        Self {
            user: self.user.or(d.user),
            password: self.password.or(server.password),
            password_file: self.password_file.or(server.password_file),
            password_env: self.password_env.or(server.password_env),
            sentinel_user: self.sentinel_user.or(d.sentinel_user),
            sentinel_password: self.sentinel_password.or(sentinel.sentinel_password),
            sentinel_password_file: self.sentinel_password_file.or(sentinel.sentinel_password_file),
            sentinel_password_env: self.sentinel_password_env.or(sentinel.sentinel_password_env),
            db: self.db.or(d.db),
            tls: self.tls.or(d.tls),
            cacert: self.cacert.or(d.cacert),
            cacertdir: self.cacertdir.or(d.cacertdir),
            cert: self.cert.or(d.cert),
            key: self.key.or(d.key),
            sni: self.sni.or(d.sni),
            tls_any_name: self.tls_any_name.or(d.tls_any_name),
            insecure: self.insecure.or(d.insecure),
            resp3: self.resp3.or(d.resp3),
            timeout: self.timeout.or(d.timeout),
            ..self
        }
    }

    /// TLS is on when the file says so, or names anything that only TLS needs; `tls = false` turns it off.
    pub(super) fn tls(&self, directory: &Path, base: Option<TlsOptions>) -> Option<TlsOptions> {
        let files = [&self.cacert, &self.cacertdir, &self.cert, &self.key];
        let is_meant = files.iter().any(|f| f.is_some()) || self.sni.is_some();
        match self.tls {
            Some(true) => {}
            None if is_meant || base.is_some() => {}
            Some(false) | None => return None,
        }
        let base = base.unwrap_or_default();
        let path = |own: &Option<PathBuf>, base| own.as_ref().map(|p| directory.join(p)).or(base);
        Some(TlsOptions {
            ca_file: path(&self.cacert, base.ca_file),
            ca_dir: path(&self.cacertdir, base.ca_dir),
            cert: path(&self.cert, base.cert),
            key: path(&self.key, base.key),
            sni: self.sni.clone().or(base.sni),
            any_name: self.tls_any_name.unwrap_or(base.any_name),
            insecure: self.insecure.unwrap_or(base.insecure),
        })
    }
}

/// The password, wherever it is.
pub(super) fn secret(
    inline: Option<&Hidden>,
    file: Option<&Path>,
    variable: Option<&str>,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, SecretError> {
    if let Some(text) = inline {
        return Ok(Some(Secret::new(text.0.clone())));
    }
    if let Some(variable) = variable {
        return secret_source::from_variable(variable).map(Some);
    }
    let Some(file) = file else { return Ok(None) };
    let path = directory.join(file);
    let secret = secret_source::from_file(&path)?;
    if is_world_readable(&path) {
        let path = path.display();
        let warning = format!(
            "every user of this machine may read the password file {path}: chmod o-r {path}"
        );
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(Some(secret))
}

pub(super) fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o004 != 0)
}
