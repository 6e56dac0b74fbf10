//! Tunnels' streams, over whatever connections there are: a behaviour in place of libp2p-stream, which loses streams
//! under load, opens one at a time, and picks a connection at random.
//!
//! ```text
//!   tunnel ──offer──▶ Offers ──asked by──▶ Reception ◀── our muxer
//!                                            │ Inbound ▲── Handler (one per connection; what others negotiate)
//!                                            ▼
//!                                          tunnel
//!   tunnel ──open───▶ Connections ──▶ Opener ──Direct───▶ our muxer
//!                                       └──────Request──▶ Handler ──reply──▶ tunnel
//! ```

mod buffer;
mod buffered;
mod connection;
mod connections;
mod direct;
mod handler;
mod live;
mod loopback;
pub mod multistream;
mod muxers;
mod named;
mod offers;
mod reception;
mod request;
mod stream;

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll, Waker},
};

#[cfg(test)]
pub use self::{buffer::LENT, reception::Reception};
pub use self::{
    connection::{Connection, Route, remote_address},
    connections::{Connections, Waiting},
    handler::{Handler, ToHandler},
    muxers::{CLOSE_TIMEOUT, Introduced, MAX_CLOSE, Muxers, stuck},
    offers::{Inbound, Offering, Offers, Refused, Taken},
    request::{Handshake, Opener, RequestError},
    stream::Stream,
};
use crate::spec::{Multiaddr, PeerId};
pub use crate::yamux::CopyError;
use libp2p::{
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

/// Gives each connection a [`Handler`], and keeps the table of [`Connections`].
pub struct Behaviour {
    connections: Arc<Connections>,
    offers: Arc<Offers>,
    muxers: Arc<Muxers>,
    /// Connections that are agreed on but not yet announced by the swarm.
    coming: HashMap<ConnectionId, (Arc<Connection>, Opener)>,
    to_handlers: VecDeque<(PeerId, ConnectionId, ToHandler)>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub fn new(connections: Arc<Connections>, offers: Arc<Offers>, muxers: Arc<Muxers>) -> Self {
        Self { connections, offers, muxers, coming: HashMap::new(), to_handlers: VecDeque::new(), waker: None }
    }

    /// Makes every connection look at the offers again.
    pub fn offers_changed(&mut self) {
        for peer in self.connections.connected_peers() {
            for connection in self.connections.of(&peer) {
                self.to_handlers.push_back((peer, connection.id, ToHandler::OffersChanged));
            }
        }
        self.wake();
    }

    /// Lets go of a connection as soon as its streams have ended.
    pub fn supersede(&mut self, peer: PeerId, connection: ConnectionId) {
        self.to_handlers.push_back((peer, connection, ToHandler::Superseded));
        self.wake();
    }

    /// Holds on to a connection that had been let go of.
    pub fn hold(&mut self, peer: PeerId, connection: ConnectionId) {
        self.to_handlers.push_back((peer, connection, ToHandler::Needed));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId, point: &ConnectedPoint) -> Handler {
        let connection = Arc::new(Connection::new(id, peer, point));
        let (opener, requests) = Opener::new();
        self.coming.insert(id, (connection.clone(), opener));
        Handler::new(connection, self.connections.clone(), self.offers.clone(), self.muxers.clone(), requests)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let point = ConnectedPoint::Listener { local_addr: local_addr.clone(), send_back_addr: remote_addr.clone() };
        Ok(self.handler(id, peer, &point))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let point = ConnectedPoint::Dialer { address: address.clone(), role_override, port_use };
        Ok(self.handler(id, peer, &point))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some((connection, opener)) = self.coming.remove(&established.connection_id) {
                    self.connections.add(connection, opener);
                }
            }
            FromSwarm::ConnectionClosed(closed) => self.connections.remove(&closed.peer_id, closed.connection_id),
            // Another behaviour has denied the connection after this one had made a handler for it.
            FromSwarm::DialFailure(failure) => drop(self.coming.remove(&failure.connection_id)),
            FromSwarm::ListenFailure(failure) => drop(self.coming.remove(&failure.connection_id)),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection, event)) = self.to_handlers.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
