//! RDB snapshots of Redis and Valkey: read, verify, size.
//!
//! Bytes go in, reports come out; nothing here knows sockets or a clock. Four doors, widest first:
//!
//! - [`verify_file`] and [`verify_reader`]: everything wrong with a snapshot, as a [`VerifyReport`]; [`Feed`] for
//!   bytes that arrive by themselves.
//! - [`size_file`] and [`size_each`]: what it would occupy in a server ([`SizeFor`]), whole and key by key.
//! - [`reader::Reader`]: pull items (keys, metadata, slot records) out of an [`input::Slice`] (bytes that are all there; what
//!   is read borrows from them) or an [`input::Stream`] (anything that is [`std::io::Read`], in bounded memory).
//! - [`value::walk`] with a [`value::Visitor`]: what is inside one value.
//!
//! The first two take compressed files, captures of a replication stream and append-only files as they are. For the last
//! two [`container::open`] takes off what stands around a snapshot.
//!
//! No input makes this crate panic or reserve memory without bound: lengths are held against what can
//! follow before anything is reserved.
//!
//! ```
//! use unfrag_rdb::container::{self, Framing, Source};
//! use unfrag_rdb::input::{Input, Scratch, Slice, Stream};
//! use unfrag_rdb::problem::{Flaw, key_text};
//! use unfrag_rdb::reader::{Item, Reader};
//! use unfrag_rdb::text::Need;
//! use unfrag_rdb::value::{Event, Visitor};
//!
//! /// Prints the fields and values of hashes, whatever their encoding.
//! #[derive(Default)]
//! struct Fields {
//!     decoded: Scratch,
//! }
//!
//! impl Visitor for Fields {
//!     const NAMES: Need = Need::Bytes;
//!     const VALUES: Need = Need::Bytes;
//!     const BLOBS: Need = Need::Bytes;
//!
//!     fn on(&mut self, event: Event<'_>) {
//!         if let Event::Field(text) | Event::Value(text) = event
//!             && let Ok(bytes) = text.bytes(&mut self.decoded)
//!         {
//!             println!("  {}", key_text(bytes));
//!         }
//!     }
//!
//!     fn flaw(&mut self, flaw: Flaw) {
//!         println!("  damaged: {flaw}");
//!     }
//! }
//!
//! /// The number of keys, each printed.
//! fn keys<I: Input>(input: I) -> Result<u64, Flaw> {
//!     let mut reader = Reader::new(input)?;
//!     let (mut fields, mut keys) = (Fields::default(), 0);
//!     while let Some(item) = reader.next_item()? {
//!         if let Item::Key(key) = item {
//!             println!("{} expires at {:?} ms", key_text(key.name), key.expires_ms);
//!             keys += 1;
//!             reader.value(&mut fields)?; // without this it is passed over
//!         }
//!     }
//!     Ok(keys)
//! }
//!
//! let file = tempfile::NamedTempFile::new()?;
//! std::fs::write(&file, b"REDIS0004\xfe\x00\x00\x01a\x01b\x04\x01h\x01\x01f\x01v\xff")?;
//! let found = match container::open(file.path())? {
//!     Source::Mapped(map) => {
//!         let framing = Framing::parse(map.bytes());
//!         let snapshot = map.bytes().get(framing.before..).unwrap_or_default();
//!         keys(Slice::new(snapshot, framing.before as u64))
//!     }
//!     Source::Streamed { bytes, framing, .. } => keys(Stream::new(bytes, framing.before as u64)),
//! };
//! assert_eq!(found, Ok(2));
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod container;
pub mod crc;
pub mod format;
#[doc(hidden)]
pub mod fuzz;
pub mod input;
pub mod length;
pub mod lzf;
mod parallel;
pub mod problem;
pub mod reader;
pub mod size;
pub mod slot;
pub mod text;
pub mod value;
pub mod verify;

pub use problem::{Flaw, FlawKind, Problem};
pub use size::{Estimator, Observer, Tally, fold_file, fold_reader};
pub use size::{SizeFor, SizeReport, size_bytes, size_each, size_file, size_fold, size_reader};
pub use verify::{
    Checksum, Feed, VerifyOptions, VerifyReport, verify_bytes, verify_file, verify_payload,
    verify_reader,
};
