//! Local addresses: what a listen tunnel connects to, what a forward listens on.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use libp2p::multiaddr::Protocol;

use super::{
    diagnostics::Wrong,
    host_name::host_name,
    multiaddress,
    printable::{quoted, toml_string},
};
use crate::spec::{Endpoint, Host, HostPort};

/// What the kernel's `sockaddr_un` has room for, the final zero byte left out.
const MAX_UNIX_PATH: usize = 107;

/// Reads what a listen tunnel connects to: `host:port`, `/ip4/…/tcp/…`, `unix:/path` or `udp:host:port`.
///
/// ```
/// use p2ptun::config::address;
/// assert_eq!(address::target("[::1]:22")?.to_string(), "[::1]:22");
/// assert!(address::target("127.0.0.1:0").is_err());
/// # Ok::<(), p2ptun::config::Wrong>(())
/// ```
pub fn target(text: &str) -> Result<Endpoint, Wrong> {
    if let Some((_, host, port)) = forwarded(text) {
        let wrong = Wrong::new(format!("{} names two ports", quoted(text)));
        return Err(wrong
            .help("a target is one address: that of the service; peers choose the port on their side")
            .instead(toml_string(&format!("{host}:{port}"))));
    }
    let target = local(text).map(canonical)?;
    match &target {
        Endpoint::Tcp(HostPort { port: 0, .. }) | Endpoint::Udp(HostPort { port: 0, .. }) => {
            Err(Wrong::new(format!("{} has port 0, at which nothing can be reached", quoted(text)))
                .help("write the port of the service"))
        }
        _ => Ok(target),
    }
}

/// Reads what a forward listens on: `host:port`, a multiaddr, `unix:/path` or `udp:host:port`. Port 0 is any free one.
pub fn bind(text: &str) -> Result<Endpoint, Wrong> {
    if let Some(port) = text.strip_prefix('*') {
        let every = format!("0.0.0.0{port}");
        return Err(Wrong::new(format!("{} is no address", quoted(text)))
            .help("every IPv4 address is 0.0.0.0, every IPv6 address [::]")
            .instead(toml_string(&every)));
    }
    if let Some((port, _, _)) = forwarded(text) {
        let wrong = Wrong::new(format!("{} names two ports", quoted(text)));
        return Err(wrong
            .help("a bind is one address: where to listen; which service it leads to is said by `peer` and `protocol`")
            .instead(toml_string(&format!("127.0.0.1:{port}"))));
    }
    local(text).map(canonical)
}

/// Reads the TCP address that a gateway, a socks proxy or the metrics listen on.
pub fn tcp_bind(text: &str) -> Result<HostPort, Wrong> {
    match bind(text)? {
        Endpoint::Tcp(address) => Ok(address),
        _ => Err(Wrong::new(format!("{} is no TCP address, and this listens on TCP only", quoted(text)))
            .help("write host:port, such as \"127.0.0.1:8080\"")),
    }
}

