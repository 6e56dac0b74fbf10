//! What it takes to get from one set of tunnels to another: a pure function of two values. Starting up is a plan from
//! nothing.
//!
//! ```
//! use p2ptun::{plan::plan, spec::Desired};
//! assert!(plan(&Desired::default(), &Desired::default()).is_empty());
//! ```

use std::net::IpAddr;

use crate::spec::{Bind, Desired, Host, HostPort, Tunnel, TunnelName};

/// One tunnel's way from what it is to what it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Take no new streams; live ones may finish. Comes before every start, so that names and protocols are free.
    Retire(TunnelName),
    Start {
        name: TunnelName,
        tunnel: Tunnel,
        socket: SocketFrom,
    },
    /// New streams follow the new declaration; live ones go on.
    Change {
        name: TunnelName,
        tunnel: Tunnel,
        socket: SocketFrom,
    },
}

/// Where a tunnel gets its local socket from.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketFrom {
    /// It needs none, or keeps the one it has.
    Nowhere,
    /// Another tunnel lets go of the same address by this very plan and hands over its open socket.
    HandOver(TunnelName),
    /// It binds anew.
    Bind {
        /// Tunnels that let go, by this plan, of an address that overlaps (a wildcard): if the bind fails, it is tried
        /// again after they have.
        after: Vec<TunnelName>,
    },
}

/// The steps between the tunnels of `live` and those of `desired`, in a stable order.
pub fn plan(live: &Desired, desired: &Desired) -> Vec<Step> {
    let freed = Freed::new(live, desired);
    let mut retire = Vec::new();
    let mut bring_up = Vec::new();
    for (name, old) in &live.tunnels {
        match desired.tunnels.get(name) {
            Some(new) if is_same_tunnel(old, new) => {}
            _ => retire.push(Step::Retire(name.clone())),
        }
    }
    for (name, new) in &desired.tunnels {
        let (name, tunnel) = (name.clone(), new.clone());
        match live.tunnels.get(&name) {
            Some(old) if old == new => {}
            Some(old) if is_same_tunnel(old, new) => {
                let moved = bind_of(old).zip(bind_of(new)).is_some_and(|(old, new)| !is_same_place(old, new));
                let socket = if moved { freed.source_for(new) } else { SocketFrom::Nowhere };
                bring_up.push(Step::Change { name, tunnel, socket });
            }
            _ => bring_up.push(Step::Start { socket: freed.source_for(new), name, tunnel }),
        }
    }
    retire.append(&mut bring_up);
    retire
}

/// Whether a new declaration goes on with the streams of the old one, or retires it. A stream belongs to a kind and a
/// protocol; everything else about a tunnel can change around it.
fn is_same_tunnel(old: &Tunnel, new: &Tunnel) -> bool {
    match (old, new) {
        (Tunnel::Listen(old), Tunnel::Listen(new)) => old.protocol == new.protocol,
        (Tunnel::Forward(old), Tunnel::Forward(new)) => old.protocol == new.protocol,
        (Tunnel::Gateway(_), Tunnel::Gateway(_)) | (Tunnel::Socks(_), Tunnel::Socks(_)) => true,
        _ => false,
    }
}

fn bind_of(tunnel: &Tunnel) -> Option<&Bind> {
    match tunnel {
        Tunnel::Forward(forward) => Some(&forward.bind),
        Tunnel::Listen(_) | Tunnel::Gateway(_) | Tunnel::Socks(_) => None,
    }
}

/// Whether two binds are served by one and the same socket.
fn is_same_place(a: &Bind, b: &Bind) -> bool {
    match (a, b) {
        (Bind::Unix { path: a, .. }, Bind::Unix { path: b, .. }) => a == b,
        _ => a == b,
    }
}

/// The addresses that tunnels let go of.
struct Freed<'a>(Vec<(&'a TunnelName, &'a Bind)>);

impl<'a> Freed<'a> {
    fn new(live: &'a Desired, desired: &Desired) -> Self {
        let freed = live.tunnels.iter().filter_map(|(name, old)| {
            let bind = bind_of(old)?;
            let kept = desired.tunnels.get(name).filter(|new| is_same_tunnel(old, new)).and_then(bind_of);
            (!kept.is_some_and(|kept| is_same_place(kept, bind))).then_some((name, bind))
        });
        Self(freed.collect())
    }

