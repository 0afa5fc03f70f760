//! Fuzz target: see `fuzz/bodies/text.rs`.
#![no_main]

#[path = "../bodies/text.rs"]
#[allow(dead_code, reason = "one body of several")]
mod text;

libfuzzer_sys::fuzz_target!(|data: &str| text::memory_stats(data));
