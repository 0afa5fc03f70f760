//! The fleet file's parser on its fuzz corpus, every prefix and many mutations: it reads or refuses, and a refusal never
//! repeats a secret.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "tests")]

use unfrag_client::fleet;

const SECRET: &str = "canary-55d0e2";

fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/fleet");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap())
        .collect()
}

fn body(text: &str) {
    if let Err(error) = fleet::parse(text) {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn a_fleet_file_is_read_or_refused_without_its_secrets() {
    let mut seeds = corpus();
    assert!(!seeds.is_empty());
    seeds.push(format!(
        "[defaults]\npassword = \"{SECRET}\"\n[[target]]\nuri = \"redis://u:{SECRET}@h:1/0\"\n"
    ));
    let splices = ["\"", "[", "]]", "=", "\n", "é", "\u{0}", "password = ", "#"];
    for seed in &seeds {
        for (at, _) in seed.char_indices() {
            body(&seed[..at]);
            body(&seed[at..]);
            for splice in splices {
                body(&format!("{}{splice}{}", &seed[..at], &seed[at..]));
            }
        }
    }
}
