//! `unfrag keys` as people meet it: on real servers of every kind, on their snapshots, on a Cluster, and on hostile keys.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use unfrag_testbed::deployment::Cluster;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Options, Server, measure, require};

fn unfrag(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .arg("keys")
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("REDISCLI_AUTH")
        .output()
        .unwrap()
}

/// What it prints; it must have gone well.
fn printed(args: &[&str]) -> String {
    let output = unfrag(args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[args, &["-o", "json"]].concat())).unwrap()
}

/// Does not wait for more replicas before it forks.
fn eager() -> Options {
    Options::args(&["--repl-diskless-sync-delay", "0"])
}

fn start(kind: Kind) -> (Server, redis::Connection) {
    let server = Server::start(kind, &eager()).unwrap();
    let connection = server.connection().unwrap();
    (server, connection)
}

fn lua(connection: &mut redis::Connection, script: &str) {
    redis::cmd("EVAL").arg(script).arg(0).exec(connection).unwrap();
}

fn saved(server: &Server, connection: &mut redis::Connection) -> String {
    measure::wait_until("the end of the last fork", || {
        Ok(measure::field(connection, "rdb_bgsave_in_progress")? == 0)
    })
    .unwrap();
    redis::cmd("SAVE").exec(connection).unwrap();
    server.folder().join("dump.rdb").to_str().unwrap().to_owned()
}

/// What does not depend on the second at which it was read.
fn sums(report: &Value) -> Vec<(Value, Value, Value, Value)> {
    let rows = report["patterns"].as_array().unwrap().iter();
    rows.map(|r| [&r["pattern"], &r["keys"], &r["bytes"], &r["types"]].map(Clone::clone).into())
        .collect()
}

fn pattern<'j>(report: &'j Value, name: &str) -> &'j Value {
    let rows = report["patterns"].as_array().unwrap();
    rows.iter().find(|r| r["pattern"] == name).unwrap_or(&Value::Null)
}

/// Growth of `used_memory` from an empty server to this one, freshly restarted.
fn loaded_bytes(kind: Kind, server: &mut Server) -> u64 {
    server.restart().unwrap();
    let (used, _) = measure::used_and_rss(&mut server.connection().unwrap()).unwrap();
    let empty = Server::start(kind, &eager()).unwrap();
    let (baseline, _) = measure::used_and_rss(&mut empty.connection().unwrap()).unwrap();
    used - baseline
}

const SCHEMES: &str = "
    for i = 1, 4000 do
      redis.call('SET', 'user:' .. i .. ':name', 'name ' .. i)
      redis.call('SET', 'user:' .. i .. ':mail', 'u' .. i .. '@example.com')
      redis.call('SET', 'user:' .. i .. ':city', 'Mountain View')
      redis.call('SET', 'session:' .. string.format('%08x%08x', i * 7919, i * 104729), 'token', 'EX', 3000 + i)
      redis.call('ZADD', 'board:2026-11-' .. string.format('%02d', i % 28 + 1), i, 'player' .. i)
    end";

#[test]
fn the_total_is_what_a_restart_uses_live_and_from_the_snapshot() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (mut server, mut connection) = start(kind);
        Workload::Collections.run(&mut connection, 8 << 20, 11).unwrap();
        lua(&mut connection, SCHEMES);
        let live = json(&[&server.address()]);
        let keys = measure::keys(&mut connection).unwrap();
        assert_eq!(live["total"]["keys"], keys, "{}", kind.name());
        let (file, sized_for) = (saved(&server, &mut connection), live["sized_for"].clone());
        let allocator = live["allocator"].as_str().unwrap().to_owned();
        let of_file = json(&[&file, "--allocator", &allocator]);
        assert_eq!(of_file["sized_for"], sized_for, "{}: its own server", kind.name());
        assert_eq!(of_file["total"], live["total"], "{}", kind.name());
        assert_eq!(sums(&of_file), sums(&live), "{}", kind.name());
        let predicted = live["total"]["bytes"].as_u64().unwrap();
        let grown = loaded_bytes(kind, &mut server);
        let error = predicted.abs_diff(grown) as f64 / grown as f64;
        assert!(error < 0.03, "{}: predicted {predicted}, grown {grown}", kind.name());
    }
}

