//! Verifies snapshots and prints each report as JSON: a door to the library for measuring it.

use std::io::Write;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for path in std::env::args_os().skip(1) {
        let report =
            unfrag_rdb::verify_file(Path::new(&path), &unfrag_rdb::VerifyOptions::default())?;
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    }
    Ok(())
}
