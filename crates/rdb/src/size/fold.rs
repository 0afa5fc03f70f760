//! Folding a snapshot: every key, sized, handed to something that keeps what it wants of it. Read [`Tally`] first.
//!
//! A mapped file is folded on every core, each with a tally of its own; anything else as it arrives.

use std::io::{self, Read};
use std::path::Path;

use super::value::ValueSize;
use super::{KeySize, SizeFor, SizeReport, Sizer, unframed};
use crate::container::{self, Source};
use crate::input::{Stream, index};
use crate::problem::Flaw;
use crate::reader::{Item, Key};
use crate::text::{Need, Text};
use crate::value::{Encoding, Event, Visitor};

/// Allocations of one size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Bytes each takes.
    pub class_bytes: u64,
    /// How many.
    pub count: u64,
}

/// Watches keys go by, one after another.
pub trait Observer {
    /// What is needed of values.
    const VALUES: Need = Need::Length;
    /// Whether [`KeySize::packed_bytes`] is wanted: it costs a third on top where there are many sorted sets.
    const PACKED: bool = false;

    /// Something between keys.
    fn item(&mut self, item: &Item<'_>) {
        let _ = item;
    }

    /// A key whose value comes next. True asks for the list of its allocations.
    #[inline]
    fn open(&mut self, key: &Key<'_>) -> bool {
        let _ = key;
        false
    }

    /// The key's value, if that is a string.
    #[inline]
    fn text(&mut self, text: Text<'_>) {
        let _ = text;
    }

    /// The key, sized, and its allocations if they were asked for.
    #[inline]
    fn close(&mut self, key: &KeySize<'_>, blocks: &[Block]) {
        let _ = (key, blocks);
    }
}

/// An observer that many cores can have one of.
pub trait Tally: Observer + Send {
    /// An empty one that keeps the same things.
    #[must_use]
    fn fork(&self) -> Self;

    /// Takes over what another one kept.
    fn join(&mut self, other: Self);
}

/// Folds the file at `path` (`-` for standard input).
///
/// # Errors
/// Only when the file cannot be opened or mapped.
pub fn fold_file<T: Tally>(
    path: &Path,
    size_for: &SizeFor,
    tally: T,
) -> io::Result<(SizeReport, T)> {
    let name = path.display().to_string();
    match container::open(path)? {
        Source::Mapped(map) => {
            let done = |start: u64, end: u64| map.release(index(start), index(end));
            fold_slice(&name, map.bytes(), size_for, tally, &done)
        }
        source @ Source::Streamed { .. } => Ok(fold_source(&name, source, size_for, tally)),
    }
}

/// Folds a snapshot that is all in memory.
///
/// # Errors
/// When it is compressed in a way that cannot be read.
pub fn fold_bytes<T: Tally>(
    name: &str,
    bytes: &[u8],
    size_for: &SizeFor,
    tally: T,
) -> io::Result<(SizeReport, T)> {
    fold_slice(name, bytes, size_for, tally, &|_, _| ())
}

/// The same; `done` is told from where to where in `bytes` nothing will be read again.
fn fold_slice<T: Tally>(
    name: &str,
    bytes: &[u8],
    size_for: &SizeFor,
    tally: T,
    done: &(impl Fn(u64, u64) + Sync),
) -> io::Result<(SizeReport, T)> {
    match unframed(bytes) {
        Ok(slice) => {
            let (sum, tally) = Sizer::new(size_for).run_on_all_cores(slice, tally, done);
            Ok((sum.report(name), tally))
        }
        Err(source) => Ok(fold_source(name, source?, size_for, tally)),
    }
}

/// Folds what `source` yields as it arrives, in memory that does not grow with it.
///
/// # Errors
/// Only when nothing can be read at all.
pub fn fold_reader<'s, T: Tally>(
    name: &str,
    source: impl Read + Send + 's,
    size_for: &SizeFor,
    tally: T,
) -> io::Result<(SizeReport, T)> {
    Ok(fold_source(name, container::streamed(source)?, size_for, tally))
}

fn fold_source<T: Tally>(
    name: &str,
    source: Source<'_>,
    size_for: &SizeFor,
    mut tally: T,
) -> (SizeReport, T) {
    let sizer = Sizer::new(size_for);
    let sum = match source {
        Source::Mapped(map) => sizer.run(crate::input::Slice::new(map.bytes(), 0), &mut tally),
        Source::Streamed { bytes, framing, .. } => {
            sizer.run(Stream::new(bytes, framing.before as u64), &mut tally)
        }
    };
    (sum.report(name), tally)
}

/// Nothing is watched.
pub(super) struct Ignore;

impl Observer for Ignore {}

impl Tally for Ignore {
    fn fork(&self) -> Self {
        Self
    }

    fn join(&mut self, _: Self) {}
}

/// A closure with a state a core.
pub(super) struct States<'f, S, M, E> {
    make: &'f M,
    each: &'f E,
    own: S,
    others: Vec<S>,
}

impl<'f, S, M: Fn() -> S, E> States<'f, S, M, E> {
    pub(super) fn new(make: &'f M, each: &'f E) -> Self {
        Self { make, each, own: make(), others: Vec::new() }
    }

    pub(super) fn all(self) -> Vec<S> {
        std::iter::once(self.own).chain(self.others).collect()
    }
}

impl<S, M, E: Fn(&mut S, &KeySize<'_>)> Observer for States<'_, S, M, E> {
    #[inline]
    fn close(&mut self, key: &KeySize<'_>, _: &[Block]) {
        (self.each)(&mut self.own, key);
    }
}

impl<S: Send, M: Fn() -> S + Sync, E: Fn(&mut S, &KeySize<'_>) + Sync> Tally
    for States<'_, S, M, E>
{
    fn fork(&self) -> Self {
        Self::new(self.make, self.each)
    }

    fn join(&mut self, other: Self) {
        self.others.extend(other.all());
    }
}

/// A closure told of every key.
pub(super) struct Each<F>(pub(super) F);

impl<F: FnMut(&KeySize<'_>)> Observer for Each<F> {
    #[inline]
    fn close(&mut self, key: &KeySize<'_>, _: &[Block]) {
        (self.0)(key);
    }
}

/// The sizing visitor with an observer beside it.
pub(super) struct Watched<'a, O> {
    pub(super) size: &'a mut ValueSize,
    pub(super) observer: &'a mut O,
}

impl<O: Observer> Visitor for Watched<'_, O> {
    const NAMES: Need = Need::Length;
    const VALUES: Need = O::VALUES;
    const BLOBS: Need = Need::Bytes;

    fn blob(&mut self, encoding: Encoding, text: &Text<'_>) -> bool {
        self.size.blob(encoding, text)
    }

    #[inline]
    fn on(&mut self, event: Event<'_>) {
        if let Event::String(text) = event {
            self.observer.text(text);
        }
        self.size.on(event);
    }

    fn flaw(&mut self, flaw: Flaw) {
        self.size.flaw(flaw);
    }
}
