//! Users with few rights: exactly those we ask for, and fewer.

use super::{CANARY, address, block_on, crowd, error, read, start};
use unfrag_client::acl::{self, acl_line};
use unfrag_client::capability::{Availability, probe};
use unfrag_client::{ConnectOptions, ErrorKind, Problem, connect};
use unfrag_model::Sample;
use unfrag_testbed::{Kind, Options, Server, measure};

/// Runs an `ACL SETUSER` line as it is printed for people.
fn make_user(server: &Server, line: &str) {
    let mut words = line.split(' ').map(|word| word.replace(">PASSWORD", &format!(">{CANARY}")));
    let mut cmd = redis::cmd(&words.next().expect("a command"));
    words.for_each(|word| {
        cmd.arg(word);
    });
    let mut connection = server.connection().expect("a connection");
    measure::command::<()>(&mut connection, "make the user", &cmd).expect("made");
}

fn as_user() -> ConnectOptions {
    ConnectOptions {
        user: Some("reader".into()),
        password: Some(CANARY.into()),
        ..ConnectOptions::default()
    }
}

#[test]
fn the_printed_rights_are_enough_on_every_server() {
    for kind in Kind::ALL {
        let Some(server) = start(kind, &Options::default()) else { continue };
        make_user(&server, &acl_line(acl::Reading::Server, "reader"));
        for resp3 in [false, true] {
            let options = ConnectOptions { resp3, ..as_user() };
            let sample = read(&address(&server), &options).expect("a sample");
            assert_eq!(sample.unread, [], "{kind:?}");
            assert!(sample.memory_stats.is_some() && !sample.config.is_empty());
            assert!(!denials(&server).contains("reader"), "{kind:?}: the ACL log has denials");
        }
    }
}

/// And none too many: without any one of them something is missing.
#[test]
fn each_of_the_printed_rights_is_needed() {
    let Some(server) = start(Kind::Redis8, &Options::default()) else { return };
    let rules = acl::Reading::Server.rules();
    for left_out in rules.iter().filter(|rule| **rule != "+info") {
        let line = acl_line(acl::Reading::Server, "reader").replace(&format!(" {left_out}"), "");
        make_user(&server, &line);
        // Asked for in place of the list, where that would be long.
        let crowd = (*left_out == "+client|info").then(|| crowd(&server));
        let sample = read(&address(&server), &as_user()).expect("a sample");
        drop(crowd);
        if ["+client|setname", "+client|info"].contains(left_out) {
            // No reading: what it was for is missed, and the server's ACL log has a line about it.
            assert!(sample.unread.iter().all(|u| !u.why.contains("NOPERM")), "{:?}", sample.unread);
            assert!(denials(&server).contains(left_out.trim_start_matches('+')), "{left_out}");
            continue;
        }
        let [unread] = sample.unread.as_slice() else { panic!("{left_out}: {:?}", sample.unread) };
        let command = left_out.trim_start_matches('+').replace('|', " ").to_uppercase();
        assert_eq!(unread.what, command);
        assert!(unread.why.contains("NOPERM"), "{unread:?}");
    }
    make_user(&server, "ACL SETUSER reader reset on >PASSWORD +client|setname");
    let error = error(&address(&server), &as_user());
    assert!(
        matches!(&*error.problem, Problem::NoPermission { command, .. } if command.starts_with("INFO"))
    );
    assert_eq!(error.kind(), ErrorKind::NotAllowed);
}

fn denials(server: &Server) -> String {
    let mut connection = server.connection().expect("a connection");
    let log: redis::Value =
        measure::command(&mut connection, "read the ACL log", redis::cmd("ACL").arg("LOG"))
            .expect("a log");
    format!("{log:?}").replace("[REDACTED]", "").to_lowercase().replace("bulk-string", "")
}

#[test]
fn renamed_commands_are_recorded_and_the_sample_goes_on() {
    let options = Options::args(&[
        "--rename-command",
        "CONFIG",
        "secret-config",
        "--rename-command",
        "MEMORY",
        "",
    ]);
    let Some(server) = start(Kind::Redis6, &options) else { return };
    let sample: Sample = read(&address(&server), &ConnectOptions::default()).expect("a sample");
    let unread: Vec<&str> = sample.unread.iter().map(|u| u.what.as_str()).collect();
    assert_eq!(unread, ["MEMORY STATS", "MEMORY MALLOC-STATS", "CONFIG GET"]);
    assert!(sample.unread.iter().all(|u| u.why.contains("does not know")), "{:?}", sample.unread);
    assert!(sample.clients.is_some());
}

#[test]
fn what_may_be_run_is_found_out_without_running_it() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Valkey9] {
        let Some(server) = start(kind, &Options::args(&["--rename-command", "BGSAVE", ""])) else {
            continue;
        };
        make_user(&server, "ACL SETUSER reader reset on >PASSWORD +command +acl +info +memory");
        let got = block_on(async {
            let mut connection = connect(&address(&server), &as_user()).await?;
            let commands: [&[&str]; 4] =
                [&["MEMORY", "PURGE"], &["CONFIG", "SET", "hz", "10"], &["BGSAVE"], &["NOSUCH"]];
            probe(&mut connection, &commands).await
        });
        let got = got.expect("an answer");
        assert_eq!(got[2..], [Availability::Absent, Availability::Absent], "{kind:?}");
        if kind == Kind::Redis6 {
            assert_eq!(got[..2], [Availability::Exists, Availability::Exists]);
        } else {
            assert_eq!(got[0], Availability::Allowed, "{kind:?}");
            assert!(
                matches!(&got[1], Availability::Denied(why) if why.contains("config")),
                "{got:?}"
            );
        }
    }
}
