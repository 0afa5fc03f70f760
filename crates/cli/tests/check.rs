//! `unfrag check` as people meet it: the binary, its output and its exit codes.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};
use unfrag_testbed::misbehaving::{Fault, Misbehaving};
use unfrag_testbed::{Kind, Options, Server, deployment, require};

const SECRET: &str = "canary-7f3a91";

fn unfrag(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(args)
        .env_remove("REDISCLI_AUTH")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

fn data(name: &str) -> String {
    format!("tests/data/{name}")
}

fn shown(args: &[&str]) -> String {
    String::from_utf8(unfrag(args).stdout).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_fragmented_server_for_people() {
    insta::assert_snapshot!(shown(&["check", "--file", &data("fragmented")]));
}

#[test]
fn a_fragmented_server_in_every_detail() {
    insta::assert_snapshot!(shown(&["check", "--verbose", "--file", &data("fragmented")]));
}

#[test]
fn a_fragmented_server_for_a_ticket() {
    insta::assert_snapshot!(shown(&["check", "-o", "markdown", "--file", &data("fragmented")]));
}

#[test]
fn a_fragmented_server_for_programs() {
    insta::assert_snapshot!(shown(&["check", "-o", "json", "--file", &data("fragmented")]));
}

#[test]
fn a_healthy_server_is_one_short_screen() {
    insta::assert_snapshot!(shown(&["check", "--file", &data("healthy")]));
}

#[test]
fn help_is_part_of_the_interface() {
    insta::assert_snapshot!(shown(&["--help"]));
    insta::assert_snapshot!(shown(&["check", "--help"]));
}

#[test]
fn no_line_is_wider_than_the_terminal_and_ascii_stays_ascii() {
    for name in ["fragmented", "healthy"] {
        for verbose in [&[][..], &["--verbose"]] {
            let path = data(name);
            let args = [&["check", "--file", &path][..], verbose].concat();
            let text = shown(&args);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
            }
            assert!(!text.contains('\u{1b}'), "colour in a pipe");
        }
    }
    let plain = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["check", "--file", &data("fragmented")])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(plain.stdout.is_ascii(), "{}", String::from_utf8_lossy(&plain.stdout));
}

#[test]
fn one_screen_unless_verbose() {
    let lines = shown(&["check", "--file", &data("fragmented")]).lines().count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn fail_on_decides_the_exit_code() {
    let fragmented = data("fragmented");
    for (args, want) in [
        (&["check", "--file", &fragmented][..], 0),
        (&["check", "--file", &fragmented, "--fail-on", "urgent"], 0),
        (&["check", "--file", &fragmented, "--fail-on", "act"], 3),
        (&["check", "--file", &fragmented, "--fail-on", "watch"], 3),
        (&["check", "--file", &data("healthy"), "--fail-on", "watch"], 0),
    ] {
        assert_eq!(code(&unfrag(args)), want, "{args:?}");
    }
}

#[test]
fn bad_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let cases = [
        file("empty", b""),
        file("binary", &[0, 159, 146, 150, 0, 1]),
        file("prose", b"the server is slow today\n"),
        file("huge", "used_memory:1\n".repeat(2_000_000).as_bytes()),
        folder.path().join("missing").display().to_string(),
    ];
    let mut messages = vec![];
    for path in &cases {
        let output = unfrag(&["check", "--file", path]);
        assert_eq!(code(&output), 5, "{path}: {}", talk(&output));
        assert!(output.stdout.is_empty());
        messages.push(talk(&output).replace(path, ""));
    }
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), cases.len(), "{messages:#?}");
}

#[test]
fn a_bad_command_line_is_2_and_says_what_to_do() {
    for args in [
        &["check", "--bogus"][..],
        &["check", "-p", "0"],
        &["check", "-t", "0"],
        &["check", "http://127.0.0.1"],
        &["check", "--pass-file", "/nonexistent/secret"],
        &["explain", "no-such-rule"],
        &["lab", "--workload", "nope"],
        &["lab", "--server", "nope"],
        &["acl", "nope"],
    ] {
        let output = unfrag(args);
        assert_eq!(code(&output), 2, "{args:?}: {}", talk(&output));
        assert!(talk(&output).starts_with("error: "), "{}", talk(&output));
    }
}