    fn source_for(&self, tunnel: &Tunnel) -> SocketFrom {
        let Some(bind) = bind_of(tunnel) else { return SocketFrom::Nowhere };
        // Whoever asks for port 0 asks for a port of its own.
        let any_port = matches!(bind, Bind::Tcp(HostPort { port: 0, .. }) | Bind::Udp(HostPort { port: 0, .. }));
        let same = self.0.iter().find(|(_, freed)| !any_port && is_same_place(freed, bind));
        if let Some((from, _)) = same {
            return SocketFrom::HandOver((*from).clone());
        }
        let overlapping = self.0.iter().filter(|(_, freed)| overlap(freed, bind));
        SocketFrom::Bind { after: overlapping.map(|(name, _)| (*name).clone()).collect() }
    }
}

/// Whether one bind may keep the other from succeeding.
fn overlap(a: &Bind, b: &Bind) -> bool {
    match (a, b) {
        (Bind::Tcp(a), Bind::Tcp(b)) | (Bind::Udp(a), Bind::Udp(b)) => {
            a.port != 0 && a.port == b.port && hosts_overlap(&a.host, &b.host)
        }
        (Bind::Unix { path: a, .. }, Bind::Unix { path: b, .. }) => a == b,
        _ => false,
    }
}

fn hosts_overlap(a: &Host, b: &Host) -> bool {
    match (a, b) {
        (Host::Ip(a), Host::Ip(b)) if a.is_ipv4() == b.is_ipv4() => a == b || is_wildcard(a) || is_wildcard(b),
        (Host::Ip(_), Host::Ip(_)) => false,
        // What a name stands for is known only when it is used.
        _ => true,
    }
}

fn is_wildcard(ip: &IpAddr) -> bool {
    ip.is_unspecified()
}

