//! Names and values of every kind, expiry of every kind, all databases: forth and back is nothing.

use super::{HASH, SERVERS, Scene, document, text};
use std::time::{SystemTime, UNIX_EPOCH};
use unfrag_testbed::{Kind, require};

fn set(scene: &mut Scene, key: &[u8], value: &[u8]) {
    redis::cmd("SET").arg(key).arg(value).exec(&mut scene.connection).unwrap();
}

fn later_ms(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() + seconds * 1000
}

#[test]
fn hostile_names_and_values_go_forth_and_back() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        for db in ["9", "0"] {
            scene.run(&["SELECT", db]);
            for id in
                [&b"7"[..], b"", b"\x00\xff", b"a b\r\n", b"*", b"?[x]\\", b"{t}", b"\xe2\x82\xac"]
            {
                for field in
                    [&b"name"[..], b"", b":", b"\n", b"*", b"\x00", b"address:city", b"\xff\xfe"]
                {
                    let key = [b"user:", id, b":", field].concat();
                    set(&mut scene, &key, &[id, b"=", field].concat());
                }
            }
            set(&mut scene, b"", b"the empty key");
            set(&mut scene, b"user:none", b"has no field");
            set(&mut scene, b"user:9:empty", b"");
            set(&mut scene, b"user:9:int", b"-42");
            set(&mut scene, b"user:9:big", b"92233720368547758071");
            set(&mut scene, b"user:9:long", &[b'x'; 5000]);
            scene.run(&["RPUSH", "user:9:list", "a"]);
            scene.run(&["SET", "user:10", "no hash"]);
            scene.run(&["SET", "user:10:a", "stays"]);
        }
        let before = scene.digest();
        let done = scene.json(&[HASH, &["--yes", "--allow"]].concat(), 0);
        let why = done["skipped"].to_string();
        for word in ["it is no string", "is no hash"] {
            assert!(why.contains(word), "{}: {why}", kind.name());
        }
        let there: Vec<u8> = redis::cmd("HGET")
            .arg(b"user:\x00\xff")
            .arg(b"\n")
            .query(&mut scene.connection)
            .unwrap();
        assert_eq!(there, b"\x00\xff=\n");
        scene.json(&[HASH, &["--reverse", "--yes"]].concat(), 0);
        assert_eq!(scene.digest(), before, "{}", kind.name());
        // Templates with nothing but a placeholder: every key there is, the empty one among them.
        scene.run(&["FLUSHALL"]);
        set(&mut scene, b"", b"1");
        set(&mut scene, b"a", b"2");
        let before = scene.digest();
        let all = ["hash", "--match", "{k}", "--into", "all", "--yes", "--allow"];
        let refused = scene.reshape(&all).output().unwrap();
        assert_eq!(
            refused.status.code(),
            Some(6),
            "a hash `all` has the form of a key: {}",
            text(&refused)
        );
        assert_eq!(scene.digest(), before);
    }
}

fn expiries(scene: &mut Scene, keys: &[&str]) -> Vec<i64> {
    // Exact before PEXPIRETIME, too: both clocks in one script.
    let script = "while true do local a=redis.call('TIME') local t=redis.call('PTTL',KEYS[1]) local b=redis.call('TIME') \
        local m=math.floor(a[2]/1000) if t<0 then return tostring(t) end \
        if a[1]==b[1] and m==math.floor(b[2]/1000) then return string.format('%.0f',a[1]*1000+m+t) end end";
    keys.iter().map(|key| scene.ask(&["EVAL", script, "1", key])).collect()
}

#[test]
fn expiry_is_kept_or_the_keys_are_left_alone() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        let (one, two) = (later_ms(9000).to_string(), later_ms(8000).to_string());
        for (key, at) in [
            ("user:same:a", Some(&one)),
            ("user:same:b", Some(&one)),
            ("user:differ:a", Some(&one)),
            ("user:differ:b", Some(&two)),
            ("user:half:a", Some(&one)),
            ("user:half:b", None),
            ("user:none:a", None),
        ] {
            scene.run(&["SET", key, "v"]);
            if let Some(at) = at {
                scene.run(&["PEXPIREAT", key, at]);
            }
        }
        scene.users(60);
        let keys = [
            "user:same:a",
            "user:same:b",
            "user:differ:a",
            "user:differ:b",
            "user:half:a",
            "user:half:b",
            "user:none:a",
        ];
        let before = (scene.digest(), expiries(&mut scene, &keys));
        let done = scene.json(&[HASH, &["--yes", "--allow"]].concat(), 0);
        assert_eq!(expiries(&mut scene, &["user:same"])[0].to_string(), one, "{}", kind.name());
        assert_eq!(expiries(&mut scene, &["user:none"]), [-1]);
        let by_field = matches!(kind, Kind::Redis8 | Kind::Valkey9);
        if by_field {
            let at: Vec<i64> = scene.ask(&["HPEXPIRETIME", "user:differ", "FIELDS", "2", "a", "b"]);
            assert_eq!(
                at.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [one, two],
                "{}",
                kind.name()
            );
            assert_eq!(done["skipped"], serde_json::json!([]), "{}", kind.name());
        } else {
            let why = done["skipped"].to_string();
            assert!(
                why.contains("user:differ")
                    && why.contains("user:half")
                    && why.contains("different times"),
                "{why}"
            );
        }
        scene.json(&[HASH, &["--reverse", "--yes", "--allow"]].concat(), 0);
        assert_eq!((scene.digest(), expiries(&mut scene, &keys)), before, "{}", kind.name());
    }
}

