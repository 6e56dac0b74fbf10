//! Addresses of the network: multiaddrs, peer ids, blocks of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{identity::PublicKey, multiaddr::Protocol, multihash::Multihash};

use super::{
    diagnostics::Wrong,
    host_name::host_name,
    printable::{quoted, toml_string},
};
use crate::spec::{Cidr, Multiaddr, PeerId};

mod malformed;

/// Longer text is no address; to decode it anyway would take time that grows with its square.
const MAX_ADDRESS_LENGTH: usize = 1024;
const MAX_PEER_ID_LENGTH: usize = 128;

/// The multicodec of a peer id in a CID, `libp2p-key`.
const LIBP2P_KEY: u8 = 0x72;

/// Reads a peer id, in base58 (`12D3KooW…`, `Qm…`) or as a CID of version 1 (`k51…`, `bafz…`), as the
/// [peer id specification](https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md) has it.
pub fn peer_id(text: &str) -> Result<PeerId, Wrong> {
    let wrong = || malformed::id(text);
    if text.len() > MAX_PEER_ID_LENGTH {
        return Err(wrong());
    }
    text.parse().ok().or_else(|| peer_id_in_cid(text)).filter(is_of_a_key).ok_or_else(wrong)
}

fn peer_id_in_cid(text: &str) -> Option<PeerId> {
    let (_, bytes) = multibase::decode(text).ok()?;
    match bytes.as_slice() {
        [1, LIBP2P_KEY, multihash @ ..] => PeerId::from_bytes(multihash).ok(),
        _ => None,
    }
}

/// Whether a key could have this id, which holds the key or its SHA-256. The library takes any bytes of a fitting
/// length, so that some short words are ids; and of the slips within the id of an Ed25519 key half make none.
fn is_of_a_key(id: &PeerId) -> bool {
    const IDENTITY: u64 = 0;
    const SHA2_256: u64 = 0x12;
    /// How the key begins, as the peer id specification encodes it.
    const ED25519: [u8; 4] = [8, 1, 0x12, 32];
    /// No kind of key is shorter.
    const SHORTEST: usize = 32;
    let multihash = Multihash::from(*id);
    let digest = multihash.digest();
    match multihash.code() {
        IDENTITY if digest.starts_with(&ED25519) => PublicKey::try_decode_protobuf(digest).is_ok(),
        IDENTITY => digest.len() >= SHORTEST,
        SHA2_256 => digest.len() == 32,
        _ => false,
    }
}

/// Reads any multiaddr.
pub(super) fn parse(text: &str) -> Result<Multiaddr, Wrong> {
    let short = Some(text).filter(|text| !text.is_empty() && text.len() <= MAX_ADDRESS_LENGTH);
    let names_keys =
        |address: &Multiaddr| address.iter().all(|part| !matches!(part, Protocol::P2p(id) if !is_of_a_key(&id)));
    short.and_then(|text| text.parse().ok()).filter(names_keys).ok_or_else(|| malformed::address(text))
}

/// Reads where this node listens: an IP address with `/tcp/<port>` or `/udp/<port>/quic-v1`. Port 0 is any free one.
pub fn listen_address(text: &str) -> Result<Multiaddr, Wrong> {
    let address = parse(text)?;
    if let Some(meant) = without_peer(&address) {
        let wrong = Wrong::new(format!("{} names a peer", quoted(text)));
        return Err(wrong.help("leave the end out: it is this node that listens").instead(meant));
    }
    let parts: Vec<_> = address.iter().collect();
    let wrong = || Wrong::new(format!("{} is no address to listen on", quoted(text)));
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
        | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => Ok(address),
        [Protocol::Ip4(_) | Protocol::Ip6(_), transport @ ..] => Err(unspoken(wrong(), &address, transport)),
        [Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_), ..] => {
            Err(wrong().help("listen on an IP address; names are for `announce`"))
        }
        _ => Err(wrong().help("it is /ip4/… or /ip6/… with /tcp/<port> or /udp/<port>/quic-v1")),
    }
}

/// The TOML value of `address` without the `/p2p/<id>` at its end, if it has one.
fn without_peer(address: &Multiaddr) -> Option<String> {
    let mut bare = address.clone();
    matches!(bare.pop(), Some(Protocol::P2p(_))).then(|| toml_string(&bare.to_string()))
}

