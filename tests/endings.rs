//! How connections end when one side goes away after the other has half-closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::time::Duration;

use support::{
    Pair, Target, Transport, soon,
    traffic::{Ending, ending, pattern, reset, reset_of_writes, send},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

over_tcp_and_quic!(
    a_target_is_told_when_a_client_that_has_half_closed_is_lost,
    a_client_is_told_when_a_server_that_has_half_closed_is_lost,
    a_download_that_a_half_closed_client_gives_up_ends_at_the_target,
    an_upload_that_the_target_no_longer_takes_ends_at_the_client,
    an_upload_that_is_cut_after_the_servers_end_ends_at_the_client,
    a_reply_reaches_a_slow_client_whose_upload_nobody_heard,
);

/// How long a lost connection may go unnoticed.
const TOLD: Duration = Duration::from_secs(30);

async fn a_target_is_told_when_a_client_that_has_half_closed_is_lost(transport: Transport) {
    let target = Target::bind();
    let mut pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"tell me when it happens").await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = target.accept().await;
    assert_eq!(ending(&mut server).await, (b"tell me when it happens".to_vec(), Ending::Eof));

    pair.client.kill9().await;
    within(TOLD, "the stream is given up", async {
        pair.server.wait_for_tunnel("echo", "the dead stream is gone", |tunnel| tunnel["streams"] == 0).await
    })
    .await;
    // The target has read the end already; what it writes now must meet a reset.
    within(TOLD, "the target is told", reset_of_writes(&mut server)).await;
}

async fn a_client_is_told_when_a_server_that_has_half_closed_is_lost(transport: Transport) {
    let target = Target::bind();
    let mut pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"hello").await.unwrap();
    let mut server = target.accept().await;
    server.write_all(b"say on").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(ending(&mut client).await, (b"say on".to_vec(), Ending::Eof));

    pair.server.kill9().await;
    within(TOLD, "the stream is given up", async {
        pair.client.wait_for_tunnel("echo", "the dead stream is gone", |tunnel| tunnel["streams"] == 0).await
    })
    .await;
    within(TOLD, "the client is told", reset_of_writes(&mut client)).await;
}

async fn a_download_that_a_half_closed_client_gives_up_ends_at_the_target(transport: Transport) {
    const DOWNLOAD: u64 = 50_000_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"all of it").await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = target.accept().await;
    assert_eq!(ending(&mut server).await.0, b"all of it");
    let sending = async {
        // Whether it is told or whether somebody takes it all: it must not wait for ever.
        let _ = within(TOLD, "the target can stop", send(&mut server, 0, DOWNLOAD)).await;
    };
    let giving_up = async {
        soon("a part", client.read_exact(&mut vec![0; 1_000_000])).await.unwrap();
        reset(client);
    };
    tokio::join!(sending, giving_up);
}

async fn an_upload_that_the_target_no_longer_takes_ends_at_the_client(transport: Transport) {
    const UPLOAD: u64 = 50_000_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"begin").await.unwrap();
    let mut server = target.accept().await;
    server.write_all(b"enough").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(ending(&mut client).await, (b"enough".to_vec(), Ending::Eof));
    reset(server);
    let _ = within(TOLD, "the client can stop", send(&mut client, 0, UPLOAD)).await;
}

/// The reply lies in the kernel's buffer when the tunnel is done with the connection; it must still arrive.
async fn a_reply_reaches_a_slow_client_whose_upload_nobody_heard(transport: Transport) {
    // No more than the kernel takes for a client that doesn't read.
    const REPLY: usize = 250_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"begin").await.unwrap();
    let mut server = target.accept().await;
    let reply = pattern(0, REPLY);
    let replying = async {
        server.read_exact(&mut [0; 5]).await.unwrap();
        server.write_all(&reply).await.unwrap();
        server.shutdown().await.unwrap();
    };
    soon("the reply is on its way", replying).await;
    let got = |tunnel: &serde_json::Value| tunnel["bytes_in"].as_u64().unwrap() >= REPLY as u64;
    pair.client.wait_for_tunnel("echo", "the reply has come through the tunnel", got).await;
    reset(server);
    // Two messages: the first one's fate tells the listener's end, the second one meets it.
    for _ in 0..20 {
        let _ = client.write_all(b"does anybody hear this?").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = client.shutdown().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (bytes, end) = ending(&mut client).await;
    assert_eq!((bytes.len(), end), (REPLY, Ending::Eof));
    assert!(bytes == reply);
}

