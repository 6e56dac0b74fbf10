//! What is wrong with text that is no multiaddr or no peer id, and what was probably meant.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::multiaddr::Protocol;

use super::{MAX_ADDRESS_LENGTH, peer_id};
use crate::{
    config::{
        diagnostics::{Wrong, nearest},
        host_name::host_name,
        printable::{quoted, toml_string, veiled},
    },
    spec::Multiaddr,
};

/// The words of multiaddrs that mean something here or that people write.
const WORDS: [&str; 17] = [
    "ip4",
    "ip6",
    "dns",
    "dns4",
    "dns6",
    "dnsaddr",
    "tcp",
    "udp",
    "quic-v1",
    "quic",
    "p2p",
    "p2p-circuit",
    "ws",
    "wss",
    "tls",
    "unix",
    "webtransport",
];

/// What is wrong with `text`, which is no multiaddr.
pub(super) fn address(text: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is no multiaddr", quoted(text)));
    if text.len() > MAX_ADDRESS_LENGTH {
        return wrong.help("a multiaddr is far shorter, such as /ip4/192.0.2.1/tcp/5460");
    }
    if !text.starts_with('/') {
        return match from_host_and_port(text) {
            Some(meant) => wrong.help("a multiaddr says what each part is").instead(toml_string(&meant)),
            None => wrong.help("a multiaddr looks like /ip4/192.0.2.1/tcp/5460 or /dns4/home.example.org/tcp/5460"),
        };
    }
    match first_fault(text) {
        Some(fault) => fault,
        None => wrong.help("a multiaddr looks like /ip4/192.0.2.1/tcp/5460"),
    }
}

