//! Its life as a service: what it reads at the start and again, what it tells systemd, what it says of mistakes.

use crate::running::{Running, Watch, folder, servers};
use serde_json::Value;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Instant;
use unfrag_testbed::{Kind, Server, measure, require, signal};

#[test]
fn it_reads_its_configuration_again_and_ends_when_told() {
    if !require(Kind::Redis7) {
        return;
    }
    let servers = servers(&[Kind::Redis7, Kind::Redis7]);
    let names: Vec<String> = servers.iter().map(Server::address).collect();
    let folder = folder();
    let file = folder.path().join("watch.toml");
    let write = |targets: &[&String], more: &str| {
        std::fs::write(&file, format!("interval = \"300ms\"\ntargets = {targets:?}\n{more}"))
            .unwrap();
    };
    write(&[&names[0]], "");
    let mut watch = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    let id = watch.read(&names[0]);
    write(&[&names[0], &names[1]], "");
    watch.signal("-HUP");
    watch.read(&names[1]);
    assert_eq!(watch.server(&names[0]).unwrap()["id"], id);
    // A mistake in it changes nothing and is said.
    write(&[], "intervall = \"1s\"\n");
    watch.signal("-HUP");
    let heard = watch.hears("left as it was");
    assert!(heard.contains("intervall"), "{heard}");
    // What is read at the start only is not passed over in silence.
    write(&[&names[1]], "[history]\nraw = \"1d\"\n");
    watch.signal("-HUP");
    let heard = watch.hears("at the next start");
    assert!(heard.contains("how long the history is kept"), "{heard}");
    watch.until("the first to leave", |w| w.server(&names[0]).is_none().then_some(()));
    assert!(watch.server(&names[1]).unwrap()["rss"].is_u64());
    watch.end();
}

/// A fake of systemd, and said to be: a socket that takes its messages, and its environment.
#[test]
fn systemd_hears_that_it_is_ready_alive_and_ending_and_its_log_is_json() {
    let folder = folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(measure::PATIENCE)).unwrap();
    // Nothing listens there: it is shown as lost, and all else goes on.
    let child = Command::new("sh")
        .args(["-c", "export WATCHDOG_PID=$$; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_unfrag")])
        .args(["watch", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--log", "json"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let mut heard = String::new();
    let mut until = |wanted: &str, times: usize| {
        let end = Instant::now() + measure::PATIENCE;
        while heard.matches(wanted).count() < times {
            assert!(Instant::now() < end, "no `{wanted}` in {heard}");
            let mut message = [0; 512];
            match socket.recv(&mut message) {
                Ok(length) => heard += &String::from_utf8_lossy(&message[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{wanted}: {error}: {heard}"),
            }
        }
    };
    until("READY=1", 1);
    until("WATCHDOG=1", 4);
    until("STATUS=1 server, 1 does not answer", 1);
    signal(child.0.id(), "-TERM").unwrap();
    until("STOPPING=1", 1);
    let mut log = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert!(folder.path().join("state/history.sqlite").exists());
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|l| l["level"].is_string()),
            "{line}"
        );
    }
}

#[test]
fn mistakes_are_told_with_their_exit_codes() {
    let folder = folder();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .arg("watch")
            .args(args)
            .env("XDG_STATE_HOME", folder.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = run(&["--listen", &address]);
    assert!(code == 2 && text.contains("cannot listen on"), "{code} {text}");
    let (code, text) = run(&["--config", "/does/not/exist"]);
    assert!(code == 5 && text.contains("cannot read the configuration"), "{code} {text}");
    let config = folder.path().join("bad.toml");
    std::fs::write(&config, "[policy]\nenabled = true\n").unwrap();
    let (code, text) = run(&["--config", config.to_str().unwrap()]);
    assert!(code == 5 && text.contains("has no rule"), "{code} {text}");
    std::fs::write(folder.path().join("token"), "short\n").unwrap();
    let (code, text) = run(&["--token-file", folder.path().join("token").to_str().unwrap()]);
    assert!(code == 2 && text.contains("shorter than"), "{code} {text}");
    let (code, text) = run(&["--token-file", "/does/not/exist"]);
    assert!(code == 2 && text.contains("cannot read the token file"), "{code} {text}");
    let (code, text) = run(&["--interval", "fast"]);
    assert!(code == 2 && text.contains("is no time"), "{code} {text}");
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    std::fs::write(
        folder.path().join("data/history.sqlite"),
        "this is no database, and long enough to be looked at",
    )
    .unwrap();
    let (code, text) =
        run(&["--data", folder.path().join("data").to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(code == 5 && text.contains("history"), "{code} {text}");
}
