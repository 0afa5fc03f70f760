//! [`Record`]: what had the new form before anything was reshaped, so that the way back leaves it alone.
//!
//! A hash of the wanted name may be there already with fields of its own, a value may be compressed already. The first run
//! of a reshape writes all of them down before it changes anything; `--reverse` reads it. One file for a server and a
//! change, beside the journals.

use super::spec::{Job, Name, Shape};
use crate::ActError;
use crate::journal::{Journals, now_ms};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// By database and name: fields that were there; empty for a value.
type Foreign = BTreeMap<(u32, Vec<u8>), BTreeSet<Vec<u8>>>;

/// What was there before.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    head: Head,
    foreign: Foreign,
    /// A run has written it down, this one or an earlier one.
    pub(super) is_kept: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    target: String,
    shape: Shape,
    at_unix_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    db: u32,
    #[serde(flatten)]
    job: Job,
}

impl Record {
    /// The record of this change on this server, empty where none was kept.
    pub(super) fn open(journals: &Journals, target: &str, shape: &Shape) -> Result<Self, ActError> {
        let head = Head { target: target.to_owned(), shape: shape.clone(), at_unix_ms: now_ms() };
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(target.as_bytes());
        hasher.write(serde_json::to_string(shape).unwrap_or_default().as_bytes());
        let name = format!("{:016x}.jsonl", hasher.finish());
        let path = journals.folder().join("reshape").join(name);
        let fail = |source| ActError::Journal { path: path.clone(), source };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, head, foreign: Foreign::new(), is_kept: false });
            }
            Err(e) => return Err(fail(e)),
        };
        let (head, foreign) = read(BufReader::new(file)).map_err(fail)?;
        Ok(Self { path, head, foreign, is_kept: true })
    }

    /// Milliseconds since 1970 at which it was written.
    pub(super) fn at_unix_ms(&self) -> u64 {
        self.head.at_unix_ms
    }

    /// Fields of a hash, or a value, that were there before.
    pub(super) fn add(
        &mut self,
        db: u32,
        name: Vec<u8>,
        fields: impl IntoIterator<Item = Vec<u8>>,
    ) {
        self.foreign.entry((db, name)).or_default().extend(fields);
    }

    /// Whether this field was there before.
    pub(super) fn has_field(&self, db: u32, hash: &[u8], field: &[u8]) -> bool {
        // The tuple's owned key: hashes with fields of their own are few.
        !self.foreign.is_empty()
            && self.foreign.get(&(db, hash.to_vec())).is_some_and(|fields| fields.contains(field))
    }

    /// Whether this value had the new form before.
    pub(super) fn has_value(&self, db: u32, key: &[u8]) -> bool {
        !self.foreign.is_empty() && self.foreign.contains_key(&(db, key.to_vec()))
    }

    /// Writes it down; on disk when this returns.
    pub(super) fn keep(&mut self) -> Result<(), ActError> {
        let path = self.path.clone();
        self.write(&path).map_err(|source| ActError::Journal { path, source })?;
        self.is_kept = true;
        Ok(())
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        std::fs::create_dir_all(folder)?;
        let fresh = path.with_extension("new");
        let mut file = BufWriter::new(std::fs::File::create(&fresh)?);
        serde_json::to_writer(&mut file, &self.head)?;
        file.write_all(b"\n")?;
        for ((db, name), fields) in &self.foreign {
            let fields = fields.iter().cloned().map(Name).collect();
            let line = Line { db: *db, job: Job { name: Name(name.clone()), fields } };
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&fresh, path)?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// Everything is as it was: it has nothing more to say.
    pub(super) fn forget(&mut self) {
        // One that cannot be removed is read again by the next reverse, and is still true.
        let _ = std::fs::remove_file(&self.path);
        self.is_kept = false;
    }
}

fn read(mut file: impl BufRead) -> std::io::Result<(Head, Foreign)> {
    let mut first = String::new();
    file.read_line(&mut first)?;
    let head = serde_json::from_str(&first)?;
    let mut foreign = Foreign::new();
    for line in file.lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let fields = line.job.fields.into_iter().map(|name| name.0);
        foreign.entry((line.db, line.job.name.0)).or_default().extend(fields);
    }
    Ok((head, foreign))
}

#[cfg(test)]
mod tests {
    use super::super::codec::Codec;
    use super::*;

    #[test]
    fn what_was_there_before_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::at(folder.path());
        let shape = Shape::Compress { keys: "doc:*".into(), codec: Codec::Zlib, min_bytes: 1 };
        let mut record = Record::open(&journals, "here", &shape).unwrap();
        assert!(!record.is_kept);
        record.add(3, b"a\xff".to_vec(), [b"f".to_vec()]);
        record.add(0, b"v".to_vec(), []);
        record.keep().unwrap();
        let mut again = Record::open(&journals, "here", &shape).unwrap();
        assert!(again.is_kept && again.has_field(3, b"a\xff", b"f") && again.has_value(0, b"v"));
        assert!(!again.has_field(0, b"a\xff", b"f") && !again.has_field(3, b"a\xff", b"g"));
        assert!(!Record::open(&journals, "there", &shape).unwrap().is_kept);
        again.forget();
        assert!(!Record::open(&journals, "here", &shape).unwrap().is_kept);
    }
}
