//! What must be refused beforehand, on real servers in real trouble.

use crate::site::{Site, runtime};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use unfrag_act::restart::{Mode, RestartPlan, RestartStatus, Supervisor, Wish, look, plan};
use unfrag_client::{ConnectOptions, SampleOptions, Target, connect, sample};
use unfrag_diagnose::diagnose;
use unfrag_testbed::measure::wait_until;
use unfrag_testbed::{Kind, require};

fn wish(site: &Site, mode: Mode) -> Wish {
    Wish { mode: Some(mode), ..site.wish() }
}

/// All that stands against it, and that nothing is planned.
fn refused(plan: &RestartPlan) -> String {
    assert!(!plan.may_run(), "{plan:?}");
    plan.refused.iter().map(|o| o.why.clone()).collect::<Vec<_>>().join("; ")
}

fn with_start(site: &Site, line: String) -> Wish {
    Wish { supervisor: Some(Supervisor::Command { line }), ..wish(site, Mode::Plain) }
}

#[test]
fn a_start_that_would_not_bring_it_back() {
    if ![Kind::Redis6, Kind::Redis7, Kind::Valkey9].into_iter().all(require) {
        return;
    }
    let site = Site::start(Kind::Redis7, "save 3600 1");
    site.fill(100);
    let conf = site.conf().display().to_string();
    let other = |kind: Kind| format!("{} {conf}", kind.binary().unwrap().display());
    let nobody = Wish { supervisor: None, ..wish(&site, Mode::Plain) };
    assert!(refused(&site.plan(&nobody)).contains("--start-command"));
    let why = refused(&site.plan(&with_start(&site, format!("/nowhere/redis-server {conf}"))));
    assert!(why.contains("tried and failed"), "{why}");
    let why = refused(&site.plan(&with_start(&site, other(Kind::Valkey9))));
    assert!(why.contains("they do not read each other's files"), "{why}");
    let broken = site.folder.path().join("broken.conf");
    std::fs::write(&broken, "maxmemory lots\n").unwrap();
    let line = site.start_line().replace(&conf, &broken.display().to_string());
    let why = refused(&site.plan(&with_start(&site, line)));
    assert!(why.contains("tried and failed") && why.contains("maxmemory"), "{why}");
    assert_eq!(site.processes().len(), 1, "a rehearsal leaves nothing running");
}

/// Not a test of its own: looks at a server whose next start does not answer, until it is killed.
#[test]
#[ignore = "started by the test below"]
fn a_look_that_is_killed() {
    let get = |name: &str| std::env::var(format!("UNFRAG_LOOKS_{name}")).unwrap();
    let wish = Wish {
        mode: Some(Mode::Plain),
        supervisor: Some(Supervisor::Command { line: get("START") }),
        ..Wish::default()
    };
    let _ = crate::site::facts(
        &Target::tcp("127.0.0.1", get("PORT").parse().unwrap()),
        &ConnectOptions::default(),
        &wish,
    );
}

#[test]
fn a_rehearsal_ends_with_an_unfrag_that_is_killed() {
    if !require(Kind::Redis8) {
        return;
    }
    let site = Site::start(Kind::Redis8, "");
    let server = site.processes();
    let (program, folder) = (site.folder.path().join("redis-server"), site.folder.path().join("t"));
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let mut looking = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "refusals::a_look_that_is_killed", "--ignored"])
        .env("UNFRAG_LOOKS_PORT", site.port.to_string())
        .env("UNFRAG_LOOKS_START", format!("{} {}", program.display(), site.conf().display()))
        .env("TMPDIR", &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let rehearsed = || std::fs::read_dir(&folder).unwrap().count();
    wait_until("the rehearsal", || Ok(site.processes() != server && rehearsed() == 1)).unwrap();
    looking.kill().unwrap();
    looking.wait().unwrap();
    wait_until("its end", || Ok(site.processes() == server && rehearsed() == 0)).unwrap();
}

/// A copy over the server's own snapshot would be the end of the only one.
#[test]
fn a_backup_that_would_overwrite_something() {
    if !require(Kind::Redis7) {
        return;
    }
    let site = Site::start(Kind::Redis7, "save 3600 1");
    site.fill(100);
    redis::cmd("SAVE").exec(&mut site.connection()).unwrap();
    let dump = site.folder.path().join("dump.rdb");
    let bytes = std::fs::read(&dump).unwrap();
    for mode in [Mode::Plain, Mode::Swap] {
        let backup = Wish { backup: Some(dump.clone()), ..wish(&site, mode) };
        assert!(refused(&site.plan(&backup)).contains("is there already"));
    }
    assert_eq!(std::fs::read(&dump).unwrap(), bytes);
    let backup = |mode| Wish { backup: Some(dump.with_extension("copy")), ..wish(&site, mode) };
    assert!(site.plan(&backup(Mode::Plain)).may_run());
    // It would be left out in silence.
    assert!(refused(&site.plan(&backup(Mode::Rolling))).contains("takes no --backup"));
}

#[test]
fn an_older_binary_is_refused() {
    if ![Kind::Redis6, Kind::Redis7].into_iter().all(require) {
        return;
    }
    let site = Site::start(Kind::Redis7, "");
    // Its file must be one that the old one can read.
    let conf = site.folder.path().join("old.conf");
    let text =
        std::fs::read_to_string(site.conf()).unwrap().replace("enable-debug-command local\n", "");
    std::fs::write(&conf, text).unwrap();
    let line = format!("{} {}", Kind::Redis6.binary().unwrap().display(), conf.display());
    let why = refused(&site.plan(&with_start(&site, line)));
    assert!(why.contains("older than this Redis 7.0.15"), "{why}");
}