#[test]
fn fields_that_were_there_are_neither_overwritten_nor_split_off() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        let mut scene = Scene::new(kind, &[]);
        scene.users(200);
        scene.run(&["HSET", "user:7", "name", "older", "own", "1"]);
        scene.run(&["HSET", "user:777", "own", "1"]);
        let before = scene.digest();
        let done = scene.json(&[HASH, &["--yes"]].concat(), 0);
        assert!(done["skipped"].to_string().contains("user:7:name"), "{done}");
        let name: String = scene.ask(&["HGET", "user:7", "name"]);
        assert_eq!(name, "older");
        // A second run is no first run: what is there now is the new layout.
        scene.json(&[HASH, &["--yes", "--allow"]].concat(), 0);
        scene.json(&[HASH, &["--reverse", "--yes"]].concat(), 0);
        assert_eq!(scene.digest(), before, "{}", kind.name());
    }
}

/// Compressed values are what the usual tools make, and the policy's figures stay.
#[test]
fn compressed_values_are_read_by_others_and_keep_their_age() {
    for kind in SERVERS.into_iter().filter(|k| require(*k)) {
        for policy in ["noeviction", "allkeys-lru", "allkeys-lfu"] {
            let mut scene = Scene::new(kind, &["--maxmemory-policy", policy]);
            let old = document(1, 400);
            scene.run(&["SET", "doc:old", &old]);
            scene.run(&["PEXPIREAT", "doc:old", "4000000000000"]);
            scene.run(&["SET", "doc:noise", "q8Zr0Kx7LmP2vWcY5tJd9HsB4nGf6AeU"]);
            scene.run(&["SET", "doc:short", "short"]);
            let word = if policy.ends_with("lfu") { "FREQ" } else { "IDLETIME" };
            if policy != "noeviction" {
                for key in ["doc:old", "doc:noise"] {
                    let payload: Vec<u8> =
                        redis::cmd("DUMP").arg(key).query(&mut scene.connection).unwrap();
                    let at = if key == "doc:old" { 4_000_000_000_000u64 } else { 0 };
                    redis::cmd("RESTORE")
                        .arg(key)
                        .arg(at)
                        .arg(payload)
                        .arg("REPLACE")
                        .arg("ABSTTL")
                        .arg(word)
                        .arg(200)
                        .exec(&mut scene.connection)
                        .unwrap();
                }
            }
            let before = scene.digest();
            let args =
                ["compress", "--match", "doc:*", "--codec", "zlib", "--min-size", "20", "--yes"];
            if policy != "noeviction" && matches!(kind, Kind::Redis6 | Kind::Redis7) {
                // Nothing can be read there without counting as used: refused before anything is read.
                let refused = scene.reshape(&args).output().unwrap();
                assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
                let usage: i64 = scene.ask(&["OBJECT", word, "doc:old"]);
                assert!((190..=230).contains(&usage), "{} {policy}: {usage}", kind.name());
                continue;
            }
            let done = scene.json(&args, 0);
            assert_eq!(done["done"], 1, "{} {policy}: {done}", kind.name());
            if policy != "noeviction" {
                for key in ["doc:old", "doc:noise"] {
                    let usage: i64 = scene.ask(&["OBJECT", word, key]);
                    assert!(
                        (190..=230).contains(&usage),
                        "{} {policy} {key}: {usage}",
                        kind.name()
                    );
                }
            }
            assert_eq!(expiries(&mut scene, &["doc:old", "doc:short"]), [4_000_000_000_000, -1]);
            let packed: Vec<u8> =
                redis::cmd("GET").arg("doc:old").query(&mut scene.connection).unwrap();
            assert!(packed.len() < old.len());
            assert_eq!(super::snippets::python_unpacks(&packed).as_deref().unwrap_or(&old), old);
            scene.json(&[&args[..], &["--reverse"]].concat(), 0);
            assert_eq!(scene.digest(), before, "{} {policy}", kind.name());
        }
    }
}

#[test]
fn values_too_large_for_the_budget_are_left_and_named() {
    if !require(Kind::Redis7) {
        return;
    }
    let mut scene = Scene::new(Kind::Redis7, &[]);
    set(&mut scene, b"doc:huge", &vec![b'x'; 3 << 20]);
    set(&mut scene, b"doc:fits", &vec![b'x'; 100_000]);
    let before = scene.digest();
    let done = scene.json(&["compress", "--match", "doc:*", "--yes", "--latency-budget", "5ms"], 0);
    assert_eq!(done["done"], 1, "{done}");
    assert!(done["skipped"].to_string().contains("doc:huge"), "{done}");
    scene.json(&["compress", "--match", "doc:*", "--yes", "--reverse"], 0);
    assert_eq!(scene.digest(), before);
}
