//! Others write meanwhile: no acknowledged write is lost, none is overwritten.

use super::{HASH, SERVERS, Scene, document, text};
use redis::Commands;
use std::sync::atomic::{AtomicBool, Ordering};
use unfrag_testbed::require;

/// Counters are incremented under their old names all the while: what was counted before a merge is in the hash, what was
/// counted after it is in a new key, and the two add up.
#[test]
fn every_acknowledged_increment_is_there() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        scene.users(1500);
        let stop = AtomicBool::new(false);
        let counts = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..2u64)
                .map(|worker| {
                    let (stop, mut connection) = (&stop, scene.server.connection().unwrap());
                    scope.spawn(move || {
                        let mut counts = vec![0u64; 1500];
                        while !stop.load(Ordering::Relaxed) {
                            for (id, count) in counts.iter_mut().enumerate() {
                                let _: u64 =
                                    connection.incr(format!("user:{id}:count{worker}"), 1).unwrap();
                                *count += 1;
                            }
                        }
                        counts
                    })
                })
                .collect();
            let output = scene.reshape(&[HASH, &["--yes"]].concat()).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().map(|w| w.join().unwrap()).collect::<Vec<_>>()
        });
        let mut in_both = 0;
        for (worker, counts) in counts.iter().enumerate() {
            for (id, count) in counts.iter().enumerate() {
                let merged: Option<u64> =
                    scene.connection.hget(format!("user:{id}"), format!("count{worker}")).unwrap();
                let late: Option<u64> =
                    scene.connection.get(format!("user:{id}:count{worker}")).unwrap();
                in_both += u32::from(merged.is_some() && late.is_some());
                assert_eq!(merged.unwrap_or(0) + late.unwrap_or(0), *count, "{} {id}", kind.name());
            }
        }
        assert!(in_both > 0, "{}: nobody wrote while it was merged", kind.name());
        // A second pass must not overwrite a field by a late key, and names both.
        let again = scene.json(&[HASH, &["--yes"]].concat(), 0);
        assert!(
            again["skipped"]
                .as_array()
                .unwrap()
                .iter()
                .any(|s| { s["why"].as_str().unwrap().contains("both are kept") }),
            "{again}"
        );
        let merged: Option<u64> = scene.connection.hget("user:3", "count0").unwrap();
        let late: Option<u64> = scene.connection.get("user:3:count0").unwrap();
        assert_eq!(merged.unwrap_or(0) + late.unwrap_or(0), counts[0][3]);
    }
}

/// A counter that stands where its merged part stands is not that part: neither way may take one for the other.
#[test]
fn a_late_key_that_says_the_same_is_another_count() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        scene.users(40);
        let late = "user:3:count";
        let two = |scene: &mut Scene| -> (Option<u64>, Option<u64>) {
            let field = scene.connection.hget("user:3", "count").unwrap();
            (field, scene.connection.get(late).unwrap())
        };
        let _: () = scene.connection.set(late, 43).unwrap();
        scene.json(&[HASH, &["--yes"]].concat(), 0);
        assert_eq!(two(&mut scene), (Some(43), None), "{}", kind.name());
        let _: () = scene.connection.set(late, 43).unwrap();
        for way in [&["--yes"][..], &["--reverse", "--yes"]] {
            let said = scene.json(&[HASH, way].concat(), 0).to_string();
            assert_eq!(two(&mut scene), (Some(43), Some(43)), "{}: {said}", kind.name());
            assert!(said.contains(late) && said.contains("both are kept"), "{said}");
        }
    }
}

/// The printed functions in effect: readers that look in both places in one transaction never miss a value.
#[test]
fn readers_of_both_layouts_never_miss() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        scene.users(1500);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (stop, mut connection) = (&stop, scene.server.connection().unwrap());
            let reader = scope.spawn(move || {
                let mut reads = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let id = reads * 7 % 1500;
                    let (new, old): (Option<String>, Option<String>) = redis::pipe()
                        .atomic()
                        .hget(format!("user:{id}"), "mail")
                        .get(format!("user:{id}:mail"))
                        .query(&mut connection)
                        .unwrap();
                    assert_eq!(new.or(old), Some(format!("u{id}@example.org")));
                    reads += 1;
                }
                reads
            });
            for way in [&["--yes"][..], &["--reverse", "--yes"]] {
                scene.json(&[HASH, way].concat(), 0);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 100);
        });
    }
}

/// Values are rewritten while they are compressed: each is the last one written, in one form or the other.
#[test]
fn a_value_written_while_it_is_compressed_is_the_one_written() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let scene = Scene::new(kind, &[]);
        let mut connection = scene.server.connection().unwrap();
        for n in 0..400u64 {
            let _: () = connection.set(format!("doc:{n}"), document(n, 300)).unwrap();
        }
        let stop = AtomicBool::new(false);
        let last = std::thread::scope(|scope| {
            let (stop, mut connection) = (&stop, scene.server.connection().unwrap());
            let writer = scope.spawn(move || {
                let mut last = vec![0u64; 400];
                let mut round = 1;
                while !stop.load(Ordering::Relaxed) {
                    for (n, written) in last.iter_mut().enumerate() {
                        let number = round * 1000 + n as u64;
                        let _: () =
                            connection.set(format!("doc:{n}"), document(number, 300)).unwrap();
                        *written = number;
                    }
                    round += 1;
                }
                last
            });
            scene.json(
                &["compress", "--match", "doc:*", "--min-size", "100", "--yes", "--follow", "1s"],
                0,
            );
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        scene.json(&["compress", "--match", "doc:*", "--min-size", "100", "--yes", "--reverse"], 0);
        for (n, number) in last.iter().enumerate() {
            let value: String = connection.get(format!("doc:{n}")).unwrap();
            assert_eq!(value, document(*number, 300), "{} {n}", kind.name());
        }
    }
}

#[test]
fn late_keys_are_picked_up_while_following() {
    if !require(unfrag_testbed::Kind::Redis8) {
        return;
    }
    let mut scene = Scene::new(unfrag_testbed::Kind::Redis8, &[]);
    scene.users(50);
    let child = scene.reshape(&[HASH, &["--yes", "--follow", "5s"]].concat()).spawn().unwrap();
    unfrag_testbed::measure::wait_until("the first pass", || {
        Ok(redis::cmd("EXISTS")
            .arg("user:49:mail")
            .query::<u32>(&mut scene.connection)
            .unwrap_or(1)
            == 0)
    })
    .unwrap();
    scene.run(&["SET", "user:49:late", "v"]);
    assert!(child.wait_with_output().unwrap().status.success());
    let value: String = scene.ask(&["HGET", "user:49", "late"]);
    assert_eq!(value, "v");
}
