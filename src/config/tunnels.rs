//! `[listen.*]`, `[forward.*]`, `[gateway.*]` and `[socks.*]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use super::{
    address,
    clashes::Claims,
    diagnostics::{Problem, Report, Wrong},
    host_name,
    members::{self, warn_if_open},
    multiaddress::Network,
    peers::{PeerBook, no_name},
    printable::quoted,
    section::{Name, Section, Value},
    sources::File,
    units,
};
use crate::spec::{
    Allow, Bind, Destinations, Endpoint, Forward, ForwardPeer, Gateway, HostPort, Listen, PeerId, ProxyProtocol,
    RelayUse, Socks, StreamProtocol, Tunnel, TunnelName,
};

/// A shorter wait fails on any network, a longer one is no limit.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_MAX_CONNECTIONS: u32 = 1024;
/// Of one peer, where anyone may connect.
const DEFAULT_STRANGERS_CONNECTIONS: u32 = 256;
const DEFAULT_BIND_MODE: u32 = 0o600;

/// The tunnels of all files, as they are read.
pub(super) struct Reader<'p> {
    peers: &'p PeerBook,
    network: Network,
    pub(super) claims: Claims,
    tunnels: BTreeMap<TunnelName, Tunnel>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(peers: &'p PeerBook, network: Network) -> Self {
        Self { peers, network, claims: Claims::default(), tunnels: BTreeMap::new() }
    }

    /// Notes what the tunnels take from one another, and gives them out.
    pub(super) fn finish(self, files: &[Arc<File>], report: &Report) -> BTreeMap<TunnelName, Tunnel> {
        self.claims.note_clashes(files, report);
        self.tunnels
    }

    /// Adds the tunnels of one file.
    pub(super) fn read(&mut self, top: &mut Section<'_>) {
        top.tables("listen", |name, section| {
            let tunnel = self.listen(&name, section).map(Tunnel::Listen);
            self.add(name, section, tunnel);
        });
        top.tables("forward", |name, section| {
            let tunnel = self.forward(section).map(Tunnel::Forward);
            self.add(name, section, tunnel);
        });
        top.tables("gateway", |name, section| {
            let tunnel = self.gateway(section).map(Tunnel::Gateway);
            self.add(name, section, tunnel);
        });
        top.tables("socks", |name, section| {
            let tunnel = self.socks(section).map(Tunnel::Socks);
            self.add(name, section, tunnel);
        });
    }

    fn add(&mut self, name: Name, section: &Section<'_>, tunnel: Option<Tunnel>) {
        let valid = |text: &str| TunnelName::try_from(text).map_err(|_| no_name(text));
        self.claims.name(section.title(), name.place.clone(), &name.text);
        if let (Some(name), Some(tunnel)) = (name.check(section, valid), tunnel) {
            self.tunnels.insert(name, tunnel);
        }
    }

    fn listen(&mut self, name: &Name, section: &mut Section<'_>) -> Option<Listen> {
        let custom = section.flag("allow_custom_protocol").unwrap_or_default();
        let written = section.value("protocol");
        let place = written.as_ref().map_or(name.place.clone(), Value::place);
        let protocol = match written {
            Some(value) => value.text(units::protocol(custom)),
            // Every valid name makes a valid protocol; the others are complained about as names.
            None => TunnelName::try_from(name.text.as_str())
                .ok()
                .and_then(|name| StreamProtocol::try_from_owned(format!("/x/{name}")).ok()),
        };
        let target = section.required("target", "write what to connect to, such as `target = \"127.0.0.1:22\"`");
        let target = target.and_then(|target| target.text(address::target));
        let allow = self.allow(section);
        let on = members::on(section, self.peers);
        if let Some(protocol) = &protocol {
            self.claims.protocol(section.title(), place, protocol.clone(), on.clone());
        }
        let proxy_protocol = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
        let strangers = (allow == Some(Allow::Anyone)).then_some(DEFAULT_STRANGERS_CONNECTIONS);
        let per_peer = section.value("max_connections_per_peer").map(connections_per_peer);
        let report_peer_id = section.flag("report_peer_id").unwrap_or_default();
        let proxy_protocol = section.text("proxy_protocol", units::choice(&proxy_protocol));
        let max_connections = section.number("max_connections", CONNECTIONS).unwrap_or(DEFAULT_MAX_CONNECTIONS);
        let connect_timeout = section.text("connect_timeout", units::duration(TIMEOUT));
        Some(Listen {
            protocol: protocol?,
            target: target?,
            allow: allow?,
            report_peer_id,
            proxy_protocol,
            max_connections,
            max_connections_per_peer: per_peer.unwrap_or(strangers),
            connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            on,
        })
    }

    fn allow(&self, section: &mut Section<'_>) -> Option<Allow> {
        let help =
            "write who may connect: `allow = [\"laptop\"]`, `allow = \"anyone\"`, or `allow = []` for nobody yet";
        let (members, place) = members::read(section.required("allow", help)?, self.peers)?;
        if members == Destinations::Anyone {
            let title = format!("{} allow: everybody who learns this node's id can connect", section.title());
            let help = "name those that may unless that is meant: `allow = [\"laptop\"]`";
            section.report().note(Problem::warning(place, title).help(help));
        }
        Some(members.into())
    }

    fn forward(&mut self, section: &mut Section<'_>) -> Option<Forward> {
        let custom = section.flag("allow_custom_protocol").unwrap_or_default();
        let protocol = section.required("protocol", "write what the peer listens for, such as `protocol = \"/x/ssh\"`");
        let protocol = protocol.and_then(|protocol| protocol.text(units::protocol(custom)));
        let on = members::on(section, self.peers);
        let bind = self.forward_bind(section, on.clone());
        let peer = self.forward_peer(section);
        let relay = [("trusted", RelayUse::Trusted), ("any", RelayUse::Any), ("never", RelayUse::Never)];
        let relay = section.text("relay", units::choice(&relay)).unwrap_or_default();
        let max_connections = section.number("max_connections", CONNECTIONS).unwrap_or(DEFAULT_MAX_CONNECTIONS);
        let open_timeout = section.text("open_timeout", units::duration(TIMEOUT)).unwrap_or(DEFAULT_OPEN_TIMEOUT);
        Some(Forward { protocol: protocol?, bind: bind?, peer: peer?, open_timeout, max_connections, relay, on })
    }

    fn forward_bind(&mut self, section: &mut Section<'_>, on: Option<BTreeSet<PeerId>>) -> Option<Bind> {
        let bind = self.bind(section, address::bind, Endpoint::clone, on);
        let mode = section.value("bind_mode");
        let group = section.value("bind_group");
        if !matches!(bind, None | Some(Endpoint::Unix(_))) {
            for value in [&mode, &group].into_iter().flatten() {
                let wrong = Wrong::new("only the socket file of a unix bind has one");
                value.note(wrong.help("remove it, or bind to a socket file: `bind = \"unix:/path\"`"));
            }
        }
        let mode = mode.and_then(|mode| mode.text(units::file_mode)).unwrap_or(DEFAULT_BIND_MODE);
        let group = group.and_then(|group| group.text(units::group_name));
        Some(match bind? {
            Endpoint::Tcp(address) => Bind::Tcp(address),
            Endpoint::Udp(address) => Bind::Udp(address),
            Endpoint::Unix(path) => Bind::Unix { path, mode, group },
        })
    }

    fn forward_peer(&self, section: &mut Section<'_>) -> Option<ForwardPeer> {
        let reference = |text: &str| self.peers.reference(text, self.network);
        let Some(several) = section.value("peers") else {
            let help = "write whom to connect to: `peer = \"home\"`, or `peers = [\"home\", \"office\"]` for the first that answers";
            let peer = section.required("peer", help)?;
            if peer.is_list() {
                peer.note_key(
                    Wrong::new("one peer stands here, without brackets")
                        .help("several stand in `peers`")
                        .instead("peers"),
                );
                return None;
            }
            return peer.text(reference)?.map(ForwardPeer::One);
        };
        let place = several.place();
        if let Some(one) = section.value("peer") {
            let title = format!("{}: `peer` and `peers` exclude each other", section.title());
            let problem = Problem::error(place.clone(), title).and(one.place(), "and here is `peer`");
            let help = "keep `peers` for the first of several that answers, or `peer` for this one alone";
            section.report().note(problem.label("here is `peers`").help(help));
        }
        let items = several.items()?;
        if items.is_empty() {
            let title = format!("{} peers: no peer is named", section.title());
            section
                .report()
                .note(Problem::error(place, title).help("name at least one, as in `peers = [\"home\", \"office\"]`"));
        }
        Some(ForwardPeer::FirstOf(items.into_iter().filter_map(|item| item.text(reference)?).collect()))
    }

    fn gateway(&mut self, section: &mut Section<'_>) -> Option<Gateway> {
        let on = members::on(section, self.peers);
        let bind = self.tcp_bind(section, on.clone());
        let destinations = self.destinations(section);
        let domain = section.text("domain", host_name::domain);
        Some(Gateway { bind: bind?, destinations: destinations?, domain, on })
    }

    fn socks(&mut self, section: &mut Section<'_>) -> Option<Socks> {
        let custom = section.flag("allow_custom_protocol").unwrap_or_default();
        let on = members::on(section, self.peers);
        let bind = self.tcp_bind(section, on.clone());
        let destinations = self.destinations(section);
        let ports = section.value("ports").and_then(Value::entries).unwrap_or_default();
        let ports = ports.into_iter().filter_map(|(port, protocol)| {
            let port = port.check(section, port_number);
            Some((port?, protocol.text(units::protocol(custom))?))
        });
        let ports: BTreeMap<u16, StreamProtocol> = ports.collect();
        Some(Socks { bind: bind?, destinations: destinations?, ports, on })
    }

    fn destinations(&self, section: &mut Section<'_>) -> Option<Destinations> {
        let help = "write which peers it may reach: `destinations = [\"home\"]`, or `destinations = \"anyone\"`";
        members::read(section.required("destinations", help)?, self.peers).map(|(members, _)| members)
    }

    fn tcp_bind(&mut self, section: &mut Section<'_>, on: Option<BTreeSet<PeerId>>) -> Option<HostPort> {
        self.bind(section, address::tcp_bind, |address| Endpoint::Tcp(address.clone()), on)
    }

    /// Reads `bind` and claims what `endpoint` says that it takes.
    fn bind<T>(
        &mut self,
        section: &mut Section<'_>,
        parse: impl FnMut(&str) -> Result<T, Wrong>,
        endpoint: impl FnOnce(&T) -> Endpoint,
        on: Option<BTreeSet<PeerId>>,
    ) -> Option<T> {
        let value = section.required("bind", "write where to listen, such as `bind = \"127.0.0.1:2222\"`")?;
        let bind = value.text(parse)?;
        let taken = endpoint(&bind);
        warn_if_open(section, value.place(), &taken);
        self.claims.bind(section.title(), value.place(), taken, on);
        Some(bind)
    }
}

/// `None`: no limit. What is wrong has been noted, so that it does not matter what it is taken for.
fn connections_per_peer(value: Value<'_>) -> Option<u32> {
    match value.as_str() {
        Some("unlimited") => None,
        Some(text) if text.parse::<u32>().is_err() => {
            let wrong = Wrong::new("expected a whole number or \"unlimited\", found a string");
            value.fail(wrong.help("did you mean this?").instead("\"unlimited\""))
        }
        _ => value.number(CONNECTIONS),
    }
}

fn port_number(text: &str) -> Result<u16, Wrong> {
    let port = text.parse::<u16>().ok().filter(|port| *port != 0 && port.to_string() == text);
    port.ok_or_else(|| {
        let wrong = Wrong::new(format!("{} is no port", quoted(text))).help("a port is a number from 1 to 65535");
        match text.parse::<u16>() {
            Ok(port) if port != 0 => wrong.instead(port.to_string()),
            _ => wrong,
        }
    })
}
