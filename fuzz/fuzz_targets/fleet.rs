//! Fuzz target: a fleet file is read or refused, and a refusal never repeats a line of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| {
    let _ = unfrag_client::fleet::parse(data);
});
