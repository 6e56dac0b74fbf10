//! Many connections at the same instant: not one may be lost.
//!
//! `P2PTUN_ROUNDS=20` repeats each burst.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use support::{
    Pair, Service, Transport, forward, listen, number, process, soon,
    traffic::{receive, send},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Barrier, Mutex},
    task::JoinSet,
};

const CONNECTIONS: u64 = 1_000;
const LENGTH: u64 = 1_024;

/// One burst at a time, so that each meets the machine to itself.
static TURN: Mutex<()> = Mutex::const_new(());

over_tcp_and_quic!(
    a_thousand_connections_at_once_all_complete,
    a_thousand_connections_each_way_over_one_pair_of_nodes_all_complete,
);

async fn a_thousand_connections_at_once_all_complete(transport: Transport) {
    let _turn = TURN.lock().await;
    process::raise_file_limit();
    let echo = Service::echo();
    let pair = Pair::echo(transport, echo.address).await;
    let forward = pair.client.bind("echo").await;
    let rounds = number("P2PTUN_ROUNDS", 1);
    for round in 1..=rounds {
        let began = Instant::now();
        let complete = burst(forward).await;
        println!("{transport:?}, round {round} of {rounds}: {complete} complete in {:.2?}", began.elapsed());
        assert_eq!(complete, CONNECTIONS);
        pair.client.wait_for_tunnel("echo", "every stream has ended", |tunnel| tunnel["streams"] == 0).await;
    }
    let tunnel = pair.client.tunnel("echo").await;
    assert_eq!(tunnel["refused"], 0);
    assert_eq!(tunnel["streams_total"], rounds * CONNECTIONS);
    assert_eq!(tunnel["bytes_in"], rounds * CONNECTIONS * LENGTH);
    assert_eq!(echo.accepted() as u64, rounds * CONNECTIONS);
}

async fn a_thousand_connections_each_way_over_one_pair_of_nodes_all_complete(transport: Transport) {
    let _turn = TURN.lock().await;
    process::raise_file_limit();
    let echo = Service::echo();
    let back = forward("back").replace("\"server\"", "\"client\"");
    let listen_back = listen("back", echo.address).replace("\"client\"", "\"server\"");
    let there = (listen("echo", echo.address) + &back, forward("echo") + &listen_back);
    // The server finds the client by the connection that the client makes.
    let pair = Pair::start(transport, &there.0, &there.1).await;
    let (there, back) = (pair.client.bind("echo").await, pair.server.bind("back").await);
    let rounds = number("P2PTUN_ROUNDS", 1);
    for round in 1..=rounds {
        let began = Instant::now();
        let complete = tokio::join!(burst(there), burst(back));
        println!("{transport:?}, round {round} of {rounds}: {complete:?} complete in {:.2?}", began.elapsed());
        assert_eq!(complete, (CONNECTIONS, CONNECTIONS));
    }
}

/// How many of the connections got back all that they sent, and then an EOF.
async fn burst(forward: SocketAddr) -> u64 {
    let start = Arc::new(Barrier::new(CONNECTIONS as usize));
    let mut connections = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let start = start.clone();
        connections.spawn(async move {
            start.wait().await;
            exchange(forward, nth).await
        });
    }
    let mut complete = 0;
    let mut failures = Vec::new();
    while let Some(result) = soon("a connection completes", connections.join_next()).await {
        match result.unwrap() {
            Ok(()) => complete += 1,
            Err(error) => failures.push(error.to_string()),
        }
    }
    if !failures.is_empty() {
        println!("{} failed, first: {:?}", failures.len(), &failures[..failures.len().min(5)]);
    }
    complete
}

async fn exchange(forward: SocketAddr, nth: u64) -> io::Result<()> {
    // Each sends bytes of its own, so that an answer to somebody else would show.
    let (from, to) = (nth * LENGTH, (nth + 1) * LENGTH);
    let mut stream = TcpStream::connect(forward).await?;
    send(&mut stream, from, to).await?;
    stream.shutdown().await?;
    receive(&mut stream, from, to).await?;
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}