/// What to do about a transport that is not spoken here.
fn unspoken(wrong: Wrong, address: &Multiaddr, transport: &[Protocol<'_>]) -> Wrong {
    let text = address.to_string();
    match transport {
        [] => wrong.help("add /tcp/<port> or /udp/<port>/quic-v1"),
        [Protocol::Udp(_)] => wrong.help("UDP carries QUIC").instead(toml_string(&format!("{text}/quic-v1"))),
        [Protocol::Udp(_), Protocol::Quic] => {
            wrong.help("only version 1 of QUIC is spoken").instead(toml_string(&format!("{text}-v1")))
        }
        _ => wrong.help("the transports are /tcp/<port> and /udp/<port>/quic-v1"),
    }
}

/// Reads an address under which others are to find this node: as a listen address, names and ports but 0 allowed.
pub(super) fn announced_address(text: &str) -> Result<Multiaddr, Wrong> {
    let address = parse(text)?;
    if let Some(meant) = without_peer(&address).filter(|_| !address.iter().any(|part| part == Protocol::P2pCircuit)) {
        let wrong = Wrong::new(format!("{} names a peer", quoted(text)));
        return Err(wrong.help("the id of this node is added by itself").instead(meant));
    }
    check_dialable(text, &address)?;
    Ok(address)
}

/// Reads an address at which a peer can be dialled, and the id at its end, if there is one.
///
/// The address that is returned has no `/p2p/<id>` at its end, and is empty if there was nothing else. It is an IP
/// address or a name with `/tcp/<port>` or `/udp/<port>/quic-v1`, a `/dnsaddr/…`, or such an address of a relay with
/// `/p2p/<relay>/p2p-circuit`.
pub fn peer_address(text: &str) -> Result<(Multiaddr, Option<PeerId>), Wrong> {
    let mut address = parse(text)?;
    let id = match address.iter().last() {
        Some(Protocol::P2p(id)) => {
            address.pop();
            Some(id)
        }
        _ => None,
    };
    if !address.is_empty() {
        check_dialable(text, &address)?;
    }
    Ok((address, id))
}

/// Reads the address of a peer that nothing else names: it must end in `/p2p/<id>`, and be more than that.
pub(super) fn full_address(text: &str) -> Result<Multiaddr, Wrong> {
    match peer_address(text)? {
        (address, Some(id)) if !address.is_empty() => Ok(address.with(Protocol::P2p(id))),
        (_, Some(_)) => Err(Wrong::new(format!("{} has an id and no address", quoted(text)))
            .help("write an address before it, as in /ip4/192.0.2.1/tcp/4001/p2p/<peer id>")),
        (address, None) => {
            let wrong = Wrong::new(format!("{} does not say whose address it is", quoted(text)));
            Err(if address.iter().any(|part| part == Protocol::P2pCircuit) {
                wrong.help("it leads through a relay: end it in /p2p/<peer id>, or leave out /p2p-circuit for the relay itself")
            } else {
                wrong.help("end it in /p2p/<peer id>")
            })
        }
    }
}

fn check_dialable(text: &str, address: &Multiaddr) -> Result<(), Wrong> {
    let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
    let parts: Vec<_> = address.iter().collect();
    let own = match parts.as_slice() {
        [relay @ .., Protocol::P2p(_), Protocol::P2pCircuit] => relay,
        all => all,
    };
    let (host, transport) = match own {
        [Protocol::Dnsaddr(name)] => {
            host_name(name)?;
            return Ok(());
        }
        [host, transport @ ..] => (host, transport),
        [] => {
            let help = "write it before /p2p-circuit: /ip4/…/tcp/…/p2p/<relay>/p2p-circuit";
            return Err(wrong("has no address of the relay").help(help));
        }
    };
    match host {
        Protocol::Ip4(_) | Protocol::Ip6(_) => {}
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            host_name(name)?;
        }
        _ => {
            let help = "it begins with /ip4/, /ip6/, /dns/, /dns4/, /dns6/ or /dnsaddr/";
            return Err(wrong("does not begin with an IP address or a name").help(help));
        }
    }
    match transport {
        [Protocol::Tcp(0)] | [Protocol::Udp(0), Protocol::QuicV1] => {
            Err(wrong("has port 0, at which nothing can be reached").help("write the port that is listened on"))
        }
        [Protocol::Tcp(_)] | [Protocol::Udp(_), Protocol::QuicV1] => Ok(()),
        [] => Err(unspoken(wrong("has no port"), address, transport)),
        // What stands behind a relay's address is not repeated in a suggestion.
        _ if own.len() != parts.len() => Err(wrong("uses a transport that is not spoken here")
            .help("the transports are /tcp/<port> and /udp/<port>/quic-v1")),
        _ => Err(unspoken(wrong("uses a transport that is not spoken here"), address, transport)),
    }
}