#[test]
fn patterns_are_learnt_and_their_sums_are_the_whole() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let report = json(&[&server.address(), "--top", "3"]);
    assert_eq!(report["schema"], "unfrag.keys/1");
    for (name, keys) in [
        ("user:{id}:name", 4000),
        ("user:{id}:mail", 4000),
        ("session:{hash}", 4000),
        ("board:{date}", 28),
    ] {
        assert_eq!(pattern(&report, name)["keys"], keys, "{name}");
    }
    let sum = |of: &str| -> u64 {
        report["patterns"].as_array().unwrap().iter().map(|p| p[of].as_u64().unwrap()).sum()
    };
    let total = &report["total"];
    assert_eq!(total["keys"], sum("keys"));
    let keys_bytes = total["bytes"].as_u64().unwrap() - total["table_bytes"].as_u64().unwrap();
    assert_eq!(keys_bytes, sum("bytes"));
    assert_eq!(report["tree"]["bytes"], keys_bytes);
    let ttl = &pattern(&report, "session:{hash}")["ttl"];
    assert_eq!(
        ttl.as_array().unwrap().iter().map(|b| b["keys"].as_u64().unwrap()).sum::<u64>(),
        4000
    );
    assert_eq!(report["biggest"].as_array().unwrap().len(), 3);
    let text = printed(&[&server.address()]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("user:{id}:*") && text.contains("12,000"), "{text}");
}

#[test]
fn packing_gives_what_was_predicted() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (mut before, mut connection) = start(kind);
        // Not a power of two, and one field that only every third user has.
        lua(
            &mut connection,
            "for i = 1, 6000 do
               redis.call('SET', 'user:' .. i .. ':name', 'name ' .. i)
               redis.call('SET', 'user:' .. i .. ':mail', 'u' .. i .. '@example.com')
               redis.call('SET', 'user:' .. i .. ':visits', i * 17)
               if i % 3 == 0 then redis.call('SET', 'user:' .. i .. ':city', 'Mountain View, California') end
             end",
        );
        let report = json(&[&before.address()]);
        let advice = report["advice"].as_array().unwrap();
        let pack = advice.iter().find(|a| a["kind"] == "pack").unwrap();
        assert_eq!(pack["pattern"], "user:{id}:{field}");
        assert_eq!(pack["keys"], 20_000);
        let (mut after, mut connection) = start(kind);
        lua(
            &mut connection,
            "for i = 1, 6000 do
               redis.call('HSET', 'user:' .. i, 'name', 'name ' .. i, 'mail', 'u' .. i .. '@example.com', 'visits', i * 17)
               if i % 3 == 0 then redis.call('HSET', 'user:' .. i, 'city', 'Mountain View, California') end
             end",
        );
        // Table sizes are powers of two that a prediction by share does not meet; they are compared apart.
        let tables = |server: &Server| json(&[&server.address()])["total"]["table_bytes"].as_u64();
        let (tables_before, tables_after) = (tables(&before).unwrap(), tables(&after).unwrap());
        let now = loaded_bytes(kind, &mut before) - tables_before;
        let then = loaded_bytes(kind, &mut after) - tables_after;
        let predicted = pack["bytes_after"].as_u64().unwrap();
        let error = predicted.abs_diff(then) as f64 / then as f64;
        assert!(error < 0.03, "{}: predicted {predicted}, measured {then}", kind.name());
        assert!(then < now, "{}", kind.name());
    }
}

#[test]
fn a_whole_cluster_in_one_command() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let cluster = Cluster::start(kind, 1, &eager()).unwrap();
    let primaries = &cluster.nodes[..3];
    let mut all = 0;
    for (place, server) in primaries.iter().enumerate() {
        let mut connection = server.connection().unwrap();
        for number in 0..3000 {
            let key = format!("order:{place}:{number}");
            let set: Result<(), _> = redis::cmd("SET").arg(&key).arg("x").query(&mut connection);
            all += u64::from(set.is_ok());
        }
    }
    let report = json(&[&primaries[1].address()]);
    assert_eq!(report["total"]["keys"], all);
    let sources = report["sources"].as_array().unwrap();
    assert_eq!(sources.len(), primaries.len());
    let sum: u64 = sources.iter().map(|s| s["keys"].as_u64().unwrap()).sum();
    assert_eq!(sum, all);
    assert_eq!(pattern(&report, "order:{id}:{id}")["keys"], all);
    assert!(!report["by_slot"].as_array().unwrap().is_empty());
}

