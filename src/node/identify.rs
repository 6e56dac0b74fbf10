//! The identify protocol, kept short: a peer drops an identify message of more than 4 KiB, and with it all that it says,
//! so a node that offers a few hundred tunnels to one peer would tell that peer nothing at all.
//!
//! Tunnels need no announcement: whoever opens a stream names its protocol. A list that is short is announced all the
//! same, for it saves the dialers of go-libp2p a round trip.

use std::task::{Context, Poll};

use libp2p::{
    core::{Endpoint, transport::PortUse},
    identify,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, ProtocolsChange},
    },
};

use crate::spec::{Multiaddr, PeerId, StreamProtocol};

/// Bytes of protocol names that are announced; the rest of the message is keys and addresses.
const ANNOUNCED: usize = 2 * 1024;

/// Of these, what the protocols of the node itself may take, ping and the like.
const OWN: usize = 256;

/// Whether a list of tunnels is short enough to be announced along with the node's own protocols. A longer one must
/// come by itself, after those, or they would be kept back together.
pub fn is_short(tunnels: &[StreamProtocol]) -> bool {
    tunnels.iter().map(|protocol| protocol.as_ref().len()).sum::<usize>() <= ANNOUNCED - OWN
}

type InnerHandler = <identify::Behaviour as NetworkBehaviour>::ConnectionHandler;

/// [`identify::Behaviour`] with handlers that know when to be silent.
pub struct Behaviour(identify::Behaviour);

impl Behaviour {
    pub fn new(config: identify::Config) -> Self {
        Self(identify::Behaviour::new(config))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = identify::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.0.handle_established_inbound_connection(id, peer, local, remote).map(Handler::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.0.handle_established_outbound_connection(id, peer, address, role, port_use).map(Handler::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<identify::Event, THandlerInEvent<Self>>> {
        self.0.poll(cx)
    }
}

pub struct Handler {
    inner: InnerHandler,
    announced: Announced,
}

impl Handler {
    fn new(inner: InnerHandler) -> Self {
        Self { inner, announced: Announced::default() }
    }
}

/// The names that the inner handler has heard of.
#[derive(Default)]
struct Announced(std::collections::HashSet<String>);

impl Announced {
    /// Whether a change is to be announced; if so, it counts as announced.
    fn admits(&mut self, change: &ProtocolsChange<'_>) -> bool {
        match change {
            ProtocolsChange::Added(added) => {
                let before: usize = self.0.iter().map(String::len).sum();
                let new: usize = added.clone().map(|protocol| protocol.as_ref().len()).sum();
                let short = before + new <= ANNOUNCED;
                if short {
                    self.0.extend(added.clone().map(|protocol| protocol.as_ref().to_owned()));
                }
                short
            }
            ProtocolsChange::Removed(removed) => {
                for protocol in removed.clone() {
                    self.0.remove(protocol.as_ref());
                }
                true
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = <InnerHandler as ConnectionHandler>::FromBehaviour;
    type ToBehaviour = <InnerHandler as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <InnerHandler as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <InnerHandler as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = <InnerHandler as ConnectionHandler>::InboundOpenInfo;
    type OutboundOpenInfo = <InnerHandler as ConnectionHandler>::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        self.inner.poll(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        if let ConnectionEvent::LocalProtocolsChange(change) = &event
            && !self.announced.admits(change)
        {
            return;
        }
        self.inner.on_connection_event(event);
    }
}
