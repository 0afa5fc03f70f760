//! Tables for other programs: one row a pattern or a key, as CSV or Parquet. Read [`patterns`] and [`KeyTable`] first.

mod csv;
mod parquet;

use std::io::{self, Write};
use std::path::Path;

use unfrag_rdb::problem::key_text;
use unfrag_rdb::size::{KeySize, SizeFor, size_each};

use crate::report::Report;
use crate::shape::{self, Shape};

/// Form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text with commas, a line with names first.
    Csv,
    /// Apache Parquet, compressed with zstd.
    Parquet,
}

/// A table that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The file or pipe.
    #[error("cannot write the table")]
    Write(#[from] io::Error),
    /// The encoder.
    #[error("cannot encode the table")]
    Encode(#[from] ::parquet::errors::ParquetError),
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Float,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Int(i64),
    Float(f64),
    /// Not known.
    None,
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::None, Self::Int)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// Writes rows.
pub(crate) trait Sink {
    fn row(&mut self, row: Vec<Cell>) -> Result<(), RowError>;
    fn finish(self: Box<Self>) -> Result<(), RowError>;
}

type Columns = &'static [(&'static str, Kind)];

fn sink<'o>(
    format: Format,
    out: Box<dyn Write + Send + 'o>,
    columns: Columns,
) -> Result<Box<dyn Sink + 'o>, RowError> {
    Ok(match format {
        Format::Csv => Box::new(csv::Csv::new(out, columns)?),
        Format::Parquet => Box::new(parquet::Parquet::new(out, columns)?),
    })
}

const PATTERN_COLUMNS: Columns = &[
    ("source", Kind::Text),
    ("taken_ms", Kind::Int),
    ("sized_for", Kind::Text),
    ("pattern", Kind::Text),
    ("keys", Kind::Int),
    ("bytes", Kind::Int),
    ("share", Kind::Float),
    ("name_bytes", Kind::Int),
    ("type", Kind::Text),
    ("encoding", Kind::Text),
    ("elements", Kind::Int),
    ("size_p50", Kind::Int),
    ("size_p99", Kind::Int),
    ("size_max", Kind::Int),
    ("expiring_keys", Kind::Int),
    ("expired_keys", Kind::Int),
    ("idle_30d_keys", Kind::Int),
    ("idle_30d_bytes", Kind::Int),
    ("frequency_mean", Kind::Float),
];

/// One row a pattern. Type and encoding are those that hold most of its bytes.
///
/// # Errors
/// When it cannot be written.
pub fn patterns(
    report: &Report,
    format: Format,
    out: Box<dyn Write + Send + '_>,
) -> Result<(), RowError> {
    let mut sink = sink(format, out, PATTERN_COLUMNS)?;
    for row in &report.patterns {
        let kind = row.types.first();
        let of = |name: &str| row.ttl.iter().find(|b| b.bucket == name).map_or(0, |b| b.keys);
        let long = || row.idle.iter().filter(|b| matches!(b.bucket, "<90d" | ">=90d"));
        let has_idle = !row.idle.is_empty();
        sink.row(vec![
            report.source.as_str().into(),
            Cell::Int(report.taken_ms),
            report.sized_for.into(),
            row.pattern.as_str().into(),
            row.keys.into(),
            row.bytes.into(),
            Cell::Float(row.share),
            row.name_bytes.into(),
            kind.map(|k| k.data_type).into(),
            kind.map(|k| k.encoding).into(),
            row.types.iter().map(|k| k.elements).sum::<u64>().into(),
            row.size.p50.into(),
            row.size.p99.into(),
            row.size.max.into(),
            row.keys.saturating_sub(of("none")).into(),
            of("expired").into(),
            has_idle.then(|| long().map(|b| b.keys).sum::<u64>()).into(),
            has_idle.then(|| long().map(|b| b.bytes).sum::<u64>()).into(),
            row.frequency.map_or(Cell::None, Cell::Float),
        ])?;
    }
    sink.finish()
}

