//! The walk down the ladder: used, allocated, active, resident, rss, limit.

use crate::figures::Figures;
use unfrag_model::Layers;

/// The levels of this server, with the remainder that makes the gaps add up to `rss - used` exactly.
pub(crate) fn walk(f: &Figures<'_>) -> Layers {
    let mut layers = Layers {
        used: f.used,
        allocated: f.allocated,
        active: f.active,
        resident: f.resident,
        rss: f.rss,
        limit: f.limit.map(|l| l.bytes),
        maxmemory: f.maxmemory,
        peak: f.peak,
        remainder: 0,
    };
    layers.remainder = remainder(&layers);
    layers
}

/// `(last - first) - sum of the rises`: what levels out of order take away again.
fn remainder(layers: &Layers) -> i64 {
    let levels = layers.levels();
    let (Some((_, first)), Some((_, last))) = (levels.first(), levels.last()) else { return 0 };
    let rises: u64 = levels
        .iter()
        .zip(levels.iter().skip(1))
        .map(|((_, lower), (_, upper))| upper.saturating_sub(*lower))
        .sum();
    last.cast_signed() - first.cast_signed() - rises.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_levels_leave_a_remainder_that_restores_the_sum() {
        // Issue netdata 9764: resident was sampled above RSS.
        let layers = Layers {
            used: Some(17_146_944),
            allocated: Some(17_336_776),
            active: Some(18_694_144),
            resident: Some(25_382_912),
            rss: Some(22_982_656),
            ..Layers::default()
        };
        assert_eq!(remainder(&layers), -2_400_256);
    }
}
