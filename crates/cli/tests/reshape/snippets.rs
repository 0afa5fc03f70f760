//! The application's side is read by each language's own tools, where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};

/// Prints snippets for a server that is not there: the dry run fails after nothing, so a tiny one is started.
fn printed(scene: &super::Scene, args: &[&str], client: &str) -> String {
    let output = scene.reshape(&[args, &["--snippets", client]].concat()).output().unwrap();
    let text = super::text(&output);
    let (_, code) = text.split_once(&format!("--- {client}\n")).unwrap();
    code.to_owned()
}

fn is_installed(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// True where the check passed or the tool is missing.
fn check(folder: &Path, client: &str, code: &str) {
    let (file, program, args): (&str, &str, &[&str]) = match client {
        "redis-py" => ("snippet.py", "python3", &["-m", "py_compile"]),
        "node-redis" => ("snippet.mjs", "node", &["--check"]),
        "go-redis" => ("snippet.go", "gofmt", &["-e"]),
        "jedis" => ("Snippet.java", "javac", &["-proc:none", "-XDshould-stop.ifError=PARSE"]),
        _ => (
            "snippet.rs",
            "rustfmt",
            &["--check", "--edition", "2024", "--config", "max_width=200"],
        ),
    };
    let installed = if program == "gofmt" {
        Path::new("/usr/bin/gofmt").exists()
    } else {
        is_installed(program)
    };
    if !installed {
        println!("skipped: {program} is not here to read {client}");
        return;
    }
    let path = folder.join(file);
    std::fs::write(&path, code).unwrap();
    let output = Command::new(program).args(args).arg(&path).current_dir(folder).output().unwrap();
    let said = super::text(&output);
    match program {
        // The libraries are not here: only what the parser says counts, and it speaks of them last.
        "javac" => {
            let wrong = said.lines().filter(|l| l.contains("error: "));
            let wrong: Vec<&str> = wrong
                .filter(|l| !l.contains("package ") && !l.contains("cannot find symbol"))
                .collect();
            assert_eq!(wrong, Vec::<&str>::new(), "{said}\n{code}");
        }
        // Its layout is for people with another width; an error is what cannot be read.
        "rustfmt" => assert!(!said.contains("error"), "{said}\n{code}"),
        _ => assert!(output.status.success(), "{client}: {said}\n{code}"),
    }
}

#[test]
fn every_snippet_is_read_by_its_language() {
    if !unfrag_testbed::require(unfrag_testbed::Kind::Redis7) {
        return;
    }
    let scene = super::Scene::new(unfrag_testbed::Kind::Redis7, &[]);
    let folder = tempfile::tempdir().unwrap();
    let hostile = ["hash", "--match", "a\"`$\\%{{{id}}}:{type}", "--into", "b\"`$\\%{{{id/100}}}"];
    for client in ["redis-py", "node-redis", "go-redis", "jedis", "redis-rs"] {
        check(folder.path(), client, &printed(&scene, super::HASH, client));
        check(folder.path(), client, &printed(&scene, &hostile, client));
        for codec in ["zlib", "lz4", "zstd"] {
            let args = ["compress", "--match", "doc:*", "--codec", codec];
            check(folder.path(), client, &printed(&scene, &args, client));
        }
    }
}

/// What `zlib.decompress` makes of it; `None` without Python.
pub(crate) fn python_unpacks(packed: &[u8]) -> Option<String> {
    use std::io::Write;
    if !is_installed("python3") {
        return None;
    }
    let mut child = Command::new("python3")
        .args([
            "-c",
            "import sys,zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(packed).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}
