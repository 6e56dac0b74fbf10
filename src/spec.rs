//! The vocabulary of p2ptun: what a configuration asks for, as plain data.
//!
//! Values of these types are already valid: `config` is the only place that makes them from text, and nothing past it
//! asks again whether a name is well formed or a peer is known. There is no I/O here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use libp2p::{Multiaddr, PeerId, StreamProtocol};
use serde::{Deserialize, Serialize};

/// Declares a name type: short, lower case, safe in logs, file names and unit names.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type! {
    /// The name of a tunnel, unique across all kinds of tunnel.
    ///
    /// ```
    /// use p2ptun::spec::TunnelName;
    /// assert_eq!(TunnelName::try_from("home-ssh")?.as_str(), "home-ssh");
    /// assert!(TunnelName::try_from("Home SSH").is_err());
    /// # Ok::<(), p2ptun::spec::InvalidName>(())
    /// ```
    TunnelName
}
name_type! {
    /// The name that the file gives to a peer.
    PeerName
}

/// A name that does not match `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 characters of a-z, 0-9, '_' and '-', and begins with a letter or a digit")]
pub struct InvalidName;

fn check_name(text: &str) -> Result<(), InvalidName> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = text.bytes();
    let begins_well = bytes.next().is_some_and(plain);
    let goes_on_well = bytes.all(|b| plain(b) || b == b'_' || b == b'-');
    if begins_well && goes_on_well && text.len() <= 63 { Ok(()) } else { Err(InvalidName) }
}

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
    use libp2p::multiaddr::Protocol;
    let wildcards = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])];
    let on = |ip: IpAddr| {
        [
            Multiaddr::from(ip).with(Protocol::Tcp(5460)),
            Multiaddr::from(ip).with(Protocol::Udp(5460)).with(Protocol::QuicV1),
        ]
    };
    wildcards.into_iter().flat_map(on).collect()
}

/// A block of IP addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    /// Leading bits that count: at most 32 for IPv4, 128 for IPv6.
    pub prefix: u8,
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

/// `[peers.NAME]`: who a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub id: PeerId,
    /// Without a trailing `/p2p/<id>`, in file order.
    pub addresses: Vec<Multiaddr>,
}

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

/// A local socket that streams are connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Tcp(HostPort),
    Udp(HostPort),
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Udp(address) => write!(f, "udp:{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A local socket that a forward listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    Tcp(HostPort),
    Udp(HostPort),
    Unix {
        path: PathBuf,
        /// Permission bits of the socket file.
        mode: u32,
        /// Name of the group that is to own the socket file.
        group: Option<String>,
    },
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Udp(address) => write!(f, "udp:{address}"),
            Bind::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `host:port`; a host name is resolved each time it is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub host: Host,
    pub port: u16,
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_at_most_63_characters() {
        for good in ["a", "0", "home-ssh", "a_b-c", &"x".repeat(63)] {
            assert!(TunnelName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a.b", "ä", &"x".repeat(64)] {
            assert_eq!(TunnelName::try_from(bad), Err(InvalidName), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_address_is_shown_in_brackets() {
        let address = HostPort { host: Host::Ip("::1".parse().unwrap()), port: 22 };
        assert_eq!(address.to_string(), "[::1]:22");
    }
}
