//! What the node says in the log: named peers that come and go, dials that fail, newcomers that are turned away. None of
//! it more often than a person can read.

use std::{error::Error, fmt, io, sync::Arc};

use libp2p::{
    quic,
    swarm::{ConnectionError, ListenError},
};
use tokio::time::Instant;

use super::{
    limits::TooMany,
    streams::{Connection, Connections},
};
use crate::{
    log::{Limits, Repeats, Told},
    spec::{Multiaddr, PeerId},
    yamux,
};

/// Named peers that come and go; four lines of each are a restart or two.
const COMINGS: Limits = Limits { kinds: 256, burst: 4 };

/// Peers that can't be reached, by the reason.
const DIALS: Limits = Limits { kinds: 64, burst: 1 };

/// Other failures, by the reason.
const FAILURES: Limits = Limits { kinds: 8, burst: 1 };

/// The node's log.
pub struct Events {
    comings: Repeats<PeerId>,
    dials: Repeats<(PeerId, String)>,
    turned_away: Repeats<String>,
    listener_failures: Repeats<String>,
}

impl Events {
    pub fn new() -> Self {
        Self {
            comings: Repeats::new(COMINGS),
            dials: Repeats::new(DIALS),
            turned_away: Repeats::new(FAILURES),
            listener_failures: Repeats::new(FAILURES),
        }
    }

    /// A peer that the configuration names is connected, by its first connection.
    pub fn came(&mut self, connection: &Connection, now: Instant) {
        self.dials.settle(|(peer, _)| *peer == connection.peer);
        if let Some(told) = self.comings.seen(connection.peer, (), now) {
            tell_of(&told, Some(connection), None);
        }
    }

    /// A peer that the configuration names is no longer connected.
    pub fn went(&mut self, peer: PeerId, ending: &Ending, now: Instant) {
        if let Some(told) = self.comings.seen(peer, (), now) {
            tell_of(&told, None, ending.error());
        }
    }

    /// All addresses of a peer that is wanted have been tried in vain.
    pub fn unreachable(&mut self, peer: PeerId, reason: &str, now: Instant) {
        if let Some(told) = self.dials.seen((peer, reason.to_owned()), (), now) {
            tell_unreachable(&told);
        }
    }

    /// A connection from outside came to nothing.
    pub fn incoming_failed(&mut self, address: &Multiaddr, error: &ListenError, now: Instant) {
        let too_many = match error {
            ListenError::Denied { cause } => cause.downcast_ref::<TooMany>(),
            _ => None,
        };
        let Some(too_many) = too_many else {
            // Whoever scans the network causes these.
            return tracing::debug!(%address, error = innermost(error), "incoming connection failed");
        };
        tracing::debug!(%address, error = %too_many, "incoming connection turned away");
        if let Some(told) = self.turned_away.seen(too_many.to_string(), (), now) {
            tell_turned_away(&told);
        }
    }

    /// A listener failed to take a connection.
    pub fn listener_failed(&mut self, error: &std::io::Error, now: Instant) {
        if let Some(told) = self.listener_failures.seen(error.to_string(), (), now) {
            tell_listener_failure(&told);
        }
    }

    /// When [`Events::tell_due`] has something to say next.
    pub fn next_due(&self) -> Option<Instant> {
        let Self { comings, dials, turned_away, listener_failures } = self;
        let all = [comings.next_due(), dials.next_due(), turned_away.next_due(), listener_failures.next_due()];
        all.into_iter().flatten().min()
    }

    /// Says what has been held back for long enough.
    pub fn tell_due(&mut self, connections: &Connections, now: Instant) {
        for told in self.comings.due(now) {
            // How it is now, whatever the last change was.
            tell_of(&told, connections.of(&told.kind).first().map(|connection| &**connection), None);
        }
        self.dials.due(now).iter().for_each(tell_unreachable);
        self.turned_away.due(now).iter().for_each(tell_turned_away);
        self.listener_failures.due(now).iter().for_each(tell_listener_failure);
    }
}

/// How a connection has ended.
#[derive(Debug, PartialEq)]
pub enum Ending {
    /// This node had no use for it any more.
    Here,
    /// The peer took its leave: it stops, or has no use for it any more.
    ByPeer,
    /// By itself, for this reason.
    Lost(String),
}

/// What QUIC's [`quic::Error`] says, which keeps its parts to itself, where libp2p at the far end has closed the connection.
const CLOSED_OVER_QUIC: &str = "closed by peer: 0";

