//! Replays inputs that fuzzing kept, and mutates generated snapshots for a moment on every test run.

mod support;

use std::path::Path;

use unfrag_rdb::fuzz::TARGETS;

#[test]
fn kept_inputs_do_no_harm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(root.join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "{name} has inputs");
        for input in inputs {
            target(&std::fs::read(input.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn bytes_of_a_snapshot_may_be_others() {
    for (bytes, _) in [support::every_type(), support::valkey_types()] {
        for at in (0..bytes.len()).step_by(5) {
            for byte in
                [0x00, 0x7f, 0x80, 0x81, 0xc3, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)]
            {
                let mut changed = bytes.clone();
                changed[at] = byte;
                TARGETS[0].1(&changed);
            }
        }
    }
}
