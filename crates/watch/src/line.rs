//! [`Line`]: the whole known past of a few columns in at most [`LENGTH`] steps, in memory.
//!
//! While a line is young its steps are short; when it is full, neighbours are merged and the step doubles, until it
//! spans [`SPAN_S`]; from then on the oldest step goes. It feeds the sparklines and the trends of the fleet's page without
//! a look into the database.

use crate::point::{Column, Point};

/// Steps at most. Theil-Sen over all pairs of them takes a fraction of a millisecond.
pub const LENGTH: usize = 96;
/// A day: longer than any daily rhythm needs to be told from a trend.
pub const SPAN_S: i64 = 24 * 3600;
/// The longest step: a quarter of an hour.
const MAX_STEP_S: i64 = 900;
/// The shortest.
const MIN_STEP_S: i64 = 10;

/// The columns that are kept.
pub const KEPT: [Column; 5] =
    [Column::Used, Column::Rss, Column::Fragmentation, Column::Headroom, Column::Waste];

/// One step: the mean of each kept column over it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Its beginning, in seconds since 1970.
    pub at_s: i64,
    sums: [f64; KEPT.len()],
    counts: [u32; KEPT.len()],
}

/// The past of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    step_s: i64,
    steps: Vec<Step>,
}

impl Default for Line {
    fn default() -> Self {
        Self { step_s: MIN_STEP_S, steps: vec![] }
    }
}

impl Line {
    /// Adds a point, which is now: what is later was a clock that went wrong, and goes.
    pub fn push(&mut self, point: &Point) {
        let at_s = point.at_s - point.at_s.rem_euclid(self.step_s);
        while self.steps.last().is_some_and(|last| last.at_s > at_s) {
            self.steps.pop();
        }
        if let Some(last) = self.steps.last_mut().filter(|last| last.at_s == at_s) {
            return last.add(point);
        }
        let mut step = Step { at_s, sums: [0.0; KEPT.len()], counts: [0; KEPT.len()] };
        step.add(point);
        self.add_step(step);
    }

    /// Adds a step that is not before the last one.
    fn add_step(&mut self, mut step: Step) {
        let at_s = step.at_s - step.at_s.rem_euclid(self.step_s);
        step.at_s = at_s;
        if let Some(last) = self.steps.last_mut().filter(|last| last.at_s == at_s) {
            return last.merge(&step);
        }
        self.steps.push(step);
        self.steps.retain(|s| s.at_s > at_s - SPAN_S);
        if self.steps.len() > LENGTH {
            if self.step_s < MAX_STEP_S {
                self.double();
            } else {
                self.steps.remove(0);
            }
        }
    }

    /// This line with a past before its beginning; what both hold is the past's.
    #[must_use]
    pub fn behind(self, mut past: Self) -> Self {
        let known_s = past.steps.last().map_or(i64::MIN, |last| last.at_s);
        for step in self.steps.into_iter().filter(|s| s.at_s > known_s) {
            past.add_step(step);
        }
        past
    }

    fn double(&mut self) {
        self.step_s = (self.step_s * 2).min(MAX_STEP_S);
        let mut merged: Vec<Step> = vec![];
        for mut step in std::mem::take(&mut self.steps) {
            step.at_s -= step.at_s.rem_euclid(self.step_s);
            match merged.last_mut() {
                Some(last) if last.at_s == step.at_s => last.merge(&step),
                _ => merged.push(step),
            }
        }
        self.steps = merged;
    }

    /// Seconds a step spans.
    pub fn step_s(&self) -> i64 {
        self.step_s
    }

    /// `(seconds since 1970, value)` of a kept column, where known.
    pub fn values(&self, column: Column) -> Vec<(i64, f64)> {
        let Some(at) = KEPT.iter().position(|c| *c == column) else { return vec![] };
        self.steps.iter().filter_map(|s| Some((s.at_s, s.mean(at)?))).collect()
    }
}

impl Step {
    fn add(&mut self, point: &Point) {
        for ((sum, count), column) in self.sums.iter_mut().zip(&mut self.counts).zip(KEPT) {
            if let Some(value) = point.get(column) {
                *sum += value as f64;
                *count += 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    fn mean(&self, at: usize) -> Option<f64> {
        let count = *self.counts.get(at)?;
        (count > 0).then_some(self.sums.get(at)? / f64::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_that_comes_late_goes_before_what_is_known() {
        let (mut past, mut now) = (Line::default(), Line::default());
        let point = |at_s: i64, rss: i64| {
            let mut point = Point::unknown(at_s);
            point.set(Column::Rss, Some(rss));
            point
        };
        for n in 0..600 {
            past.push(&point(n * 60, 1));
        }
        for n in 3590..3650 {
            now.push(&point(n * 10, 2));
        }
        let whole = now.behind(past).values(Column::Rss);
        assert_eq!(whole.first(), Some(&(0, 1.0)));
        assert_eq!(whole.last().map(|v| v.1), Some(2.0));
        assert!(whole.is_sorted_by(|a, b| a.0 < b.0) && whole.len() <= LENGTH, "{whole:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_line() {
        let mut line = Line::default();
        let mut push = |at_s: i64| {
            let mut point = Point::unknown(at_s);
            point.set(Column::Rss, Some(at_s));
            line.push(&point);
            line.values(Column::Rss)
        };
        push(1000);
        push(1010);
        push(900_000);
        push(1020);
        let values = push(1030);
        assert_eq!(values.last(), Some(&(1030, 1030.0)), "{values:?}");
        assert!(values.iter().all(|v| v.0 <= 1030), "{values:?}");
    }

    #[test]
    fn a_line_spans_a_day_and_no_more_and_keeps_the_mean() {
        let mut line = Line::default();
        let mut at_s = 1_700_000_000;
        for n in 0..20_000 {
            at_s = 1_700_000_000 + n * 10;
            let mut point = Point::unknown(at_s);
            point.set(Column::Rss, Some(n));
            line.push(&point);
            assert!(line.values(Column::Rss).len() <= LENGTH);
        }
        let values = line.values(Column::Rss);
        assert_eq!(line.step_s(), MAX_STEP_S);
        assert!(values.len() >= LENGTH - 1);
        assert!(values[0].0 > at_s - SPAN_S - MAX_STEP_S);
        // A step of 15 minutes holds 90 points, and the mean of a straight line lies in its middle.
        let slope = (values[50].1 - values[10].1) / 40.0;
        assert!((slope - 90.0).abs() < 1.0, "{slope}");
    }
}
