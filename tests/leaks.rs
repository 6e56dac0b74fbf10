//! Nothing grows with use: neither open files nor memory.
//!
//! The full numbers: `P2PTUN_LEAK_CONNECTIONS=10000 P2PTUN_LEAK_RELOADS=1000`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use support::{
    Node, Pair, Service, Transport, forward, listen, number, process, soon,
    traffic::{Ending, ending, ping},
};
use tokio::{io::AsyncWriteExt, sync::Mutex};

/// What an allocator may keep over one measurement and the next, in KiB.
const SLACK_KIB: u64 = 8 * 1024;

/// One measurement at a time.
static TURN: Mutex<()> = Mutex::const_new(());

over_tcp_and_quic!(sequential_connections_leave_nothing_behind);

#[derive(Clone, Copy, Debug)]
struct Use {
    files: usize,
    resident_kib: u64,
}

impl Use {
    /// Of a node at rest: no stream lives, and what streams held is closed.
    async fn of(node: &Node, at_most_files: usize) -> Self {
        node.wait_until("the node is at rest", |status| {
            let idle = |tunnel: &serde_json::Value| tunnel["streams"] == 0 && tunnel["draining_streams"] == 0;
            status["tunnels"].as_array().unwrap().iter().all(idle) && process::open_files(node.pid()) <= at_most_files
        })
        .await;
        Self { files: process::open_files(node.pid()), resident_kib: process::resident_kib(node.pid()) }
    }
}

/// Measures a node before and after, and compares.
async fn compare(what: &str, node: &Node, before: Use) {
    // The request that asks for the status is itself an open file.
    let after = Use::of(node, before.files + 1).await;
    println!("{what}: before {before:?}, after {after:?}");
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown <= SLACK_KIB, "{what}: {grown} KiB more");
}

async fn sequential_connections_leave_nothing_behind(transport: Transport) {
    let _turn = TURN.lock().await;
    let connections = number("P2PTUN_LEAK_CONNECTIONS", 500);
    let echo = Service::echo();
    let pair = Pair::echo(transport, echo.address).await;
    connect_in_turn(&pair.client, 300).await;
    let before = (Use::of(&pair.client, usize::MAX).await, Use::of(&pair.server, usize::MAX).await);
    connect_in_turn(&pair.client, connections).await;
    compare(&format!("{transport:?}, client, {connections} connections"), &pair.client, before.0).await;
    compare(&format!("{transport:?}, server, {connections} connections"), &pair.server, before.1).await;
    assert_eq!(pair.client.tunnel("echo").await["refused"], 0);
}

async fn connect_in_turn(client: &Node, connections: u64) {
    let address = client.bind("echo").await;
    for _ in 0..connections {
        let mut stream = soon("a forward accepts", tokio::net::TcpStream::connect(address)).await.unwrap();
        soon("an echo", ping(&mut stream)).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(ending(&mut stream).await, (vec![], Ending::Eof));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_leave_nothing_behind() {
    let _turn = TURN.lock().await;
    let reloads = number("P2PTUN_LEAK_RELOADS", 50);
    let echo = Service::echo();
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    drop(live);

    change_in_turn(&mut pair, &echo, 30).await;
    let before = (Use::of(&pair.client, usize::MAX).await, Use::of(&pair.server, usize::MAX).await);
    change_in_turn(&mut pair, &echo, reloads).await;
    compare(&format!("client, {reloads} reloads"), &pair.client, before.0).await;
    compare(&format!("server, {reloads} reloads"), &pair.server, before.1).await;
}

/// Adds a tunnel, changes another, and takes both back, by turns, on both nodes.
async fn change_in_turn(pair: &mut Pair, echo: &Service, reloads: u64) {
    let plain = (pair.client.body.clone(), pair.server.body.clone());
    for nth in 0..reloads {
        let (client, server) = if nth % 2 == 0 {
            (
                plain.0.clone() + "max_connections = 7\n" + &forward("more"),
                plain.1.clone() + "max_connections = 7\n" + &listen("more", echo.address),
            )
        } else {
            plain.clone()
        };
        pair.client.edit(|_| client);
        pair.server.edit(|_| server);
        for node in [&pair.client, &pair.server] {
            let (code, applied) = node.request("POST", "/v1/reload").await;
            assert_eq!(code, 200, "{applied}");
            assert_eq!(applied["changed"], serde_json::json!(["echo"]), "{applied}");
            assert_eq!(applied["failed"], serde_json::json!([]), "{applied}");
        }
        if nth % 2 == 0 {
            for name in ["echo", "more"] {
                let mut stream = pair.client.connect(name).await;
                soon("an echo", ping(&mut stream)).await.unwrap();
            }
        }
    }
    // An odd number ends on the changed set; come back to the plain one.
    if reloads % 2 == 1 {
        pair.client.edit(|_| plain.0);
        pair.server.edit(|_| plain.1);
        pair.client.reload_applied().await;
        pair.server.reload_applied().await;
    }
}