/// A stream that has ended for the tunnel may still have bytes on their way. (Stock QUIC says that a stream is closed
/// before its bytes have arrived, and throws them away with the connection: there is no such test over QUIC.)
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_service_delivers_what_a_slow_client_has_not_yet_taken() {
    const REPLY: u64 = 12_000_000;
    let target = Target::bind();
    let mut pair = Pair::echo(Transport::Tcp, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"all of it").await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = target.accept().await;
    assert_eq!(ending(&mut server).await.0, b"all of it");
    let mut replying = tokio::task::JoinSet::new();
    replying.spawn(async move {
        let _ = send(&mut server, 0, REPLY).await;
        let _ = server.shutdown().await;
        server
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stopping = async { pair.server.stop().await };
    let reading = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        ending(&mut client).await
    };
    let ((), (bytes, end)) = tokio::join!(stopping, reading);
    assert_eq!((bytes.len() as u64, end), (REPLY, Ending::Eof));
}

async fn an_upload_that_is_cut_after_the_servers_end_ends_at_the_client(transport: Transport) {
    let (pair, mut client, _server) = after_the_servers_end(transport).await;
    let id = pair.server.streams().await[0]["id"].clone();
    assert_eq!(pair.server.request("DELETE", &format!("/v1/streams/{id}")).await.0, 204);
    within(TOLD, "the client is told", reset_of_writes(&mut client)).await;
}

/// A stream that carries bytes both ways.
async fn stream(transport: Transport) -> (Pair, TcpStream, TcpStream) {
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"question").await.unwrap();
    let mut server = target.accept().await;
    soon("a question", server.read_exact(&mut [0; 8])).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    soon("an answer", client.read_exact(&mut [0; 6])).await.unwrap();
    (pair, client, server)
}

/// A stream whose client has said all, and whose target knows.
async fn after_the_clients_end(transport: Transport) -> (Pair, TcpStream, TcpStream) {
    let (pair, mut client, mut server) = stream(transport).await;
    client.shutdown().await.unwrap();
    assert_eq!(ending(&mut server).await, (vec![], Ending::Eof));
    (pair, client, server)
}

/// A stream whose target has said all, and whose client knows.
async fn after_the_servers_end(transport: Transport) -> (Pair, TcpStream, TcpStream) {
    let (pair, mut client, mut server) = stream(transport).await;
    server.shutdown().await.unwrap();
    assert_eq!(ending(&mut client).await, (vec![], Ending::Eof));
    (pair, client, server)
}

/// What stock QUIC can't say, and TCP must.
mod over_tcp_alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_has_half_closed_sees_the_reset_of_its_target() {
        let (_pair, mut client, server) = after_the_clients_end(Transport::Tcp).await;
        reset(server);
        assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_has_half_closed_sees_that_the_far_daemon_was_killed() {
        let (mut pair, mut client, _server) = after_the_clients_end(Transport::Tcp).await;
        pair.server.kill9().await;
        assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_has_half_closed_sees_that_the_target_refuses() {
        let pair = Pair::echo(Transport::Tcp, Target::bind().address).await;
        let mut client = pair.client.connect("echo").await;
        client.write_all(b"the whole question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_has_half_closed_sees_that_its_stream_is_cut() {
        let (pair, mut client, _server) = after_the_clients_end(Transport::Tcp).await;
        let id = pair.server.streams().await[0]["id"].clone();
        assert_eq!(pair.server.request("DELETE", &format!("/v1/streams/{id}")).await.0, 204);
        assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_sends_after_the_servers_end_sees_that_the_server_resets() {
        let (_pair, mut client, server) = after_the_servers_end(Transport::Tcp).await;
        reset(server);
        reset_of_writes(&mut client).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_has_half_closed_sees_the_reset_of_its_client() {
        let (_pair, client, mut server) = after_the_servers_end(Transport::Tcp).await;
        reset(client);
        assert_eq!(ending(&mut server).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_has_half_closed_sees_that_the_near_daemon_was_killed() {
        let (mut pair, _client, mut server) = after_the_servers_end(Transport::Tcp).await;
        pair.client.kill9().await;
        assert_eq!(ending(&mut server).await, (vec![], Ending::Reset));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_answers_after_the_clients_end_sees_that_the_client_resets() {
        let (_pair, client, mut server) = after_the_clients_end(Transport::Tcp).await;
        reset(client);
        reset_of_writes(&mut server).await;
    }
}
