//! Sizes snapshots and prints each report as JSON: a door to the library for measuring it.
//! `--for SERVER`, `--allocator NAME`, `--cluster` set those for the files after them; `--keys` prints each key too.

use std::io::Write;
use std::path::Path;

use unfrag_rdb::size::{ALLOCATORS, Server, SizeFor, size_each, size_file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut size_for = SizeFor::new(Server::Redis82);
    let mut prints_keys = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--for" => size_for.server = arguments.next().unwrap_or_default().parse()?,
            "--allocator" => {
                let wanted = arguments.next().unwrap_or_default();
                let known = ALLOCATORS.iter().find(|(_, name)| *name == wanted);
                size_for.allocator =
                    known.map(|(allocator, _)| *allocator).ok_or("no such allocator")?;
            }
            "--cluster" => size_for.is_cluster = true,
            "--keys" => prints_keys = true,
            path => {
                let path = Path::new(path);
                let report = if prints_keys {
                    size_each(path, &size_for, |key| {
                        let name = unfrag_rdb::problem::key_text(key.key.name);
                        // A closed pipe ends the program at the report.
                        let _ = writeln!(
                            out,
                            "{name}\t{}\t{}\t{}",
                            key.bytes, key.encoding, key.elements
                        );
                    })?
                } else {
                    size_file(path, &size_for)?
                };
                serde_json::to_writer(&mut out, &report)?;
                writeln!(out)?;
            }
        }
    }
    Ok(())
}
