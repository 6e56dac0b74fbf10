//! Cuts what is received into frames, wherever the bytes are cut.

use super::{
    Violation,
    frame::{HEADER, Header, Kind},
};

/// A part of what has been received.
#[derive(Debug, PartialEq)]
pub enum Part<'a> {
    /// The beginning of a frame.
    Header(Header),
    /// Bytes of the payload of the last header, and how many are still to come.
    Payload { bytes: &'a [u8], left: u32 },
}

/// Where in a frame the next byte belongs.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    filled: usize,
    payload_left: u32,
}

impl Decoder {
    /// Takes the next part off `input`; `None` when there is nothing left of it.
    ///
    /// # Errors
    ///
    /// Where a header is none.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Violation> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.payload_left > 0 {
            let n = input.len().min(self.payload_left as usize);
            let (bytes, rest) = input.split_at(n);
            *input = rest;
            self.payload_left -= n as u32;
            return Ok(Some(Part::Payload { bytes, left: self.payload_left }));
        }
        let n = input.len().min(HEADER - self.filled);
        let (bytes, rest) = input.split_at(n);
        self.header[self.filled..self.filled + n].copy_from_slice(bytes);
        *input = rest;
        self.filled += n;
        if self.filled < HEADER {
            return Ok(None);
        }
        self.filled = 0;
        let header = Header::decode(self.header)?;
        if header.kind == Kind::Data {
            self.payload_left = header.length;
        }
        Ok(Some(Part::Header(header)))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within_a_frame(&self) -> bool {
        self.filled > 0 || self.payload_left > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yamux::frame::Flags;

    /// The headers, and all payload in a row.
    fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Header>, Vec<u8>, bool) {
        let (mut decoder, mut headers, mut payload) = (Decoder::default(), Vec::new(), Vec::new());
        for mut piece in pieces {
            while let Some(part) = decoder.next(&mut piece).unwrap() {
                match part {
                    Part::Header(header) => headers.push(header),
                    Part::Payload { bytes, .. } => payload.extend_from_slice(bytes),
                }
            }
        }
        (headers, payload, decoder.is_within_a_frame())
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_cut(lengths in prop::collection::vec(0_u32..40, 0..8), piece in 1_usize..50) {
            let mut bytes = Vec::new();
            for (stream, length) in (1..).zip(&lengths) {
                bytes.extend(Header::data(stream, Flags::NONE, *length).encode());
                bytes.extend((0..*length).map(|i| i as u8));
                bytes.extend(Header::window_update(stream, Flags::NONE, *length).encode());
            }
            let (headers, payload, unfinished) = decode(bytes.chunks(piece));
            prop_assert_eq!(headers.len(), 2 * lengths.len());
            prop_assert_eq!(payload.len(), lengths.iter().sum::<u32>() as usize);
            prop_assert!(!unfinished);
        }

        #[test]
        fn any_bytes_are_cut_into_frames_or_refused(bytes: Vec<u8>, piece in 1_usize..50) {
            let mut decoder = Decoder::default();
            for mut piece in bytes.chunks(piece) {
                loop {
                    match decoder.next(&mut piece) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(piece.is_empty());
            }
        }
    }
}
