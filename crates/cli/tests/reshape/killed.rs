//! Killed at any step: every key is whole at every moment, `undo` puts back, the same command goes on.

use super::{HASH, SERVERS, Scene, document, text};
use std::process::Stdio;
use std::time::Duration;
use unfrag_testbed::require;

const COMPRESS: &[&str] = &["compress", "--match", "doc:*", "--codec", "zstd", "--min-size", "100"];

fn fill(scene: &mut Scene) {
    scene.users(600);
    scene.run(&["SELECT", "3"]);
    scene.users(40);
    scene.run(&["SELECT", "0"]);
    let mut pipe = redis::pipe();
    for n in 0..300 {
        pipe.cmd("SET").arg(format!("doc:{n}")).arg(document(n, 30 + n));
    }
    // Fields and values that were there before.
    pipe.cmd("HSET").arg("user:7").arg("name").arg("older").arg("own").arg("1");
    pipe.cmd("SET").arg("doc:packed").arg(b"\x78\x9c\x03\x00\x00\x00\x00\x01");
    pipe.exec(&mut scene.connection).unwrap();
}

/// Dies at this step, then `after` decides.
fn die(scene: &Scene, args: &[&str], step: &str) {
    let output =
        scene.reshape(&[args, &["--yes"]].concat()).env("UNFRAG_TEST_DIE", step).output().unwrap();
    assert_eq!(output.status.code(), None, "it must have died at {step}: {}", text(&output));
}

fn undo(scene: &Scene) {
    let output = scene.unfrag(&["undo"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

const STEPS: [&str; 6] = ["recorded", "announced:1", "announced:4", "sent:1", "sent:2", "sent:5"];

#[test]
fn undo_puts_back_from_every_step() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        fill(&mut scene);
        let before = scene.digest();
        for args in [HASH, COMPRESS] {
            for step in STEPS {
                die(&scene, args, step);
                undo(&scene);
                assert_eq!(scene.digest(), before, "{} {args:?} {step}", kind.name());
            }
        }
    }
}

#[test]
fn the_same_command_goes_on_and_the_way_back_can_be_killed_as_well() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        fill(&mut scene);
        let before = scene.digest();
        for args in [HASH, COMPRESS] {
            die(&scene, args, "sent:2");
            // Another change must wait.
            let other =
                ["hash", "--match", "other:{id}", "--into", "o:{id/10}", "--yes", "--allow"];
            let refused = scene.reshape(&other).output().unwrap();
            assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
            die(&scene, args, "announced:2");
            scene.json(&[args, &["--yes"]].concat(), 0);
            let whole = scene.digest();
            // The way back, killed: undo makes it new again, the same command old.
            die(&scene, &[args, &["--reverse"]].concat(), "sent:2");
            undo(&scene);
            assert_eq!(scene.digest(), whole, "{} {args:?}", kind.name());
            die(&scene, &[args, &["--reverse"]].concat(), "announced:3");
            scene.json(&[args, &["--reverse", "--yes"]].concat(), 0);
            assert_eq!(scene.digest(), before, "{} {args:?}", kind.name());
        }
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        fill(&mut scene);
        let before = scene.digest();
        for delay_ms in [20, 900, 1300, 1900, 2000, 2050, 2100, 2200] {
            let mut child = scene
                .reshape(&[HASH, &["--yes"]].concat())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(delay_ms));
            child.kill().unwrap();
            child.wait().unwrap();
            undo(&scene);
            // Where it had come to its end, there is nothing to undo; where it had not, nothing to reverse.
            let back = scene.reshape(&[HASH, &["--reverse", "--yes"]].concat()).output().unwrap();
            assert!(matches!(back.status.code(), Some(0 | 6)), "{}", text(&back));
            assert_eq!(scene.digest(), before, "{} {delay_ms}", kind.name());
        }
    }
}

#[test]
fn ctrl_c_leaves_every_key_whole_and_says_how_to_go_on() {
    if !require(unfrag_testbed::Kind::Redis7) {
        return;
    }
    let mut scene = Scene::new(unfrag_testbed::Kind::Redis7, &[]);
    scene.users(4000);
    let before = scene.digest();
    let child = scene
        .reshape(&[HASH, &["--yes", "--follow", "10m"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    unfrag_testbed::measure::wait_until("the first hash", || {
        Ok(redis::cmd("EXISTS").arg("user:1").query::<u32>(&mut scene.connection).unwrap_or(0) == 1)
    })
    .unwrap();
    unfrag_testbed::signal(child.id(), "-INT").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("put back:") && said.contains("unfrag undo"), "{said}");
    undo(&scene);
    assert_eq!(scene.digest(), before);
}
