use std::{borrow::Cow, sync::Arc};

use super::*;
use crate::{
    spec::{Kind, PeerId, TunnelName},
    status::{Counter, Counters, LastError, ListenerStatus, Path, PeerStatus, Status, TunnelStatus},
};

const ME: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const STRANGER: &str = "12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";
const LONGEST_NAME: &str = "a-name-of-sixty-three-characters-which-is-the-longest-there-is0";

/// When everything here is looked at.
fn now() -> Time {
    at("10:00:00")
}

fn at(time: &str) -> Time {
    format!("2026-11-20T{time}Z").parse().unwrap()
}

/// As it looks where there is no colour.
fn shown(status: &Status, width: usize) -> String {
    anstream::adapter::strip_str(&view::render(status, now(), width)).to_string()
}

fn new() -> Status {
    Status::new(ME.parse().unwrap(), "/etc/p2ptun.toml".into())
}

fn tunnel(name: &str, kind: Kind, state: State) -> TunnelStatus {
    TunnelStatus {
        name: TunnelName::try_from(name).unwrap(),
        kind,
        state,
        protocol: None,
        target: None,
        bind: None,
        peer: None,
        peers: None,
        counters: Arc::new(Counters::default()),
        error: LastError::default(),
        retry_at: None,
    }
}

fn listen(name: &str, target: &str) -> TunnelStatus {
    TunnelStatus {
        protocol: Some(format!("/x/{name}")),
        target: Some(target.into()),
        ..tunnel(name, Kind::Listen, State::Ready)
    }
}

fn forward(name: &str, bind: &str, protocol: &str, peer: &str) -> TunnelStatus {
    TunnelStatus {
        protocol: Some(protocol.into()),
        bind: Some(bind.into()),
        peer: Some(peer.into()),
        ..tunnel(name, Kind::Forward, State::Ready)
    }
}

fn count(tunnel: &TunnelStatus, streams: u64, bytes_in: u64, bytes_out: u64) {
    tunnel.counters.streams.add(streams);
    tunnel.counters.bytes_in.add(bytes_in);
    tunnel.counters.bytes_out.add(bytes_out);
}

fn connected(name: Option<&str>, id: PeerId, address: &str, rtt_ms: f64, streams: u64) -> PeerStatus {
    let count = Counter::default();
    count.add(streams);
    PeerStatus {
        name: name.map(str::to_owned),
        connected: true,
        path: if address.contains("p2p-circuit") { Path::Relayed } else { Path::Direct },
        address: Some(address.parse().unwrap()),
        rtt_ms: Some(rtt_ms),
        streams: Arc::new(count),
        ..away(None, id)
    }
}

fn away(name: Option<&str>, id: PeerId) -> PeerStatus {
    PeerStatus {
        id,
        name: name.map(str::to_owned),
        connected: false,
        path: Path::None,
        address: None,
        rtt_ms: None,
        streams: Arc::default(),
        error: None,
        error_at: None,
        retry_at: None,
    }
}

/// A node in the middle of its life.
fn example() -> Status {
    let mut status = new();
    status.addresses = ["/ip4/192.0.2.1/tcp/5460", "/ip4/192.0.2.1/udp/5460/quic-v1", "/ip6/2001:db8::1/tcp/5460"]
        .map(|address| format!("{address}/p2p/{ME}").parse().unwrap())
        .into();
    status.config.loaded_at = Some(at("06:12:40"));
    let ssh = listen("ssh", "127.0.0.1:22");
    count(&ssh, 3, 1_234_567, 987_654_321_000);
    ssh.counters.draining_streams.add(1);
    let wiki = listen("wiki", "127.0.0.1:3000");
    count(&wiki, 8, 4_100_000, 81_000_000);
    wiki.counters.refused.add(17);
    let wiki = TunnelStatus {
        error: LastError::since("can't connect to 127.0.0.1:3000: Connection refused".into(), at("09:58:55")),
        ..wiki
    };
    let nas = forward("nas", "127.0.0.1:4450", "/x/smb", "office");
    count(&nas, 1, 5_600_000_000, 23_000_000);
    let mut web = forward("web", "127.0.0.1:8080", "/x/web", "office");
    web.state = State::Failed;
    web.error = LastError::since("can't bind 127.0.0.1:8080: Address in use (os error 98)".into(), at("09:57:10"));
    web.retry_at = Some(at("10:00:12"));
    status.tunnels = vec![ssh, wiki, forward("home-ssh", "127.0.0.1:2222", "/x/ssh", "home"), nas, web];
    let mut home = away(Some("home"), PeerId::random());
    home.error = Some("/ip4/198.51.100.20/tcp/5460: Connection refused".into());
    home.error_at = Some(at("09:59:31"));
    home.retry_at = Some(at("10:00:28"));
    status.peers = vec![
        connected(Some("office"), PeerId::random(), "/ip4/203.0.113.9/tcp/5460", 41.27, 1),
        connected(Some("laptop"), PeerId::random(), "/ip4/198.51.100.7/tcp/40112", 8.04, 12),
        home,
    ];
    status
}

