//! The way back: a configuration with every default written out, as TOML.

use std::{collections::BTreeSet, fmt::Display, path::Path, time::Duration};

use super::printable::toml_string;
use crate::spec::{
    Allow, Bind, Desired, Destinations, Dht, Discovery, Forward, ForwardPeer, Gateway, Limit, Listen, Metrics, Nat,
    NodeSpec, PeerId, ProxyProtocol, RelayService, RelayUse, Relays, Socks, StreamProtocol, Tunnel,
    public_bootstrappers,
};

/// Writes `desired` as one TOML file, with all defaults filled in.
///
/// [`load`](super::load) makes the same `Desired` of it. What has no value to write down stands there as a comment.
pub fn print(desired: &Desired) -> String {
    let mut page = Page { text: String::new(), desired };
    page.key("watch", desired.watch);
    page.node(&desired.node);
    page.discovery(&desired.discovery);
    page.nat(&desired.nat);
    page.relay_service(desired.relay_service.as_ref());
    page.metrics(desired.metrics.as_ref());
    page.table("log");
    page.key("streams", desired.log.streams);
    for (name, peer) in &desired.peers {
        page.table(&format!("peers.{name}"));
        page.string("id", peer.id);
        page.list("addresses", &peer.addresses);
    }
    for (name, tunnel) in &desired.tunnels {
        page.table(&format!("{}.{name}", tunnel.kind()));
        match tunnel {
            Tunnel::Listen(listen) => page.listen(listen),
            Tunnel::Forward(forward) => page.forward(forward),
            Tunnel::Gateway(gateway) => page.gateway(gateway),
            Tunnel::Socks(socks) => page.socks(socks),
        }
        if let Some(on) = tunnel.on() {
            page.peers("on", on);
        }
    }
    page.text
}

struct Page<'d> {
    text: String,
    /// Whose names peers are called by.
    desired: &'d Desired,
}

