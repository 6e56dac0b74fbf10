//! What a listen tunnel tells its target about the caller, ahead of the stream's bytes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use libp2p::multiaddr::Protocol;
use ppp::{
    v1,
    v2::{Addresses, Builder, Command, Protocol as Transport, Version},
};

use crate::{
    node::{Connection, Inbound, Route},
    spec::{Listen, Multiaddr, ProxyProtocol},
};

/// The type of the TLV that carries the caller's peer id as text: the first of the range that the PROXY protocol's
/// specification leaves to applications (section 2.2.7, PP2_TYPE_MIN_CUSTOM).
const TLV_PEER_ID: u8 = 0xE0;

/// The bytes to send to the target first: the PROXY header, then Kubo's `<peer id>\n`.
///
/// Source and destination of the PROXY header are the two ends of the libp2p connection: the address that the peer
/// dialled from (or was dialled at), and this node's own address (the unspecified one with port 0 where this node
/// dialled). A peer that comes over a relay, and this node itself, have no address that would mean anything: v1 says
/// UNKNOWN, v2 UNSPEC. The peer id, which is what identifies a caller, stands in v2 in a TLV of type 0xE0.
pub fn header(listen: &Listen, inbound: &Inbound) -> io::Result<Vec<u8>> {
    let ends = inbound.connection.as_deref().and_then(ends);
    let mut header = match listen.proxy_protocol {
        None => Vec::new(),
        Some(ProxyProtocol::V1) => {
            let addresses = ends.map_or(v1::Addresses::Unknown, v1::Addresses::from);
            addresses.to_string().into_bytes()
        }
        Some(ProxyProtocol::V2) => {
            let (addresses, transport) = match ends {
                Some(ends) => (Addresses::from(ends), Transport::Stream),
                None => (Addresses::Unspecified, Transport::Unspecified),
            };
            Builder::with_addresses(Version::Two | Command::Proxy, transport, addresses)
                .write_tlv(TLV_PEER_ID, inbound.peer.to_base58().as_bytes())?
                .build()?
        }
    };
    if listen.report_peer_id {
        header.extend_from_slice(inbound.peer.to_base58().as_bytes());
        header.push(b'\n');
    }
    Ok(header)
}

/// The addresses of the far and the near end, of one family: the format has no room for two.
fn ends(connection: &Connection) -> Option<(SocketAddr, SocketAddr)> {
    if connection.route == Route::Relayed {
        return None;
    }
    let far = socket_address(&connection.remote)?;
    let unspecified: IpAddr = if far.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let near = connection.local.as_ref().and_then(socket_address);
    let near = near.unwrap_or_else(|| SocketAddr::new(unspecified, 0));
    match (far.ip(), near.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some((far, near)),
        _ => Some((mapped(far), mapped(near))),
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