/// Whether only this machine can reach a socket bound to `address`.
///
/// Of a name other than `localhost` nobody knows without asking; that counts as reachable.
pub(super) fn is_loopback(address: &HostPort) -> bool {
    match &address.host {
        Host::Ip(ip) => ip.to_canonical().is_loopback(),
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// An IPv4 address that is written as an IPv6 one is served by a socket of IPv4.
fn canonical(endpoint: Endpoint) -> Endpoint {
    let plain = |HostPort { host, port }| match host {
        Host::Ip(ip) => HostPort { host: Host::Ip(ip.to_canonical()), port },
        name => HostPort { host: name, port },
    };
    match endpoint {
        Endpoint::Tcp(address) => Endpoint::Tcp(plain(address)),
        Endpoint::Udp(address) => Endpoint::Udp(plain(address)),
        unix => unix,
    }
}

/// The parts of `port:host:port`, as `ssh -L` and containers have it.
fn forwarded(text: &str) -> Option<(u16, &str, u16)> {
    let (first, rest) = text.split_once(':')?;
    let (host, last) = rest.rsplit_once(':')?;
    // All of "::1:22" could be an IPv6 address.
    let host_is_plain = !host.is_empty() && !host.contains(':');
    let parts = (first.parse().ok()?, host, last.parse().ok()?);
    host_is_plain.then_some(parts)
}

fn local(text: &str) -> Result<Endpoint, Wrong> {
    if text.is_empty() {
        let help = "write host:port, such as \"127.0.0.1:22\", or \"unix:/path\" or \"udp:host:port\"";
        return Err(Wrong::new("the address is empty").help(help));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(Endpoint::Unix);
    }
    if let Some(address) = text.strip_prefix("udp:").filter(|address| !address.starts_with("//")) {
        return host_port(address, "udp:").map(Endpoint::Udp);
    }
    if text.starts_with('/') {
        return from_multiaddr(text);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(from_url(text, scheme, rest));
    }
    if let Some(address) = text.strip_prefix("tcp:") {
        let wrong = Wrong::new(format!("{} has a prefix that TCP does not need", quoted(text)));
        return Err(wrong.help("write host:port alone").instead(toml_string(address)));
    }
    host_port(text, "").map(Endpoint::Tcp)
}

fn from_url(text: &str, scheme: &str, rest: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is a URL, not an address", quoted(text)));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ssh" | "sftp" => Some(22),
        _ => None,
    };
    let help = if path.is_empty() {
        "write host:port alone"
    } else {
        "write host:port alone: a tunnel carries bytes as they are, whatever path is asked for"
    };
    let wrong = wrong.help(help);
    let meant = [Some(host.to_owned()), port.map(|port| format!("{host}:{port}"))];
    match meant.into_iter().flatten().find(|address| host_port(address, "").is_ok()) {
        Some(address) if scheme == "udp" => wrong.instead(toml_string(&format!("udp:{address}"))),
        Some(address) => wrong.instead(toml_string(&address)),
        None => wrong,
    }
}

fn unix_path(path: &str) -> Result<PathBuf, Wrong> {
    let wrong = |what: &str| Wrong::new(format!("the socket path {} {what}", quoted(path)));
    if !path.starts_with('/') {
        return Err(wrong("is not absolute").help("a unix socket is unix: and its full path"));
    }
    if path.len() > MAX_UNIX_PATH {
        let wrong = wrong(&format!("has {} bytes, and that of a unix socket at most {MAX_UNIX_PATH}", path.len()));
        return Err(wrong.help("put the socket into a folder with a shorter path"));
    }
    if path.contains('\0') || path.ends_with('/') {
        return Err(wrong("names no file").help("write unix: and the full path of the socket"));
    }
    Ok(PathBuf::from(path))
}

fn from_multiaddr(text: &str) -> Result<Endpoint, Wrong> {
    let help = "a local multiaddr is /ip4/…/tcp/… or /ip6/…/tcp/…; a unix socket is unix:/path";
    let address = match multiaddress::parse(text) {
        Ok(address) => address,
        // A path is the likelier thought where not even the first word is known.
        Err(_) if !text.starts_with("/ip") && !text.starts_with("/dns") => {
            let wrong = Wrong::new(format!("{} is no address", quoted(text)));
            return Err(wrong.help("a unix socket is unix:/path").instead(toml_string(&format!("unix:{text}"))));
        }
        Err(wrong) => return Err(wrong),
    };
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        let mut without = address.clone();
        without.pop();
        let wrong = Wrong::new(format!("{} names a peer", quoted(text)));
        let wrong = wrong.help("this is an address on the local side, where /p2p/ has no place");
        let is_address = without.iter().count() == 2;
        return Err(if is_address { wrong.instead(toml_string(&without.to_string())) } else { wrong });
    }
    let parts: Vec<_> = address.iter().collect();
    let unfit = || Wrong::new(format!("{} is no local address", quoted(text))).help(help);
    let [place, transport] = parts.as_slice() else { return Err(unfit()) };
    let host = match place {
        Protocol::Ip4(ip) => Host::Ip((*ip).into()),
        Protocol::Ip6(ip) => Host::Ip((*ip).into()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Host::Name(host_name(name)?),
        _ => return Err(unfit()),
    };
    match transport {
        Protocol::Tcp(port) => Ok(Endpoint::Tcp(HostPort { host, port: *port })),
        Protocol::Udp(port) => Ok(Endpoint::Udp(HostPort { host, port: *port })),
        _ => Err(unfit()),
    }
}

/// Reads `host:port`; `prefix` is what stood before it, for suggestions.
fn host_port(text: &str, prefix: &str) -> Result<HostPort, Wrong> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Err(zoned(text)),
            _ => Ok(address.into()),
        };
    }
    let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
    let meant = |address: String| toml_string(&format!("{prefix}{address}"));
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        let help = "a port alone is no address: name the host as well";
        return Err(wrong("has no host").help(help).instead(meant(format!("127.0.0.1:{port}"))));
    }
    if text.contains('%') {
        return Err(zoned(text));
    }
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(IpAddr::V6(ip)) = unbracketed.parse() {
        let wrong = wrong("has no port");
        let help = "an IPv6 address stands in brackets before its port";
        // "::1:22" is an address as a whole, and hardly meant as one.
        let split =
            text.rsplit_once(':').filter(|(ip, port)| ip.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok());
        return Err(match split {
            Some((ip, port)) => wrong.help(help).instead(meant(format!("[{ip}]:{port}"))),
            None => wrong.help(format!("{help}, as in \"{prefix}[{ip}]:22\"")),
        });
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        host(text)?;
        return Err(wrong("has no port").help(format!("add a port, as in \"{prefix}{text}:22\"")));
    };
    let Ok(port) = port.parse::<u16>() else {
        let wrong = Wrong::new(format!("{} does not end in a port, but in {}", quoted(text), quoted(port)));
        return Err(wrong.help("a port is a number up to 65535, after the last colon"));
    };
    Ok(HostPort { host: host(name)?, port })
}