#[test]
fn a_dead_node_is_named_and_the_others_are_told_of() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let gone = Server::start(kind, &eager()).unwrap();
    let dead = gone.address();
    drop(gone);
    let output = unfrag(&[&server.address(), &dead, "-o", "json"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["total"]["keys"], measure::keys(&mut connection).unwrap());
    let unread = report["sources"].as_array().unwrap().iter().find(|s| s["source"] == *dead);
    assert_eq!(unread.unwrap()["problem"]["kind"], "not-read", "{report}");
    let text = String::from_utf8(unfrag(&[&server.address(), &dead]).stdout).unwrap();
    assert!(text.contains("was not read"), "{text}");
    assert_eq!(unfrag(&[&dead, &dead]).status.code(), Some(4));
}

/// Names that hurt terminals, pages, spreadsheets and parsers.
fn hostile(connection: &mut redis::Connection) -> Vec<Vec<u8>> {
    let names: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\x00\x01\xff\xfe binary".to_vec(),
        b"line\nfeed\r\n".to_vec(),
        b"\x1b[2J\x1b]0;owned\x07".to_vec(),
        b"</script><script>alert(1)</script>".to_vec(),
        b"=HYPERLINK(1,2)".to_vec(),
        b"a,\"b\"".to_vec(),
        "\u{202e}right to left \u{2028}".as_bytes().to_vec(),
        vec![b'k'; 70_000],
        b"{}{{}}{id}:".to_vec(),
    ];
    for name in &names {
        redis::cmd("SET").arg(&name[..]).arg("value").exec(connection).unwrap();
    }
    names
}

#[test]
fn hostile_names_hurt_no_terminal_page_or_table() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    let names = hostile(&mut connection);
    let file = saved(&server, &mut connection);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let text = printed(&[&file, "-v", "--html", page.to_str().unwrap()]);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(!page.contains("<script>alert") && page.matches("</script>").count() == 1);
    assert_eq!(json(&[&file])["total"]["keys"], names.len());
    let csv = printed(&[&file, "-o", "csv", "--rows", "keys"]);
    assert!(!csv.chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(csv.lines().count(), names.len() + 1);
    assert!(!csv.contains("\n=") && !csv.contains(",="), "{csv}");
}

#[test]
fn hashed_names_appear_nowhere() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(
        &mut connection,
        "for i = 1, 300 do redis.call('SET', 'secretname' .. i, string.rep('SECRETVALUE', 100)) end
         redis.call('SET', 'onlysecret', string.rep('y', 100000))
         for i = 1, 500 do redis.call('SET', 'n:' .. i, '0042') end",
    );
    let file = saved(&server, &mut connection);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let flag = "--hash-keys=pepper";
    let mut outputs: Vec<String> = [
        vec![file.as_str(), flag, "-v", "--html", page.to_str().unwrap()],
        vec![&file, flag, "-o", "json"],
        vec![&file, flag, "-o", "csv"],
        vec![&file, flag, "-o", "csv", "--rows", "keys"],
    ]
    .iter()
    .map(|args| printed(args))
    .collect();
    outputs.push(std::fs::read_to_string(page).unwrap());
    for text in &outputs {
        assert!(!text.contains("onlysecret") && !text.contains("SECRETVALUE"), "{text}");
        assert!(!text.contains("secretname1") && !text.contains("0042"), "{text}");
    }
    let other = printed(&[&file, "--hash-keys=salt", "-o", "csv", "--rows", "keys"]);
    assert_ne!(outputs[3], other, "a salt changes every hash");
}

#[test]
fn what_grew_is_named() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(
        &mut connection,
        "for i = 1, 1000 do redis.call('SET', 'a:' .. i, 'x') redis.call('SET', 'b:' .. i, 'x') end",
    );
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before.rdb");
    std::fs::copy(saved(&server, &mut connection), &before).unwrap();
    lua(
        &mut connection,
        "for i = 1, 1500 do redis.call('SET', 'b:' .. (1000 + i), 'x') redis.call('DEL', 'a:' .. i) end",
    );
    let after = saved(&server, &mut connection);
    let diff = json(&["diff", before.to_str().unwrap(), &after]);
    let changes = diff["patterns"].as_array().unwrap();
    let of = |name: &str| changes.iter().find(|c| c["pattern"] == name).unwrap();
    assert_eq!(of("b:{id}")["keys_change"], 1500);
    assert_eq!(of("a:{id}")["keys_change"], -1000);
    let text = printed(&["diff", before.to_str().unwrap(), &after]);
    assert!(text.lines().next().unwrap().contains("more"), "{text}");
}

