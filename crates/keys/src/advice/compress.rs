//! Values worth compressing. Each codec really compresses the sampled values; size classes are applied to what
//! comes out, because a value that shrinks within its class saves nothing.

use std::io::Write;

use unfrag_rdb::text::Text;

use super::{Advice, Confidence, Context, Tried};
use crate::pattern::Pattern;
use crate::sample::Sample;
use crate::stats::rounded;
use crate::typed;

/// Mean length from which values are tried.
const LENGTH_MIN: u64 = 96;
/// Values that `reshape` is told to leave alone are shorter than one of these.
const MIN_SIZES: (u64, u64) = (64, 1024);
/// A client that has to decompress wants more than a trifle for it, in per cent.
const SAVING_PERCENT: u64 = 15;
/// Samples from which a dictionary can be trained on one half and tried on the other.
const DICTIONARY_SAMPLES: usize = 16;
/// Most bytes of a dictionary: a tenth of what it is trained on is plenty.
const DICTIONARY_BYTES: usize = 16 << 10;
const ZSTD_LEVEL: i32 = 3;
/// The way that needs something kept beside the data.
const DICTIONARY: &str = "zstd+dictionary";

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context.patterns.iter().filter_map(|pattern| one(context, pattern)).collect()
}

fn one(context: &Context<'_>, pattern: &Pattern<'_>) -> Option<Advice> {
    let stats = pattern.stats;
    if !stats.is_strings() || !context.is_worth(stats.bytes) {
        return None;
    }
    let samples: Vec<&Sample> =
        stats.reservoir.samples().iter().filter(|s| s.value.is_some()).collect();
    let length: u64 = samples.iter().map(|s| s.elements).sum();
    if samples.is_empty() || length / (samples.len() as u64) < LENGTH_MIN {
        return None;
    }
    let mut tried: Vec<Tried> = codecs(&samples)
        .into_iter()
        .map(|Codec { name, compress, tried_on }| {
            let bytes_after = context.scaled(stats.bytes, &tried_on, |estimator, sample| {
                let length = compressed(sample, &compress)?;
                let text = Text::Omitted { length };
                Some(estimator.string(sample.name_bytes, sample.expires_ms.is_some(), text).bytes)
            });
            Tried { name: name.to_owned(), bytes_after }
        })
        .collect();
    tried.sort_by_key(|t| t.bytes_after);
    // What the command printed reaches: `reshape` keeps nothing beside the data, so it has no dictionary.
    let is_worth = |t: &&Tried| {
        (stats.bytes.saturating_sub(t.bytes_after)) * 100 >= stats.bytes * SAVING_PERCENT
    };
    let plain = tried.iter().filter(|t| t.name != DICTIONARY).find(is_worth);
    let dictionary = tried.iter().find(|t| t.name == DICTIONARY).filter(is_worth);
    let best = plain.or(dictionary)?.clone();
    let beyond = dictionary.filter(|d| d.bytes_after < best.bytes_after).map_or_else(String::new, |d| {
        format!(
            ". With a dictionary trained on such values, which your application would have to keep and `reshape` does not, zstd \
             leaves {}",
            unfrag_model::human(d.bytes_after)
        )
    });
    let next = plain.zip(typed::glob(&pattern.shape)).map(|(codec, glob)| {
        let codec = &codec.name;
        let min = min_size(&samples);
        format!("unfrag reshape compress --match '{glob}' --codec {codec} --min-size {min}")
    });
    Some(Advice {
        kind: "compress",
        pattern: pattern.text.clone(),
        keys: stats.keys,
        bytes_now: stats.bytes,
        bytes_after: best.bytes_after,
        confidence: Confidence::of_samples(samples.len()),
        is_safe: false,
        why: format!(
            "{} sampled values compressed with {}: this is what they would take, rounded to size classes. Readers must \
             decompress; commands that change a value in place (APPEND, SETRANGE, INCR, GETRANGE) no longer work on it{beyond}",
            samples.len(),
            if best.name == DICTIONARY {
                "zstd and a dictionary that your application would have to keep"
            } else {
                &best.name
            }
        ),
        next,
        tried,
        crosses_slots: false,
    })
}

/// Below the shortest value sampled, where that is long enough to gain anything.
fn min_size(samples: &[&Sample]) -> u64 {
    let shortest = samples.iter().map(|s| s.elements).min().unwrap_or(0);
    (shortest.checked_ilog2().map_or(0, |log| 1 << log)).clamp(MIN_SIZES.0, MIN_SIZES.1)
}

/// Length of a sample once compressed; where only its start was kept, in proportion.
fn compressed(sample: &Sample, compress: &Compress) -> Option<u64> {
    let value = sample.value.as_deref().filter(|v| !v.is_empty())?;
    let length = compress(value)? as u64;
    let whole = length as f64 * sample.elements as f64 / value.len() as f64;
    Some(rounded(whole).max(1))
}

type Compress = Box<dyn Fn(&[u8]) -> Option<usize>>;

/// A way to compress, and the samples that tell what it gives.
struct Codec<'s> {
    name: &'static str,
    compress: Compress,
    tried_on: Vec<&'s Sample>,
}

fn codecs<'s>(samples: &[&'s Sample]) -> Vec<Codec<'s>> {
    let plain: [(&'static str, Compress); 3] = [
        ("zlib", Box::new(zlib)),
        ("lz4", Box::new(lz4)),
        ("zstd", Box::new(|v: &[u8]| zstd::bulk::compress(v, ZSTD_LEVEL).ok().map(|c| c.len()))),
    ];
    let mut codecs: Vec<Codec<'s>> = plain
        .into_iter()
        .map(|(name, compress)| Codec { name, compress, tried_on: samples.to_vec() })
        .collect();
    if let Some(dictionary) = dictionary(samples) {
        let with = move |value: &[u8]| {
            let compressor = zstd::bulk::Compressor::with_dictionary(ZSTD_LEVEL, &dictionary);
            compressor.ok()?.compress(value).ok().map(|c| c.len())
        };
        let strangers = samples.iter().copied().skip(1).step_by(2).collect();
        codecs.push(Codec { name: DICTIONARY, compress: Box::new(with), tried_on: strangers });
    }
    codecs
}

/// A frame with its length, as `reshape` writes it.
fn lz4(value: &[u8]) -> Option<usize> {
    let mut about = lz4_flex::frame::FrameInfo::new();
    about.content_size = Some(value.len() as u64);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(about, Vec::new());
    encoder.write_all(value).ok()?;
    encoder.finish().ok().map(|c| c.len())
}

fn zlib(value: &[u8]) -> Option<usize> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(value).ok()?;
    encoder.finish().ok().map(|c| c.len())
}

/// A dictionary of every second sample. It is then tried on the others: on its own it would do too well.
fn dictionary(samples: &[&Sample]) -> Option<Vec<u8>> {
    if samples.len() < DICTIONARY_SAMPLES {
        return None;
    }
    let values: Vec<&[u8]> = samples.iter().step_by(2).filter_map(|s| s.value.as_deref()).collect();
    let bytes: usize = values.iter().map(|v| v.len()).sum();
    zstd::dict::from_samples(&values, (bytes / 4).clamp(256, DICTIONARY_BYTES)).ok()
}