impl Page<'_> {
    fn node(&mut self, node: &NodeSpec) {
        self.table("node");
        self.path("identity", node.identity.as_deref(), "the default place, see p2ptun(1)");
        self.list("listen_addresses", &node.listen_addresses);
        self.list("announce", &node.announce);
        self.list("append_announce", &node.append_announce);
        self.list("no_announce", &node.no_announce);
        self.path("private_network_key_file", node.private_network_key_file.as_deref(), "the public network");
        self.duration("drain_timeout", node.drain_timeout);
        self.duration("stop_timeout", node.stop_timeout);
    }

    fn discovery(&mut self, discovery: &Discovery) {
        let dht = match discovery.dht {
            Dht::Client => "client",
            Dht::Server => "server",
            Dht::Auto => "auto",
            Dht::Off => "off",
        };
        self.table("discovery");
        self.string("dht", dht);
        match &discovery.bootstrap {
            Some(addresses) => self.list("bootstrap", addresses),
            // In a private network they can't even be written, and with the DHT off nobody asks them.
            None if discovery.dht == Dht::Off => self.absent("bootstrap", "the public bootstrappers"),
            None => self.list("bootstrap", public_bootstrappers()),
        }
        self.key("mdns", discovery.mdns);
    }

    fn nat(&mut self, nat: &Nat) {
        self.table("nat");
        self.key("upnp", nat.upnp);
        self.key("hole_punching", nat.hole_punching);
        match &nat.relays {
            Relays::Auto => self.string("relays", "auto"),
            Relays::Off => self.string("relays", "off"),
            Relays::These(addresses) => self.list("relays", addresses),
        }
    }

    fn relay_service(&mut self, service: Option<&RelayService>) {
        let Some(service) = service else { return self.absent("[relay_service]", "off") };
        self.table("relay_service");
        self.allow(&service.allow);
        match service.max_bytes {
            Limit::AtMost(bytes) => self.string("max_bytes", bytes),
            Limit::Unlimited => self.string("max_bytes", "unlimited"),
        }
        match service.max_duration {
            Limit::AtMost(duration) => self.duration("max_duration", duration),
            Limit::Unlimited => self.string("max_duration", "unlimited"),
        }
        self.count("max_reservations", service.max_reservations);
        self.count("max_circuits", service.max_circuits);
    }

    fn metrics(&mut self, metrics: Option<&Metrics>) {
        let Some(metrics) = metrics else { return self.absent("[metrics]", "off") };
        self.table("metrics");
        self.string("bind", &metrics.bind);
        self.key("page", metrics.page);
    }

    fn listen(&mut self, listen: &Listen) {
        self.protocol(&listen.protocol);
        self.string("target", &listen.target);
        self.allow(&listen.allow);
        self.key("report_peer_id", listen.report_peer_id);
        match listen.proxy_protocol {
            Some(ProxyProtocol::V1) => self.string("proxy_protocol", "v1"),
            Some(ProxyProtocol::V2) => self.string("proxy_protocol", "v2"),
            None => self.absent("proxy_protocol", "none"),
        }
        self.key("max_connections", listen.max_connections);
        match listen.max_connections_per_peer {
            Some(number) => self.key("max_connections_per_peer", number),
            None => self.string("max_connections_per_peer", "unlimited"),
        }
        self.duration("connect_timeout", listen.connect_timeout);
    }

    fn forward(&mut self, forward: &Forward) {
        self.protocol(&forward.protocol);
        self.string("bind", &forward.bind);
        if let Bind::Unix { mode, group, .. } = &forward.bind {
            self.string("bind_mode", format!("{mode:04o}"));
            match group {
                Some(group) => self.string("bind_group", group),
                None => self.absent("bind_group", "the group of the service"),
            }
        }
        match &forward.peer {
            ForwardPeer::One(peer) => self.string("peer", &peer.written),
            ForwardPeer::FirstOf(peers) => self.list("peers", peers.iter().map(|peer| &peer.written)),
        }
        self.duration("open_timeout", forward.open_timeout);
        self.key("max_connections", forward.max_connections);
        let relay = match forward.relay {
            RelayUse::Trusted => "trusted",
            RelayUse::Any => "any",
            RelayUse::Never => "never",
        };
        self.string("relay", relay);
    }

    fn gateway(&mut self, gateway: &Gateway) {
        self.string("bind", &gateway.bind);
        self.destinations(&gateway.destinations);
        match &gateway.domain {
            Some(domain) => self.string("domain", domain),
            None => self.absent("domain", "none"),
        }
    }

    fn socks(&mut self, socks: &Socks) {
        if socks.ports.values().any(is_custom) {
            self.key("allow_custom_protocol", true);
        }
        self.string("bind", &socks.bind);
        self.destinations(&socks.destinations);
        let ports = socks.ports.iter().map(|(port, protocol)| format!("{port} = {}", toml_string(protocol.as_ref())));
        let ports: Vec<_> = ports.collect();
        self.key("ports", if ports.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", ports.join(", ")) });
    }

    fn protocol(&mut self, protocol: &StreamProtocol) {
        if is_custom(protocol) {
            self.key("allow_custom_protocol", true);
        }
        self.string("protocol", protocol);
    }

    fn allow(&mut self, allow: &Allow) {
        match allow {
            Allow::Anyone => self.string("allow", "anyone"),
            Allow::Peers(peers) => self.peers("allow", peers),
        }
    }

    fn destinations(&mut self, destinations: &Destinations) {
        match destinations {
            Destinations::Anyone => self.string("destinations", "anyone"),
            Destinations::Peers(peers) => self.list("destinations", peers.iter().map(|peer| &peer.written)),
        }
    }

    /// Peers by their names, as far as they have any.
    fn peers(&mut self, key: &str, peers: &BTreeSet<PeerId>) {
        let shown = |id: &PeerId| self.desired.name_of(id).map_or_else(|| id.to_base58(), ToString::to_string);
        let names: Vec<String> = peers.iter().map(shown).collect();
        self.list(key, names);
    }

    fn table(&mut self, name: &str) {
        self.line(&format!("\n[{name}]"));
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key} = {value}"));
    }

    fn string(&mut self, key: &str, value: impl Display) {
        self.key(key, toml_string(&value.to_string()));
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.string(key, humantime::format_duration(value));
    }

    fn list(&mut self, key: &str, items: impl IntoIterator<Item = impl Display>) {
        let items: Vec<_> = items.into_iter().map(|item| toml_string(&item.to_string())).collect();
        self.key(key, format!("[{}]", items.join(", ")));
    }

    fn path(&mut self, key: &str, path: Option<&Path>, otherwise: &str) {
        match path {
            Some(path) => self.string(key, path.display()),
            None => self.absent(key, otherwise),
        }
    }

    fn count(&mut self, key: &str, count: Option<u32>) {
        match count {
            Some(count) => self.key(key, count),
            None => self.absent(key, "the default of the relay"),
        }
    }

    fn absent(&mut self, key: &str, meaning: &str) {
        let gap = if key.starts_with('[') { "\n" } else { "" };
        self.line(&format!("{gap}# {key} is absent: {meaning}"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn is_custom(protocol: &StreamProtocol) -> bool {
    !protocol.as_ref().starts_with("/x/")
}