const KEY_COLUMNS: Columns = &[
    ("source", Kind::Text),
    ("taken_ms", Kind::Int),
    ("sized_for", Kind::Text),
    ("db", Kind::Int),
    ("key", Kind::Text),
    ("shape", Kind::Text),
    ("slot", Kind::Int),
    ("type", Kind::Text),
    ("encoding", Kind::Text),
    ("bytes", Kind::Int),
    ("elements", Kind::Int),
    ("expires_ms", Kind::Int),
    ("idle_s", Kind::Int),
    ("frequency", Kind::Int),
];

/// One row a key, written as keys go by.
#[expect(missing_debug_implementations, reason = "holds a writer")]
pub struct KeyTable<'o> {
    sink: Box<dyn Sink + 'o>,
    hash: Option<KeyHash>,
    now_ms: i64,
    shape: Shape,
    failed: Option<RowError>,
}

impl<'o> KeyTable<'o> {
    /// Writes to `out`. With a salt, names are replaced by their hashes and shapes keep only what they are made of.
    ///
    /// # Errors
    /// When the head cannot be written.
    pub fn new(
        format: Format,
        out: Box<dyn Write + Send + 'o>,
        salt: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, RowError> {
        Ok(Self {
            sink: sink(format, out, KEY_COLUMNS)?,
            hash: salt.map(KeyHash::new),
            now_ms,
            shape: Shape::default(),
            failed: None,
        })
    }

    /// Writes all keys of the snapshot at `path`. Gives what stopped the reading before its end.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(
        &mut self,
        path: &Path,
        size_for: &SizeFor,
    ) -> io::Result<Option<unfrag_rdb::Problem>> {
        let source = path.display().to_string();
        let taken_ms = crate::report::created_ms(path).unwrap_or(self.now_ms);
        let report = size_each(path, size_for, |key| {
            self.key(&source, taken_ms, size_for.server.name(), key);
        })?;
        Ok(report.problem)
    }

    fn key(&mut self, source: &str, taken_ms: i64, sized_for: &str, key: &KeySize<'_>) {
        if self.failed.is_some() {
            return;
        }
        let name = key.key.name;
        self.shape.of(name);
        let text = self.hash.as_ref().map_or_else(|| key_text(name), |hash| hash.of(name));
        let row = vec![
            source.into(),
            Cell::Int(taken_ms),
            sized_for.into(),
            key.key.db.unwrap_or(0).into(),
            Cell::Text(text),
            Cell::Text(self.shape_text()),
            unfrag_rdb::slot::of(name).into(),
            key.key.kind.data_type().name().into(),
            key.encoding.into(),
            key.bytes.into(),
            key.elements.into(),
            key.key.expires_ms.map_or(Cell::None, Cell::Int),
            key.key.idle_s.into(),
            key.key.frequency.map(u64::from).into(),
        ];
        self.failed = self.sink.row(row).err();
    }

    /// The shape; one without anything that varies is the name itself.
    fn shape_text(&self) -> String {
        let shape = self.shape.bytes();
        match &self.hash {
            Some(hash) if !crate::pattern::varies(shape) => hash.of(shape),
            _ => shape::text(shape),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When this or an earlier row could not be written.
    pub fn finish(self) -> Result<(), RowError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.sink.finish(),
        }
    }
}

/// Names as hashes: equal names have equal ones under the same salt.
#[derive(Debug, Clone)]
pub struct KeyHash {
    salt: String,
}

impl KeyHash {
    /// Under this salt.
    pub fn new(salt: &str) -> Self {
        Self { salt: salt.to_owned() }
    }

    /// The hash of a name: 128 bits of SHA-256, as hexadecimal digits.
    pub fn of(&self, name: &[u8]) -> String {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        hasher.update((self.salt.len() as u64).to_le_bytes());
        hasher.update(&self.salt);
        hasher.update(name);
        let half = hasher.finalize().first_chunk::<16>().copied().unwrap_or_default();
        format!("{:032x}", u128::from_be_bytes(half))
    }
}
