//! The HTTP side: the page, `/metrics`, `/probe`, health, and the JSON behind the page.
//!
//! Nothing here asks a server anything, but `/probe`. Every answer goes through `guard`: who may ask, and what a browser
//! may do with the answer.

mod action;
mod api;
mod guard;
mod page;

use crate::fleet::Fleet;
use crate::job::Jobs;
use axum::Router;
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every request can see.
#[derive(Debug)]
pub struct App {
    /// What is watched.
    pub fleet: Arc<Fleet>,
    /// What runs.
    pub jobs: Jobs,
    /// Who may ask, and who may act.
    pub access: Access,
    /// What is said about the policy: `off`, `dry run`, `on`.
    pub policy: tokio::sync::watch::Receiver<Arc<crate::policy::Policy>>,
    /// True once the daemon is up.
    pub ready: AtomicBool,
}

/// Who may ask, and who may act.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Host names under which we may be asked, besides addresses, localhost and the machine's own name.
    pub hosts: Vec<String>,
    /// The token that allows acting; without one nobody may.
    pub token: Option<unfrag_client::Secret>,
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/metrics", get(api::metrics))
        .route("/probe", get(api::probe))
        .route("/-/healthy", get(|| async { "unfrag watch is healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/api/v1/targets", get(api::targets))
        .route("/api/v1/targets/{id}", get(api::target))
        .route("/api/v1/targets/{id}/history", get(api::history))
        .route("/api/v1/targets/{id}/bins", get(api::bins))
        .route("/api/v1/targets/{id}/events", get(api::events))
        .route("/api/v1/targets/{id}/fix", post(action::fix))
        .route("/api/v1/overview", get(api::overview))
        .route("/api/v1/jobs/{id}", get(api::job))
        .route("/api/v1/jobs/{id}/stop", post(action::stop))
        .route("/api/v1/token", post(action::check))
        .fallback(|| async { (axum::http::StatusCode::NOT_FOUND, "there is nothing here\n") })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::check))
        .with_state(app)
}

async fn ready(
    axum::extract::State(app): axum::extract::State<Arc<App>>,
) -> (axum::http::StatusCode, String) {
    use axum::http::StatusCode;
    if !app.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not yet\n".to_owned());
    }
    // A history that cannot be written is said, and does not make us unready: the watch goes on.
    let history = app.fleet.history().and_then(|h| h.health().trouble());
    let store = app.fleet.remote.trouble().map(|text| format!("figures are not sent: {text}"));
    let troubles: Vec<String> = history.into_iter().chain(store).collect();
    match troubles.as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        _ => (StatusCode::OK, format!("ready, but: {}\n", troubles.join("; "))),
    }
}

/// Serves until `stop` resolves; open requests get a second to end.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}
