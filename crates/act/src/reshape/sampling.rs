//! [`Thinned`]: an even share of a stream, in bounded memory; [`Scale`]: from a sample to all of it. Pure.

/// Keeps every item of a stream, then every second, every fourth and so on, so that at most `most` are held.
#[derive(Debug)]
pub(super) struct Thinned<T> {
    pub(super) items: Vec<T>,
    most: usize,
    every: u64,
    pub(super) seen: u64,
}

impl<T> Thinned<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { items: vec![], most: most.max(2), every: 1, seen: 0 }
    }

    pub(super) fn add(&mut self, item: T) {
        if self.seen.is_multiple_of(self.every) {
            self.items.push(item);
        }
        self.seen += 1;
        if self.items.len() > self.most {
            let mut index = 0u32;
            self.items.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }
}

/// A figure of a part, taken to the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) part: u64,
    pub(super) whole: u64,
}

impl Scale {
    pub(super) fn up(self, figure: u64) -> u64 {
        if self.part == 0 {
            return 0;
        }
        let scaled = u128::from(figure) * u128::from(self.whole) / u128::from(self.part);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_thinned_evenly() {
        let mut thinned = Thinned::new(10);
        (0..1000u64).for_each(|n| thinned.add(n));
        assert!(thinned.items.len() <= 10 && thinned.items.len() >= 5);
        let steps: Vec<u64> = thinned.items.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(steps.iter().all(|s| *s == steps[0]), "{steps:?}");
        assert_eq!(Scale { part: 10, whole: 1000 }.up(7), 700);
        assert_eq!(Scale { part: 0, whole: 5 }.up(7), 0);
    }
}
