//! Compression that the usual tools read: [`Codec`]. Pure.
//!
//! Nothing of our own is put in front: a zlib stream is what Python's `zlib.decompress` takes, lz4 and zstd are frames
//! with the magic number that their tools look for. That is also how a compressed value is known again.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// How values are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// RFC 1950.
    Zlib,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

/// The most that a value may unfold to: the largest string a server holds.
pub const LARGEST_VALUE_BYTES: u64 = 512 << 20;
/// What the command line tools of both take by default.
const ZLIB_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const LZ4_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// Bytes of a value that tell whether it may be compressed already.
pub const MAGIC_BYTES: usize = 4;

impl Codec {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// A value compressed, verified by unfolding it again; `None` when that does not give the value back.
    pub fn compress(self, value: &[u8]) -> Option<Vec<u8>> {
        let packed = match self {
            Self::Zlib => {
                let mut encoder = ZlibEncoder::new(vec![], Compression::new(ZLIB_LEVEL));
                encoder.write_all(value).ok()?;
                encoder.finish().ok()?
            }
            Self::Lz4 => {
                let mut info = lz4_flex::frame::FrameInfo::new();
                info.content_size = Some(value.len() as u64);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, vec![]);
                encoder.write_all(value).ok()?;
                encoder.finish().ok()?
            }
            Self::Zstd => zstd::bulk::compress(value, ZSTD_LEVEL).ok()?,
        };
        (self.decompress(&packed).as_deref() == Some(value)).then_some(packed)
    }

    /// The value in a compressed one; `None` when it is none of this codec, or has something behind its end.
    pub fn decompress(self, packed: &[u8]) -> Option<Vec<u8>> {
        if !self.may_have_made(packed) {
            return None;
        }
        let mut rest = packed;
        let value = match self {
            Self::Zlib => {
                let mut decoder = flate2::bufread::ZlibDecoder::new(packed);
                let value = bounded(&mut decoder)?;
                rest = packed.get(usize::try_from(decoder.total_in()).ok()?..)?;
                has_checksum(packed, &value).then_some(value)?
            }
            Self::Lz4 if has_end_mark(packed) => {
                bounded(lz4_flex::frame::FrameDecoder::new(&mut rest))?
            }
            Self::Lz4 => return None,
            Self::Zstd => bounded(zstd::Decoder::with_buffer(&mut rest).ok()?.single_frame())?,
        };
        rest.is_empty().then_some(value)
    }

    /// By its first bytes. A zlib header has only two, so that some texts have them as well.
    pub fn may_have_made(self, start: &[u8]) -> bool {
        match self {
            Self::Zlib => match start {
                [cmf, flags, ..] => {
                    cmf & 0x0f == 8
                        && cmf >> 4 <= 7
                        && flags & 0x20 == 0
                        && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31)
                }
                _ => false,
            },
            Self::Lz4 => start.starts_with(LZ4_MAGIC),
            Self::Zstd => start.starts_with(ZSTD_MAGIC),
        }
    }

    /// Which codec a whole value was compressed with, if any.
    pub fn of(value: &[u8]) -> Option<Self> {
        [Self::Zlib, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.decompress(value).is_some())
    }

    /// Whether the first bytes are those of any codec.
    pub fn may_be_compressed(start: &[u8]) -> bool {
        [Self::Zlib, Self::Lz4, Self::Zstd].iter().any(|codec| codec.may_have_made(start))
    }
}

/// A zlib stream ends with the Adler-32 of its value; the decoder takes one that was cut off within it.
fn has_checksum(packed: &[u8], value: &[u8]) -> bool {
    let (mut a, mut b) = (1u32, 0u32);
    // The most bytes for which the sums stay within 32 bits, as zlib has it.
    for chunk in value.chunks(5552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65_521, b % 65_521);
    }
    packed.ends_with(&(b << 16 | a).to_be_bytes())
}

/// A frame ends with four zeros, and a checksum where its flags say so; the decoder takes one that was cut off there.
fn has_end_mark(packed: &[u8]) -> bool {
    const HAS_CHECKSUM: u8 = 0x04;
    let checksum_bytes =
        if packed.get(4).is_some_and(|flags| flags & HAS_CHECKSUM != 0) { 4 } else { 0 };
    packed
        .len()
        .checked_sub(checksum_bytes)
        .and_then(|end| packed.get(..end))
        .is_some_and(|p| p.ends_with(&[0; 4]))
}

fn bounded(reader: impl Read) -> Option<Vec<u8>> {
    let mut value = vec![];
    reader.take(LARGEST_VALUE_BYTES + 1).read_to_end(&mut value).ok()?;
    (value.len() as u64 <= LARGEST_VALUE_BYTES).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 3] = [Codec::Zlib, Codec::Lz4, Codec::Zstd];

    #[test]
    fn a_value_is_known_by_its_codec_alone() {
        let value = b"a document, a document, a document".repeat(20);
        for codec in ALL {
            let packed = codec.compress(&value).unwrap();
            assert!(packed.len() < value.len() / 4, "{}", codec.name());
            assert_eq!(Codec::of(&packed), Some(codec));
            assert!(Codec::may_be_compressed(packed.get(..MAGIC_BYTES).unwrap()));
            let mut longer = packed.clone();
            longer.push(0);
            assert_eq!(codec.decompress(&longer), None, "{}: something behind", codec.name());
            assert_eq!(codec.decompress(packed.get(..packed.len() - 1).unwrap()), None);
        }
        // A text that happens to begin as zlib does.
        assert!(Codec::Zlib.may_have_made(b"x^y") && Codec::of(b"x^y is no zlib").is_none());
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for codec in ALL {
                let packed = codec.compress(&value).unwrap();
                prop_assert_eq!(codec.decompress(&packed), Some(value.clone()));
            }
        }

        #[test]
        fn nothing_panics(value in proptest::collection::vec(any::<u8>(), 0..200), which in 0..3usize) {
            let magics: [&[u8]; 3] = [&[0x78, 0x9c], LZ4_MAGIC, ZSTD_MAGIC];
            let hostile = [magics[which], &value].concat();
            for codec in ALL {
                let _ = codec.decompress(&hostile);
            }
        }
    }
}
