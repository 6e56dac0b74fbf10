//! Places for connections that have not yet shown who they are.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use libp2p::{core::ConnectedPoint, multiaddr::Protocol, swarm::ConnectionId};

use crate::{node::streams::Route, spec::Multiaddr};

/// Connections that have not yet shown who they are, over TCP, and as many over QUIC, where anybody can seem to come from
/// anywhere; of each by IPv4, and as many by IPv6. Each takes memory, and over TCP a file descriptor.
const MAX_PENDING: usize = 512;
/// A source may have one for each so many places that are free: 31 where it is alone, and fewer where many others come, so
/// that a few sources can't fill all places. Whoever is honest has shown who they are after some round trips, so that more
/// peers than that behind one address seldom meet, and whoever is refused dials again.
const FREE_FOR_EACH: usize = 16;
/// The part of an IPv6 address that nobody can choose at will.
const PREFIX: Ipv6Addr = Ipv6Addr::from_bits(!0 << 64);

/// The places that are taken.
#[derive(Default)]
pub struct Pending(HashMap<ConnectionId, Source>);

impl Pending {
    /// Takes a place. Returns whether there was one.
    pub fn insert(&mut self, id: ConnectionId, local_addr: &Multiaddr, send_back_addr: &Multiaddr) -> bool {
        let source = Source::of(local_addr, send_back_addr);
        let has_room = self.has_room_for(&source);
        if has_room {
            self.0.insert(id, source);
        }
        has_room
    }

    /// Gives the place back, if it has one.
    pub fn remove(&mut self, id: ConnectionId) {
        self.0.remove(&id);
    }

    fn has_room_for(&self, source: &Source) -> bool {
        let this_way = self.0.values().filter(|pending| pending.way() == source.way());
        let from_there = self.0.values().filter(|pending| *pending == source);
        from_there.count() < (MAX_PENDING - this_way.count()).div_ceil(FREE_FOR_EACH)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// What is known of where a connection comes from before it has shown who it is.
#[derive(PartialEq)]
struct Source {
    route: Route,
    /// An IPv4 address or an IPv6 /64. Those that come without either, as over a relay, can't be told apart.
    prefix: Option<IpAddr>,
}

impl Source {
    fn of(local_addr: &Multiaddr, send_back_addr: &Multiaddr) -> Self {
        let prefix = send_back_addr.iter().find_map(|part| match part {
            Protocol::Ip4(address) => Some(address.into()),
            Protocol::Ip6(address) => Some((address & PREFIX).into()),
            _ => None,
        });
        let (local_addr, send_back_addr) = (local_addr.clone(), send_back_addr.clone());
        Self { route: Route::of(&ConnectedPoint::Listener { local_addr, send_back_addr }), prefix }
    }

    /// What shares places: by IPv6, one may come from thousands of prefixes, and keeps nobody out by IPv4.
    fn way(&self) -> (Route, Option<bool>) {
        (self.route, self.prefix.map(|prefix| prefix.is_ipv4()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one source may have pending, where there is no other.
    const ALONE: usize = 31;

    /// Begins as many connections as may be from `addresses`, each of which says nothing, and counts them.
    fn flood(pending: &mut Pending, addresses: impl IntoIterator<Item = String>) -> usize {
        let (local, before) = ("/ip4/192.0.2.1/tcp/1".parse().unwrap(), pending.len());
        for address in addresses {
            let id = ConnectionId::new_unchecked(pending.len());
            let _ = pending.insert(id, &local, &address.parse().unwrap());
        }
        pending.len() - before
    }

    fn repeated(address: &str) -> impl Iterator<Item = String> {
        std::iter::repeat_n(address.to_owned(), 2 * ALONE)
    }

    #[test]
    fn one_address_that_says_nothing_keeps_nobody_else_out() {
        let mut pending = Pending::default();
        assert_eq!(flood(&mut pending, repeated("/ip4/203.0.113.1/tcp/1")), ALONE);
        let site = (0..2 * ALONE).map(|n| format!("/ip6/2001:db8::{n}/tcp/1"));
        assert_eq!(flood(&mut pending, site), ALONE, "whoever has a /64 has no more than its share");
        for other in ["/ip4/203.0.113.2/tcp/1", "/ip6/2001:db8:0:1::1/tcp/1", "/p2p-circuit"] {
            assert_eq!(flood(&mut pending, [other.to_owned()]), 1, "{other}");
        }
    }

    #[test]
    fn few_addresses_never_fill_all_places_and_what_many_fill_is_bounded() {
        let mut pending = Pending::default();
        let from = |network: usize, n: usize| format!("/ip4/203.0.{network}.{n}/tcp/1");
        for n in 0..64 {
            flood(&mut pending, repeated(&from(0, n)));
        }
        assert_eq!(flood(&mut pending, [from(1, 1)]), 1);
        flood(&mut pending, (0..4 * MAX_PENDING).map(|n| from(2 + n / 256, n % 256)));
        assert_eq!(pending.len(), MAX_PENDING);
        let sites = (0..4 * MAX_PENDING).map(|n| format!("/ip6/2001:db8:{n:x}::1/tcp/1"));
        assert_eq!(flood(&mut pending, sites), MAX_PENDING, "apart from those by IPv4");
    }

    #[test]
    fn what_comes_over_quic_keeps_nobody_out_over_tcp() {
        let mut pending = Pending::default();
        let spoofed = (0..1 << 12).map(|n| format!("/ip4/203.0.{}.{}/udp/1/quic-v1", n / 256, n % 256));
        assert_eq!(flood(&mut pending, spoofed), MAX_PENDING);
        assert_eq!(flood(&mut pending, repeated("/ip4/203.0.0.1/tcp/1")), ALONE);
    }
}
