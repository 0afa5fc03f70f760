//! LZ4 frames one after the other, as `lz4 -d` reads them. Read [`Frames`] first.
//!
//! The library's decoder takes a source that ends within a frame for the end of the frame, and stops after each: whether
//! another follows, and whether the last one was whole, is told apart here.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

/// The content of all frames of a source; an error where the last is cut.
pub(super) struct Frames<R: Read> {
    decoder: FrameDecoder<Watched<R>>,
    is_between: bool,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        let source = Watched { source, ahead: None, has_ended: false };
        Self { decoder: FrameDecoder::new(source), is_between: true }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            if self.is_between && !self.decoder.get_mut().has_more()? {
                return Ok(0);
            }
            self.is_between = false;
            let read = self.decoder.read(room)?;
            if read > 0 {
                return Ok(read);
            }
            // A whole frame says where it ends: nobody has to look behind it.
            if self.decoder.get_ref().has_ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.is_between = true;
        }
    }
}

/// A source that can be asked whether there is more, and remembers that somebody met its end.
struct Watched<R> {
    source: R,
    ahead: Option<u8>,
    has_ended: bool,
}

impl<R: Read> Watched<R> {
    fn has_more(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        loop {
            match self.source.read(&mut byte) {
                Ok(read) => {
                    let [byte] = byte;
                    self.ahead = (read > 0).then_some(byte);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(first) = room.first_mut() else { return Ok(0) };
        if let Some(byte) = self.ahead.take() {
            *first = byte;
            return Ok(1);
        }
        let read = self.source.read(room)?;
        self.has_ended |= read == 0;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::FrameEncoder;
    use std::io::Write;

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Frames::new(bytes).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn frames_follow_one_another_and_each_must_be_whole() {
        let (one, two) = (frame(&[b'a'; 5000]), frame(b"bc"));
        let both = [one.as_slice(), &frame(b""), &two].concat();
        assert_eq!(decoded(&both).unwrap(), [vec![b'a'; 5000], b"bc".to_vec()].concat());
        assert_eq!(decoded(b"").unwrap(), b"");
        let boundaries = [0, one.len(), both.len() - two.len()];
        for cut in 0..both.len() {
            assert_eq!(decoded(&both[..cut]).is_ok(), boundaries.contains(&cut), "cut at {cut}");
        }
        assert!(decoded(&[one.as_slice(), b"more"].concat()).is_err());
    }
}