/// Which network the node is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Public,
    /// One with a key of its own. The key protects byte streams, so QUIC is no part of it.
    Private,
}

impl Network {
    pub(super) fn permits(self, address: &Multiaddr) -> Result<(), Wrong> {
        if self == Network::Private && address.iter().any(|part| part == Protocol::QuicV1) {
            return Err(Wrong::new(format!("{} is a QUIC address", quoted(&address.to_string())))
                .help("with `private_network_key_file` only TCP can be used"));
        }
        Ok(())
    }
}

/// Reads a block of IP addresses, `10.0.0.0/8` or, as Kubo writes it, `/ip4/10.0.0.0/ipcidr/8`.
///
/// Bits of the address past the prefix are cleared.
pub(super) fn cidr(text: &str) -> Result<Cidr, Wrong> {
    let wrong = || Wrong::new(format!("{} is no block of IP addresses", quoted(text)));
    let example = || wrong().help("write an address and the length of its prefix, as in \"10.0.0.0/8\"");
    let (address, prefix) = if text.starts_with('/') {
        let parsed = parse(text)?;
        let parts: Vec<_> = parsed.iter().collect();
        match parts.as_slice() {
            [Protocol::Ip4(ip), Protocol::Ipcidr(prefix)] => (IpAddr::from(*ip), *prefix),
            [Protocol::Ip6(ip), Protocol::Ipcidr(prefix)] => (IpAddr::from(*ip), *prefix),
            _ => return Err(example()),
        }
    } else if let Ok(ip) = text.parse::<IpAddr>() {
        let help = "it lacks the length of its prefix; a single address has all its bits";
        return Err(wrong().help(help).instead(toml_string(&format!("{ip}/{}", bits(ip)))));
    } else {
        let (address, prefix) = text.split_once('/').ok_or_else(example)?;
        let address = address.parse().map_err(|_| example())?;
        if let Some(prefix) = prefix.parse::<Ipv4Addr>().ok().and_then(prefix_of_mask) {
            let help = "the prefix is written by its length";
            return Err(wrong().help(help).instead(toml_string(&format!("{address}/{prefix}"))));
        }
        (address, prefix.parse().map_err(|_| example())?)
    };
    let too_long = || wrong().help(format!("the length of this prefix is at most {}", bits(address)));
    masked(address, prefix).ok_or_else(too_long)
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The length of the prefix that a netmask such as 255.255.0.0 stands for.
fn prefix_of_mask(mask: Ipv4Addr) -> Option<u32> {
    let ones = mask.to_bits().leading_ones();
    (ones + mask.to_bits().trailing_zeros() == 32).then_some(ones)
}

fn masked(address: IpAddr, prefix: u8) -> Option<Cidr> {
    let address = match address {
        IpAddr::V4(ip) => {
            let past = 32u32.checked_sub(prefix.into())?;
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(past).unwrap_or(0)))
        }
        IpAddr::V6(ip) => {
            let past = 128u32.checked_sub(prefix.into())?;
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(past).unwrap_or(0)))
        }
    };
    Some(Cidr { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";

    #[test]
    fn a_peer_id_is_read_in_base58_and_as_a_cid() {
        let id: PeerId = ID.parse().unwrap();
        assert_eq!(peer_id(ID), Ok(id));
        let cid: Vec<u8> = [&[1, LIBP2P_KEY], id.to_bytes().as_slice()].concat();
        for base in [multibase::Base::Base36Lower, multibase::Base::Base32Lower, multibase::Base::Base58Btc] {
            let text = multibase::encode(base, &cid);
            assert_eq!(peer_id(&text), Ok(id), "{text}");
        }
        assert!(peer_id("QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN").is_ok());
    }

    #[test]
    fn what_is_no_peer_id_is_refused() {
        let content =
            multibase::encode(multibase::Base::Base32Lower, [&[1, 0x55, 0x12, 32], [7; 32].as_slice()].concat());
        let long = "1".repeat(1 << 20);
        // The library takes the last two, which are no more than words of a fitting length, and a key off the curve.
        assert!(peer_id("12D3KooWRBhwfeP2Y4TCx1SM6s9rUoHhR5STiGwxBhgFRcw3UERE").is_err());
        for text in ["", "home", &ID[..ID.len() - 1], "12D3KooW…", &content, &long, "12D3KooWhome", "1f"] {
            assert!(peer_id(text).is_err(), "{}", quoted(text));
        }
    }

    #[test]
    fn a_listen_address_is_ip_with_tcp_or_quic() {
        for text in ["/ip4/0.0.0.0/tcp/5460", "/ip6/::/udp/5460/quic-v1", "/ip4/127.0.0.1/tcp/0"] {
            assert!(listen_address(text).is_ok(), "{text}");
        }
        for text in ["", "/", "0.0.0.0:5460", "/ip4/0.0.0.0", "/dns/a/tcp/1", "/ip4/1.2.3.4/tcp/1/ws", "/memory/1"] {
            assert!(listen_address(text).is_err(), "{text}");
        }
        let meant = |text| listen_address(text).unwrap_err().instead;
        assert_eq!(meant("/ip4/0.0.0.0/udp/1").as_deref(), Some("\"/ip4/0.0.0.0/udp/1/quic-v1\""));
        assert_eq!(meant("/ip4/0.0.0.0/udp/1/quic").as_deref(), Some("\"/ip4/0.0.0.0/udp/1/quic-v1\""));
    }

    #[test]
    fn the_id_at_the_end_of_a_peer_address_is_taken_off() {
        let (address, id) = peer_address(&format!("/dns4/home.example.org/tcp/5460/p2p/{ID}")).unwrap();
        assert_eq!((address.to_string().as_str(), id), ("/dns4/home.example.org/tcp/5460", ID.parse().ok()));
        let relayed = format!("/ip4/192.0.2.1/tcp/1/p2p/{ID}/p2p-circuit");
        assert_eq!(peer_address(&relayed).unwrap().0.to_string(), relayed);
        assert_eq!(peer_address(&format!("/p2p/{ID}")).unwrap(), (Multiaddr::empty(), ID.parse().ok()));
    }

    #[test]
    fn a_peer_address_that_cannot_be_dialled_is_refused() {
        for text in [
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/tcp/0",
            "/tcp/1",
            "/ip4/1.2.3.4/udp/1",
            "/p2p-circuit",
            "/dns/a b/tcp/1",
            "/ip4/1.2.3.4/tcp/1/ws",
        ] {
            assert!(peer_address(text).is_err(), "{text}");
        }
        assert!(full_address("/ip4/1.2.3.4/tcp/1").is_err());
        assert!(full_address(&format!("/p2p/{ID}")).is_err());
        assert!(full_address(&format!("/ip4/1.2.3.4/tcp/1/p2p/{ID}")).is_ok());
        assert!(announced_address(&format!("/ip4/1.2.3.4/tcp/1/p2p/{ID}")).is_err());
    }

    #[test]
    fn a_block_of_addresses_is_read_and_its_spare_bits_are_cleared() {
        let block = |address: &str, prefix| Ok(Cidr { address: address.parse().unwrap(), prefix });
        assert_eq!(cidr("10.1.2.3/8"), block("10.0.0.0", 8));
        assert_eq!(cidr("/ip4/192.168.0.0/ipcidr/16"), block("192.168.0.0", 16));
        assert_eq!(cidr("fd00::1/8"), block("fd00::", 8));
        assert_eq!(cidr("::/0"), block("::", 0));
        assert_eq!(cidr("1.2.3.4/32"), block("1.2.3.4", 32));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "a/8", "/ip4/10.0.0.0/tcp/1"] {
            assert!(cidr(text).is_err(), "{text}");
        }
        let meant = |text| cidr(text).unwrap_err().instead;
        assert_eq!(meant("10.0.0.1").as_deref(), Some("\"10.0.0.1/32\""));
        assert_eq!(meant("10.0.0.0/255.255.0.0").as_deref(), Some("\"10.0.0.0/16\""));
        assert_eq!(meant("10.0.0.0/255.0.255.0"), None);
    }
}
