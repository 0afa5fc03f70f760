//! Plain: stop, start, compare.

use crate::load::Load;
use crate::site::Site;
use redis::Commands;
use unfrag_act::restart::{Mode, RestartStatus, Wish};
use unfrag_testbed::{Kind, measure, require};

const KEYS: u64 = 20_000;

fn plain(site: &Site) -> Wish {
    Wish { mode: Some(Mode::Plain), ..site.wish() }
}

#[test]
fn nothing_answered_is_lost() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        for lines in ["save 3600 1", "save \"\"", "appendonly yes", "requirepass canary"] {
            let site = Site::start(kind, lines);
            site.fill(KEYS);
            let load = Load::start(site.port, site.password.as_deref());
            let outcome = site.restart(&plain(&site));
            assert_eq!(outcome.status, RestartStatus::Done, "{} {lines} {outcome:?}", kind.name());
            load.wait_for(500);
            let mut connection = site.connection();
            let seen = load.end(|key| connection.get(key).unwrap());
            assert_eq!(seen.lost, 0, "{} {lines} {seen:?}", kind.name());
            assert_eq!(outcome.verified.config_differs, Some(vec![]));
            assert!(outcome.gap_ms.is_some_and(|gap| gap > 1.0));
            assert_eq!(site.processes().len(), 1, "{}", kind.name());
            assert!(!serde_json::to_string(&outcome).unwrap().contains("canary"));
        }
    }
}

/// Clients write on at once, so that the counts need not be equal; but so many cannot have gone.
#[test]
fn keys_that_the_append_only_file_lacks_are_missed() {
    if !require(Kind::Redis6) {
        return;
    }
    let site = Site::start(Kind::Redis6, "appendonly yes\nsave \"\"");
    site.fill(100);
    // Which this server does not write into its append-only file.
    measure::typed(&mut site.connection(), "DEBUG POPULATE 500000 unwritten 8").unwrap();
    let load = Load::start(site.port, None);
    let outcome = site.restart(&plain(&site));
    load.wait_for(100);
    let mut connection = site.connection();
    assert_eq!(load.end(|key| connection.get(key).unwrap()).lost, 0);
    let error = outcome.error.clone().unwrap_or_default();
    assert!(outcome.status == RestartStatus::Failed && error.contains("are left"), "{outcome:?}");
}

#[test]
fn a_quiet_server_is_the_same_to_the_last_byte() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        site.fill(KEYS);
        let before = measure::digest(&mut site.connection()).unwrap();
        let backup = site.folder.path().join("copy.rdb");
        let wish = Wish { digest: true, backup: Some(backup.clone()), ..plain(&site) };
        let outcome = site.restart(&wish);
        assert_eq!(outcome.status, RestartStatus::Done, "{outcome:?}");
        let v = &outcome.verified;
        assert_eq!(v.digest_equal, Some(true));
        assert_eq!((v.databases_equal, v.sample_differs), (Some(true), 0));
        assert_eq!(v.file_keys, v.keys_before);
        assert!(v.sampled > 100 && backup.is_file());
        assert_eq!(measure::digest(&mut site.connection()).unwrap(), before);
    }
}

#[test]
fn settings_of_the_running_server_are_written_only_with_consent() {
    if !require(Kind::Redis7) {
        return;
    }
    let site = Site::start(Kind::Redis7, "save 3600 1");
    site.set("maxmemory", "3gb");
    let plan = site.plan(&plain(&site));
    assert!(!plan.may_run());
    assert!(
        plan.refused[0].why.contains("maxmemory 3221225472 (would be 0)"),
        "{:?}",
        plan.refused
    );
    let outcome = site.restart(&Wish { rewrite_config: true, ..plain(&site) });
    assert_eq!(outcome.status, RestartStatus::Done, "{outcome:?}");
    assert_eq!(site.info()["maxmemory"], "3221225472");
}

#[test]
fn a_save_that_fails_leaves_the_server_up() {
    for kind in [Kind::Redis6, Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        site.fill(1000);
        let wish = plain(&site);
        let facts = site.facts(&wish);
        // After the look, before the stop: a folder takes the place of the temporary file's target.
        std::fs::create_dir(site.folder.path().join("dump.rdb")).unwrap();
        let load = Load::start(site.port, None);
        let stop = unfrag_act::Stop::default();
        let outcome = site.carry_out(&facts, &wish, stop, &mut |_| {});
        assert_eq!(outcome.status, RestartStatus::RolledBack, "{} {outcome:?}", kind.name());
        assert!(outcome.error.as_ref().unwrap().contains("stayed up"), "{:?}", outcome.error);
        load.wait_for(200);
        let mut connection = site.connection();
        assert_eq!(load.end(|key| connection.get(key).unwrap()).lost, 0);
        assert_eq!(site.journals().unfinished().unwrap().len(), 0);
    }
}

/// Found by hand: a user that only the running server knew was gone afterwards, its clients shut out, and unfrag with them.
#[test]
fn users_of_the_running_server_are_not_forgotten() {
    for kind in [Kind::Redis6, Kind::Redis8, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        for with_file in [false, true] {
            let site = Site::laid_out(kind, "daemonize yes\nsave 3600 1");
            let aclfile = site.folder.path().join("users.acl");
            if with_file {
                std::fs::write(&aclfile, "user kept on >kept ~* +@all\n").unwrap();
                let text = std::fs::read_to_string(site.conf()).unwrap();
                let text = format!("{text}aclfile {}\n", aclfile.display());
                std::fs::write(site.conf(), text).unwrap();
            }
            let mut start = std::process::Command::new("sh");
            assert!(start.arg("-c").arg(site.start_line()).status().unwrap().success());
            site.wait_until_up();
            site.fill(100);
            assert!(site.plan(&plain(&site)).may_run(), "{}", kind.name());
            let mut user = redis::cmd("ACL");
            user.arg(&["SETUSER", "bob", "on", ">secret", "~a*", "+get"]);
            user.exec(&mut site.connection()).unwrap();
            let refused = site.plan(&plain(&site)).refused;
            let why = refused.iter().map(|o| o.why.as_str()).collect::<Vec<_>>().join("; ");
            assert!(why.contains("user bob") && !why.contains("kept"), "{} {why}", kind.name());
            let outcome = site.restart(&Wish { rewrite_config: true, ..plain(&site) });
            assert_eq!(outcome.status, RestartStatus::Done, "{} {outcome:?}", kind.name());
            let users: Vec<String> =
                redis::cmd("ACL").arg("LIST").query(&mut site.connection()).unwrap();
            assert!(users.iter().any(|u| u.starts_with("user bob on")), "{users:?}");
        }
    }
}

#[test]
fn a_password_of_the_running_server_is_not_forgotten() {
    if !require(Kind::Redis7) {
        return;
    }
    let mut site = Site::start(Kind::Redis7, "save 3600 1");
    site.set("requirepass", "canary");
    site.password = Some("canary".to_owned());
    let refused = site.plan(&plain(&site)).refused;
    let why = format!("{refused:?}");
    assert!(why.contains("requirepass (a secret)") && !why.contains("canary"), "{why}");
    let outcome = site.restart(&Wish { rewrite_config: true, ..plain(&site) });
    assert_eq!(outcome.status, RestartStatus::Done, "{outcome:?}");
    assert!(site.try_connection().is_some());
}