#[test]
fn a_start_that_would_come_up_empty() {
    for kind in [Kind::Redis6, Kind::Redis8].into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        site.fill(100);
        let conf = std::fs::read_to_string(site.conf()).unwrap();
        let with = |more: &str| {
            std::fs::write(site.conf(), format!("{conf}\n{more}\n")).unwrap();
            refused(&site.plan(&Wish { allow: true, ..wish(&site, Mode::Plain) }))
        };
        assert!(with("appendonly yes").contains("it would come up EMPTY"));
        assert!(with("dbfilename other.rdb").contains("reads another file"));
        assert!(with("dir /tmp").contains("reads its data from `/tmp`"));
        assert!(with("port 7777").contains("listens on port 7777"));
    }
}

#[test]
fn a_folder_that_is_gone() {
    for kind in [Kind::Redis6, Kind::Valkey8].into_iter().filter(|&k| require(k)) {
        let may = if kind.is_7_or_later() { "enable-protected-configs yes" } else { "" };
        let site = Site::start(kind, may);
        let data = site.folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        site.set("dir", data.to_str().unwrap());
        std::fs::remove_dir(&data).unwrap();
        let why = refused(&site.plan(&Wish { allow: true, ..wish(&site, Mode::Plain) }));
        assert!(why.contains("it could not save"), "{why}");
    }
}

#[test]
fn a_snapshot_that_failed_needs_a_word() {
    for kind in [Kind::Redis7, Kind::Valkey9].into_iter().filter(|&k| require(k)) {
        let site = Site::start(kind, "save 3600 1");
        site.fill(100);
        std::fs::create_dir(site.folder.path().join("dump.rdb")).unwrap();
        redis::cmd("BGSAVE").exec(&mut site.connection()).unwrap();
        wait_until("the failure", || Ok(site.info()["rdb_last_bgsave_status"] == "err")).unwrap();
        let why = refused(&site.plan(&wish(&site, Mode::Plain)));
        assert!(why.contains("rdb_last_bgsave_status:err"), "{why}");
        // Told to go on, it is the server that refuses to end.
        let outcome = site.restart(&Wish { allow: true, ..wish(&site, Mode::Plain) });
        assert_eq!(outcome.status, RestartStatus::RolledBack, "{outcome:?}");
        assert_eq!(site.info()["role"], "master");
    }
}

#[test]
fn swap_knows_where_it_cannot_work() {
    if !require(Kind::Redis6) || !require(Kind::Redis8) {
        return;
    }
    let old = Site::start(Kind::Redis6, "");
    assert!(refused(&old.plan(&wish(&old, Mode::Swap))).contains("cannot change its port"));
    let clustered = Site::start(Kind::Redis8, "cluster-enabled yes");
    assert!(refused(&clustered.plan(&wish(&clustered, Mode::Swap))).contains("node of a Cluster"));
    let site = Site::start(Kind::Redis8, "");
    assert!(refused(&site.plan(&wish(&site, Mode::Rolling))).contains("it has no replicas"));
    // The gentlest that works, and why.
    let plan = site.plan(&site.wish());
    assert_eq!((plan.mode, plan.may_run()), (Mode::Swap, true), "{plan:?}");
    let plan = old.plan(&old.wish());
    assert_eq!((plan.mode, plan.may_run()), (Mode::Plain, true), "{plan:?}");
    assert!(plan.why.contains("cannot change its port"), "{}", plan.why);
}

/// The machine's own files, but for how much memory is left: a laid-out meminfo beside links to the real procfs.
fn a_full_machine(root: &Path, pid: &str) {
    let proc = root.join("proc");
    std::fs::create_dir(&proc).unwrap();
    for name in [pid, "uptime"] {
        symlink(Path::new("/proc").join(name), proc.join(name)).unwrap();
    }
    std::fs::write(proc.join("meminfo"), "MemTotal: 400000 kB\nMemAvailable: 20000 kB\n").unwrap();
}

#[test]
fn no_room_for_a_second_copy_is_said_in_numbers() {
    if !require(Kind::Redis8) {
        return;
    }
    let site = Site::start(Kind::Redis8, "");
    let root = tempfile::tempdir().unwrap();
    a_full_machine(root.path(), &site.info()["process_id"]);
    let (options, wish) = (site.options(), wish(&site, Mode::Swap));
    let facts =
        runtime().block_on(look(&Target::Server(site.address()), &options, &wish, |address| {
            let host_root = root.path().to_owned();
            let options = options.clone();
            async move {
                let mut connection = connect(&address, &options).await?;
                let options = SampleOptions { host_root, ..SampleOptions::default() };
                let sample = sample(&mut connection, &options).await?;
                let report = diagnose(&sample);
                Ok((sample, report))
            }
        }));
    let why = refused(&plan::make(&facts.unwrap(), &wish));
    assert!(
        why.contains("no room for a second copy: it needs") && why.contains("19.5 MiB are left"),
        "{why}"
    );
}

#[test]
fn a_server_that_saves_nothing_is_restarted_and_told_of_the_file() {
    if !require(Kind::Valkey9) {
        return;
    }
    let site = Site::start(Kind::Valkey9, "save \"\"");
    site.fill(100);
    let plan = site.plan(&wish(&site, Mode::Plain));
    assert!(
        plan.may_run() && plan.warnings.iter().any(|w| w.contains("dump.rdb behind")),
        "{plan:?}"
    );
}
