//! What happens when a node dies, freezes, returns, or is asked to stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{fs, io::ErrorKind, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{
    Node, Pair, Puppet, Service, Target, Transport, forward, listen, peer, process, soon,
    traffic::{Ending, ending, ping, send},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long the other end's clients may be left in the dark.
const TOLD: Duration = Duration::from_secs(30);
/// How long the tunnel may need after the return.
const BACK: Duration = Duration::from_secs(5);

over_tcp_and_quic!(
    clients_of_a_killed_server_are_told_and_served_again_after_its_return,
    targets_of_a_killed_client_are_told_and_served_again_after_its_return,
    a_server_that_is_killed_and_back_at_once_serves_again_soon,
    a_server_that_is_restarted_serves_again_soon,
    clients_of_a_frozen_server_are_told,
    a_stopping_service_lets_live_streams_finish,
    a_second_signal_ends_the_service_at_once,
    a_peer_that_a_forward_names_is_kept_connected,
    a_listen_address_that_is_taken_heals_when_freed,
);

/// Makes a restarted node listen where it did, so that those who know it find it again.
async fn keep_port(node: &mut Node) {
    node.listen_address = node.addresses().await.remove(0);
}

async fn clients_of_a_killed_server_are_told_and_served_again_after_its_return(transport: Transport) {
    let echo = Service::echo();
    let mut pair = Pair::echo(transport, echo.address).await;
    keep_port(&mut pair.server).await;
    let mut idle = pair.client.connect("echo").await;
    soon("an echo", ping(&mut idle)).await.unwrap();
    let (mut from, mut to) = pair.client.connect("echo").await.into_split();
    soon("bytes flow", async {
        to.write_all(b"x").await.unwrap();
        from.read_exact(&mut [0]).await.unwrap();
    })
    .await;

    pair.server.kill9().await;
    let told = async {
        assert_eq!(ending(&mut idle).await, (vec![], Ending::Reset));
        // A reset is reported once: to whichever of the two asks first.
        let (sent, (_, end)) = tokio::join!(send(&mut to, 0, u64::MAX), ending(&mut from));
        let error = sent.expect_err("nobody takes that many bytes");
        assert!(end == Ending::Reset || error.kind() == ErrorKind::ConnectionReset, "{error}");
    };
    within(TOLD, "the clients are told", told).await;

    // One who comes while the server is away waits for it.
    let mut waiting = pair.client.connect("echo").await;
    pair.server.start().await;
    within(BACK, "the one who waited is served", ping(&mut waiting)).await.unwrap();
    let mut next = pair.client.connect("echo").await;
    within(BACK, "the next is served", ping(&mut next)).await.unwrap();
}

async fn targets_of_a_killed_client_are_told_and_served_again_after_its_return(transport: Transport) {
    let target = Target::bind();
    let mut pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"half of a ques").await.unwrap();
    let mut server = target.accept().await;
    soon("the first half", server.read_exact(&mut [0; 14])).await.unwrap();

    pair.client.kill9().await;
    let (rest, end) = within(TOLD, "the target is told", ending(&mut server)).await;
    assert_eq!((rest, end), (vec![], Ending::Reset));
    pair.server.wait_for_tunnel("echo", "the dead stream is gone", |tunnel| tunnel["streams"] == 0).await;

    pair.client.start().await;
    let served = async {
        let mut client = pair.client.connect("echo").await;
        client.write_all(b"again").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(ending(&mut target.accept().await).await, (b"again".to_vec(), Ending::Eof));
    };
    within(BACK, "the tunnel works again", served).await;
}

async fn a_server_that_is_killed_and_back_at_once_serves_again_soon(transport: Transport) {
    let echo = Service::echo();
    let mut pair = used_pair(transport, &echo).await;
    pair.server.kill9().await;
    pair.server.start().await;
    within(BACK, "the tunnel works again", served(&pair.client)).await;
}

async fn a_server_that_is_restarted_serves_again_soon(transport: Transport) {
    let echo = Service::echo();
    let mut pair = used_pair(transport, &echo).await;
    pair.server.stop().await;
    let away = |status: &Value| status["peers"][0]["connected"] == false;
    pair.client.wait_until_within(BACK, "a node that stops takes its leave", away).await;
    pair.server.start().await;
    within(BACK, "the tunnel works again", served(&pair.client)).await;
}

