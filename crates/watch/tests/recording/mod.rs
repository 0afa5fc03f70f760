//! Reads recorded histories, and real incidents as histories of one reading. Shared by a test and an example.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use unfrag_client::files::Sources;
use unfrag_model::{Info, Sample};

/// A server over time.
pub(crate) struct History {
    pub(crate) name: String,
    /// True where somebody should act.
    pub(crate) is_real: bool,
    pub(crate) looks: Vec<(i64, Sample)>,
}

/// The recordings beside this test, made by `examples/record.rs`.
pub(crate) fn recordings() -> Vec<History> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| recording(&std::fs::read_to_string(path).unwrap())).collect()
}

fn recording(text: &str) -> History {
    let mut heads = text.lines().filter_map(|l| l.strip_prefix("# "));
    let name = heads.next().unwrap().to_owned();
    let is_real = heads.next().unwrap().starts_with("real");
    let (mut looks, mut fields) = (vec![], BTreeMap::new());
    for part in text.split("\n@").skip(1) {
        let (at_s, lines) = part.split_once('\n').unwrap_or((part, ""));
        fields.extend(lines.lines().filter_map(|l| l.split_once(':')));
        let mut info = String::new();
        for (key, value) in &fields {
            writeln!(info, "{key}:{value}").unwrap();
        }
        let sample = Sample { info: Info::parse(&info), ..Sample::default() };
        looks.push((at_s.parse().unwrap(), sample));
    }
    History { name, is_real, looks }
}

/// Causes that an expert gives where nobody should have been woken.
const BENIGN: [&str; 7] = [
    "healthy",
    "small-instance-false-alarm",
    "rss-below-used-benign",
    "metric-accounting-bug",
    "oom-not-from-this-instance",
    "peak-past",
    "dataset-growth",
];

/// Real incidents, one reading each, held for forty minutes.
pub(crate) fn cases(folder: &str) -> Vec<History> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<_> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.join("case.json").is_file()).collect();
    paths.sort();
    let case = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("case.json")).unwrap();
        let expert: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cause = expert.get("primary_cause").and_then(|c| c.as_str()).unwrap().to_owned();
        let sample = Sources::file(path).samples().ok()?.into_iter().next()?;
        let looks = (0..240).map(|n| (n * 10, sample.clone())).collect();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Some(History { name, is_real: !BENIGN.contains(&cause.as_str()), looks })
    };
    paths.iter().filter_map(case).collect()
}