fn zoned(text: &str) -> Wrong {
    Wrong::new(format!("{} has a zone (%), which is not supported", quoted(text)))
        .help("use an address that is not link-local")
}

fn host(text: &str) -> Result<Host, Wrong> {
    text.parse().map(Host::Ip).or_else(|_| host_name(text).map(Host::Name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        bind(text).unwrap().to_string()
    }

    #[test]
    fn every_way_to_write_a_local_address_is_read() {
        assert_eq!(shown("127.0.0.1:22"), "127.0.0.1:22");
        assert_eq!(shown("[::1]:0"), "[::1]:0");
        assert_eq!(shown("[::ffff:127.0.0.1]:22"), "127.0.0.1:22");
        assert_eq!(shown("db.example.org:5432"), "db.example.org:5432");
        assert_eq!(shown("/ip4/127.0.0.1/tcp/80"), "127.0.0.1:80");
        assert_eq!(shown("/ip6/::1/udp/53"), "udp:[::1]:53");
        assert_eq!(shown("/dns4/example.org/tcp/80"), "example.org:80");
        assert_eq!(shown("udp:localhost:53"), "udp:localhost:53");
        assert_eq!(shown("unix:/run/x.sock"), "unix:/run/x.sock");
    }

    #[test]
    fn what_was_meant_is_suggested() {
        let cases = [
            ("22", "\"127.0.0.1:22\""),
            (":22", "\"127.0.0.1:22\""),
            ("udp:53", "\"udp:127.0.0.1:53\""),
            ("::1:22", "\"[::1]:22\""),
            ("/run/x.sock", "\"unix:/run/x.sock\""),
            ("http://localhost:8080/", "\"localhost:8080\""),
            ("http://localhost:8080/api", "\"localhost:8080\""),
            ("https://localhost", "\"localhost:443\""),
            ("ssh://me@[::1]", "\"[::1]:22\""),
            ("2222:localhost:22", "\"127.0.0.1:2222\""),
            (
                "/ip4/127.0.0.1/tcp/22/p2p/12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi",
                "\"/ip4/127.0.0.1/tcp/22\"",
            ),
            ("tcp:localhost:80", "\"localhost:80\""),
            ("udp://127.0.0.1:53", "\"udp:127.0.0.1:53\""),
            ("*:80", "\"0.0.0.0:80\""),
        ];
        for (written, meant) in cases {
            assert_eq!(bind(written).unwrap_err().instead.as_deref(), Some(meant), "{written}");
            assert!(bind(meant.trim_matches('"')).is_ok(), "{meant}");
        }
        assert_eq!(target("2222:localhost:22").unwrap_err().instead.as_deref(), Some("\"localhost:22\""));
    }

    #[test]
    fn a_missing_port_is_asked_for() {
        for text in ["localhost", "127.0.0.1", "::1", "[::1]", "udp:localhost"] {
            let wrong = bind(text).unwrap_err();
            assert!(wrong.message.contains("has no port"), "{text}: {wrong}");
        }
    }

    #[test]
    fn no_malformed_address_is_read() {
        let long = format!("unix:/{}", "x".repeat(MAX_UNIX_PATH));
        for text in [
            "",
            ":",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "a b:1",
            "-a:1",
            "300.1.1.1:1",
            "127.1:1",
            "a..b:1",
            "[::1]",
            "[::1]:",
            "[fe80::1%2]:1",
            "[fe80::1%eth0]:1",
            "unix:",
            "unix:x.sock",
            "unix:@abstract",
            "unix:/run/",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/sctp/1",
            "udp:",
            &long,
        ] {
            assert!(bind(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unix_path_has_at_most_107_bytes() {
        assert!(bind(&format!("unix:/{}", "x".repeat(MAX_UNIX_PATH - 1))).is_ok());
    }

    #[test]
    fn only_a_bind_may_have_port_0() {
        for text in ["127.0.0.1:0", "udp:[::1]:0", "/ip4/127.0.0.1/tcp/0"] {
            assert!(bind(text).is_ok() && target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_recognised_in_every_form() {
        let loopback = |text| is_loopback(&tcp_bind(text).unwrap());
        assert!(
            ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"].into_iter().all(loopback)
        );
        assert!(!["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"].into_iter().any(loopback));
    }
}