/// Keys whose values in `desired` differ from those that this process was `started` with, and that it can't change
/// while it runs.
pub fn restart_required(started: &Desired, desired: &Desired) -> Vec<String> {
    let (old, new) = (&started.node, &desired.node);
    let keys = [
        ("node.identity", old.identity != new.identity),
        ("node.private_network_key_file", old.private_network_key_file != new.private_network_key_file),
        ("node.listen_addresses", old.listen_addresses != new.listen_addresses),
        ("node.announce", old.announce != new.announce),
        ("node.append_announce", old.append_announce != new.append_announce),
        ("node.no_announce", old.no_announce != new.no_announce),
        ("discovery", started.discovery != desired.discovery),
        ("nat", started.nat != desired.nat),
        ("relay_service", started.relay_service != desired.relay_service),
        ("metrics", started.metrics != desired.metrics),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::spec::{Allow, Endpoint, Forward, ForwardPeer, Listen, PeerId, PeerRef, RelayUse, StreamProtocol};

    fn name(text: &str) -> TunnelName {
        text.try_into().unwrap()
    }

    fn forward(bind: &str) -> Tunnel {
        let id = PeerId::from_bytes(&[0, 1, 7]).unwrap();
        let bind = match bind.strip_prefix("unix:") {
            Some(path) => Bind::Unix { path: path.into(), mode: 0o600, group: None },
            None => Bind::Tcp(bind.parse::<std::net::SocketAddr>().unwrap().into()),
        };
        Tunnel::Forward(Forward {
            protocol: StreamProtocol::new("/x/ssh"),
            bind,
            peer: ForwardPeer::One(PeerRef { written: "home".into(), id, addresses: vec![] }),
            open_timeout: Duration::from_secs(30),
            max_connections: 1024,
            relay: RelayUse::Trusted,
            on: None,
        })
    }

    fn listen(protocol: &'static str, target: u16) -> Tunnel {
        Tunnel::Listen(Listen {
            protocol: StreamProtocol::new(protocol),
            target: Endpoint::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], target)).into()),
            allow: Allow::Peers(BTreeSet::new()),
            report_peer_id: false,
            proxy_protocol: None,
            max_connections: 1024,
            max_connections_per_peer: None,
            connect_timeout: Duration::from_secs(10),
            on: None,
        })
    }

    fn set(tunnels: &[(&str, Tunnel)]) -> Desired {
        let tunnels = tunnels.iter().map(|(text, tunnel)| (name(text), tunnel.clone())).collect();
        Desired { tunnels, ..Desired::default() }
    }

    /// Steps in short: `-a`, `+a`, `~a`, with `<b` for a socket handed over and `|b` for a bind that b may block.
    fn steps(live: &[(&str, Tunnel)], desired: &[(&str, Tunnel)]) -> String {
        let socket = |socket: &SocketFrom| match socket {
            SocketFrom::Nowhere => String::new(),
            SocketFrom::HandOver(from) => format!("<{from}"),
            SocketFrom::Bind { after } => after.iter().map(|name| format!("|{name}")).collect(),
        };
        let short = |step: &Step| match step {
            Step::Retire(name) => format!("-{name}"),
            Step::Start { name, socket: from, .. } => format!("+{name}{}", socket(from)),
            Step::Change { name, socket: from, .. } => format!("~{name}{}", socket(from)),
        };
        plan(&set(live), &set(desired)).iter().map(short).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_set_that_stays_the_same_needs_nothing() {
        let set = [("a", forward("127.0.0.1:1")), ("b", listen("/x/b", 1))];
        assert_eq!(steps(&set, &set), "");
    }

    #[test]
    fn starting_up_is_a_plan_from_nothing() {
        assert_eq!(steps(&[], &[("b", listen("/x/b", 1)), ("a", forward("127.0.0.1:1"))]), "+a +b");
    }

    #[test]
    fn a_new_target_or_bind_changes_a_tunnel_and_a_new_protocol_or_kind_replaces_it() {
        assert_eq!(steps(&[("a", listen("/x/a", 1))], &[("a", listen("/x/a", 2))]), "~a");
        assert_eq!(steps(&[("a", forward("127.0.0.1:1"))], &[("a", forward("127.0.0.1:2"))]), "~a");
        assert_eq!(steps(&[("a", listen("/x/a", 1))], &[("a", listen("/x/b", 1))]), "-a +a");
        assert_eq!(steps(&[("a", listen("/x/a", 1))], &[("a", forward("127.0.0.1:1"))]), "-a +a");
    }

    #[test]
    fn two_forwards_that_swap_ports_hand_over_their_sockets() {
        let live = [("a", forward("127.0.0.1:1")), ("b", forward("127.0.0.1:2"))];
        let desired = [("a", forward("127.0.0.1:2")), ("b", forward("127.0.0.1:1"))];
        assert_eq!(steps(&live, &desired), "~a<b ~b<a");
    }

    #[test]
    fn a_renamed_forward_takes_its_socket_along() {
        assert_eq!(steps(&[("a", forward("127.0.0.1:1"))], &[("z", forward("127.0.0.1:1"))]), "-a +z<a");
    }

    #[test]
    fn a_wildcard_that_lets_go_of_a_port_may_have_to_close_first() {
        let live = [("a", forward("0.0.0.0:1"))];
        assert_eq!(steps(&live, &[("a", forward("127.0.0.1:1"))]), "~a|a");
        assert_eq!(steps(&live, &[("b", forward("127.0.0.1:1"))]), "-a +b|a");
        assert_eq!(steps(&live, &[("b", forward("[::1]:1"))]), "-a +b");
    }

    #[test]
    fn port_0_never_takes_over_anothers_socket() {
        assert_eq!(steps(&[("a", forward("127.0.0.1:0"))], &[("b", forward("127.0.0.1:0"))]), "-a +b");
    }

    #[test]
    fn another_mode_of_the_same_unix_socket_keeps_the_socket() {
        let mut other_mode = forward("unix:/run/s");
        if let Tunnel::Forward(Forward { bind: Bind::Unix { mode, .. }, .. }) = &mut other_mode {
            *mode = 0o660;
        }
        assert_eq!(steps(&[("a", forward("unix:/run/s"))], &[("a", other_mode)]), "~a");
    }

    #[test]
    fn what_only_a_restart_can_change_is_named() {
        let mut desired = Desired::default();
        desired.node.identity = Some("/other.key".into());
        desired.discovery.mdns = false;
        desired.node.drain_timeout = Duration::ZERO;
        assert_eq!(restart_required(&Desired::default(), &desired), ["node.identity", "discovery"]);
    }
}
