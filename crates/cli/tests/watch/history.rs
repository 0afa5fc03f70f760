//! What is kept of each server, and how it is asked for.

use crate::running::{Watch, folder};
use std::time::Duration;
use unfrag_testbed::{Kind, Options, Server, require};

#[test]
fn what_changes_is_on_the_time_line_and_survives_kill_9() {
    if !require(Kind::Redis8) {
        return;
    }
    let mut server = Server::start(Kind::Redis8, &Options::default()).unwrap();
    let name = server.address();
    let folder = folder();
    let args = [name.as_str(), "--interval", "200ms", "--deep-interval", "1s"];
    let watch = Watch::start(folder.path(), &args);
    let id = watch.read(&name);
    let mut connection = server.connection().unwrap();
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "123456789"]).exec(&mut connection).unwrap();
    watch.until("the setting", |w| {
        w.events(id)
            .iter()
            .any(|e| e.starts_with("config maxmemory") && e.ends_with("123456789"))
            .then_some(())
    });
    server.restart().unwrap();
    watch.until("the restart", |w| {
        w.events(id).iter().any(|e| e.starts_with("restart")).then_some(())
    });
    let events = watch.events(id).len();
    let points = |w: &Watch| {
        w.json(&format!("/api/v1/targets/{id}/history"))["at_s"].as_array().unwrap().len()
    };
    let before = watch.until("points", |w| Some(points(w)).filter(|n| *n >= 4));
    std::thread::sleep(Duration::from_secs(3));
    drop(watch);
    let again = Watch::start(folder.path(), &args);
    assert_eq!(again.read(&name), id);
    assert!(again.events(id).len() >= events);
    assert!(again.until("points", |w| Some(points(w)).filter(|n| *n >= before)) >= before);
}

#[test]
fn spans_of_any_size_are_answered() {
    let folder = folder();
    let watch = Watch::start(folder.path(), &["127.0.0.1:1"]);
    let id = watch.until("the server", |w| w.server("127.0.0.1:1")?["id"].as_i64());
    let (low, high) = (i64::MIN, i64::MAX);
    for what in ["history", "events", "bins"] {
        for span in
            [format!("until={low}"), format!("from={low}&until={high}"), format!("from={high}")]
        {
            watch.json(&format!("/api/v1/targets/{id}/{what}?{span}"));
        }
    }
}
