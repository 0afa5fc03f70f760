//! A certificate authority, a server's and a client's certificate, in a folder of their own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The files, kept while any clone of this lives.
#[derive(Debug, Clone)]
pub struct Files {
    folder: Arc<TempDir>,
}

impl Files {
    /// Makes a new authority and two certificates under it, the server's for `localhost` and `127.0.0.1`.
    pub fn make() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::Builder::new().prefix("unfrag-tls-").tempdir()?;
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(vec![])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key)?;
        std::fs::write(folder.path().join("ca.crt"), authority_certificate.pem())?;
        let issuer = Issuer::new(authority, authority_key);
        for (name, hosts) in [
            ("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]),
            ("client", vec!["unfrag-test".to_owned()]),
        ] {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(hosts)?.signed_by(&key, &issuer)?;
            std::fs::write(folder.path().join(format!("{name}.crt")), certificate.pem())?;
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(Self { folder: Arc::new(folder) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// The client's certificate.
    pub fn client_certificate(&self) -> PathBuf {
        self.path("client.crt")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    /// Arguments that make a server listen with TLS on `port` and demand a client certificate.
    pub(crate) fn server_args(&self, port: u16) -> Vec<String> {
        let show = |path: &Path| path.display().to_string();
        [
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-cert-file".to_owned(),
            show(&self.path("server.crt")),
            "--tls-key-file".to_owned(),
            show(&self.path("server.key")),
            "--tls-ca-cert-file".to_owned(),
            show(&self.ca()),
        ]
        .into()
    }
}
