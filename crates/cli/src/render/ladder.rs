//! The memory ladder as bars: each level with the gap that leads to it, in bytes that add up.

use super::paint::Paint;
use unfrag_model::text::wrap;
use unfrag_model::{Layers, human, signed_human};

/// Columns of the bar: what is left of 80 after names, bytes and the gap's name.
const BAR: usize = 24;

/// The ladder's lines, indented by two.
pub(crate) fn render(layers: &Layers, paint: Paint) -> Vec<String> {
    let levels = layers.levels();
    let Some(top) = levels.iter().map(|(_, bytes)| *bytes).max().filter(|&t| t > 0) else {
        return vec![];
    };
    let mut lines = vec![];
    let mut below: Option<u64> = None;
    for (name, bytes) in &levels {
        lines.push(line(name, *bytes, below, top, paint, gap_name(name, layers)));
        below = Some(*bytes);
    }
    lines.extend(sum(layers, &levels));
    lines.extend(limits(layers, paint));
    lines
}

fn line(name: &str, bytes: u64, below: Option<u64>, top: u64, paint: Paint, gap: &str) -> String {
    let solid = cells(bytes.min(below.unwrap_or(bytes)), top);
    let whole = cells(bytes, top).max(solid);
    let (full, light) = if paint.unicode { ("█", "░") } else { ("#", "+") };
    let bar = format!("{}{}", full.repeat(solid), light.repeat(whole - solid));
    let blanks = " ".repeat(BAR.saturating_sub(whole));
    let difference = below.map_or(String::new(), |below| {
        let rise = bytes.cast_signed() - below.cast_signed();
        let sign = if rise < 0 { "" } else { "+" };
        format!("{:>10}", format!("{sign}{}", signed_human(rise)))
    });
    format!("  {name:<10}{:>9} {bar}{blanks} {difference:>10} {gap}", human(bytes))
        .trim_end()
        .to_owned()
}

fn cells(bytes: u64, top: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most BAR")]
    let cells = (bytes as f64 / top as f64 * BAR as f64).round() as usize;
    cells.min(BAR)
}

/// What the gap that ends at this level is.
fn gap_name(level: &str, layers: &Layers) -> &'static str {
    match level {
        "used" => "data and buffers",
        "allocated" => "modules, scripts",
        "active" => "fragmentation",
        "resident" => "retained pages",
        _ if layers.resident.is_some() => "not the allocator",
        _ if layers.rss < layers.used => "untouched or swapped",
        _ => "unknown: not split",
    }
}

/// The proof that nothing was left out.
fn sum(layers: &Layers, levels: &[(&str, u64)]) -> Option<String> {
    let ((_, first), (_, last)) = (levels.first()?, levels.last()?);
    (levels.len() > 2 && layers.remainder != 0).then(|| {
        let difference = last.cast_signed() - first.cast_signed();
        format!(
            "  levels cross by {} (read at different moments, or never touched);",
            signed_human(layers.remainder)
        ) + &format!("\n  {} - {} = {} in all", "rss", "used", signed_human(difference))
    })
}

/// The limits the ladder leans against.
fn limits(layers: &Layers, paint: Paint) -> Option<String> {
    let rss = layers.rss?;
    let limit =
        layers.limit.map(|l| format!("limit {} ({} free)", human(l), human(l.saturating_sub(rss))));
    let maxmemory = layers.maxmemory.map(|m| match (m, layers.used) {
        (0, _) => "maxmemory not set".to_owned(),
        (m, Some(used)) => {
            format!("maxmemory {} ({:.0} % used)", human(m), used as f64 / m as f64 * 100.0)
        }
        (m, None) => format!("maxmemory {}", human(m)),
    });
    let peak = layers.peak.map(|p| format!("peak {}", human(p)));
    let all: Vec<String> = [limit, maxmemory, peak].into_iter().flatten().collect();
    (!all.is_empty()).then(|| format!("  {}", wrap(&all.join(" · "), paint.width, 2)))
}
