//! `config::load`: what every key means, and what is remembered of the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't be set up has failed")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;

use std::{fs, path::Path, time::Duration};

use folder::{Folder, HOME, LAPTOP};
use p2ptun::{
    config::{self, Reason},
    spec::{
        Allow, Bind, Desired, Destinations, Dht, ForwardPeer, Limit, NodeSpec, PeerId, ProxyProtocol, RelayUse, Relays,
        Tunnel, TunnelName,
    },
};

fn id(text: &str) -> PeerId {
    text.parse().unwrap()
}

fn desired(text: &str) -> Desired {
    let loaded = Folder::with(&[("p2ptun.toml", text)]).load();
    loaded.unwrap_or_else(|refused| panic!("{refused}")).desired
}

fn tunnel<'d>(desired: &'d Desired, name: &str) -> &'d Tunnel {
    &desired.tunnels[&TunnelName::try_from(name).unwrap()]
}

/// Every key there is, none with its default.
const EVERY_KEY: &str = r#"
watch = false
[node]
identity = "/var/lib/key"
listen_addresses = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/1/quic-v1"]
announce = ["/dns4/a.example/tcp/1"]
append_announce = ["/ip4/192.0.2.1/udp/1/quic-v1"]
no_announce = ["10.0.0.0/8", "/ip6/fd00::/ipcidr/8"]
drain_timeout = "0s"
stop_timeout = "1m 30s"
[discovery]
dht = "server"
bootstrap = []
mdns = false
[nat]
upnp = false
hole_punching = false
relays = ["/ip4/192.0.2.1/tcp/1/p2p/{home}"]
[relay_service]
allow = ["home"]
max_bytes = "1GiB"
max_duration = "1h"
max_reservations = 7
max_circuits = 8
[metrics]
bind = "[::1]:9464"
page = false
[log]
streams = true
[peers.home]
id = "{home}"
addresses = ["/dns4/home.example/tcp/5460/p2p/{home}", "/dnsaddr/home.example"]
[peers.laptop]
id = "{laptop}"
[listen.l]
allow_custom_protocol = true
protocol = "/other"
target = "unix:/run/l"
allow = ["laptop", "{home}"]
report_peer_id = true
proxy_protocol = "v2"
max_connections = 2
max_connections_per_peer = 1
connect_timeout = "1s"
on = ["home"]
[forward.f]
protocol = "/x/f"
bind = "unix:/run/f"
bind_mode = "0660"
bind_group = "adm"
peers = ["home", "/ip4/192.0.2.1/tcp/1/p2p/{laptop}"]
open_timeout = "2s"
max_connections = 3
relay = "never"
on = ["laptop", "home"]
[gateway.g]
bind = "127.0.0.1:1"
destinations = ["home"]
domain = "gate.example"
on = ["home"]
[socks.s]
allow_custom_protocol = true
bind = "/ip4/127.0.0.1/tcp/2"
destinations = "anyone"
ports = { 22 = "/x/ssh", 80 = "/web" }
on = ["home"]
"#;

