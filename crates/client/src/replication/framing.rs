//! The two ways in which a snapshot is framed: a length before it, or a mark behind it. Pure.

/// Bytes of an end mark.
const MARK_BYTES: usize = 40;

/// What the line before a snapshot announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// `$LENGTH`: so many bytes, then nothing.
    Length(u64),
    /// `$EOF:MARK`: bytes until these forty.
    Mark([u8; MARK_BYTES]),
}

impl Framing {
    /// Of a line without its end; `None` when it is something else.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"$")?;
        if let Some(mark) = rest.strip_prefix(b"EOF:") {
            return mark.try_into().ok().map(Self::Mark);
        }
        std::str::from_utf8(rest).ok()?.parse().ok().map(Self::Length)
    }
}

/// How much of what is pending belongs to the file.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    /// Left to come, where the length is known.
    left: u64,
    is_done: bool,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::Mark(_) => 0,
        };
        Self { framing, left, is_done: false }
    }

    /// One that nothing comes from.
    pub(super) fn done() -> Self {
        Self { framing: Framing::Length(0), left: 0, is_done: true }
    }

    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Mark(_) => None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Bytes at the beginning of `pending` that can be handed out. Before an end mark that may have begun, forty are
    /// held back. A mark is random: that a file's own bytes look like it does not happen.
    pub(super) fn ready(&mut self, pending: &[u8]) -> usize {
        if self.is_done {
            return 0;
        }
        match &self.framing {
            Framing::Length(_) => {
                let ready = usize::try_from(self.left).unwrap_or(usize::MAX).min(pending.len());
                self.left -= ready as u64;
                self.is_done = self.left == 0;
                ready
            }
            Framing::Mark(mark) => {
                let ready = pending.len().saturating_sub(MARK_BYTES);
                self.is_done = pending.ends_with(mark);
                ready
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: &[u8; MARK_BYTES] = b"0123456789abcdef0123456789abcdef01234567";

    fn received(framing: Framing, wire: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let (mut body, mut file, mut pending) = (Body::new(framing), vec![], vec![]);
        let mut rest = wire;
        for cut in cuts.iter().copied().chain([wire.len()]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            pending.extend_from_slice(now);
            let ready = body.ready(&pending);
            file.extend(pending.drain(..ready));
        }
        (file, body.is_done())
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(Framing::parse(b"$12"), Some(Framing::Length(12)));
        let line = [b"$EOF:", &MARK[..]].concat();
        assert_eq!(Framing::parse(&line), Some(Framing::Mark(*MARK)));
        for line in [&b"$EOF:short"[..], b"$-1", b"+FULLRESYNC", b"-ERR", b"$"] {
            assert_eq!(Framing::parse(line), None);
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_file(
            file in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(0usize..60, 0..20),
        ) {
            let marked = [&file[..], MARK].concat();
            prop_assert_eq!(received(Framing::Mark(*MARK), &marked, &cuts), (file.clone(), true));
            // Without rdb-only a server goes on with commands: they are not the file's.
            let followed = [&file[..], b"*1\r\n$4\r\nPING\r\n"].concat();
            let framing = Framing::Length(file.len() as u64);
            prop_assert_eq!(received(framing, &followed, &cuts), (file.clone(), true));
            // Cut short, it is never taken for whole.
            let short = &marked[..marked.len() - 1];
            prop_assert!(!received(Framing::Mark(*MARK), short, &cuts).1);
        }
    }
}
