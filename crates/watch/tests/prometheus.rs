//! The rules and queries we give away, against the real promtool; skipped, and said so, where there is none.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stderr, reason = "a skip is said")]

use std::fmt::Write as _;
use std::process::Command;
use unfrag_watch::publish::{dashboard, queries, rules};

fn promtool(args: &[&str], folder: &std::path::Path) -> bool {
    let output = Command::new("promtool").args(args).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    true
}

fn has_promtool() -> bool {
    let there = Command::new("promtool").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: no promtool here (Debian's package prometheus has it)");
    }
    there
}

#[test]
fn the_rules_pass_promtools_check_and_fire_when_they_should() {
    if !has_promtool() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), rules()).unwrap();
    std::fs::write(folder.path().join("test.yml"), include_str!("rules_test.yml")).unwrap();
    assert!(promtool(&["check", "rules", "rules.yml"], folder.path()));
    assert!(promtool(&["test", "rules", "test.yml"], folder.path()));
}

#[test]
fn the_dashboards_queries_are_promql_and_its_panels_do_not_overlap() {
    let board = dashboard();
    let panels = board["panels"].as_array().unwrap();
    let place = |p: &serde_json::Value, k: &str| p["gridPos"][k].as_u64().unwrap();
    for (n, a) in panels.iter().enumerate() {
        assert!(place(a, "x") + place(a, "w") <= 24);
        for b in panels.iter().skip(n + 1) {
            let apart = |at: &str, size: &str| {
                place(a, at) + place(a, size) <= place(b, at)
                    || place(b, at) + place(b, size) <= place(a, at)
            };
            assert!(apart("x", "w") || apart("y", "h"), "{} and {}", a["title"], b["title"]);
            assert_ne!(a["id"], b["id"]);
        }
    }
    if !has_promtool() {
        return;
    }
    let mut text = "groups:\n- name: q\n  rules:\n".to_owned();
    for (n, query) in queries().iter().enumerate() {
        writeln!(text, "  - record: q:{n}\n    expr: '{query}'").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("q.yml"), text.replace("q:", "query:q")).unwrap();
    assert!(promtool(&["check", "rules", "q.yml"], folder.path()));
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unfrag-watch.service");
    // The binary is not installed here: any that exists will do for the check.
    let unit = unfrag_watch::publish::unit().replace("/usr/bin/unfrag", "/bin/true");
    std::fs::write(&path, unit).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
        eprintln!("skipped: no systemd-analyze here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("unfrag-watch.service:"), "{text}");
}