#[test]
fn a_table_that_cannot_be_written_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.rdb");
    // Version 4: no checksum.
    std::fs::write(&empty, b"REDIS0004\xff").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["keys", empty.to_str().unwrap(), "-o", "csv", "--to", "/nonexistent/table.csv"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot write `/nonexistent/table.csv`"), "{said}");
}

#[test]
fn the_rights_that_are_printed_are_enough() {
    let lines = Command::new(env!("CARGO_BIN_EXE_unfrag"))
        .args(["acl", "keys", "--user", "reader"])
        .output()
        .unwrap();
    let lines = String::from_utf8(lines.stdout).unwrap();
    let line = lines.lines().find(|l| l.contains("+psync")).unwrap().replace("PASSWORD", "pw");
    for kind in Kind::ALL.into_iter().filter(|k| require(*k)) {
        let (server, mut connection) = start(kind);
        lua(&mut connection, SCHEMES);
        measure::typed(&mut connection, &line).unwrap();
        let port = server.port().to_string();
        let report = json(&["-p", &port, "--user", "reader", "-a", "pw"]);
        assert!(report["patterns"].as_array().unwrap().len() > 1, "{}: {report}", kind.name());
        let denied: Vec<redis::Value> =
            redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
        assert!(denied.is_empty(), "{}: {denied:?}", kind.name());
    }
}

#[test]
fn the_documented_sql_answers_in_duckdb() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let file = saved(&server, &mut connection);
    let folder = tempfile::tempdir().unwrap();
    for (rows, name) in [("patterns", "a"), ("keys", "a"), ("patterns", "b")] {
        let place = folder.path().join(rows);
        std::fs::create_dir_all(&place).unwrap();
        let place = place.join(format!("{name}.parquet"));
        printed(&[&file, "-o", "parquet", "--rows", rows, "--to", place.to_str().unwrap()]);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/check_queries.py");
    let output = Command::new("python3").arg(script).arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(77) {
        assert!(std::env::var_os("CI").is_none(), "{text}");
        #[expect(clippy::print_stderr, reason = "a skip is said")]
        {
            eprintln!("{text}");
        }
        return;
    }
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), 5);
    // Two files of the same patterns: twice the keys.
    let most = &answers[0][0];
    assert_eq!(pattern_keys(&answers[0], "user:{id}:mail"), 8000, "{most}");
    assert_eq!(
        answers[2].as_array().unwrap().iter().filter(|r| r["shape"] == "session:{hash}").count(),
        0
    );
    assert_eq!(answers[3].as_array().unwrap().len(), 20);
}

fn pattern_keys(rows: &Value, name: &str) -> i64 {
    let row = rows.as_array().unwrap().iter().find(|r| r["pattern"] == name).unwrap();
    row["keys"].as_i64().unwrap()
}

#[test]
fn a_part_is_reported_as_a_part() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let file = saved(&server, &mut connection);
    let bytes = std::fs::read(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half.rdb");
    std::fs::write(&half, bytes.get(..bytes.len() / 2).unwrap()).unwrap();
    let output = unfrag(&[half.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stdout).contains("stopped at byte"));
    // A string that claims 512 MiB in a file of a hundred bytes.
    let claim = folder.path().join("claim.rdb");
    std::fs::write(&claim, b"REDIS0011\xfe\x00\x00\x01k\x80\x20\x00\x00\x00abc").unwrap();
    let output = unfrag(&[claim.to_str().unwrap(), "-o", "json"]);
    assert_eq!(output.status.code(), Some(5));
    // No more time was given: that is what was asked for.
    let late = unfrag(&[&server.address(), "--deadline", "1ms", "-o", "json"]);
    assert_eq!(late.status.code(), Some(0), "{}", String::from_utf8_lossy(&late.stdout));
    let late: Value = serde_json::from_slice(&late.stdout).unwrap();
    assert_eq!(late["sources"][0]["problem"]["kind"], "ended-early", "{late}");
    let junk = folder.path().join("junk.rdb");
    std::fs::write(&junk, b"nothing of the kind").unwrap();
    let output = unfrag(&[junk.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("nothing was read") && said.contains("not a snapshot"), "{said}");
}

/// `unfrag keys … | head`: whoever reads may stop when it has seen enough.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let file = saved(&server, &mut connection);
    for args in [&["-o", "csv", "--rows", "keys"][..], &["-o", "csv"], &["-o", "parquet"], &["-v"]]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .args(["keys", &file])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Gone before the first byte.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// In a Cluster keys of different slots cannot become one: that is no saving, and is said so.
#[test]
fn packing_across_slots_is_not_counted_as_a_saving() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(
        &mut connection,
        "for i = 1, 3000 do
           for _, field in ipairs({'name', 'mail', 'city', 'plan'}) do
             redis.call('SET', 'user:' .. i .. ':' .. field, 'value')
             redis.call('SET', '{cart:' .. i .. '}:' .. field, 'value')
           end
         end",
    );
    let file = saved(&server, &mut connection);
    let packed = |report: &Value, list: &str| -> Vec<String> {
        let all = report[list].as_array().cloned().unwrap_or_default();
        let of_packing = all.iter().filter(|a| a["kind"] == "pack");
        of_packing.map(|a| a["pattern"].as_str().unwrap().to_owned()).collect()
    };
    let alone = json(&[&file]);
    assert_eq!(packed(&alone, "advice").len(), 2, "{alone:#}");
    let in_a_cluster = json(&[&file, "--by-slot"]);
    assert_eq!(packed(&in_a_cluster, "advice"), ["{cart:{id}}:{field}"]);
    assert_eq!(packed(&in_a_cluster, "advice_with_hash_tags"), ["user:{id}:{field}"]);
    let said = printed(&[&file, "--by-slot"]);
    assert!(said.contains("is not counted above") && said.contains("{user:1}:name"), "{said}");
}

