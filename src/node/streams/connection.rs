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

impl Connection {
    pub fn new(id: ConnectionId, peer: PeerId, point: &ConnectedPoint) -> Self {
        let (remote, local) = match point {
            ConnectedPoint::Dialer { address, .. } => (address, None),
            ConnectedPoint::Listener { local_addr, send_back_addr } => (send_back_addr, Some(local_addr.clone())),
        };
        // Over a relay, the listener's remote address names no circuit; its own does.
        let relayed = [Some(remote), local.as_ref()].into_iter().flatten().any(is_relayed);
        let route = match relayed {
            true => Route::Relayed,
            false if remote.iter().any(|part| matches!(part, Protocol::QuicV1)) => Route::DirectQuic,
            false => Route::DirectTcp,
        };
        let remote = match remote.iter().last() {
            // Who is there is said by `peer`.
            Some(Protocol::P2p(_)) if !relayed => {
                remote.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
            }
            _ => remote.clone(),
        };
        Self { id, peer, route, remote, local }
    }

    pub fn path(&self) -> Path {
        match self.route {
            Route::DirectTcp | Route::DirectQuic => Path::Direct,
            Route::Relayed => Path::Relayed,
        }
    }
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}
