//! The vocabulary of p2ptun: what a configuration asks for, as plain data.
//!
//! Values of these types are already valid: `config` is the only place that makes them from text, and nothing past it
//! asks again whether a name is well formed or a peer is known. There is no I/O here.

mod address;
mod name;
mod settings;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};

pub use libp2p::{Multiaddr, PeerId, StreamProtocol};

pub use self::{
    address::{Bind, Cidr, Endpoint, Host, HostPort},
    name::{InvalidName, PeerName, TunnelName},
    settings::{
        Dht, Discovery, Limit, Log, Metrics, Nat, NodeSpec, RelayService, Relays, default_listen_addresses,
        listen_addresses_on, public_bootstrappers,
    },
    tunnel::{
        Allow, Destinations, Forward, ForwardPeer, Gateway, Kind, Listen, PeerRef, ProxyProtocol, RelayUse, Socks,
        Tunnel,
    },
};

/// Everything that a configuration declares.
///
/// `Default` is the node that zero bytes of configuration describe: no tunnel, so no network.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Whether the file and its includes are watched for changes.
    pub watch: bool,
    pub node: NodeSpec,
    pub discovery: Discovery,
    pub nat: Nat,
    pub relay_service: Option<RelayService>,
    pub metrics: Option<Metrics>,
    pub log: Log,
    pub peers: BTreeMap<PeerName, Peer>,
    pub tunnels: BTreeMap<TunnelName, Tunnel>,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            watch: true,
            node: NodeSpec::default(),
            discovery: Discovery::default(),
            nat: Nat::default(),
            relay_service: None,
            metrics: None,
            log: Log::default(),
            peers: BTreeMap::new(),
            tunnels: BTreeMap::new(),
        }
    }
}

impl Desired {
    /// The part of this configuration that is meant for the node with the identity `own`: tunnels whose `on` names
    /// other nodes only are left out.
    pub fn for_node(mut self, own: PeerId) -> Self {
        self.tunnels.retain(|_, tunnel| tunnel.on().is_none_or(|nodes| nodes.contains(&own)));
        self
    }

    /// Every address that the file gives for each peer, in file order per source, without repeats.
    pub fn addresses(&self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut book: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        let declared = self.peers.values().map(|peer| (peer.id, &peer.addresses));
        let written = self.tunnels.values().flat_map(Tunnel::dialled).map(|peer| (peer.id, &peer.addresses));
        for (id, addresses) in declared.chain(written) {
            let known = book.entry(id).or_default();
            for address in addresses {
                if !known.contains(address) {
                    known.push(address.clone());
                }
            }
        }
        book
    }

    /// The peers that this node keeps a connection to: those that its forwards, gateways and socks name.
    pub fn kept_connected(&self) -> BTreeSet<PeerId> {
        self.tunnels.values().flat_map(Tunnel::dialled).map(|peer| peer.id).collect()
    }

    /// Every peer that the file names, by `[peers.*]`, `allow`, or as the far end of a tunnel.
    pub fn known_peers(&self) -> BTreeSet<PeerId> {
        let allowed = self.tunnels.values().filter_map(|tunnel| match tunnel {
            Tunnel::Listen(Listen { allow: Allow::Peers(peers), .. }) => Some(peers),
            _ => None,
        });
        let declared = self.peers.values().map(|peer| peer.id);
        declared.chain(self.kept_connected()).chain(allowed.flatten().copied()).collect()
    }

    /// The first name that the file gives to `peer`.
    pub fn name_of(&self, peer: &PeerId) -> Option<&PeerName> {
        self.peers.iter().find(|(_, declared)| declared.id == *peer).map(|(name, _)| name)
    }
}

/// `[peers.NAME]`: who a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub id: PeerId,
    /// Without a trailing `/p2p/<id>`, in file order.
    pub addresses: Vec<Multiaddr>,
}
