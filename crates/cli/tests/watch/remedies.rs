//! Remedies begun from the page and by the policy.

use crate::running::{TOKEN, Watch, folder, servers};
use serde_json::Value;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

#[test]
fn a_fix_from_the_page_runs_and_its_outcome_is_kept() {
    if !require(Kind::Redis8) {
        return;
    }
    let server = Server::start(Kind::Redis8, &Options::default()).unwrap();
    let mut connection = server.connection().unwrap();
    Workload::Strings.run(&mut connection, 64 << 20, 7).unwrap();
    let digest = measure::digest(&mut connection).unwrap();
    let folder = folder();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let watch = Watch::start(
        folder.path(),
        &[&server.address(), "--interval", "500ms", "--token-file", file.to_str().unwrap()],
    );
    let id = watch.read(&server.address());
    let (status, text) = watch.post(
        &format!("/api/v1/targets/{id}/fix"),
        &format!("Authorization: Bearer {TOKEN}\r\n"),
        "{\"max_duration_s\":60}",
    );
    assert_eq!(status, 200, "{text}");
    let job = watch.until("the fix to end", |w| {
        Some(w.json("/api/v1/jobs/1")).filter(|j| j["status"] != "running")
    });
    assert_eq!(job["status"], "done", "{job}");
    assert!(job["outcome"]["reclaimed_bytes"].as_i64().unwrap() > 8 << 20, "{job}");
    assert_eq!(job["outcome"]["schema"], "unfrag.fix/1");
    watch.until("the outcome in the history", |w| {
        let outcomes = w.json(&format!("/api/v1/targets/{id}"))["outcomes"].clone();
        outcomes.as_array().filter(|o| !o.is_empty()).map(|o| assert_eq!(o[0]["what"], "page"))
    });
    assert_eq!(measure::digest(&mut connection).unwrap(), digest);
    // What was packed is not promised once more out of the bins of before.
    let ended_ms = job["ended_s"].as_u64().unwrap() * 1000;
    let after = watch.until("a look after it", |w| {
        let server = w.json(&format!("/api/v1/targets/{id}"));
        (server["read_at_ms"].as_u64()? > ended_ms + 1000).then_some(server)
    });
    let beyond = after["rss"].as_u64().unwrap() - after["used"].as_u64().unwrap();
    for remedy in ["defrag", "repack"] {
        let promised = after["report"]["reclaim"][remedy]["bytes"].as_u64().unwrap_or(0);
        assert!(promised <= beyond, "{remedy}: {promised} of {beyond}");
    }
}

#[test]
fn the_policy_acts_in_its_window_and_says_why() {
    if !require(Kind::Redis8) {
        return;
    }
    let servers = servers(&[Kind::Redis8, Kind::Redis8]);
    for server in &servers {
        Workload::Strings.run(&mut server.connection().unwrap(), 48 << 20, 7).unwrap();
    }
    let folder = folder();
    let file = folder.path().join("watch.toml");
    // The window is always open for the first; there is none for the second.
    std::fs::write(&file, format!(
        "targets = [\"{0}\", \"{1}\"]\ninterval = \"500ms\"\n[policy]\nenabled = true\nround = \"1s\"\nfresh = \"0s\"\n\
         [[policy.rule]]\ntargets = [\"{0}\"]\nremedies = [\"purge\", \"defrag\"]\nmin_gain = \"4MB\"\nmax_duration = \"40s\"\n\
         windows = [{{ start = \"* * * * *\", lasts = \"1h\", zone = \"UTC\" }}]\n",
        servers[0].address(), servers[1].address()
    )).unwrap();
    let watch = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    let ids: Vec<i64> = servers.iter().map(|s| watch.read(&s.address())).collect();
    let decisions =
        |w: &Watch, id: i64| w.json(&format!("/api/v1/targets/{id}"))["decisions"].clone();
    let acted = watch.until("the decision to act", |w| {
        let all = decisions(w, ids[0]);
        all.as_array()?.iter().find(|d| d["acts"] == true).cloned()
    });
    assert!(acted["text"].as_str().unwrap().contains("would give back"), "{acted}");
    let job = watch
        .until("the end", |w| Some(w.json("/api/v1/jobs/1")).filter(|j| j["status"] != "running"));
    assert_eq!(
        (job["who"].as_str(), job["status"].as_str()),
        (Some("policy"), Some("done")),
        "{job}"
    );
    watch.until("the decision not to act", |w| {
        let all = decisions(w, ids[1]);
        all.as_array()?
            .iter()
            .any(|d| d["text"] == "no rule of the policy names this server")
            .then_some(())
    });
    let cooling = |w: &Watch| {
        let all = decisions(w, ids[0]);
        let waits = |d: &&Value| d["text"].as_str().is_some_and(|t| t.contains("too recent"));
        all.as_array().map_or(0, |all| all.iter().filter(waits).count())
    };
    watch.until("the cool-down", |w| (cooling(w) == 1).then_some(()));
    // It outlives the process: a restart of the watch is no reason to act again.
    drop(watch);
    let again = Watch::start(folder.path(), &["--config", file.to_str().unwrap()]);
    // It is known under its name a moment after the start.
    again.read(&servers[0].address());
    again.until("the cool-down after a restart", |w| (cooling(w) == 2).then_some(()));
    let acts =
        decisions(&again, ids[0]).as_array().unwrap().iter().filter(|d| d["acts"] == true).count();
    assert_eq!(acts, 1, "{}", decisions(&again, ids[0]));
}
