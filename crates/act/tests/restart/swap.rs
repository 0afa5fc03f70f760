//! Swap: a second process takes over.

use crate::load::Load;
use crate::site::Site;
use redis::Commands;
use unfrag_act::restart::{Mode, RestartStatus, Wish};
use unfrag_testbed::measure::{connect, info};
use unfrag_testbed::{Kind, require};

const KEYS: u64 = 20_000;
pub(crate) const KINDS: [Kind; 4] = [Kind::Redis7, Kind::Redis8, Kind::Valkey8, Kind::Valkey9];

fn swap() -> Wish {
    Wish { mode: Some(Mode::Swap), ..Wish::default() }
}

#[test]
fn nothing_answered_is_lost_and_clients_hardly_wait() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        for lines in [
            "save 3600 1",
            "appendonly yes\nsave \"\"",
            "requirepass canary\nmasterauth canary",
            "requirepass canary",
        ] {
            let site = Site::start(kind, lines);
            site.fill(KEYS);
            site.set_at_run_time();
            let old = site.info()["run_id"].clone();
            let load = Load::start(site.port, site.password.as_deref());
            let outcome = site.restart(&swap());
            assert_eq!(outcome.status, RestartStatus::Done, "{} {lines} {outcome:?}", kind.name());
            load.wait_for(500);
            let mut connection = site.connection();
            let seen = load.end(|key| connection.get(key).unwrap());
            assert_eq!(seen.lost, 0, "{} {lines} {seen:?}", kind.name());
            let info = site.info();
            assert_ne!(info["run_id"], old);
            assert_eq!(
                (info["role"].as_str(), info["maxmemory"].as_str()),
                ("master", "3221225472")
            );
            assert_eq!(outcome.verified.config_differs, Some(vec![]));
            let users: Vec<String> = redis::cmd("ACL").arg("LIST").query(&mut connection).unwrap();
            assert!(users.iter().any(|u| u.starts_with("user bob on")), "{users:?}");
            assert_eq!(site.processes().len(), 1, "{}", kind.name());
            assert!(!serde_json::to_string(&outcome).unwrap().contains("canary"));
            let pid = std::fs::read_to_string(site.folder.path().join("pid")).unwrap();
            assert_eq!(pid.trim(), info["process_id"]);
        }
    }
}

/// The second process cannot be given the first one's socket at run time: it gets a name of it, each time anew.
#[test]
fn clients_of_the_unix_socket_come_back_after_each_swap() {
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1\nunixsocket s");
        site.fill(100);
        let socket = site.folder.path().join("s");
        let process = || {
            let mut connection = connect(&format!("unix://{}", socket.display())).unwrap();
            info(&mut connection).unwrap()["process_id"].clone()
        };
        let mut before = process();
        for round in 1..4 {
            let outcome = site.restart(&swap());
            assert_eq!(outcome.status, RestartStatus::Done, "{} {round} {outcome:?}", kind.name());
            let now = process();
            assert_ne!(now, before, "{} {round}", kind.name());
            assert_eq!(now, site.info()["process_id"], "{} {round}", kind.name());
            assert!(outcome.notes.iter().any(|n| n.contains("unix socket")), "{outcome:?}");
            before = now;
        }
        let names = std::fs::read_dir(site.folder.path()).unwrap();
        let names = names.filter_map(|e| e.unwrap().file_name().into_string().ok());
        let sockets: Vec<String> = names.filter(|n| n.starts_with("s.unfrag")).collect();
        assert_eq!(sockets.len(), 1, "{} {sockets:?}", kind.name());
    }
}

/// What a swap leaves behind must survive the next start, whoever does it.
#[test]
fn a_plain_restart_after_a_swap_has_everything() {
    for kind in KINDS.into_iter().filter(|&k| require(k)) {
        for lines in ["save 3600 1", "appendonly yes\nsave \"\""] {
            let site = Site::start(kind, lines);
            site.fill(KEYS);
            let outcome = site.restart(&swap());
            assert_eq!(outcome.status, RestartStatus::Done, "{} {lines} {outcome:?}", kind.name());
            let _: u64 = site.connection().incr("after", 1).unwrap();
            let keys: u64 = redis::cmd("DBSIZE").query(&mut site.connection()).unwrap();
            let wish = Wish { mode: Some(Mode::Plain), ..site.wish() };
            let outcome = site.restart(&wish);
            assert_eq!(outcome.status, RestartStatus::Done, "{} {lines} {outcome:?}", kind.name());
            let after: u64 = redis::cmd("DBSIZE").query(&mut site.connection()).unwrap();
            assert_eq!(after, keys, "{} {lines}", kind.name());
        }
    }
}

#[test]
fn an_acl_file_beside_the_data_is_found() {
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let site = Site::laid_out(kind, "daemonize yes\naclfile users.acl\nsave 3600 1");
        let users = "user default on nopass ~* &* +@all\nuser carol on >secret ~* +get\n";
        std::fs::write(site.folder.path().join("users.acl"), users).unwrap();
        let started =
            std::process::Command::new("sh").arg("-c").arg(site.start_line()).status().unwrap();
        assert!(started.success());
        site.wait_until_up();
        site.fill(100);
        for wish in [swap(), Wish { mode: Some(Mode::Plain), ..site.wish() }] {
            let outcome = site.restart(&wish);
            assert_eq!(outcome.status, RestartStatus::Done, "{} {outcome:?}", kind.name());
            let users: Vec<String> =
                redis::cmd("ACL").arg("USERS").query(&mut site.connection()).unwrap();
            assert!(users.iter().any(|u| u == "carol"), "{} {users:?}", kind.name());
        }
    }
}
