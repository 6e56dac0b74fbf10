//! What the node says in the log: named peers that come and go, dials that fail, newcomers that are turned away. None of
//! it more often than a person can read.

use std::io;

use libp2p::swarm::ListenError;
use tokio::time::Instant;

use super::{
    limits::TooMany,
    streams::{Connection, Connections},
};
use crate::{
    log::{Limits, Repeats, Told},
    spec::{Multiaddr, PeerId},
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
    pub fn went(&mut self, peer: PeerId, error: Option<&str>, now: Instant) {
        if let Some(told) = self.comings.seen(peer, (), now) {
            tell_of(&told, None, error);
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
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<io::Error>() {
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

    #[test]
    fn the_end_of_a_killed_process_is_told_in_words() {
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "no close_notify: https://docs.example/manual");
        let wrapped = libp2p::swarm::ConnectionError::IO(eof);
        assert_eq!(innermost(&wrapped), "the far end hung up without a goodbye");
        assert_eq!(innermost(&io::Error::other("out of order")), "out of order");
    }
}