/// The command printed reaches the figure printed.
#[test]
fn compression_that_is_advised_is_one_that_reshape_can_do() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (server, mut connection) = start(kind);
        lua(
            &mut connection,
            "for i = 1, 600 do
               local words = {}
               for j = 1, 60 do words[j] = 'w' .. (i * j * 7919) % 97 end
               redis.call('SET', 'doc:' .. i, '{\"kind\":\"invoice\",\"state\":\"open\",\"text\":\"' .. table.concat(words, ' ') .. '\"}')
             end",
        );
        let report = json(&[&server.address()]);
        let advice = report["advice"].as_array().unwrap();
        let found = advice.iter().find(|a| a["kind"] == "compress").unwrap();
        let after = found["bytes_after"].as_f64().unwrap();
        let next = words(found["next"].as_str().unwrap());
        let of_codec = found["tried"]
            .as_array()
            .unwrap()
            .iter()
            .find(|t| next.iter().any(|w| t["name"] == **w));
        assert_eq!(of_codec.unwrap()["bytes_after"], found["bytes_after"], "{found}");
        let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
            .args(&next[1..])
            .args(["-o", "json"])
            .env("XDG_STATE_HOME", tempfile::tempdir().unwrap().path())
            .output()
            .unwrap();
        let dry: Value = serde_json::from_slice(&output.stdout).unwrap();
        let saved = found["bytes_now"].as_f64().unwrap() - after;
        let error = dry["predicted_bytes"].as_f64().unwrap() / saved - 1.0;
        // The advice is of 48 values.
        assert!(error.abs() < 0.1, "{}: {error} {found} {dry}", kind.name());
    }
}

/// The words of a command as a shell would take them: single quotes are all that is used.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate().flat_map(|(place, part)| {
        let quoted = place % 2 == 1;
        let one = quoted.then(|| vec![part.to_owned()]);
        one.unwrap_or_else(|| part.split_whitespace().map(str::to_owned).collect())
    });
    parts.collect()
}