/// The multiaddr for `host:port`, also where a scheme or `tcp:` stands before it.
fn from_host_and_port(text: &str) -> Option<String> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    if let Ok(address) = text.parse::<SocketAddr>() {
        let family = if address.is_ipv4() { "ip4" } else { "ip6" };
        return Some(format!("/{family}/{}/tcp/{}", address.ip(), address.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let (host, port) = (host_name(host).ok()?, port.parse::<u16>().ok()?);
    Some(format!("/dns/{host}/tcp/{port}"))
}

/// The first part that can't stand where it stands.
fn first_fault(text: &str) -> Option<Wrong> {
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    let mut rest = parts.as_slice();
    while let [word, after @ ..] = rest {
        let takes_value = !matches!(*word, "quic-v1" | "quic" | "p2p-circuit" | "ws" | "wss" | "tls" | "webtransport");
        if !WORDS.contains(word) {
            return Some(unknown(text, word));
        }
        if takes_value {
            let value = after.first().copied().unwrap_or_default();
            if let Some(wrong) = bad_value(text, word, value) {
                return Some(wrong);
            }
        }
        rest = after.get(usize::from(takes_value)..).unwrap_or_default();
    }
    None
}

fn unknown(text: &str, word: &str) -> Wrong {
    if word.is_empty() {
        return Wrong::new(format!("{} has nothing between two slashes, or after the last", quoted(text)))
            .help("a multiaddr looks like /ip4/192.0.2.1/tcp/5460");
    }
    let wrong = Wrong::new(format!("{}: {} is no word of multiaddrs", quoted(text), quoted(word)));
    let near = nearest(word, WORDS).map(|near| text.replacen(&format!("/{word}"), &format!("/{near}"), 1));
    match near.filter(|meant| meant.parse::<Multiaddr>().is_ok()) {
        Some(meant) => wrong.help("did you mean this?").instead(toml_string(&meant)),
        None => wrong
            .help("those known here are ip4, ip6, dns, dns4, dns6, dnsaddr, tcp, udp, quic-v1, p2p and p2p-circuit"),
    }
}

fn bad_value(text: &str, word: &str, value: &str) -> Option<Wrong> {
    let wrong = |what: &str| {
        let value = if value.is_empty() { "nothing".to_owned() } else { quoted(value) };
        Some(Wrong::new(format!("{}: after /{word}/ comes {what}, not {value}", quoted(text))))
    };
    match word {
        "ip4" if value.parse::<Ipv4Addr>().is_err() => {
            Some(wrong("an IPv4 address")?.help("a name stands after /dns4/, an IPv6 address after /ip6/"))
        }
        "ip6" if value.parse::<Ipv6Addr>().is_err() => {
            Some(wrong("an IPv6 address")?.help("a name stands after /dns6/, an IPv4 address after /ip4/"))
        }
        "tcp" | "udp" if value.parse::<u16>().is_err() => Some(wrong("a port")?.help("a port is a number up to 65535")),
        "p2p" => peer_id(value).err().map(|id| Wrong { message: format!("{}: {}", quoted(text), id.message), ..id }),
        _ if value.is_empty() => Some(wrong("a name")?.help("a multiaddr looks like /dns4/home.example.org/tcp/5460")),
        _ => None,
    }
}

/// What is wrong with `text`, which is no peer id.
pub(super) fn id(text: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is no peer id", quoted(text)));
    if veiled(text) != text {
        return wrong
            .help("a key is no id, and a secret one must not stand here; the peer shows its id with `p2ptun id`");
    }
    let looks_right = text.len() > 8 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Ok(address) = text.parse::<Multiaddr>()
        && let Some(Protocol::P2p(id)) = address.iter().last()
    {
        return wrong.help("the id is what follows /p2p/").instead(toml_string(&id.to_base58()));
    }
    // Those of Ed25519 keys, and those of RSA keys: of one length each.
    for (beginning, length) in [("12D3KooW", 52), ("Qm", 46)] {
        if looks_right && text.starts_with(beginning) {
            let help = match text.len() {
                found if found == length => "one of its characters is wrong: copy it anew".to_owned(),
                found => format!("one that begins with {beginning} has {length} characters, and this has {found}"),
            };
            return wrong.help(help);
        }
    }
    if looks_right && text.len() > 40 && ["baf", "bae", "zdj", "z"].iter().any(|start| text.starts_with(start)) {
        return wrong.help("it looks like the CID of some content; a peer id looks like 12D3KooW…, k51… or bafz…");
    }
    wrong.help("a peer id looks like 12D3KooW…; the peer shows its own with `p2ptun id` or `ipfs id`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for (text, words) in [
            ("/ip4/300.0.2.1/tcp/1", "after /ip4/ comes an IPv4 address, not `300.0.2.1`"),
            ("/ip4/192.0.2.1/tcp/70000", "after /tcp/ comes a port, not `70000`"),
            ("/ip4/192.0.2.1/tcp", "after /tcp/ comes a port, not nothing"),
            ("/ip4/192.0.2.1/tcp/1/", "after the last"),
            ("/ip4/192.0.2.1/tcp/1/p2p/12D3KooW", "`12D3KooW` is no peer id"),
            ("/tor/abc", "`tor` is no word of multiaddrs"),
            ("", "is no multiaddr"),
        ] {
            assert!(text.parse::<Multiaddr>().is_err() || text.is_empty(), "{text}");
            let message = address(text).message;
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn what_was_meant_is_a_multiaddr() {
        for (text, meant) in [
            ("192.0.2.1:5460", "/ip4/192.0.2.1/tcp/5460"),
            ("[2001:db8::1]:5460", "/ip6/2001:db8::1/tcp/5460"),
            ("tcp://home.example.org:5460/", "/dns/home.example.org/tcp/5460"),
            ("/ip4/192.0.2.1/tpc/5460", "/ip4/192.0.2.1/tcp/5460"),
            ("/ipv4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"),
        ] {
            assert_eq!(address(text).instead, Some(toml_string(meant)), "{text}");
            assert!(meant.parse::<Multiaddr>().is_ok(), "{meant}");
        }
    }

    #[test]
    fn an_id_that_is_cut_short_is_told_from_one_that_is_something_else() {
        let help = |text: &str| id(text).help.unwrap();
        assert!(help("12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zq").contains("and this has 51"));
        assert!(help("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi").contains("content"));
        assert!(help("home").contains("looks like 12D3KooW"));
    }
}
