//! The page's own files, out of the binary.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

macro_rules! file {
    ($name:ident, $kind:literal, $path:literal) => {
        pub(super) async fn $name() -> impl IntoResponse {
            ([(CONTENT_TYPE, $kind)], include_str!($path))
        }
    };
}

file!(index, "text/html; charset=utf-8", "../assets/index.html");
file!(script, "text/javascript; charset=utf-8", "../assets/app.js");
file!(style, "text/css; charset=utf-8", "../assets/style.css");
file!(icon, "image/svg+xml", "../assets/icon.svg");