#[test]
fn every_key_has_its_effect() {
    let desired = desired(EVERY_KEY);
    let defaults = Desired::default();
    assert!(!desired.watch && desired.log.streams);

    let NodeSpec { identity, listen_addresses, listen_addresses_are_default, .. } = &desired.node;
    assert_eq!(identity.as_deref(), Some(Path::new("/var/lib/key")));
    assert_eq!((listen_addresses.len(), *listen_addresses_are_default), (2, false));
    assert_eq!(desired.node.announce[0].to_string(), "/dns4/a.example/tcp/1");
    assert_eq!(desired.node.append_announce[0].to_string(), "/ip4/192.0.2.1/udp/1/quic-v1");
    assert_eq!(
        desired.node.no_announce.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "fd00::/8"]
    );
    assert_eq!((desired.node.drain_timeout, desired.node.stop_timeout), (Duration::ZERO, Duration::from_secs(90)));

    assert_eq!(desired.discovery.dht, Dht::Server);
    assert_eq!(desired.discovery.bootstrap.as_deref(), Some([].as_slice()));
    assert!(!desired.discovery.mdns && !desired.nat.upnp && !desired.nat.hole_punching);
    let Relays::These(relays) = &desired.nat.relays else { panic!("{:?}", desired.nat.relays) };
    assert_eq!(relays[0].to_string(), format!("/ip4/192.0.2.1/tcp/1/p2p/{HOME}"));

    let service = desired.relay_service.as_ref().unwrap();
    assert_eq!(service.allow, Allow::Peers([id(HOME)].into()));
    assert_eq!(service.max_bytes, Limit::AtMost(1 << 30));
    assert_eq!(service.max_duration, Limit::AtMost(Duration::from_secs(3600)));
    assert_eq!((service.max_reservations, service.max_circuits), (Some(7), Some(8)));
    let metrics = desired.metrics.as_ref().unwrap();
    assert_eq!((metrics.bind.to_string().as_str(), metrics.page), ("[::1]:9464", false));

    let peers: Vec<_> = desired.peers.values().map(|peer| (peer.id, peer.addresses.len())).collect();
    assert_eq!(peers, [(id(HOME), 2), (id(LAPTOP), 0)]);
    assert_eq!(desired.addresses()[&id(HOME)][0].to_string(), "/dns4/home.example/tcp/5460");

    let Tunnel::Listen(listen) = tunnel(&desired, "l") else { panic!() };
    assert_eq!((listen.protocol.as_ref(), listen.target.to_string().as_str()), ("/other", "unix:/run/l"));
    assert_eq!(listen.allow, Allow::Peers([id(HOME), id(LAPTOP)].into()));
    assert!(listen.report_peer_id && listen.proxy_protocol == Some(ProxyProtocol::V2));
    assert_eq!((listen.max_connections, listen.max_connections_per_peer), (2, Some(1)));
    assert_eq!((listen.connect_timeout, listen.on.clone()), (Duration::from_secs(1), Some([id(HOME)].into())));

    let Tunnel::Forward(forward) = tunnel(&desired, "f") else { panic!() };
    assert_eq!(forward.bind, Bind::Unix { path: "/run/f".into(), mode: 0o660, group: Some("adm".into()) });
    let ForwardPeer::FirstOf(peers) = &forward.peer else { panic!() };
    assert_eq!((peers[0].id, peers[1].id), (id(HOME), id(LAPTOP)));
    assert_eq!((peers[0].written.as_str(), peers[1].addresses.len()), ("home", 1));
    assert_eq!((forward.open_timeout, forward.max_connections), (Duration::from_secs(2), 3));
    assert_eq!((forward.relay, forward.on.as_ref().unwrap().len()), (RelayUse::Never, 2));

    let Tunnel::Gateway(gateway) = tunnel(&desired, "g") else { panic!() };
    assert_eq!((gateway.bind.port, gateway.domain.as_deref()), (1, Some("gate.example")));
    assert!(matches!(&gateway.destinations, Destinations::Peers(peers) if peers.len() == 1));
    let Tunnel::Socks(socks) = tunnel(&desired, "s") else { panic!() };
    assert_eq!((socks.bind.port, &socks.destinations), (2, &Destinations::Anyone));
    assert_eq!((socks.ports[&22].as_ref(), socks.ports[&80].as_ref()), ("/x/ssh", "/web"));

    assert_ne!((desired.node, desired.discovery, desired.nat), (defaults.node, defaults.discovery, defaults.nat));
}

#[test]
fn every_key_survives_being_printed() {
    let written = desired(EVERY_KEY);
    assert_eq!(desired(&config::print(&written)), written);
    let private = desired("[node]\nprivate_network_key_file = '/k'\n[discovery]\ndht = 'off'\n");
    assert_eq!(desired(&config::print(&private)), private);
}

#[test]
fn zero_bytes_are_the_default_configuration() {
    assert_eq!(desired(""), Desired::default());
    assert_eq!(desired(&config::print(&Desired::default())), Desired::default());
}

#[test]
fn a_private_network_leaves_quic_out_of_the_default_addresses() {
    let node = desired("[node]\nprivate_network_key_file = '/k'\n[discovery]\ndht = 'off'\n").node;
    let addresses: Vec<_> = node.listen_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["/ip4/0.0.0.0/tcp/5460", "/ip6/::/tcp/5460"]);
    assert!(node.listen_addresses_are_default);
}