/// What advice says to type is typed, as it stands, and must find the keys that it is about.
#[test]
fn what_advice_says_to_type_does_what_it_says() {
    for kind in Kind::ALL.into_iter().filter(|&k| require(k)) {
        let (server, mut connection) = start(kind);
        lua(
            &mut connection,
            "for i = 1, 2000 do
               redis.call('SET', 'user:' .. i .. ':name', 'name ' .. i)
               redis.call('SET', 'user:' .. i .. ':mail', 'u' .. i .. '@example.com')
               redis.call('SET', 'user:' .. i .. ':city', 'Mountain View')
               for _, field in ipairs({'sum', 'count', 'items', 'state'}) do
                 redis.call('SET', '{cart:' .. i .. '}:' .. field, i * 7)
               end
               redis.call('SET', 'seen:' .. i, i * 13)
               for _, field in ipairs({'first', 'second', 'third', 'fourth', 'fifth'}) do
                 redis.call('SET', 'ring:' .. i .. ':' .. field, 'value ' .. i, 'EX', 9000 + i)
               end
             end
             for i = 1, 100 do
               redis.call('SET', 'doc[' .. i .. ']', string.rep('{\"id\":' .. i .. ',\"state\":\"active\"}', 12))
               for j = 1, 700 do redis.call('SADD', 'ids:' .. i, j * 3) end
             end",
        );
        let report = json(&[&server.address()]);
        let advice = report["advice"].as_array().unwrap();
        let about = |kind: &str, pattern: &str| {
            advice.iter().find(|a| a["kind"] == kind && a["pattern"] == pattern)
        };
        let name = kind.name();
        // A set of integers has a limit of its own.
        let ids = about("threshold", "ids:{id}").unwrap();
        assert_eq!(ids["next"], "CONFIG SET set-max-intset-entries 700", "{name}");
        // Fields that expire are packed in Redis from 7.4 on; Valkey keeps them in tables, which saves nothing.
        let ring = about("pack", "ring:{id}:{field}");
        assert_eq!(ring.is_some(), kind == Kind::Redis8, "{name}: {ring:?}");
        assert!(ring.is_none_or(|a| a["is_safe"] == false), "{ring:?}");
        for (kind, pattern, keys) in [
            ("pack", "user:{id}:{field}", 6000),
            ("pack", "{cart:{id}}:{field}", 8000),
            ("pack", "seen:{id}", 2000),
            ("compress", "doc[{id}]", 100),
        ] {
            let found =
                about(kind, pattern).unwrap_or_else(|| panic!("{name}: {pattern} {advice:#?}"));
            let next = words(found["next"].as_str().unwrap());
            let state = tempfile::tempdir().unwrap();
            let output = Command::new(env!("CARGO_BIN_EXE_unfrag"))
                .args(&next[1..])
                .args(["-o", "json"])
                .env("XDG_STATE_HOME", state.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{name}: {next:?} {said}");
            let dry: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(dry["matching"], keys, "{name}: {next:?} {dry}");
            // Small listpacks of two fields save little, and of that libc takes a part.
            assert!(dry["predicted_bytes"].as_i64().unwrap() > 0, "{name}: {next:?} {dry}");
        }
    }
}

/// Pipes are read once; what says when the snapshot was made must not be looked for in advance.
#[test]
fn a_pipe_tells_what_the_file_tells() {
    let kind = Kind::ALL[0];
    if !require(kind) {
        return;
    }
    let (server, mut connection) = start(kind);
    lua(&mut connection, SCHEMES);
    let file = saved(&server, &mut connection);
    // Of a pipe it is not known in advance whose it is.
    let size_for = ["--for", "redis-7.0"];
    let of_file = json(&[&[&*file][..], &size_for].concat());
    let piped = |args: &[&str], stdin: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfrag"));
        let output = command.arg("keys").args(args).stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        output.stdout
    };
    let redirected = || Stdio::from(std::fs::File::open(&file).unwrap());
    let through_a_pipe = || {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::thread::spawn(move || writer.write_all(&bytes));
        Stdio::from(reader)
    };
    for stdin in [redirected(), through_a_pipe()] {
        let report: Value =
            serde_json::from_slice(&piped(&["-", "-o", "json", size_for[0], size_for[1]], stdin))
                .unwrap();
        assert_eq!(report["total"], of_file["total"]);
        assert_eq!(report["taken_ms"], of_file["taken_ms"]);
        assert_eq!(sums(&report), sums(&of_file));
    }
    let rows = piped(&["-", "-o", "csv", "--rows", "keys"], through_a_pipe());
    let keys = usize::try_from(of_file["total"]["keys"].as_u64().unwrap()).unwrap();
    assert_eq!(String::from_utf8(rows).unwrap().lines().count(), keys + 1);
}

#[test]
fn mistakes_are_told_before_anything_is_read() {
    for (args, code, words) in [
        (vec!["x.rdb", "--rows", "keys"], 2, "-o csv"),
        (vec!["x.rdb", "--to", "f"], 2, "--to takes"),
        (vec!["/nonexistent/x.rdb"], 5, "/nonexistent/x.rdb"),
        (vec!["x.rdb", "127.0.0.1:1"], 2, "not both"),
        (vec!["127.0.0.1:1"], 4, "127.0.0.1:1"),
        (vec!["x.rdb", "--for", "redis-1.0"], 2, "redis-1.0"),
    ] {
        let output = unfrag(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
    }
}
