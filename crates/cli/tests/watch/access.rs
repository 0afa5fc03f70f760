//! Who may ask, and who may change anything.

use crate::running::{TOKEN, Watch, folder};
use unfrag_testbed::{Kind, Options, Server, require};

#[test]
fn other_sites_frames_and_callers_without_the_token_are_kept_out() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = folder();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let watch = Watch::start(
        folder.path(),
        &[
            &server.address(),
            "--interval",
            "300ms",
            "--token-file",
            file.to_str().unwrap(),
            "--host-name",
            "unfrag.example",
        ],
    );
    let id = watch.read(&server.address());
    for (host, want) in [
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("unfrag.example", 200),
        ("localhost:1", 200),
        ("[::1]", 200),
    ] {
        let (status, _) = watch.ask(&format!("GET /api/v1/overview HTTP/1.1\r\nHost: {host}"), "");
        assert_eq!(status, want, "{host}");
    }
    let (_, page) = watch.ask(&format!("GET / HTTP/1.1\r\nHost: {}", watch.address), "");
    for header in [
        "frame-ancestors 'none'",
        "default-src 'none'",
        "script-src 'self'",
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
    ] {
        assert!(page.contains(header), "{header}");
    }
    assert!(
        !page.contains("'unsafe-inline'")
            && !page.contains("http://cdn")
            && !page.contains("https://")
    );
    let fix = format!("/api/v1/targets/{id}/fix");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let post = |more: &str| watch.post(&fix, more, "{\"only\":[\"purge\"]}").0;
    assert_eq!(post(""), 401);
    assert_eq!(post("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(post(&format!("{bearer}Origin: http://evil.example\r\n")), 403);
    assert_eq!(post(&format!("{bearer}Origin: null\r\n")), 403);
    assert_eq!(post(&format!("{bearer}Sec-Fetch-Site: cross-site\r\n")), 403);
    let form = format!(
        "POST {fix} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Type: text/plain",
        watch.address
    );
    assert_eq!(watch.ask(&form, "{}").0, 415);
    assert_eq!(watch.post("/api/v1/targets/4711/fix", &bearer, "{}").0, 404);
    assert_eq!(watch.post(&fix, &bearer, "{\"only\":[\"restart\"]}").0, 400);
    assert_eq!(watch.post("/api/v1/token", &bearer, "{}").0, 200);
    // Without a token file nobody may, whatever he sends.
    let closed = Watch::start(&folder.path().join("closed"), &[&server.address()]);
    assert_eq!(closed.post("/api/v1/token", "Authorization: Bearer \r\n", "{}").0, 403);
}