impl Ending {
    pub fn of(cause: Option<&ConnectionError>) -> Self {
        let Some(ConnectionError::IO(error)) = cause else { return Self::Here };
        match (within::<yamux::Error>(error), within::<quic::Error>(error)) {
            (Some(yamux::Error::ClosedByPeer), _) => Self::ByPeer,
            (Some(yamux::Error::Closed), _) => Self::Here,
            (_, Some(error)) if error.to_string() == CLOSED_OVER_QUIC => Self::ByPeer,
            _ => Self::Lost(innermost(error)),
        }
    }

    /// Why, where that is a trouble.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Here | Self::ByPeer => None,
            Self::Lost(error) => Some(error),
        }
    }

    /// Says that a connection has ended and how many are left.
    pub fn tell(&self, peer: PeerId, connections: u32) {
        match self {
            Self::ByPeer => tracing::debug!(%peer, connections, "the peer closed the connection"),
            Self::Here | Self::Lost(_) => {
                tracing::debug!(%peer, connections, error = self.error(), "connection closed")
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("the connection was closed"),
            Self::ByPeer => f.write_str("the peer closed the connection"),
            Self::Lost(error) => write!(f, "the connection was lost: {error}"),
        }
    }
}

/// What `error` was made of, however often it was wrapped.
fn within<E: Error + 'static>(error: &io::Error) -> Option<&E> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<E>().or_else(|| within(inner.downcast_ref::<io::Error>()?))
}

fn tell_of(told: &Told<PeerId>, connection: Option<&Connection>, error: Option<&str>) {
    let (peer, repeated) = (&told.kind, told.repeated());
    match connection {
        _ if told.mixed => tracing::info!(%peer, repeated, "many peers come and go; this is the latest"),
        Some(Connection { remote, .. }) => {
            let path = connection.map(Connection::path).map(tracing::field::display);
            tracing::info!(%peer, address = %remote, path, repeated, "peer connected");
        }
        None => tracing::info!(%peer, error, repeated, "peer disconnected"),
    }
}

fn tell_unreachable(told: &Told<(PeerId, String)>) {
    let ((peer, error), repeated) = (&told.kind, told.repeated());
    match told.mixed {
        false => tracing::warn!(%peer, error, repeated, "peer can't be reached; trying again"),
        true => tracing::warn!(%peer, error, repeated, "many peers can't be reached; this is the latest"),
    }
}

fn tell_turned_away(told: &Told<String>) {
    tracing::warn!(error = told.kind, repeated = told.repeated(), "incoming connection turned away");
}

fn tell_listener_failure(told: &Told<String>) {
    tracing::warn!(error = told.kind, repeated = told.repeated(), "a listener failed to take a connection");
}

/// What is at the bottom of an error, without the layers above it.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let shared = error.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
    match error.downcast_ref::<io::Error>().or(shared) {
        // A process that was killed, mostly. What the layers make of it is for programmers.
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the far end hung up without a goodbye".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A muxer's error as the swarm hands it out.
    fn wrapped(error: yamux::Error) -> ConnectionError {
        ConnectionError::IO(io::Error::other(io::Error::from(error)))
    }

    #[test]
    fn a_connection_that_the_peer_closed_is_no_error_and_one_that_was_lost_is() {
        let lost = |kind: io::ErrorKind| wrapped(io::Error::from(kind).into());
        let closed = wrapped(yamux::Error::ClosedByPeer);
        assert_eq!(Ending::of(Some(&closed)), Ending::ByPeer);
        assert_eq!(Ending::of(Some(&closed)).error(), None);
        for here in [None, Some(ConnectionError::KeepAliveTimeout), Some(wrapped(yamux::Error::Closed))] {
            assert_eq!(Ending::of(here.as_ref()), Ending::Here);
        }
        for (cause, error) in [
            (lost(io::ErrorKind::ConnectionReset), "connection reset"),
            (lost(io::ErrorKind::UnexpectedEof), "the far end hung up without a goodbye"),
            (wrapped(yamux::Error::Unanswered), "the peer no longer answers"),
        ] {
            assert_eq!(Ending::of(Some(&cause)).error(), Some(error));
        }
    }

    #[test]
    fn the_end_of_a_killed_process_is_told_in_words() {
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "no close_notify: https://docs.example/manual");
        let wrapped = libp2p::swarm::ConnectionError::IO(eof);
        assert_eq!(innermost(&wrapped), "the far end hung up without a goodbye");
        assert_eq!(innermost(&io::Error::other("out of order")), "out of order");
    }
}
