//! Bounds on the connections that strangers can cause. Peers that the configuration names are hardly bounded.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use super::streams::Offers;
use crate::spec::{Multiaddr, PeerId};

/// Connections that have not yet shown who they are.
const MAX_PENDING: usize = 256;
/// Connections of strangers, where nothing is offered to anyone: enough to be told so.
const MAX_STRANGERS: usize = 64;
/// Connections of strangers, where something is.
const MAX_GUESTS: usize = 1_024;
const MAX_PER_STRANGER: usize = 4;
const MAX_PER_KNOWN_PEER: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TooMany {
    #[error("too many connections are being set up")]
    Pending,
    #[error("too many connections of peers that the configuration doesn't name")]
    Strangers,
    #[error("too many connections of one peer")]
    OfOnePeer,
}

pub struct Limits {
    offers: Arc<Offers>,
    pending: HashSet<ConnectionId>,
    inbound: HashMap<PeerId, HashSet<ConnectionId>>,
}

impl Limits {
    pub fn new(offers: Arc<Offers>) -> Self {
        Self { offers, pending: HashSet::new(), inbound: HashMap::new() }
    }

    fn check(&self, peer: &PeerId) -> Result<(), TooMany> {
        let known = self.offers.is_known(peer);
        let of_this_peer = self.inbound.get(peer).map_or(0, HashSet::len);
        if of_this_peer >= if known { MAX_PER_KNOWN_PEER } else { MAX_PER_STRANGER } {
            return Err(TooMany::OfOnePeer);
        }
        if known {
            return Ok(());
        }
        let strangers = self.inbound.iter().filter(|(peer, _)| !self.offers.is_known(peer));
        let strangers: usize = strangers.map(|(_, connections)| connections.len()).sum();
        match strangers >= if self.offers.to_anyone() { MAX_GUESTS } else { MAX_STRANGERS } {
            true => Err(TooMany::Strangers),
            false => Ok(()),
        }
    }
}

impl NetworkBehaviour for Limits {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.pending.len() >= MAX_PENDING {
            return Err(ConnectionDenied::new(TooMany::Pending));
        }
        self.pending.insert(id);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&id);
        self.check(&peer).map_err(ConnectionDenied::new)?;
        self.inbound.entry(peer).or_default().insert(id);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        let (peer, id) = match event {
            FromSwarm::ConnectionClosed(closed) => (Some(closed.peer_id), closed.connection_id),
            FromSwarm::ListenFailure(failure) => {
                self.pending.remove(&failure.connection_id);
                (failure.peer_id, failure.connection_id)
            }
            _ => return,
        };
        let Some(peer) = peer else { return };
        if let Some(connections) = self.inbound.get_mut(&peer) {
            connections.remove(&id);
            if connections.is_empty() {
                self.inbound.remove(&peer);
            }
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Allow, StreamProtocol};

    fn connect(limits: &mut Limits, id: usize, peer: PeerId) -> Result<(), ConnectionDenied> {
        let (id, nowhere) = (ConnectionId::new_unchecked(id), Multiaddr::empty());
        limits.handle_pending_inbound_connection(id, &nowhere, &nowhere)?;
        limits.handle_established_inbound_connection(id, peer, &nowhere, &nowhere).map(drop)
    }

    #[test]
    fn strangers_are_few_unless_something_is_offered_to_anyone_and_never_crowd_out_a_known_peer() {
        let offers = Arc::<Offers>::default();
        let mut limits = Limits::new(offers.clone());
        let friend = PeerId::random();
        offers.set_known([friend].into());
        for id in 0..MAX_STRANGERS {
            connect(&mut limits, id, PeerId::random()).unwrap();
        }
        assert!(connect(&mut limits, 1000, PeerId::random()).is_err());
        connect(&mut limits, 1001, friend).unwrap();
        let _offering = offers.offer(StreamProtocol::new("/x/web"), Allow::Anyone);
        connect(&mut limits, 1002, PeerId::random()).unwrap();
    }

    #[test]
    fn one_stranger_has_few_connections() {
        let mut limits = Limits::new(Arc::default());
        let stranger = PeerId::random();
        for id in 0..MAX_PER_STRANGER {
            connect(&mut limits, id, stranger).unwrap();
        }
        assert!(connect(&mut limits, 10, stranger).is_err());
    }
}
