//! How the service ends: those who end in time end clean, the rest are reset, and nobody has to wait who says so twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{io, time::Duration};

use futures::future::join_all;
use nix::sys::signal::Signal;
use support::{
    Node, Pair, Service, Transport, forward, listen, peer, soon,
    traffic::{Ending, ending, ping},
    within,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

over_tcp_and_quic!(
    of_100_streams_those_that_end_in_time_end_clean_and_the_rest_are_reset,
    told_a_second_time_it_ends_at_once,
    who_comes_while_it_stops_is_turned_away,
);

const STREAMS: usize = 100;

/// Far more than half of the streams need to end, even on a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// A long time, for tests that must not depend on it.
const NEVER: &str = "1h";

/// A pair whose nodes let streams live for so long after they were told to stop.
async fn pair(transport: Transport, echo: &Service, stop_timeout: &str) -> Pair {
    let mut pair = Pair::prepare(transport).await;
    for node in [&mut pair.server, &mut pair.client] {
        node.node_keys = format!("stop_timeout = \"{stop_timeout}\"\n");
    }
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    pair
}

async fn streams(client: &Node) -> Vec<TcpStream> {
    let connect = async || {
        let mut stream = client.connect("echo").await;
        soon("an echo", ping(&mut stream)).await.unwrap();
        stream
    };
    join_all((0..STREAMS).map(|_| connect())).await
}

/// Tells a node to stop; returns when it does.
async fn begin_to_stop(node: &Node, signal: Signal) {
    node.signal(signal);
    node.wait_for_tunnel("echo", "the tunnel drains", |tunnel| tunnel["state"] == "draining").await;
}

async fn end_clean(mut stream: TcpStream) {
    let last = async {
        stream.write_all(b"good bye").await?;
        stream.shutdown().await
    };
    soon("the last word", last).await.unwrap();
    assert_eq!(ending(&mut stream).await, (b"good bye".to_vec(), Ending::Eof));
}

async fn stop_with_live_streams(pair: &mut Pair, stopped: fn(&mut Pair) -> &mut Node) {
    let mut streams = streams(&pair.client).await;
    let rest = streams.split_off(STREAMS / 2);
    begin_to_stop(stopped(pair), Signal::SIGTERM).await;
    let told = Instant::now();
    join_all(streams.into_iter().map(end_clean)).await;
    let endings = join_all(rest.into_iter().map(async |mut stream| ending(&mut stream).await)).await;
    assert!(endings.iter().all(|ending| *ending == (vec![], Ending::Reset)), "{endings:?}");
    // Less what may have passed between the signal and its first trace.
    assert!(told.elapsed() > STOP_TIMEOUT / 2, "the rest had only {:?}", told.elapsed());
    assert_eq!(stopped(pair).exit().await.code(), Some(0));
}

async fn of_100_streams_those_that_end_in_time_end_clean_and_the_rest_are_reset(transport: Transport) {
    let echo = Service::echo();
    let mut pair = pair(transport, &echo, &format!("{}s", STOP_TIMEOUT.as_secs())).await;
    stop_with_live_streams(&mut pair, |pair| &mut pair.client).await;
}

/// Over QUIC what the far end resets can't be told from its end.
#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_so_it_is_when_the_far_node_stops() {
    let echo = Service::echo();
    let mut pair = pair(Transport::Tcp, &echo, &format!("{}s", STOP_TIMEOUT.as_secs())).await;
    stop_with_live_streams(&mut pair, |pair| &mut pair.server).await;
}

async fn told_a_second_time_it_ends_at_once(transport: Transport) {
    let echo = Service::echo();
    for signals in [[Signal::SIGTERM, Signal::SIGTERM], [Signal::SIGINT, Signal::SIGTERM]] {
        let mut pair = pair(transport, &echo, NEVER).await;
        let mut client = pair.client.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        begin_to_stop(&pair.client, signals[0]).await;
        soon("an echo, for the stream lives on", ping(&mut client)).await.unwrap();
        pair.client.signal(signals[1]);
        let exit = within(STOP_TIMEOUT, "it ends", pair.client.exit()).await;
        assert_eq!(exit.code(), Some(0));
        assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
    }
}

async fn who_comes_while_it_stops_is_turned_away(transport: Transport) {
    let echo = Service::echo();
    let mut pair = pair(transport, &echo, NEVER).await;
    let bind = pair.client.bind("echo").await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    begin_to_stop(&pair.client, Signal::SIGTERM).await;
    let refused = TcpStream::connect(bind).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    // Who asks for a reload is told, and not left waiting.
    let (code, answer) = pair.client.request("POST", "/v1/reload").await;
    assert_eq!((code, answer["error"].as_str()), (503, Some("the service is stopping")));
    end_clean(client).await;
    assert_eq!(pair.client.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_stops_the_status_follows_what_happens_to_peers() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let mut other = Node::prepare("other", Transport::Tcp).await;
    pair.server.node_keys = format!("stop_timeout = \"{NEVER}\"\n");
    let listens = format!("{}{}", peer("other", &other.id, &[]), listen("echo", echo.address));
    pair.launch(&listens, &forward("echo")).await;
    other.body = format!("{}{}", peer("server", &pair.server.id, &pair.server.addresses().await), forward("echo"));
    other.start().await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    let connected = |status: &serde_json::Value, count| {
        let peers = status["peers"].as_array().unwrap();
        peers.iter().filter(|peer| peer["connected"] == true).count() == count
    };
    pair.server.wait_until("both are connected", |status| connected(status, 2)).await;
    begin_to_stop(&pair.server, Signal::SIGTERM).await;
    other.kill9().await;
    pair.server.wait_until("one of them is gone", |status| connected(status, 1)).await;
    end_clean(client).await;
    assert_eq!(pair.server.exit().await.code(), Some(0));
}