#[test]
fn the_status_of_a_node_in_the_middle_of_its_life() {
    insta::assert_snapshot!(shown(&example(), 80), @r"
    × 4 tunnels ready, 1 failed · 13 streams · 2 of 3 peers connected

    LISTEN    STATE   STREAMS        IN       OUT  PROTOCOL → TARGET
    ssh       ready         3  1.18 MiB   920 GiB  /x/ssh → 127.0.0.1:22
      + 1 stream still draining from before a change
    wiki      ready         8  3.91 MiB  77.2 MiB  /x/wiki → 127.0.0.1:3000
      ! can't connect to 127.0.0.1:3000: Connection refused
        (65s ago, 17 turned away so far)

    FORWARD   STATE   STREAMS        IN       OUT  BIND → PEER, PROTOCOL
    home-ssh  ready         0       0 B       0 B  127.0.0.1:2222 → home /x/ssh
    nas       ready         1  5.22 GiB  21.9 MiB  127.0.0.1:4450 → office /x/smb
    web       failed        0       0 B       0 B  127.0.0.1:8080 → office /x/web
      ! can't bind 127.0.0.1:8080: Address in use (os error 98)
        (2m ago, next attempt in 12s)

    PEER    PATH        RTT  STREAMS  ADDRESS
    home    none                   0
      ! /ip4/198.51.100.20/tcp/5460: Connection refused
        (29s ago, next attempt in 28s)
    laptop  direct   8.0 ms       12  /ip4/198.51.100.7/tcp/40112
    office  direct  41.3 ms        1  /ip4/203.0.113.9/tcp/5460

    NODE    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
            /ip4/192.0.2.1/tcp/5460
            /ip4/192.0.2.1/udp/5460/quic-v1
            /ip6/2001:db8::1/tcp/5460
    CONFIG  /etc/p2ptun.toml, loaded 3h ago
    ");
}

#[test]
fn all_is_well() {
    let mut status = example();
    status.tunnels.truncate(1);
    status.tunnels[0].counters.draining_streams.subtract(1);
    status.peers.truncate(1);
    insta::assert_snapshot!(shown(&status, 80), @r"
    ● 1 tunnel ready · 3 streams · 1 of 1 peer connected

    LISTEN  STATE  STREAMS        IN       OUT  PROTOCOL → TARGET
    ssh     ready        3  1.18 MiB   920 GiB  /x/ssh → 127.0.0.1:22

    PEER    PATH        RTT  STREAMS  ADDRESS
    office  direct  41.3 ms        1  /ip4/203.0.113.9/tcp/5460

    NODE    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
            /ip4/192.0.2.1/tcp/5460
            /ip4/192.0.2.1/udp/5460/quic-v1
            /ip6/2001:db8::1/tcp/5460
    CONFIG  /etc/p2ptun.toml, loaded 3h ago
    ");
}

/// Long names, peer ids in place of names, IPv6 and relayed addresses, all kinds and states, zero and huge numbers.
fn ugly() -> Status {
    let mut status = new();
    status.config.path = "/home/somebody/with/a/deep/folder/and/a/very/long/name/for/their/file/of/tunnels.toml".into();
    status.config.loaded_at = Some(at("10:00:00"));
    status.addresses = vec![
        format!("/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/54600/quic-v1/p2p/{STRANGER}/p2p-circuit/p2p/{ME}")
            .parse()
            .unwrap(),
    ];
    status.listeners = vec![
        ListenerStatus {
            address: "/ip4/0.0.0.0/tcp/5460".parse().unwrap(),
            state: State::Ready,
            error: None,
            error_at: None,
            retry_at: None,
        },
        ListenerStatus {
            address: "/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/5460/quic-v1".parse().unwrap(),
            state: State::Failed,
            error: Some("Address already in use (os error 98)".into()),
            error_at: Some(at("09:59:58")),
            retry_at: Some(at("09:59:59")),
        },
    ];
    let huge = listen(LONGEST_NAME, "unix:/run/user/1000/some/service/with/a/long/path/to/its/socket.sock");
    count(&huge, 12_345_678, u64::MAX, 1023);
    let mut many = forward("web-of-the-office-upstairs", "[2001:db8::1]:8080", "/x/web", "");
    many.peer = None;
    many.peers = Some(vec!["office".into(), "office-by-mobile-network".into(), STRANGER.into()]);
    many.state = State::Starting;
    let mut id = forward("by-id", "unix:/run/db.sock", "/x/postgres", STRANGER);
    id.state = State::Draining;
    id.counters.draining_streams.add(2);
    let mut gateway = tunnel("gate", Kind::Gateway, State::Failed);
    gateway.bind = Some("127.0.0.1:8080".into());
    gateway.error = LastError::since("not built yet: gateways".into(), at("06:00:00"));
    let mut socks = tunnel("proxy", Kind::Socks, State::Failed);
    socks.bind = Some("127.0.0.1:1080".into());
    socks.peers = Some(vec!["home".into()]);
    socks.error = LastError::since("an error of\nseveral lines with \x1b[31mred\x1b[0m\u{202e}".into(), at("06:00:00"));
    let odd = tunnel("new-thing", Kind::Unknown, State::Unknown);
    status.tunnels = vec![huge, many, id, gateway, socks, odd];
    let relayed = format!("/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/54600/p2p/{ME}/p2p-circuit");
    let mut lost = away(Some("lost"), PeerId::random());
    lost.error = Some("the connection was closed".into());
    lost.error_at = Some(at("09:00:00"));
    let mut dialled = away(Some("dialled"), PeerId::random());
    dialled.retry_at = Some(at("09:59:59"));
    status.peers = vec![
        connected(None, STRANGER.parse().unwrap(), &relayed, 2345.6, 1_234_567),
        away(Some(LONGEST_NAME), PeerId::random()),
        lost,
        dialled,
    ];
    status
}

#[test]
fn nothing_ugly_breaks_out_of_80_columns_and_nothing_is_cut() {
    let text = shown(&ugly(), 80);
    for line in text.lines() {
        assert!(textwrap::core::display_width(line) <= 80, "{line}\n{text}");
    }
    let in_one_piece: String = text.split_whitespace().collect();
    for said in [LONGEST_NAME, STRANGER, "/p2p-circuit", "socket.sock", "office-by-mobile-network", "of/tunnels.toml"] {
        assert!(in_one_piece.contains(said), "{said}\n{text}");
    }
    insta::assert_snapshot!(text, @r"
    × 1 tunnel ready, 2 failed, 1 starting, 1 draining, 1 unknown ·
      1 listener failed · 12345680 streams · 1 of 4 peers connected
      ! can't listen on /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/5460
        /quic-v1: Address already in use (os error 98) (2s ago, trying now)

    LISTEN     STATE      STREAMS        IN       OUT  PROTOCOL → TARGET
    a-name-of-sixty-three-characters-which-is-the-longest-there-is0
               ready     12345678  16.0 EiB    1023 B
      /x/a-name-of-sixty-three-characters-which-is-the-longest-there-is0 → unix:/run
      /user/1000/some/service/with/a/long/path/to/its/socket.sock

    FORWARD    STATE      STREAMS        IN       OUT  BIND → PEER, PROTOCOL
    web-of-the-office-upstairs
               starting         0       0 B       0 B
      [2001:db8::1]:8080 → office | office-by-mobile-network |
      12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5 /x/web
    by-id      draining         2       0 B       0 B
      unix:/run/db.sock → 12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5
      /x/postgres

    GATEWAY    STATE      STREAMS        IN       OUT  BIND → PEERS
    gate       failed           0       0 B       0 B  127.0.0.1:8080
      ! not built yet: gateways (4h ago)

    SOCKS      STATE      STREAMS        IN       OUT  BIND → PEERS
    proxy      failed           0       0 B       0 B  127.0.0.1:1080 → home
      ! an error of
        several lines with �[31mred�[0m� (4h ago)

    OTHER      STATE      STREAMS        IN       OUT  ROUTE
    new-thing  unknown          0       0 B       0 B

    PEER     PATH         RTT  STREAMS  ADDRESS
    a-name-of-sixty-three-characters-which-is-the-longest-there-is0
             none                    0
    dialled  none                    0
      ! not connected (trying now)
    lost     none                    0
      - the connection was closed (60m ago)
    12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5
             relayed  2346 ms  1234567
      /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/54600
      /p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit

    NODE    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
            /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/54600/quic-v1
            /p2p/12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit
    CONFIG  /home/somebody/with/a/deep/folder/and/a/very/long/name/for/their/file/of
            /tunnels.toml, loaded just now
    ");
}

#[test]
fn a_wide_terminal_is_used() {
    insta::assert_snapshot!(shown(&ugly(), 140), @r"
    × 1 tunnel ready, 2 failed, 1 starting, 1 draining, 1 unknown · 1 listener failed · 12345680 streams · 1 of 4 peers connected
      ! can't listen on /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/5460/quic-v1: Address already in use (os error 98) (2s ago, trying now)

    LISTEN                      STATE      STREAMS        IN       OUT  PROTOCOL → TARGET
    a-name-of-sixty-three-characters-which-is-the-longest-there-is0
                                ready     12345678  16.0 EiB    1023 B
      /x/a-name-of-sixty-three-characters-which-is-the-longest-there-is0 → unix:/run/user/1000/some/service/with/a/long/path/to/its/socket.sock

    FORWARD                     STATE      STREAMS        IN       OUT  BIND → PEER, PROTOCOL
    web-of-the-office-upstairs  starting         0       0 B       0 B
      [2001:db8::1]:8080 → office | office-by-mobile-network | 12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5 /x/web
    by-id                       draining         2       0 B       0 B
      unix:/run/db.sock → 12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5 /x/postgres

    GATEWAY                     STATE      STREAMS        IN       OUT  BIND → PEERS
    gate                        failed           0       0 B       0 B  127.0.0.1:8080
      ! not built yet: gateways (4h ago)

    SOCKS                       STATE      STREAMS        IN       OUT  BIND → PEERS
    proxy                       failed           0       0 B       0 B  127.0.0.1:1080 → home
      ! an error of
        several lines with �[31mred�[0m� (4h ago)

    OTHER                       STATE      STREAMS        IN       OUT  ROUTE
    new-thing                   unknown          0       0 B       0 B

    PEER     PATH         RTT  STREAMS  ADDRESS
    a-name-of-sixty-three-characters-which-is-the-longest-there-is0
             none                    0
    dialled  none                    0
      ! not connected (trying now)
    lost     none                    0
      - the connection was closed (60m ago)
    12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5
             relayed  2346 ms  1234567
      /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/54600/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit

    NODE    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
            /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/udp/54600/quic-v1/p2p/12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit
    CONFIG  /home/somebody/with/a/deep/folder/and/a/very/long/name/for/their/file/of/tunnels.toml, loaded just now
    ");
}

#[test]
fn a_node_with_nothing_to_do_says_so_and_what_to_do() {
    insta::assert_snapshot!(shown(&new(), 80), @r"
    ○ no tunnels

      /etc/p2ptun.toml declares none for this node. Add a [listen.NAME] or a
      [forward.NAME] table to it, and the running service follows.

    NODE    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    CONFIG  /etc/p2ptun.toml, not loaded
    ");
}

#[test]
fn a_refused_file_and_a_wanted_restart_are_shown_first() {
    let mut status = example();
    status.config.error =
        Some("error: unknown key `alow`\n --> /etc/p2ptun.toml:3:1\n  |\n3 | alow = []\n  | ^^^^\n".into());
    status.config.error_at = Some(at("09:59:30"));
    status.config.restart_required = vec!["node.identity".into(), "node.listen_addresses".into()];
    let text = shown(&status, 80);
    let head = text.split("\n\n").next().unwrap();
    insta::assert_snapshot!(head, @r"
    × configuration refused · 4 tunnels ready, 1 failed · restart needed ·
      13 streams · 2 of 3 peers connected
      ! the file as it is now was refused; the set in force is older (30s ago)
        error: unknown key `alow`
         --> /etc/p2ptun.toml:3:1
          |
        3 | alow = []
          | ^^^^
      ! a restart is needed for node.identity, node.listen_addresses
    ");
}

#[test]
fn colours_say_what_words_say() {
    let mut status = example();
    status.tunnels.truncate(1);
    let coloured = |status: &Status| {
        let text = view::render(status, now(), 80);
        text.replace('\x1b', "^")
    };
    insta::assert_snapshot!(coloured(&status), @r"
    ^[33m●^[0m 1 tunnel ready · 4 streams · ^[33m2 of 3 peers connected^[0m

    ^[2mLISTEN^[0m  ^[2mSTATE^[0m  ^[2mSTREAMS^[0m        ^[2mIN^[0m       ^[2mOUT^[0m  ^[2mPROTOCOL → TARGET^[0m
    ^[1mssh^[0m     ^[32mready^[0m        3  1.18 MiB   920 GiB  /x/ssh → 127.0.0.1:22
      ^[33m+^[0m ^[33m1 stream still draining from before a change^[0m

    ^[2mPEER^[0m    ^[2mPATH^[0m        ^[2mRTT^[0m  ^[2mSTREAMS^[0m  ^[2mADDRESS^[0m
    ^[1mhome^[0m    ^[33mnone^[0m                   ^[2m0^[0m
      ^[33m!^[0m ^[33m/ip4/198.51.100.20/tcp/5460: Connection refused^[0m
        ^[2m(29s ago, next attempt in 28s)^[0m
    ^[1mlaptop^[0m  ^[32mdirect^[0m   8.0 ms       12  /ip4/198.51.100.7/tcp/40112
    ^[1moffice^[0m  ^[32mdirect^[0m  41.3 ms        1  /ip4/203.0.113.9/tcp/5460

    ^[2mNODE^[0m    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
            /ip4/192.0.2.1/tcp/5460
            /ip4/192.0.2.1/udp/5460/quic-v1
            /ip6/2001:db8::1/tcp/5460
    ^[2mCONFIG^[0m  /etc/p2ptun.toml, loaded 3h ago
    ");
    // The bullet: well, with a file that was refused, with a tunnel that has failed, with nothing.
    let bullet = |status: &Status| coloured(status).split(' ').next().unwrap().to_owned();
    let mut status = new();
    assert_eq!(bullet(&status), "^[2m○^[0m");
    status.tunnels = vec![listen("ssh", "127.0.0.1:22")];
    assert_eq!(bullet(&status), "^[32m●^[0m");
    status.tunnels.push(tunnel("b", Kind::Listen, State::Starting));
    assert_eq!(bullet(&status), "^[33m●^[0m");
    status.config.error = Some("refused".into());
    assert_eq!(bullet(&status), "^[31m×^[0m");
    status.config.error = None;
    status.tunnels[1].state = State::Failed;
    assert_eq!(bullet(&status), "^[31m×^[0m");
}

#[test]
fn a_peer_that_connects_to_us_is_not_missed() {
    let mut status = new();
    status.tunnels = vec![listen("ssh", "127.0.0.1:22")];
    status.peers = vec![away(Some("laptop"), PeerId::random())];
    status.peers[0].error = Some("the connection was closed".into());
    status.peers[0].error_at = Some(at("09:00:00"));
    assert!(view::render(&status, now(), 80).starts_with("\x1b[32m●"));
    status.peers[0].retry_at = Some(at("10:00:10"));
    assert!(view::render(&status, now(), 80).starts_with("\x1b[33m●"));
}

#[test]
fn a_peer_that_a_tunnel_leads_to_is_missed_even_if_nobody_can_dial_it() {
    let mut laptop = away(Some("laptop"), PeerId::random());
    laptop.error = Some("the file gives no address for it, so it has to connect to this node".into());
    laptop.error_at = Some(at("09:00:00"));
    let id = laptop.id.to_string();
    for written in ["laptop".to_owned(), id.clone(), format!("/ip4/192.0.2.1/tcp/1/p2p/{id}")] {
        let mut status = new();
        status.tunnels = vec![forward("ssh", "127.0.0.1:2222", "/x/ssh", &written)];
        status.peers = vec![laptop.clone()];
        let text = view::render(&status, now(), 80);
        assert!(text.starts_with("\x1b[33m●") && text.contains("\x1b[33m!\x1b[0m"), "{text}");
        status.tunnels[0].state = State::Draining;
        assert!(view::render(&status, now(), 80).contains("\x1b[2m-\x1b[0m"));
    }
}

#[test]
fn all_is_well_when_what_is_declared_is_ready() {
    let mut status = new();
    assert!(is_well(&status));
    status.tunnels = vec![tunnel("a", Kind::Listen, State::Ready), tunnel("b", Kind::Listen, State::Draining)];
    assert!(is_well(&status));
    for state in [State::Starting, State::Failed, State::Unknown] {
        status.tunnels[0].state = state;
        assert!(!is_well(&status), "{state:?}");
    }
    status.tunnels.clear();
    status.config.error = Some("refused".into());
    assert!(!is_well(&status));
}

#[test]
fn json_keeps_what_this_version_does_not_know() {
    let said: Cow<str> = r#"{"version":1,"new":{"z":1,"a":0.1},"rtt_ms":0.30000000000000004}"#.into();
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let printed: String = format!("{json:#}").split_whitespace().collect();
    assert_eq!(printed, said);
}
