use std::{borrow::Cow, sync::Arc};

use super::*;
use crate::{
    spec::{Kind, PeerId, TunnelName},
    status::{Counters, LastError, ListenerStatus, Path, PeerStatus, Status, TunnelStatus},
};

const ME: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const STRANGER: &str = "12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";

/// A node in the middle of its life.
fn example() -> Status {
    let mut status = Status::new(ME.parse().unwrap(), "/etc/p2ptun.toml".into());
    status.addresses = vec![format!("/ip4/192.0.2.1/tcp/5460/p2p/{ME}").parse().unwrap()];
    status.config.loaded_at = Some("2026-11-20T10:00:00Z".parse().unwrap());
    status.listeners = vec![
        ListenerStatus {
            address: "/ip4/0.0.0.0/tcp/5460".parse().unwrap(),
            state: State::Ready,
            error: None,
            error_at: None,
            retry_at: None,
        },
        ListenerStatus {
            address: "/ip4/0.0.0.0/udp/5460/quic-v1".parse().unwrap(),
            state: State::Failed,
            error: Some("address in use".into()),
            error_at: None,
            retry_at: None,
        },
    ];
    let mut ssh = tunnel("ssh", Kind::Listen, State::Ready);
    ssh.protocol = Some("/x/ssh".into());
    ssh.target = Some("127.0.0.1:22".into());
    ssh.counters.streams.add(3);
    ssh.counters.draining_streams.add(1);
    ssh.counters.bytes_in.add(1_234_567);
    ssh.counters.bytes_out.add(987_654_321_000);
    let mut web = tunnel("web-of-the-office-upstairs", Kind::Forward, State::Failed);
    web.bind = Some("127.0.0.1:8080".into());
    web.peers = Some(vec!["office".into(), "office-by-mobile-network".into()]);
    web.error.set(Some("cannot bind 127.0.0.1:8080: address in use\x1b[2J".into()));
    status.tunnels = vec![ssh, web];
    status.peers = vec![
        PeerStatus {
            id: PeerId::random(),
            name: Some("laptop".into()),
            connected: true,
            path: Path::Direct,
            address: Some("/ip4/198.51.100.7/tcp/40112".parse().unwrap()),
            rtt_ms: Some(41.27),
            streams: Arc::default(),
            error: None,
            error_at: None,
            retry_at: None,
        },
        PeerStatus {
            id: STRANGER.parse().unwrap(),
            name: None,
            connected: false,
            path: Path::None,
            address: None,
            rtt_ms: None,
            streams: Arc::default(),
            error: None,
            error_at: None,
            retry_at: None,
        },
    ];
    status
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

#[test]
fn the_table_tells_all_in_80_columns() {
    let text = table::render(&example());
    let tables = text.lines().filter(|line| !line.starts_with("address"));
    let widest = tables.map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}\n{text}");
    insta::assert_snapshot!(text, @r"
    peer id   12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    address   /ip4/192.0.2.1/tcp/5460/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    config    /etc/p2ptun.toml, loaded 2026-11-20T10:00:00Z
    listener  /ip4/0.0.0.0/udp/5460/quic-v1 failed: address in use

    TUNNEL           KIND     STATE   ROUTE            STREAMS       IN        OUT
    ssh              listen   ready   /x/ssh →          3 (+1)  1.2 MiB  919.8 GiB
                                      127.0.0.1:22
    web-of-the-offi  forward  failed  127.0.0.1:8080         0      0 B        0 B
    ce-upstairs                       → office | offi
                                      ce-by-mobile-ne
                                      twork
    ! web-of-the-office-upstairs: cannot bind 127.0.0.1:8080: address in use�[2J

    PEER                              PATH    RTT      ADDRESS
    laptop                            direct  41.3 ms  /ip4/198.51.100.7/tcp/40112
    12D3KooWGC6TvWhfajpgX6wvJHMYvKpD  none
    MXPb3ZnCZ6dMoaMtimQ5
    ");
}

#[test]
fn a_node_with_nothing_to_do_says_so() {
    let status = Status::new(ME.parse().unwrap(), "/etc/p2ptun.toml".into());
    insta::assert_snapshot!(table::render(&status), @r"
    peer id   12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    config    /etc/p2ptun.toml, not loaded

    no tunnels
    ");
}

#[test]
fn a_refused_file_and_a_wanted_restart_are_shown() {
    let mut status = Status::new(ME.parse().unwrap(), "/etc/p2ptun.toml".into());
    status.config.error = Some("error: unknown key\n --> /etc/p2ptun.toml:3:1".into());
    status.config.restart_required = vec!["node.identity".into(), "nat.upnp".into()];
    insta::assert_snapshot!(table::render(&status), @r"
    peer id   12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    config    /etc/p2ptun.toml, not loaded
    refused   error: unknown key
               --> /etc/p2ptun.toml:3:1
    restart   needed for node.identity, nat.upnp

    no tunnels
    ");
}

#[test]
fn all_is_well_when_what_is_declared_is_ready() {
    let mut status = Status::new(ME.parse().unwrap(), "/etc/p2ptun.toml".into());
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
