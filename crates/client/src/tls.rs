//! TLS as the flags describe it: [`TlsOptions`] to a rustls client, and rustls errors to [`TlsProblem`]s.
//!
//! Certificates are checked against `--cacert`/`--cacertdir`, or else against the machine's own authorities (the list
//! administrators keep, where an in-house authority is; a list compiled into the binary would not know it).

use crate::error::TlsProblem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    RootCertStore, SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which authorities, which identity, which name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Authorities to trust, PEM.
    pub ca_file: Option<PathBuf>,
    /// A directory of such files.
    pub ca_dir: Option<PathBuf>,
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The name to ask for and to check, when it is not the host's.
    pub sni: Option<String>,
    /// Check who signed the certificate and not for which name it is: what redis-cli does.
    pub any_name: bool,
    /// Check nothing.
    pub insecure: bool,
}

/// Largest certificate or key file; a bundle of every public authority is 230 KB.
const MAX_PEM_BYTES: u64 = 4 << 20;

impl TlsOptions {
    /// The client that these options describe. Reads the files.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsProblem> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| other(&e))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        match (&self.cert, &self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)
                .map_err(|e| TlsProblem::Identity { reason: e.to_string() }),
            _ => Err(TlsProblem::HalfAnIdentity),
        }
    }

    /// The name to verify for `host`.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsProblem> {
        let name = self.sni.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsProblem::BadName(name.to_owned()))
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsProblem> {
        if self.insecure {
            return Ok(Arc::new(NoCheck(provider)));
        }
        let named = self.named_authorities()?;
        let mut store = RootCertStore::empty();
        if self.ca_file.is_none() && self.ca_dir.is_none() {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        store.add_parsable_certificates(named.iter().cloned());
        if store.is_empty() {
            return Err(TlsProblem::NoAuthorities);
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|e| TlsProblem::Other { reason: e.to_string() })?;
        Ok(Arc::new(Trust { chain, named, any_name: self.any_name }))
    }

    /// The certificates in the files given.
    fn named_authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
        let mut all = vec![];
        if let Some(path) = &self.ca_file {
            all.extend(certificates("CA file", path)?);
        }
        if let Some(dir) = &self.ca_dir {
            let entries = std::fs::read_dir(dir).map_err(|e| file("CA directory", dir, &e))?;
            for entry in entries.flatten() {
                // A directory of authorities also holds links, lists of revocations and notes.
                all.extend(certificates("CA file", &entry.path()).unwrap_or_default());
            }
        }
        Ok(all)
    }
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let text = read_pem(what, path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|e| file(what, path, &e))?;
    if all.is_empty() {
        return Err(file(what, path, &"it holds no certificate in PEM form"));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let text = read_pem("client key", path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound => file(
            "client key",
            path,
            &"it holds no private key in PEM form that is not protected by a passphrase",
        ),
        e => file("client key", path, &e),
    })
}

fn read_pem(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    let size = std::fs::metadata(path).map_err(|e| file(what, path, &e))?.len();
    if size > MAX_PEM_BYTES {
        return Err(file(what, path, &format!("it has {size} bytes, too many for a PEM file")));
    }
    std::fs::read(path).map_err(|e| file(what, path, &e))
}

fn file(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsProblem {
    TlsProblem::File { what, path: path.to_owned(), reason: reason.to_string() }
}

fn other(error: &Error) -> TlsProblem {
    TlsProblem::Other { reason: error.to_string() }
}

impl TlsProblem {
    /// What a TLS failure means. `has_identity`: we offered a client certificate.
    pub(crate) fn from_rustls(error: Error, wanted: &str, has_identity: bool) -> Self {
        match error {
            Error::InvalidCertificate(fault) => Self::from_certificate(fault, wanted),
            // A plaintext server answers the ClientHello with `-ERR …`: no TLS record begins so.
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Self::ServerSpeaksPlaintext
            }
            Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateRequired => Self::ClientCertificateRequired,
                // TLS 1.2 has no alert of its own for a missing certificate.
                AlertDescription::HandshakeFailure if !has_identity => {
                    Self::ClientCertificateRequired
                }
                AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                    if has_identity =>
                {
                    Self::ClientCertificateRefused { alert: format!("{alert:?}") }
                }
                alert => Self::Other { reason: format!("the server sent the alert {alert:?}") },
            },
            error => other(&error),
        }
    }

    fn from_certificate(fault: CertificateError, wanted: &str) -> Self {
        match fault {
            // A bad signature is what another authority of the same name leaves, as after making it anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::NotValidForName => {
                Self::WrongName { wanted: wanted.to_owned(), presented: vec![] }
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { wanted: wanted.to_owned(), presented: names(&presented) }
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::Certificate { reason: "it has expired".to_owned() }
            }
            fault => Self::Certificate { reason: form_fault(&fault) },
        }
    }
}

/// Faults of a certificate's form, which OpenSSL lets pass and we cannot.
fn form_fault(fault: &CertificateError) -> String {
    let text = format!("{fault:?}");
    if text.contains("UnsupportedCertVersion") {
        return "it is an X.509 version 1 certificate; make it anew as version 3 \
                (openssl x509 -req -extfile …, with a subjectAltName)"
            .to_owned();
    }
    if text.contains("CaUsedAsEndEntity") {
        return "it is a certificate authority's own and not a server's (give this very certificate as \
                --cacert, or have it sign one for the server)"
            .to_owned();
    }
    text
}

/// `DnsName("redis.internal")` as `redis.internal`; hostile text, so printable and few.
fn names(presented: &[String]) -> Vec<String> {
    let quoted = |n: &String| n.split('"').nth(1).unwrap_or(n).to_owned();
    presented.iter().take(4).map(quoted).map(|n| crate::error::one_line(&n)).collect()
}

/// The usual check of chain and name, with two allowances.
#[derive(Debug)]
struct Trust {
    chain: Arc<WebPkiServerVerifier>,
    /// Certificates the user named.
    named: Vec<CertificateDer<'static>>,
    /// Leave the name alone.
    any_name: bool,
}

impl Trust {
    /// A server whose very certificate the user named as trusted: the one self-signed certificate of a small
    /// installation, which OpenSSL takes and the chain check refuses because an authority is no server. It proves in
    /// the handshake that it holds the key. An expired one is refused all the same.
    fn is_named(&self, end_entity: &CertificateDer<'_>, error: &Error) -> bool {
        let refused_for_its_form = matches!(
            error,
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
        );
        refused_for_its_form && self.named.iter().any(|named| named == end_entity)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The chain is verified before the name: a fault of the name means that the chain is good.
        let verdict = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(error) if self.is_named(end_entity, &error) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// `--insecure`: takes any certificate. The handshake's signature is still checked, where the certificate is of a form
/// that we can read at all.
#[derive(Debug)]
struct NoCheck(Arc<CryptoProvider>);

impl ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        unread_is_taken(rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        unread_is_taken(rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Version 1 certificates cannot be read, and `--insecure` asked for no check of them.
fn unread_is_taken(
    verdict: Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    match verdict {
        Err(Error::InvalidCertificate(CertificateError::Other(_))) => {
            Ok(HandshakeSignatureValid::assertion())
        }
        verdict => verdict,
    }
}