#[test]
fn strangers_get_limits_where_none_are_written() {
    let service = |text: &str| desired(&format!("[relay_service]\n{text}")).relay_service.unwrap();
    let strangers = service("allow = 'anyone'");
    assert_eq!(strangers.max_bytes, Limit::AtMost(131_072));
    assert_eq!(strangers.max_duration, Limit::AtMost(Duration::from_secs(120)));
    assert_eq!(service("allow = 'anyone'\nmax_bytes = 'unlimited'").max_bytes, Limit::Unlimited);
    assert_eq!(service("allow = []").max_duration, Limit::Unlimited);

    let per_peer = |allow: &str| {
        let desired = desired(&format!("[listen.l]\ntarget = '127.0.0.1:1'\nallow = {allow}"));
        let Tunnel::Listen(listen) = tunnel(&desired, "l") else { panic!() };
        listen.max_connections_per_peer
    };
    assert_eq!(per_peer("'anyone'"), Some(256));
    assert_eq!(per_peer("[]"), None);
    assert_eq!(per_peer("'anyone'\nmax_connections_per_peer = 'unlimited'"), None);
}

#[test]
fn the_page_is_on_by_default_on_loopback_only() {
    let page = |bind: &str| desired(&format!("[metrics]\nbind = '{bind}'")).metrics.unwrap().page;
    assert!(page("127.0.0.1:1") && page("localhost:1"));
    assert!(!page("0.0.0.0:1"));
}

#[test]
fn a_relative_path_begins_at_the_folder_of_the_file() {
    let folder = Folder::with(&[("p2ptun.toml", "[node]\nidentity = 'keys/own.key'")]);
    assert_eq!(folder.load().unwrap().desired.node.identity, Some(folder.path("keys/own.key")));
}

#[test]
fn two_looks_at_unchanged_files_are_equal_and_any_change_shows() {
    let folder = Folder::with(&[("p2ptun.toml", "include = ['d/*.toml']"), ("d/a.toml", "# one")]);
    let before = folder.load().unwrap().sources;
    assert_eq!(folder.load().unwrap().sources, before);
    folder.write("d/a.toml", "# two");
    assert_ne!(folder.load().unwrap().sources, before);
    folder.write("d/a.toml", "# one");
    assert_eq!(folder.load().unwrap().sources, before);
    folder.write("d/b.toml", "");
    assert_ne!(folder.load().unwrap().sources, before);
}

#[test]
fn an_emptied_include_is_found_and_a_removed_one_is_not_empty() {
    let folder = Folder::with(&[("p2ptun.toml", "include = ['d/*.toml']"), ("d/a.toml", "# one")]);
    let before = folder.load().unwrap().sources;
    folder.write("d/a.toml", "");
    assert_eq!(folder.load().unwrap().sources.emptied_since(&before), Some(folder.path("d/a.toml").as_path()));
    fs::remove_file(folder.path("d/a.toml")).unwrap();
    assert_eq!(folder.load().unwrap().sources.emptied_since(&before), None);
}

#[test]
fn what_must_be_watched_is_known_also_of_a_refused_configuration() {
    let folder = Folder::with(&[
        ("p2ptun.toml", "include = ['d/*.toml', 'missing.toml', 'broken.toml']"),
        ("d/a.toml", ""),
        ("broken.toml", "x ="),
    ]);
    let sources = folder.load().unwrap_err().sources;
    let named: Vec<_> = sources.named().map(Path::to_owned).collect();
    assert_eq!(named, ["p2ptun.toml", "d/a.toml", "broken.toml", "missing.toml"].map(|name| folder.path(name)));
    assert_eq!(sources.wildcards()[0].folders, [folder.path("d")]);

    // Of a broken main file too, as far as it can be made out.
    folder.write("p2ptun.toml", "include = ['d/*.toml']\nx = \n");
    let sources = folder.load().unwrap_err().sources;
    assert_eq!(sources.files().count(), 2);
}

#[test]
fn a_missing_main_file_is_still_watched() {
    let folder = Folder::with(&[]);
    let refused = folder.load().unwrap_err();
    assert!(matches!(&refused.reason, Reason::Unreadable(error) if error.kind() == std::io::ErrorKind::NotFound));
    assert_eq!(refused.sources.named().collect::<Vec<_>>(), [folder.path("p2ptun.toml")]);
}

#[test]
fn a_refusal_says_the_first_error_in_one_line() {
    let folder = Folder::with(&[("p2ptun.toml", "a = 1\nb = 2\nc = 3\n")]);
    let line = folder.load().unwrap_err().to_string();
    let path = folder.path("p2ptun.toml");
    let path = path.display();
    assert_eq!(line, format!("{path}:1:1: error: unknown key `a` (and 2 more; `p2ptun check {path}` shows all)"));
}