#[test]
fn servers_that_misbehave_are_4_quickly_and_named() {
    for (fault, word) in [
        (Fault::Hangs, "answer"),
        (Fault::ClosesHalfway, "closed"),
        (Fault::Garbage, "Redis"),
        (Fault::HugeLength, "larger"),
        (Fault::Http, "HTTP"),
        (Fault::Endless, "larger"),
    ] {
        let server = Misbehaving::start(fault).unwrap();
        let output = unfrag(&["check", "-t", "0.5", "-p", &server.port().to_string()]);
        assert_eq!(code(&output), 4, "{fault:?}: {}", talk(&output));
        assert!(talk(&output).contains(word), "{fault:?}: {}", talk(&output));
        assert!(talk(&output).contains("hint: "), "{fault:?}: {}", talk(&output));
    }
}

#[test]
fn passwords_open_and_are_never_shown() {
    if !require(Kind::Redis7) {
        return;
    }
    let server = Server::start(
        Kind::Redis7,
        &Options { password: Some(SECRET.to_owned()), ..Options::default() },
    )
    .unwrap();
    let port = server.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{SECRET}\r\n")).unwrap();
    let fleet = folder.path().join("fleet.toml");
    std::fs::write(&fleet, format!("[[target]]\nname = \"one\"\nhost = \"127.0.0.1\"\nport = {port}\npassword = \"{SECRET}\"\n")).unwrap();
    let uri = format!("redis://:{SECRET}@127.0.0.1:{port}/0");
    let (file, fleet) = (file.display().to_string(), fleet.display().to_string());
    for form in ["human", "json", "markdown"] {
        for args in [
            &["-p", &port, "-a", SECRET][..],
            &["-p", &port, "--pass-file", &file],
            &["--fleet", &fleet],
            &[&uri],
            &["-u", &uri],
        ] {
            let output = unfrag(&[&["check", "--verbose", "-o", form], args].concat());
            assert_eq!(code(&output), 0, "{args:?}: {}", talk(&output));
            let all = talk(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!all.contains(SECRET), "{args:?} {form}");
        }
    }
    let wrong = unfrag(&["check", "-p", &port, "-a", &format!("{SECRET}-wrong")]);
    assert_eq!(code(&wrong), 4);
    assert!(
        talk(&wrong).to_lowercase().contains("password") && !talk(&wrong).contains(SECRET),
        "{}",
        talk(&wrong)
    );
    assert_eq!(code(&unfrag(&["check", "-p", &port])), 4);
}

#[test]
fn one_node_is_enough_for_a_cluster_and_a_dead_one_is_a_line() {
    if !require(Kind::Valkey8) {
        return;
    }
    let mut cluster = deployment::Cluster::start(Kind::Valkey8, 1, &Options::default()).unwrap();
    let port = cluster.nodes[4].port().to_string();
    let targets = |output: &Output| {
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["schema"], "unfrag.check/1");
        json["targets"].as_array().unwrap().clone()
    };
    let all = unfrag(&["check", "-p", &port, "-o", "json"]);
    assert_eq!((code(&all), targets(&all).len()), (0, 6));
    drop(cluster.nodes.remove(5));
    let rest = unfrag(&["check", "-p", &port, "-t", "2", "-o", "json"]);
    assert_eq!(code(&rest), 0);
    let answered = targets(&rest).iter().filter(|t| t["error"].is_null()).count();
    assert_eq!(answered, 5);
    let json: serde_json::Value = serde_json::from_slice(&rest.stdout).unwrap();
    let named =
        json["targets"].as_array().unwrap().len() + json["problems"].as_array().unwrap().len();
    assert_eq!(named, 6, "{json:#}");
}

#[test]
fn a_sentinel_name_finds_primary_and_replicas() {
    if !require(Kind::Redis7) {
        return;
    }
    let watched = deployment::Watched::start(Kind::Redis7, 2, &Options::default()).unwrap();
    let uri = format!("redis+sentinel://main@127.0.0.1:{}", watched.sentinels[1].port());
    let output = unfrag(&["check", &uri, "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut roles: Vec<&str> = json["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["server"]["role"].as_str().unwrap())
        .collect();
    roles.sort_unstable();
    assert_eq!((code(&output), roles), (0, vec!["primary", "replica", "replica"]));
}