/// A pair that has carried a stream, and whose server will come back where it was.
async fn used_pair(transport: Transport, echo: &Service) -> Pair {
    let mut pair = Pair::echo(transport, echo.address).await;
    keep_port(&mut pair.server).await;
    served(&pair.client).await;
    pair
}

/// Tries until a connection is served, as people do: not for long with any one.
async fn served(client: &Node) {
    loop {
        let mut connection = client.connect("echo").await;
        if let Ok(Ok(())) = timeout(Duration::from_secs(1), ping(&mut connection)).await {
            break;
        }
    }
}

async fn clients_of_a_frozen_server_are_told(transport: Transport) {
    let echo = Service::echo();
    let pair = Pair::echo(transport, echo.address).await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    pair.server.signal(Signal::SIGSTOP);
    let (_, end) = ending(&mut client).await;
    pair.server.signal(Signal::SIGCONT);
    assert_eq!(end, Ending::Reset);
    let mut next = pair.client.connect("echo").await;
    soon("the next is served", ping(&mut next)).await.unwrap();
}

/// It is busy, say: what it opens and answers has to wait. It is heard of all the same, by its muxer.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_not_taken_for_dead() {
    /// Longer than a connection may be silent.
    const LONG: Duration = Duration::from_secs(40);
    let puppet = Puppet::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
    let mut client = Node::prepare("client", Transport::Tcp).await;
    client.body = format!("{}{}", peer("server", &puppet.id.to_string(), &[address]), forward("echo"));
    let (mut connection, ()) = tokio::join!(puppet.accept(&listener), client.start());
    let ended = connection.ended_within(LONG).await;
    assert!(ended.is_none(), "{ended:?}");
    let status = client.status().await;
    assert_eq!(status["peers"][0]["connected"], true, "{status:#}");
}

