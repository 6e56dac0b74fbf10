//! The settings of a node that are not tunnels.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use libp2p::Multiaddr;

use super::{Allow, Cidr, HostPort};

/// `[node]`: who this node is and where it listens.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Where the key is kept; `None`: the default place (see `node::identity`).
    pub identity: Option<PathBuf>,
    pub listen_addresses: Vec<Multiaddr>,
    /// Whether `listen_addresses` is the default, in which an address family that this machine lacks is skipped.
    pub listen_addresses_are_default: bool,
    pub announce: Vec<Multiaddr>,
    pub append_announce: Vec<Multiaddr>,
    pub no_announce: Vec<Cidr>,
    pub private_network_key_file: Option<PathBuf>,
    pub drain_timeout: Duration,
    pub stop_timeout: Duration,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            identity: None,
            listen_addresses: default_listen_addresses(),
            listen_addresses_are_default: true,
            announce: Vec::new(),
            append_announce: Vec::new(),
            no_announce: Vec::new(),
            private_network_key_file: None,
            drain_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// TCP and QUIC on port 5460 of every IPv4 and IPv6 address.
pub fn default_listen_addresses() -> Vec<Multiaddr> {
    listen_addresses_on(5460)
}

/// TCP and QUIC on `port` of every IPv4 and IPv6 address.
pub fn listen_addresses_on(port: u16) -> Vec<Multiaddr> {
    use libp2p::multiaddr::Protocol;
    let wildcards = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])];
    let on = |ip: IpAddr| {
        [
            Multiaddr::from(ip).with(Protocol::Tcp(port)),
            Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1),
        ]
    };
    wildcards.into_iter().flat_map(on).collect()
}

/// `[discovery]`: how peers without addresses are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    pub dht: Dht,
    /// `None`: the public bootstrappers of the Amino DHT.
    pub bootstrap: Option<Vec<Multiaddr>>,
    pub mdns: bool,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { dht: Dht::Client, bootstrap: None, mdns: true }
    }
}

/// Those that Kubo starts with, too (`FallbackBootstrapPeers` in boxo's `autoconf`).
pub fn public_bootstrappers() -> Vec<Multiaddr> {
    const PUBLIC: [&str; 7] = [
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
        "/dnsaddr/va1.bootstrap.libp2p.io/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8",
        "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
        "/ip4/104.131.131.82/udp/4001/quic-v1/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
    ];
    PUBLIC.iter().filter_map(|address| address.parse().ok()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dht {
    Client,
    Server,
    Auto,
    Off,
}

/// `[nat]`: how this node is reached from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Nat {
    pub upnp: bool,
    pub hole_punching: bool,
    pub relays: Relays,
}

impl Default for Nat {
    fn default() -> Self {
        Self { upnp: true, hole_punching: true, relays: Relays::Auto }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Relays {
    Auto,
    Off,
    /// Each address ends in `/p2p/<id>`.
    These(Vec<Multiaddr>),
}

/// `[relay_service]`: being a relay for others.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayService {
    pub allow: Allow,
    pub max_bytes: Limit<u64>,
    pub max_duration: Limit<Duration>,
    pub max_reservations: Option<u32>,
    pub max_circuits: Option<u32>,
}

/// A limit that a file can lift by writing "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    AtMost(T),
    Unlimited,
}

/// `[metrics]`: the page and the metrics endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub bind: HostPort,
    pub page: bool,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// One event for each stream.
    pub streams: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_bootstrapper_is_a_valid_address() {
        assert_eq!(public_bootstrappers().len(), 7);
    }
}
