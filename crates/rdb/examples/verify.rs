//! Verifies snapshots and prints each report as JSON: a door to the library for measuring it.
//! `--threads N` and `--remember N` set those options for the files after them.

use std::io::Write;
use std::path::Path;

use unfrag_rdb::{VerifyOptions, verify_file};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut options = VerifyOptions::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        match argument.as_str() {
            "--threads" => options.threads = number(),
            "--remember" => options.keys_remembered = number() as u64,
            path => {
                serde_json::to_writer(&mut out, &verify_file(Path::new(path), &options)?)?;
                writeln!(out)?;
            }
        }
    }
    Ok(())
}