async fn a_stopping_service_lets_live_streams_finish(transport: Transport) {
    let echo = Service::echo();
    let mut pair = Pair::echo(transport, echo.address).await;
    let address = pair.client.bind("echo").await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    pair.client.signal(Signal::SIGTERM);
    soon("new connections are refused", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    soon("an echo", ping(&mut live)).await.unwrap();
    live.shutdown().await.unwrap();
    assert_eq!(ending(&mut live).await, (vec![], Ending::Eof));
    assert_eq!(pair.client.exit().await.code(), Some(0));
    pair.server.stop().await;
}

async fn a_second_signal_ends_the_service_at_once(transport: Transport) {
    let echo = Service::echo();
    let mut pair = Pair::prepare(transport).await;
    pair.client.node_keys = "stop_timeout = \"10m\"\n".to_owned();
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let address = pair.client.bind("echo").await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    pair.client.signal(Signal::SIGTERM);
    soon("the first signal is seen", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    soon("an echo", ping(&mut live)).await.unwrap();
    let reload = pair.client.reload().await;
    assert_eq!(reload.status.code(), Some(69), "a service that stops has not refused the file: {reload:?}");
    pair.client.signal(Signal::SIGTERM);
    let status = pair.client.exit_within(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(ending(&mut live).await, (vec![], Ending::Reset));
    assert!(!pair.client.socket().exists(), "no socket is left behind");
}

async fn a_peer_that_a_forward_names_is_kept_connected(transport: Transport) {
    let pair = Pair::echo(transport, "127.0.0.1:1").await;
    let status = pair
        .client
        .wait_until("the peer is connected though nobody uses the forward", |status| {
            status["peers"][0]["connected"] == true && status["peers"][0]["rtt_ms"].is_number()
        })
        .await;
    let peer = &status["peers"][0];
    assert_eq!((&peer["id"], &peer["name"]), (&json!(pair.server.id), &json!("server")));
    assert_eq!(peer["path"], "direct");
    let address = pair.server.addresses().await.remove(0);
    assert!(peer["address"].as_str().unwrap().starts_with(&address), "{peer}");
    pair.server
        .wait_until("the other end sees it too", |status| {
            status["peers"][0]["connected"] == true && status["peers"][0]["name"] == "client"
        })
        .await;
}

async fn a_listen_address_that_is_taken_heals_when_freed(transport: Transport) {
    let echo = Service::echo();
    let (tcp, udp) = (Target::bind(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let port = match transport {
        Transport::Tcp => tcp.address.port(),
        Transport::Quic => udp.local_addr().unwrap().port(),
    };
    let mut node = Node::prepare("server", transport).await;
    node.listen_address = transport.any_port().replace("/0", &format!("/{port}"));
    node.body = listen("echo", echo.address).replace("\"client\"", "");
    node.start().await;
    let status = node.status().await;
    let listener = &status["listeners"][0];
    assert_eq!((&listener["address"], &listener["state"]), (&json!(node.listen_address), &json!("failed")));
    assert!(listener["error"].is_string(), "{listener}");

    drop((tcp, udp));
    let healed = |status: &Value| status["listeners"][0]["state"] == "ready";
    node.wait_until_within(Duration::from_secs(35), "the listener heals", healed).await;
    assert_eq!(node.addresses().await, [node.listen_address.clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_not_held_up_beyond_its_timeout() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.client.node_keys = "stop_timeout = \"1s\"\n".to_owned();
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    pair.client.signal(Signal::SIGTERM);
    assert_eq!(pair.client.exit_within(Duration::from_secs(10)).await.code(), Some(0));
    assert_eq!(ending(&mut live).await, (vec![], Ending::Reset));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_the_service_too() {
    let mut node = Node::prepare("alone", Transport::Tcp).await;
    node.start().await;
    node.signal(Signal::SIGINT);
    assert_eq!(node.exit().await.code(), Some(0));
    assert!(!node.socket().exists(), "the control socket goes with the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_and_one_control_socket_serve_one_service() {
    let mut node = Node::prepare("first", Transport::Tcp).await;
    node.start().await;
    let elsewhere = node.dir().join("second.sock");
    let config = node.config.to_str().unwrap();
    let run = |config: &str, socket: &std::path::Path| {
        ["run", "-c", config, "--socket", socket.to_str().unwrap()].map(str::to_owned)
    };
    let second = node.binary(&run(config, &elsewhere)).await;
    assert_eq!(second.status.code(), Some(69), "the same identity: {second:?}");

    let other = Node::prepare("second", Transport::Tcp).await;
    let second = node.binary(&run(other.config.to_str().unwrap(), &node.socket())).await;
    assert_eq!(second.status.code(), Some(69), "the same control socket: {second:?}");

    node.kill9().await;
    assert!(node.socket().exists(), "a killed service leaves its socket behind");
    node.start().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tunnel_no_socket_is_opened_and_nobody_is_dialled() {
    let echo = Service::echo();
    let known = Target::bind();
    let mut node = Node::prepare("alone", Transport::Tcp).await;
    let address = format!("/ip4/127.0.0.1/tcp/{}", known.address.port());
    let somebody = peer("client", &libp2p::PeerId::random().to_string(), &[address]);
    node.body = somebody.clone();
    node.start().await;
    assert_silent(&node).await;

    node.edit(|body| format!("{body}{}", listen("echo", echo.address)));
    node.reload_applied().await;
    node.addresses().await;
    assert_ne!(process::network_sockets(node.pid()), [""; 0], "a listen tunnel needs a listener");

    node.edit(|_| somebody);
    node.reload_applied().await;
    node.wait_until("the listener is gone", |status| status["listeners"].as_array().unwrap().is_empty()).await;
    assert_silent(&node).await;
}

async fn assert_silent(node: &Node) {
    let status = node.status().await;
    assert_eq!(status["listeners"], json!([]));
    assert_eq!(status["addresses"], json!([]));
    assert!(status["peers"].as_array().unwrap().iter().all(|peer| peer["connected"] == false), "{status:#}");
    assert_eq!(process::network_sockets(node.pid()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_a_bad_file_names_every_problem() {
    let node = Node::prepare("alone", Transport::Tcp).await;
    let arguments = ["run", "-c", node.config.to_str().unwrap(), "--socket", "control.sock"];
    let text = node.text() + "[listen.ssh]\ntarget = \"127.0.0.1:0\"\nalow = []\n[forward.web]\npeer = \"nobody\"\n";
    fs::write(&node.config, text).unwrap();
    let output = node.binary(&arguments).await;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    for problem in ["alow", "allow", "127.0.0.1:0", "nobody", "protocol", "bind", "p2ptun.toml:"] {
        assert!(told.contains(problem), "{problem:?} is not mentioned:\n{told}");
    }

    fs::remove_file(&node.config).unwrap();
    assert_eq!(node.binary(&arguments).await.status.code(), Some(66));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_world_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::prepare("alone", Transport::Tcp).await;
    let key = node.dir().join("identity.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let arguments = ["run", "-c", node.config.to_str().unwrap(), "--socket", "control.sock"];
    assert_eq!(node.binary(&arguments).await.status.code(), Some(77));
}
