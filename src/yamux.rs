//! A stream multiplexer: [yamux](https://github.com/hashicorp/yamux/blob/master/spec.md), as libp2p uses it
//! ([`/yamux/1.0.0`](https://github.com/libp2p/specs/blob/master/yamux/README.md)).
//!
//! It is written for those who must know how a stream has ended, and for speed:
//!
//! - Reading ends only where the far end closed its side. A reset, or the loss of the connection, is an error. A stream
//!   that is dropped before it was closed is reset.
//! - Thousands of streams: whoever opens one waits until the far end keeps up; one that the far end opens beyond the
//!   limit is refused alone.
//! - A far end that has gone without a word is noticed, and one that is merely busy is not taken for it.
//! - The windows follow what is read in a round-trip time, within a budget for each connection and one for all of them.
//! - One task, the [`Driver`], reads and writes the connection. Streams share nothing with it but their own small state.
//!
//! ```text
//!   Stream ──written──▶ Cell ──scheduled──▶ Hub ──▶ Engine::pack ────▶ Driver ──▶ socket
//!   Stream ◀──unread─── Cell ◀───────────────────── Engine::receive ◀─ Driver ◀── socket
//!   Connection ──opens, accepts──▶ Hub
//! ```

mod budget;
mod cell;
mod chunk;
mod connection;
mod decoder;
mod driver;
mod engine;
mod frame;
mod hub;
mod keepalive;
mod queue;
mod stream;
mod window;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use futures::{AsyncBufRead, AsyncWrite};

use hub::Hub;

pub use self::{
    budget::Budget,
    connection::{Connection, Opener},
    driver::Driver,
    stream::{CopyError, Stream},
};

/// What this protocol is called in libp2p's negotiation.
pub const PROTOCOL: &str = "/yamux/1.0.0";

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Dialer,
    Listener,
}

pub struct Config {
    /// How many streams of the far end may be open. Asked for each that it opens, so that it may change at any time.
    pub max_inbound_streams: Box<dyn Fn() -> usize + Send>,
    /// How far the windows of the connection's streams together may grow, in bytes, beyond the 256 KiB that each is born
    /// with.
    pub budget: Arc<Budget>,
}

/// Why a connection has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection was closed here")]
    Closed,
    #[error("the peer closed the connection")]
    ClosedByPeer,
    #[error("the connection was lost: {0}")]
    Lost(#[source] Arc<io::Error>),
    #[error("the peer no longer answers")]
    Unanswered,
    #[error("the peer doesn't keep to yamux: {0}")]
    Protocol(#[from] Violation),
    #[error("all stream ids of the connection have been used")]
    OutOfIds,
}

/// What a far end does that the specification forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("version {0} of the protocol is not known")]
    Version(u8),
    #[error("frames of type {0} are not known")]
    Kind(u8),
    #[error("it opened the stream {0}, which is not one of its ids")]
    ForeignId(u32),
    #[error("it opened the stream {0} twice")]
    ReusedId(u32),
    #[error("it sent more on the stream {0} than it was allowed to")]
    Window(u32),
    #[error("it allows more on the stream {0} than can be counted")]
    Credit(u32),
    #[error("it causes answers and doesn't read them")]
    Unheard,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.into())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Closed => io::ErrorKind::NotConnected,
            Error::ClosedByPeer => io::ErrorKind::ConnectionAborted,
            Error::Lost(lost) => lost.kind(),
            Error::Unanswered => io::ErrorKind::TimedOut,
            Error::Protocol(_) => io::ErrorKind::InvalidData,
            Error::OutOfIds => io::ErrorKind::QuotaExceeded,
        };
        Self::new(kind, error)
    }
}

/// A connection over `io`, and what keeps it going.
pub fn new<C>(io: C, role: Role, config: Config) -> (Connection, Driver<C>)
where
    C: AsyncBufRead + AsyncWrite + Unpin,
{
    let hub = Hub::new(config.budget.clone());
    (Connection::new(hub.clone()), Driver::new(io, hub, role, config))
}
