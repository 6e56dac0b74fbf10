//! What is known of one connection.

use libp2p::{core::ConnectedPoint, multiaddr::Protocol, swarm::ConnectionId};

use crate::{
    spec::{Multiaddr, PeerId},
    status::Path,
};

/// What is known of a connection from the moment it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    pub id: ConnectionId,
    pub peer: PeerId,
    pub route: Route,
    /// The address of the far end of the connection.
    pub remote: Multiaddr,
    /// The address of this end; known where the far end dialled.
    pub local: Option<Multiaddr>,
}

/// How a connection's bytes travel, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Faster than QUIC here, and able to carry a reset.
    DirectTcp,
    DirectQuic,
    Relayed,
}

impl Route {
    pub fn of(point: &ConnectedPoint) -> Self {
        match point_is_relayed(point) {
            true => Route::Relayed,
            false if point.get_remote_address().iter().any(|part| matches!(part, Protocol::QuicV1)) => {
                Route::DirectQuic
            }
            false => Route::DirectTcp,
        }
    }
}

impl Connection {
    pub fn new(id: ConnectionId, peer: PeerId, point: &ConnectedPoint) -> Self {
        let local = match point {
            ConnectedPoint::Dialer { .. } => None,
            ConnectedPoint::Listener { local_addr, .. } => Some(local_addr.clone()),
        };
        Self { id, peer, route: Route::of(point), remote: remote_address(point), local }
    }

    pub fn path(&self) -> Path {
        match self.route {
            Route::DirectTcp | Route::DirectQuic => Path::Direct,
            Route::Relayed => Path::Relayed,
        }
    }
}

/// The address of the far end, without saying who is there.
pub fn remote_address(point: &ConnectedPoint) -> Multiaddr {
    let remote = point.get_remote_address();
    match remote.iter().last() {
        Some(Protocol::P2p(_)) if !point_is_relayed(point) => {
            remote.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
        }
        _ => remote.clone(),
    }
}

/// Over a relay, the listener's remote address names no circuit; its own does.
fn point_is_relayed(point: &ConnectedPoint) -> bool {
    match point {
        ConnectedPoint::Dialer { address, .. } => is_relayed(address),
        ConnectedPoint::Listener { local_addr, send_back_addr } => is_relayed(local_addr) || is_relayed(send_back_addr),
    }
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}
