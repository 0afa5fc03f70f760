//! The few HTTP requests that go out: bounded in time and size, with the machine's own certificates.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// For one request, connection and answer together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are taken: a day of a chart from Prometheus has 200 KB.
const MAX_BODY_BYTES: usize = 8 << 20;

/// Who asks.
const AGENT: &str = concat!("unfrag/", env!("CARGO_PKG_VERSION"));

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What was answered; `None` when nothing was.
    pub(crate) status: Option<StatusCode>,
    /// When to come again, if that was said: seconds, or a date.
    pub(crate) retry_after: Option<String>,
    /// For people.
    pub(crate) text: String,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { status: None, retry_after: None, text }
    }
}

/// A client; clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// A client that trusts what this machine trusts; without any certificates only plain HTTP works.
    pub(crate) fn new() -> Self {
        let builder = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(%error, "this machine has no certificates: https will not work");
                let empty = rustls::RootCertStore::empty();
                let config = rustls::ClientConfig::builder()
                    .with_root_certificates(empty)
                    .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config)
            }
        };
        let connector = builder.https_or_http().enable_http1().build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends JSON; an answer that is no success is an error.
    pub(crate) async fn post(&self, uri: &str, body: Vec<u8>) -> Result<(), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("content-type", "application/json")
            .header("user-agent", AGENT)
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        self.send(request).await.map(|_| ()).map_err(|refusal| refusal.text)
    }

    /// Sends bytes that their headers describe.
    pub(crate) async fn push(
        &self,
        uri: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(), Refusal> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("user-agent", AGENT)
            .body(Full::new(body))
            .map_err(|e| Refusal::from(e.to_string()))?;
        request.headers_mut().extend(headers.clone());
        self.send(request).await.map(|_| ())
    }

    /// Asks for something.
    pub(crate) async fn get(&self, uri: &str, headers: &HeaderMap) -> Result<Bytes, String> {
        let mut request =
            Request::builder().uri(uri).body(Full::default()).map_err(|e| e.to_string())?;
        request.headers_mut().extend(headers.clone());
        self.send(request).await.map_err(|refusal| refusal.text)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Refusal> {
        let answer = async {
            let response = self.client.request(request).await.map_err(|e| chain(&e))?;
            let status = response.status();
            let retry_after = response.headers().get(RETRY_AFTER).cloned();
            let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(body);
            }
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Err(Refusal {
                status: Some(status),
                retry_after: retry_after.and_then(|v| Some(v.to_str().ok()?.to_owned())),
                text: format!("it answered {status}: {}", text.trim()),
            })
        };
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs()).into()),
        }
    }
}

/// Headers as a configuration has them. Their values may be secret: they are in no `Debug`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Headers(pub(crate) HeaderMap);

impl TryFrom<BTreeMap<String, String>> for Headers {
    type Error = String;

    fn try_from(said: BTreeMap<String, String>) -> Result<Self, String> {
        let header = |(name, value): (String, String)| {
            let parsed = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value).ok());
            let (header, mut value) = parsed
                .ok_or_else(|| format!("`{name}` is no header, or its value cannot be one"))?;
            value.set_sensitive(true);
            Ok((header, value))
        };
        said.into_iter().map(header).collect::<Result<HeaderMap, String>>().map(Self)
    }
}

/// True for an address that can be asked.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<Uri>()
        .is_ok_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some())
}

/// An error with its causes: the outermost says only that it did not work.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
