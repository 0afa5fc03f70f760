//! The web page in a real browser.

use crate::running::{Watch, folder, get, has, until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use unfrag_testbed::{Kind, Options, Server, require};

/// The page after its script ran, as the browser's own text.
fn dom(address: &str, hash: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=4000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/{hash}"))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_shows_hostile_text_as_text() {
    if !require(Kind::Redis7) || !has("chromium") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let hostile = hostile_server();
    let folder = folder();
    let watch = Watch::start(folder.path(), &[&server.address(), &hostile]);
    let address = &watch.address;
    until("a reading", || {
        let text = get(address, "/api/v1/overview").unwrap_or_default();
        text.contains("\"verdict\":\"") && text.contains("<img/src=x")
    });
    let fleet = dom(address, "");
    assert!(fleet.contains(&server.address()) && fleet.contains("class=\"row "), "{fleet}");
    // It is shown, as the text it is.
    assert!(fleet.contains("&lt;img/src=x"), "{fleet}");
    let page = dom(address, "#/server/1");
    assert!(
        page.contains("The ladder over time") && page.contains("What would come back"),
        "{page}"
    );
    let lost = dom(address, "#/server/2");
    assert!(lost.contains("It does not answer") && lost.contains("&lt;img/src=x"), "{lost}");
    // What turns the order of text, or hides in it, is shown as its number.
    assert!(lost.contains(r"\u{202e}edoc\u{2066}\u{200b}"), "{lost}");
    for text in [&fleet, &page, &lost] {
        assert!(
            !text.contains("<img/src")
                && !text.contains("<img src=\"x\"")
                && !text.contains("<title>pwned")
                && !text.contains(['\u{202e}', '\u{2066}', '\u{200b}']),
            "{text}"
        );
    }
}

#[test]
fn while_the_store_is_away_the_page_shows_all_that_is_known() {
    if !require(Kind::Redis7) || !has("chromium") {
        return;
    }
    let server = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let folder = folder();
    // Nothing listens where figures are read from.
    let config = format!(
        "targets = [\"{}\"]\n[history]\nprometheus = \"http://127.0.0.1:1\"\nlocal = false\n",
        server.address()
    );
    let watch = Watch::configured(folder.path(), &config);
    let address = &watch.address;
    until("a reading", || {
        get(address, "/api/v1/overview").is_some_and(|text| text.contains("\"verdict\":\""))
    });
    let page = dom(address, "#/server/1");
    for wanted in ["The store of figures cannot be read", "What would come back", "What happened"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!page.contains("The watch does not answer"), "{page}");
}

/// A fake, and said to be: it answers everything with an error that is markup.
pub(crate) fn hostile_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                    let error = "-ERR <img/src=x/onerror=document.title='pwned'><script>document.title='pwned'</script>\u{202e}edoc\u{2066}\u{200b}\r\n";
                    if stream.write_all(error.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
