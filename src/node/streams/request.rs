//! What is asked of a connection.

use tokio::{sync::oneshot, time::Instant};

use super::stream::Stream;
use crate::spec::StreamProtocol;

/// A stream that somebody wants opened on this connection.
pub struct Request {
    pub protocol: StreamProtocol,
    pub handshake: Handshake,
    /// When nobody waits for it any more.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Stream, RequestError>>,
}

#[derive(Debug)]
pub enum RequestError {
    /// The peer doesn't offer the protocol, or not to us.
    NotSupported,
    /// The connection could not carry another stream to its negotiation; another connection may.
    Failed,
}

/// How sure the opener of a stream must be that the peer offers the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Not at all: the protocol's name travels with the first bytes, and a refusal shows at the first read.
    Lazy,
    /// One round trip, and the peer has agreed.
    Confirmed,
}
