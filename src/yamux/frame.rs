//! Frame headers, as the [specification](https://github.com/hashicorp/yamux/blob/master/spec.md) has them: version, type,
//! flags, stream id and length in 12 bytes, big endian.

use super::Violation;

/// Bytes of a header.
pub const HEADER: usize = 12;

const VERSION: u8 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `length` bytes of payload follow.
    Data,
    /// `length` is how much more the far end may send on the stream.
    WindowUpdate,
    /// `length` is a value to be sent back.
    Ping,
    /// `length` is the reason.
    GoAway,
}

/// Set of flags. Bits that the specification does not name are kept off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const SYN: Self = Self(1);
    pub const ACK: Self = Self(2);
    pub const FIN: Self = Self(4);
    pub const RST: Self = Self(8);

    pub fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a connection is ended, as GoAway says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    Normal = 0,
    ProtocolError = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub flags: Flags,
    /// 0 is the connection itself.
    pub stream: u32,
    pub length: u32,
}

impl Header {
    pub fn data(stream: u32, flags: Flags, length: u32) -> Self {
        Self { kind: Kind::Data, flags, stream, length }
    }

    pub fn window_update(stream: u32, flags: Flags, credit: u32) -> Self {
        Self { kind: Kind::WindowUpdate, flags, stream, length: credit }
    }

    /// Go's implementation applies flags before it takes in the payload, so an end travels in a frame without any.
    pub fn fin(stream: u32) -> Self {
        Self::window_update(stream, Flags::FIN, 0)
    }

    pub fn reset(stream: u32) -> Self {
        Self::window_update(stream, Flags::RST, 0)
    }

    pub fn ping(value: u32) -> Self {
        Self { kind: Kind::Ping, flags: Flags::SYN, stream: 0, length: value }
    }

    pub fn pong(value: u32) -> Self {
        Self { kind: Kind::Ping, flags: Flags::ACK, stream: 0, length: value }
    }

    pub fn go_away(reason: Reason) -> Self {
        Self { kind: Kind::GoAway, flags: Flags::NONE, stream: 0, length: reason as u32 }
    }

    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = VERSION;
        bytes[1] = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        bytes[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// # Errors
    ///
    /// Where the version or the type is not one that the specification knows.
    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, Violation> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != VERSION {
            return Err(Violation::Version(version));
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            other => return Err(Violation::Kind(other)),
        };
        let known = Flags::SYN | Flags::ACK | Flags::FIN | Flags::RST;
        let flags = Flags(u16::from_be_bytes([f0, f1]) & known.0);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Ok(Self { kind, flags, stream, length: u32::from_be_bytes([l0, l1, l2, l3]) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_what_the_specification_shows() {
        let header = Header::data(3, Flags::SYN | Flags::FIN, 0x0001_0203);
        assert_eq!(header.encode(), [0, 0, 0, 5, 0, 0, 0, 3, 0, 1, 2, 3]);
        assert_eq!(Header::ping(7).encode(), [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Header::go_away(Reason::ProtocolError).encode(), [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn another_version_or_type_is_refused() {
        assert_eq!(Header::decode([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Violation::Version(1)));
        assert_eq!(Header::decode([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Violation::Kind(4)));
    }

    proptest! {
        #[test]
        fn what_is_decoded_encodes_to_the_same_but_for_unknown_flags(mut bytes: [u8; HEADER]) {
            bytes[0] = 0;
            bytes[1] %= 4;
            let header = Header::decode(bytes).unwrap();
            bytes[2] = 0;
            bytes[3] &= 15;
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
