//! What the main file says of the node as a whole: every table that is neither a peer nor a tunnel.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use libp2p::multiaddr::Protocol;

use super::{
    address,
    clashes::Claims,
    diagnostics::{Place, Problem, Wrong},
    members::{self, warn_if_open},
    multiaddress::{self, Network},
    peers::PeerBook,
    section::{Section, Value},
    units,
};
use crate::spec::{
    self, Allow, Destinations, Dht, Discovery, Endpoint, Limit, Log, Metrics, Multiaddr, Nat, NodeSpec, RelayService,
    Relays,
};

/// How long streams may be waited for at their end.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);
/// How long a relayed connection may last where it is limited at all.
const RELAYED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
/// What a relay grants to strangers, as in the circuit relay specification and in Kubo.
const STRANGERS_BYTES: u64 = 128 << 10;
const STRANGERS_DURATION: Duration = Duration::from_secs(120);
const MAX_RELAYED: u32 = 1_000_000;

/// `[node]`, with what follows from it for all other tables.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    pub(super) network: Network,
    /// Where the key of a private network is named.
    key_file: Option<Place>,
}

/// Reads `[node]`. Relative paths begin at `folder`.
pub(super) fn node(top: &mut Section<'_>, folder: &Path) -> Node {
    let absent = || Node { spec: NodeSpec::default(), network: Network::Public, key_file: None };
    top.table("node", |section| node_table(section, folder)).unwrap_or_else(absent)
}

fn node_table(section: &mut Section<'_>, folder: &Path) -> Node {
    let path = |text: &str| {
        let path = folder.join(units::path(text)?);
        std::path::absolute(&path).map_err(|error| Wrong::new(error.to_string()))
    };
    let defaults = NodeSpec::default();
    let key_file = section.value("private_network_key_file");
    let network = if key_file.is_some() { Network::Private } else { Network::Public };
    let usable = |address: &Multiaddr| network.permits(address).is_ok();
    let default_addresses: Vec<_> = defaults.listen_addresses.into_iter().filter(usable).collect();
    let permitted = |parse: fn(&str) -> Result<Multiaddr, Wrong>| {
        move |text: &str| {
            let address = parse(text)?;
            network.permits(&address)?;
            Ok(address)
        }
    };
    let listen_addresses = section.list("listen_addresses", permitted(multiaddress::listen_address));
    let announced = permitted(multiaddress::announced_address);
    let listen_addresses = listen_addresses.unwrap_or_else(|| default_addresses.clone());
    let spec = NodeSpec {
        identity: section.text("identity", path),
        // To write the default down changes nothing, so that `check --print` describes the same node.
        listen_addresses_are_default: listen_addresses == default_addresses,
        listen_addresses,
        announce: section.list("announce", announced).unwrap_or_default(),
        append_announce: section.list("append_announce", announced).unwrap_or_default(),
        no_announce: section.list("no_announce", multiaddress::cidr).unwrap_or_default(),
        private_network_key_file: key_file.as_ref().and_then(|file| file.text(path)),
        drain_timeout: section.text("drain_timeout", units::duration(DRAIN)).unwrap_or(defaults.drain_timeout),
        stop_timeout: section.text("stop_timeout", units::duration(DRAIN)).unwrap_or(defaults.stop_timeout),
    };
    Node { spec, network, key_file: key_file.map(|file| file.place()) }
}

/// Reads `[discovery]`.
pub(super) fn discovery(top: &mut Section<'_>, node: &Node) -> Discovery {
    let report = top.report();
    let mut written = None;
    let mut read = |section: &mut Section<'_>| {
        let dht = section.value("dht");
        written = dht.as_ref().map(Value::place);
        let choices = [("client", Dht::Client), ("server", Dht::Server), ("auto", Dht::Auto), ("off", Dht::Off)];
        let defaults = Discovery::default();
        Discovery {
            dht: dht.and_then(|dht| dht.text(units::choice(&choices))).unwrap_or(defaults.dht),
            bootstrap: section
                .list("bootstrap", |text| relay_or_bootstrapper(text, node.network))
                .filter(|addresses| *addresses != spec::public_bootstrappers()),
            mdns: section.flag("mdns").unwrap_or(defaults.mdns),
        }
    };
    let discovery = top.table("discovery", &mut read).unwrap_or_default();
    if let Some(key_file) = node.key_file.clone().filter(|_| uses_public_dht(&discovery)) {
        let title = "a private network can't use the public DHT";
        let problem = match written {
            Some(dht) => {
                let problem =
                    Problem::error(dht.clone(), title).and(key_file, "the network is private because of this");
                problem.suggest("switch it off, or name `bootstrap` peers of the private network", dht, "\"off\"")
            }
            None => Problem::error(key_file, title)
                .label("the network is private because of this")
                .help("write `dht = \"off\"` in [discovery], or name `bootstrap` peers of the private network there"),
        };
        report.note(problem);
    }
    discovery
}

