//! Whom a node dials, by which addresses, and when it must not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use support::{
    Pair, Road, Service, Transport, forward, listen, peer, process::network_sockets, road::multiaddr, soon,
    traffic::ping,
};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_may_be_reached_by_a_name() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let named = pair.server.addresses().await[0].replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    assert!(named.starts_with("/dns4/"), "{named}");
    pair.client.stop().await;
    pair.client.body = format!("{}{}", peer("server", &pair.server.id, &[named]), forward("echo"));
    pair.client.start().await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_taken_where_the_peer_answers_over_both() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let both = format!("{}\", \"{}", Transport::Quic.any_port(), Transport::Tcp.any_port());
    pair.server.listen_address = both;
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    assert_eq!(pair.server.addresses().await.len(), 2);
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    let status = pair.client.wait_until("connected", |status| status["peers"][0]["connected"] == true).await;
    let address = status["peers"][0]["address"].as_str().unwrap();
    assert!(address.contains("/tcp/"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_taken_also_where_the_peer_answers_by_it_only_later() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Quic).await;
    pair.server.listen_address = format!("{}\", \"{}", Transport::Quic.any_port(), Transport::Tcp.any_port());
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
    pair.server.start().await;
    let (tcp, quic): (Vec<_>, Vec<_>) =
        pair.server.addresses().await.into_iter().partition(|address| address.contains("/tcp/"));
    let closed = Road::closed();
    let by_road = multiaddr(closed.local_addr().unwrap());
    let addresses = [quic[0].clone(), by_road.clone()];
    pair.client.body = format!("{}{}", peer("server", &pair.server.id, &addresses), forward("echo"));
    pair.client.start().await;
    let by = |address: &str| {
        let address = address.to_owned();
        move |status: &Value| status["peers"][0]["address"] == address
    };
    pair.client.wait_until("connected by QUIC", by(&quic[0])).await;
    let mut early = pair.client.connect("echo").await;
    soon("an echo", ping(&mut early)).await.unwrap();
    let _road = Road::open(closed, &tcp[0]).await;
    pair.client.wait_until("connected by TCP", by(&by_road)).await;
    soon("the stream over QUIC goes on", ping(&mut early)).await.unwrap();
    let mut late = pair.client.connect("echo").await;
    soon("an echo", ping(&mut late)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_to_reach_a_peer_is_told_with_its_address_and_its_reason() {
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let nobody = "/ip4/127.0.0.1/tcp/1".to_owned();
    let impatient = format!("{}open_timeout = \"1s\"\n", forward("echo"));
    pair.client.body = format!("{}{impatient}", peer("server", &pair.server.id, std::slice::from_ref(&nobody)));
    pair.client.start().await;
    pair.client.ending_of_a_connection("echo").await;
    let told = |tunnel: &Value| tunnel["refused"] == 1;
    let tunnel = pair.client.wait_for_tunnel("echo", "the client is turned away", told).await;
    let error = tunnel["error"].as_str().unwrap();
    assert!(error.contains(&nobody) && error.contains("Connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_network_that_is_not_built_yet_keeps_the_node_off_every_network() {
    let echo = Service::echo();
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    pair.client.stop().await;
    pair.client.node_keys = "private_network_key_file = \"/etc/p2ptun.psk\"\n".to_owned();
    pair.client.start().await;
    let status = pair.client.status().await;
    let tunnel = pair.client.tunnel("echo").await;
    for part in [&tunnel, &status["listeners"][0]] {
        assert_eq!(part["state"], "failed", "{part}");
        assert!(part["error"].as_str().unwrap().starts_with("not built yet: private networks"), "{part}");
    }
    let bound: SocketAddr = tunnel["bind"].as_str().unwrap().parse().unwrap();
    let served = async { ping(&mut TcpStream::connect(bound).await?).await };
    soon("the client is turned away", served).await.unwrap_err();
    // Its own local port is all that is open: nothing for libp2p, and no connection to anybody.
    let sockets = network_sockets(pair.client.pid());
    let own = |socket: &String| socket.contains(&format!("{:04X}", bound.port()));
    assert!(sockets.iter().all(own), "{sockets:?}, of which {bound} is ours");
    assert_eq!(echo.accepted(), 0);
    let log = pair.client.log_text();
    let (_, log) = log.rsplit_once("--- p2ptun run").unwrap();
    assert!(log.contains("ready") && !log.contains("tunnel up"), "{log}");
}
