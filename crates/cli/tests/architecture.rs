//! The invariants of ARCHITECTURE.md that a compiler does not hold.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The dependencies of a crate, tests' own not counted.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
    let table: toml::Table = manifest.parse().unwrap();
    table.get("dependencies").and_then(toml::Value::as_table).unwrap().keys().cloned().collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("model", &[][..]),
        ("rdb", &["model"]),
        ("keys", &["model", "rdb"]),
        ("diagnose", &["model"]),
        ("client", &["model"]),
        ("act", &["model", "rdb", "client", "diagnose"]),
        ("watch", &["model", "client", "diagnose", "act"]),
        ("testbed", &[]),
        ("cli", &["model", "rdb", "keys", "diagnose", "client", "act", "testbed", "watch"]),
    ]
    .into();
    for folder in
        fs::read_dir(crates()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap())
    {
        let may = allowed
            .get(folder.as_str())
            .unwrap_or_else(|| panic!("crate {folder} is not on the map"));
        for dependency in dependencies(&folder) {
            if let Some(ours) = dependency.strip_prefix("unfrag-") {
                assert!(may.contains(&ours), "{folder} must not depend on {ours}");
            }
        }
    }
}

#[test]
fn pure_crates_know_no_sockets_and_no_clock() {
    for name in ["model", "diagnose", "keys"] {
        for library in ["redis", "tokio", "rustls"] {
            assert!(
                !dependencies(name).contains(&library.to_owned()),
                "{name} depends on {library}"
            );
        }
        for file in sources(&crates().join(name).join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            for forbidden in ["std::fs", "std::net", "SystemTime", "Instant::now", "std::env"] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.display());
            }
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for file in sources(&crates()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{}", file.display());
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|n| n != "target" && n != "corpus") {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
    found
}
