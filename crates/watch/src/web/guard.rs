//! Who may ask, and what a browser may do with the answer.
//!
//! - *Host*: a page of another site can point its own name at 127.0.0.1 (DNS rebinding) and read what we serve. Only
//!   addresses, `localhost`, this machine's name and names from the configuration are answered.
//! - *Acting* needs the token in an `Authorization` header, which no other site's page can send; besides, a foreign
//!   `Origin` or `Sec-Fetch-Site` is refused, and so is anything but JSON.
//! - *Frames, scripts, styles*: nothing from elsewhere, nothing inline, in no frame.

use super::App;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
];

pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&app, request.method(), request.headers()) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

type Refusal = (StatusCode, &'static str);

fn refusal(app: &App, method: &Method, headers: &HeaderMap) -> Option<Refusal> {
    let host = text(headers, "host");
    if !host.is_some_and(|host| is_ours(host, &app.access.hosts)) {
        return Some((
            StatusCode::MISDIRECTED_REQUEST,
            "this name is not ours: ask by address, or list the name under [web] hosts in the configuration\n",
        ));
    }
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    let foreign = text(headers, "origin").is_some_and(|origin| {
        let site = origin.split_once("://").map(|(_, site)| site);
        site != host
    });
    let cross = text(headers, "sec-fetch-site").is_some_and(|site| site != "same-origin");
    if foreign || cross {
        return Some((StatusCode::FORBIDDEN, "this came from another site\n"));
    }
    let json = text(headers, "content-type").is_some_and(|t| t.starts_with("application/json"));
    if !json {
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON\n"));
    }
    let Some(token) = &app.access.token else {
        return Some((
            StatusCode::FORBIDDEN,
            "this watch is read-only: start it with --token-file to act from here\n",
        ));
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if same(given, token.expose().as_bytes()) {
        return None;
    }
    Some((StatusCode::UNAUTHORIZED, "the token is missing or wrong\n"))
}

/// Compares in a time that tells nothing of where they differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differing == 0 && !wanted.is_empty()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// True for an address, localhost, this machine's name, and names that were configured; with any port.
fn is_ours(host: &str, configured: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let machine = rustix::system::uname();
    let known = ["localhost", machine.nodename().to_str().unwrap_or("localhost")];
    name.parse::<IpAddr>().is_ok()
        || known.iter().any(|k| name.eq_ignore_ascii_case(k))
        || configured.iter().any(|c| name.eq_ignore_ascii_case(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_answered() {
        let configured = ["unfrag.example.com".to_owned()];
        for host in [
            "127.0.0.1:9122",
            "[::1]:9122",
            "10.0.0.1",
            "localhost",
            "LOCALHOST:1",
            "unfrag.example.com:443",
        ] {
            assert!(is_ours(host, &configured), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9122",
            "",
            "[",
            "unfrag.example.com.evil",
        ] {
            assert!(!is_ours(host, &configured), "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        for (given, wanted) in [("ab", "abc"), ("abcd", "abc"), ("abd", "abc"), ("", "")] {
            assert!(!same(given.as_bytes(), wanted.as_bytes()), "{given} {wanted}");
        }
    }
}
