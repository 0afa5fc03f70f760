//! Bodies of fuzz targets as plain functions: any bytes in, no panic, and laws that hold for all bytes.
//! A fuzzer calls them; the ordinary test run replays what it found.

use crate::input::{Scratch, Slice};
use crate::lzf;
use crate::size::{SERVERS, SizeFor, size_bytes};
use crate::value::{Place, intset, listpack, ziplist, zipmap};
use crate::verify::{VerifyOptions, verify_bytes, verify_payload, verify_reader};

/// A body.
pub type Target = fn(&[u8]);

/// Every body with its name, which is also that of its folder of inputs.
pub const TARGETS: [(&str, Target); 4] =
    [("snapshot", snapshot), ("payload", payload), ("packed", packed), ("compressed", compressed)];

/// A whole snapshot: verified from memory and as a stream, which must agree, and sized.
pub fn snapshot(bytes: &[u8]) {
    let options = VerifyOptions { threads: 1, ..VerifyOptions::default() };
    let whole = verify_bytes("fuzz", bytes, &options);
    let streamed = verify_reader("fuzz", bytes, &options);
    assert_eq!(whole.keys, streamed.keys, "a stream has as many keys");
    assert_eq!(whole.ok, streamed.ok, "a stream is as sound");
    for (server, _) in SERVERS.iter().step_by(3) {
        let sized = size_bytes("fuzz", bytes, &SizeFor::new(*server));
        assert!(sized.total.keys <= whole.keys.saturating_add(1), "sizing sees no other keys");
    }
}

/// A DUMP payload.
pub fn payload(bytes: &[u8]) {
    verify_payload(bytes);
}

/// Each packed encoding: the first byte chooses.
pub fn packed(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let place = Place::at(0);
    match choice % 4 {
        0 => drop(listpack::Entries::new(bytes, place).and_then(|mut entries| {
            while entries.next()?.is_some() {}
            Ok(())
        })),
        1 => drop(ziplist::Entries::new(bytes, place).and_then(|mut entries| {
            while entries.next()?.is_some() {}
            Ok(())
        })),
        2 => drop(intset::walk(bytes, place, |_| ())),
        _ => drop(zipmap::walk(bytes, place, |_, _| ())),
    }
}

/// LZF: what is checked sound decodes, and nothing else does. The first two bytes are the length.
pub fn compressed(bytes: &[u8]) {
    let Some((length, packed)) = bytes.split_first_chunk::<2>() else { return };
    let length = u16::from_le_bytes(*length);
    let mut out = vec![0; usize::from(length)];
    let decodes = lzf::decode(packed, &mut out, usize::from(length)).is_some();
    let is_plausible = lzf::is_plausible(packed.len() as u64, u64::from(length));
    assert_eq!(lzf::is_sound(packed, u64::from(length)), decodes && is_plausible);
    let mut scratch = Scratch::default();
    let mut input = Slice::new(bytes, 0);
    if let Ok((text, _)) = crate::text::read(&mut input, crate::text::Need::Bytes) {
        // Only that it returns: most lengths are lies.
        let _ = text.bytes(&mut scratch).map(<[u8]>::len);
    }
}
