//! Tunnels, and who may use them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, StreamProtocol};
use serde::{Deserialize, Serialize};

use super::{Bind, Endpoint, HostPort};

/// One declared tunnel.
#[derive(Clone, Debug, PartialEq)]
pub enum Tunnel {
    Listen(Listen),
    Forward(Forward),
    Gateway(Gateway),
    Socks(Socks),
}

impl Tunnel {
    pub fn kind(&self) -> Kind {
        match self {
            Tunnel::Listen(_) => Kind::Listen,
            Tunnel::Forward(_) => Kind::Forward,
            Tunnel::Gateway(_) => Kind::Gateway,
            Tunnel::Socks(_) => Kind::Socks,
        }
    }

    /// The nodes that this tunnel is meant for; `None`: whichever reads the file.
    pub fn on(&self) -> Option<&BTreeSet<PeerId>> {
        match self {
            Tunnel::Listen(listen) => listen.on.as_ref(),
            Tunnel::Forward(forward) => forward.on.as_ref(),
            Tunnel::Gateway(gateway) => gateway.on.as_ref(),
            Tunnel::Socks(socks) => socks.on.as_ref(),
        }
    }

    /// The peers that this tunnel opens streams to, as far as the file names them.
    pub fn dialled(&self) -> &[PeerRef] {
        match self {
            Tunnel::Listen(_) => &[],
            Tunnel::Forward(forward) => forward.peer.all(),
            Tunnel::Gateway(Gateway { destinations, .. }) | Tunnel::Socks(Socks { destinations, .. }) => {
                match destinations {
                    Destinations::Anyone => &[],
                    Destinations::Peers(peers) => peers,
                }
            }
        }
    }
}

/// The kinds of tunnel, as a file's table names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Listen,
    Forward,
    Gateway,
    Socks,
    /// A kind that a newer service knows and this reader doesn't.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Listen => "listen",
            Kind::Forward => "forward",
            Kind::Gateway => "gateway",
            Kind::Socks => "socks",
            Kind::Unknown => "unknown",
        })
    }
}

/// `[listen.NAME]`: streams of allowed peers go to a local service.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub protocol: StreamProtocol,
    pub target: Endpoint,
    pub allow: Allow,
    /// Write `<peer id>\n` to the target before anything else (Kubo's `-r`).
    pub report_peer_id: bool,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub max_connections: u32,
    /// `None`: no limit but `max_connections`.
    pub max_connections_per_peer: Option<u32>,
    pub connect_timeout: Duration,
    pub on: Option<BTreeSet<PeerId>>,
}

/// `[forward.NAME]`: local connections go to a remote peer's service.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    pub protocol: StreamProtocol,
    pub bind: Bind,
    pub peer: ForwardPeer,
    /// Bounds the whole way from an accepted connection to an open stream.
    pub open_timeout: Duration,
    pub max_connections: u32,
    pub relay: RelayUse,
    pub on: Option<BTreeSet<PeerId>>,
}

/// `[gateway.NAME]`: an HTTP proxy to peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub bind: HostPort,
    pub destinations: Destinations,
    pub domain: Option<String>,
    pub on: Option<BTreeSet<PeerId>>,
}

/// `[socks.NAME]`: a SOCKS5 proxy to peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Socks {
    pub bind: HostPort,
    pub destinations: Destinations,
    /// Ports that do not map to `/x/<port>`.
    pub ports: BTreeMap<u16, StreamProtocol>,
    pub on: Option<BTreeSet<PeerId>>,
}

/// Who a forward opens its streams to.
#[derive(Clone, Debug, PartialEq)]
pub enum ForwardPeer {
    /// `peer = "…"`.
    One(PeerRef),
    /// `peers = […]`, tried in this order; never empty.
    FirstOf(Vec<PeerRef>),
}

impl ForwardPeer {
    pub fn all(&self) -> &[PeerRef] {
        match self {
            ForwardPeer::One(peer) => std::slice::from_ref(peer),
            ForwardPeer::FirstOf(peers) => peers,
        }
    }
}

/// A peer as a tunnel names it, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRef {
    /// What stands in the file: a name, an id, or a multiaddr.
    pub written: String,
    pub id: PeerId,
    /// The address of the multiaddr form, without `/p2p/<id>`.
    pub addresses: Vec<Multiaddr>,
}

/// Which peers a gateway or a socks proxy may reach.
#[derive(Clone, Debug, PartialEq)]
pub enum Destinations {
    Anyone,
    Peers(Vec<PeerRef>),
}

/// Which peers may open streams. The own peer always may.
///
/// ```
/// use p2ptun::spec::{Allow, PeerId};
/// let stranger = PeerId::random();
/// assert!(Allow::Anyone.allows(&stranger));
/// assert!(!Allow::Peers(Default::default()).allows(&stranger));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    Anyone,
    Peers(BTreeSet<PeerId>),
}

impl Allow {
    pub fn allows(&self, peer: &PeerId) -> bool {
        match self {
            Allow::Anyone => true,
            Allow::Peers(peers) => peers.contains(peer),
        }
    }
}

/// Which version of the PROXY protocol header a target is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// Which relayed connections a forward's streams may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayUse {
    /// Relays that the file names, or that state no limit.
    #[default]
    Trusted,
    Any,
    Never,
}