fn uses_public_dht(discovery: &Discovery) -> bool {
    let is_public = |address: &Multiaddr| {
        address.iter().any(|part| matches!(part, Protocol::Dnsaddr(name) if name.ends_with("bootstrap.libp2p.io")))
    };
    let public = discovery.bootstrap.as_ref().is_none_or(|addresses| addresses.iter().any(is_public));
    discovery.dht != Dht::Off && public
}

fn relay_or_bootstrapper(text: &str, network: Network) -> Result<Multiaddr, Wrong> {
    let address = multiaddress::full_address(text)?;
    network.permits(&address)?;
    Ok(address)
}

/// Reads `[nat]`.
pub(super) fn nat(top: &mut Section<'_>, network: Network) -> Nat {
    let defaults = Nat::default();
    let read = |section: &mut Section<'_>| Nat {
        upnp: section.flag("upnp").unwrap_or(defaults.upnp),
        hole_punching: section.flag("hole_punching").unwrap_or(defaults.hole_punching),
        relays: section.value("relays").and_then(|value| relays(value, network)).unwrap_or(Relays::Auto),
    };
    top.table("nat", read).unwrap_or_default()
}

fn relays(value: Value<'_>, network: Network) -> Option<Relays> {
    if !value.is_list() && !value.as_str().is_some_and(|text| text.starts_with('/')) {
        return value.text(|text| {
            let relays = units::choice(&[("auto", Relays::Auto), ("off", Relays::Off)])(text);
            relays.map_err(|wrong| match wrong.instead {
                None => wrong.help("it is \"auto\", \"off\" or a list of addresses: [\"/ip4/…/tcp/…/p2p/…\"]"),
                Some(_) => wrong,
            })
        });
    }
    let address = |text: &str| relay_or_bootstrapper(text, network);
    Some(Relays::These(value.items()?.into_iter().filter_map(|item| item.text(address)).collect()))
}

/// Reads `[relay_service]`.
pub(super) fn relay_service(top: &mut Section<'_>, peers: &PeerBook) -> Option<RelayService> {
    let read = |section: &mut Section<'_>| {
        let allow = section.required("allow", "write who may reserve: `allow = [\"home\"]`, or `allow = \"anyone\"`");
        let allow = allow.and_then(|allow| members::read(allow, peers));
        if let Some((Destinations::Anyone, place)) = &allow {
            let title = format!("{} allow: everybody can use this node as a relay", section.title());
            let help = "name those that may reserve unless that is meant: `allow = [\"home\"]`";
            section.report().note(Problem::warning(place.clone(), title).help(help));
        }
        let to_strangers = matches!(allow, Some((Destinations::Anyone, _)));
        // Each limit by itself: whoever lifts one for strangers has not lifted the other.
        let default_bytes = if to_strangers { Limit::AtMost(STRANGERS_BYTES) } else { Limit::Unlimited };
        let default_duration = if to_strangers { Limit::AtMost(STRANGERS_DURATION) } else { Limit::Unlimited };
        let max_bytes = section.value("max_bytes").and_then(max_bytes).unwrap_or(default_bytes);
        let max_duration = section.text("max_duration", units::limit(units::duration(RELAYED)));
        let max_reservations = section.number("max_reservations", 1..=MAX_RELAYED);
        let max_circuits = section.number("max_circuits", 1..=MAX_RELAYED);
        Some(RelayService {
            allow: Allow::from(allow?.0),
            max_bytes,
            max_duration: max_duration.unwrap_or(default_duration),
            max_reservations,
            max_circuits,
        })
    };
    top.table("relay_service", read).flatten()
}

fn max_bytes(value: Value<'_>) -> Option<Limit<u64>> {
    match value.as_u64() {
        Some(bytes) => match units::byte_count(bytes) {
            Ok(bytes) => Some(Limit::AtMost(bytes)),
            Err(wrong) => value.fail(wrong),
        },
        None => value.text(units::limit(units::byte_size)),
    }
}

/// Reads `[metrics]`.
pub(super) fn metrics(top: &mut Section<'_>, claims: &mut Claims) -> Option<Metrics> {
    let read = |section: &mut Section<'_>| {
        let value = section.required("bind", "write where it listens, such as `bind = \"127.0.0.1:9464\"`");
        let bind = value.as_ref().and_then(|value| value.text(address::tcp_bind));
        if let (Some(value), Some(bind)) = (value, &bind) {
            let endpoint = Endpoint::Tcp(bind.clone());
            warn_if_open(section, value.place(), &endpoint);
            claims.bind(section.title(), value.place(), endpoint, None);
        }
        let page = section.flag("page");
        let bind = bind?;
        Some(Metrics { page: page.unwrap_or_else(|| address::is_loopback(&bind)), bind })
    };
    top.table("metrics", read).flatten()
}

/// Reads `[log]`.
pub(super) fn log(top: &mut Section<'_>) -> Log {
    top.table("log", |section| Log { streams: section.flag("streams").unwrap_or_default() }).unwrap_or_default()
}
