//! Several connections to one peer, where several streams are open at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{net::SocketAddr, time::Duration};

use libp2p::PeerId;
use support::{
    Node, Pair, Road, Service, Transport, eventually, forward, listen, peer, process::connections_to, road::port_of,
    traffic::ping, within,
};
use tokio::{net::TcpStream, time::timeout};

/// More streams than it takes to have four connections.
const MANY: usize = 64;

/// How long connections that carry nothing may stay, and more.
const PATIENCE: Duration = Duration::from_secs(40);

/// A pair whose nodes can use more than one processor each.
async fn pair() -> Pair {
    let mut pair = Pair::prepare(Transport::Tcp).await;
    for node in [&mut pair.server, &mut pair.client] {
        node.variables.push(("TOKIO_WORKER_THREADS", "2".to_owned()));
    }
    pair
}

async fn client(entrance: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(entrance).await.unwrap();
    ping(&mut client).await.unwrap();
    client
}

/// Opens one client after another until there are four connections.
async fn crowd(entrance: SocketAddr, node: &Node, address: &str) -> Vec<TcpStream> {
    let mut clients = vec![client(entrance).await];
    assert_eq!(connections_to(node.pid(), port_of(address)), 1, "one stream needs no more");
    within(PATIENCE, "there are four connections", async {
        while connections_to(node.pid(), port_of(address)) < 4 {
            match clients.len() < MANY {
                true => clients.push(client(entrance).await),
                false => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    clients
}

#[tokio::test]
async fn streams_that_are_open_at_once_share_four_connections_which_go_when_they_have_gone() {
    let echo = Service::echo();
    let mut pair = pair().await;
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let (entrance, address) = (pair.client.bind("echo").await, pair.server.addresses().await.remove(0));
    let mut clients = crowd(entrance, &pair.client, &address).await;
    for _ in 0..8 {
        clients.push(client(entrance).await);
    }
    let many = connections_to(pair.client.pid(), port_of(&address));
    // A machine that stands still for a second has another dialled in place of one that says nothing.
    assert!((4..8).contains(&many), "{many} connections");
    for client in &mut clients {
        ping(client).await.unwrap();
    }
    assert_eq!(pair.client.status().await["peers"].as_array().unwrap().len(), 1);
    clients.truncate(1);
    within(PATIENCE, "one connection is enough again", async {
        eventually("three connections have gone", async || {
            (connections_to(pair.client.pid(), port_of(&address)) == 1).then_some(())
        })
        .await;
    })
    .await;
    ping(&mut clients[0]).await.unwrap();
}

#[tokio::test]
async fn streams_that_the_far_end_opens_have_several_connections_too() {
    let echo = Service::echo();
    let mut pair = pair().await;
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let address = pair.server.addresses().await.remove(0);
    pair.client.edit(|body| format!("{body}{}", listen("back", echo.address).replace("\"client\"", "\"server\"")));
    pair.client.reload_applied().await;
    pair.server.edit(|body| format!("{body}{}", forward("back").replace("\"server\"", "\"client\"")));
    pair.server.reload_applied().await;
    let mut clients = crowd(pair.server.bind("back").await, &pair.client, &address).await;
    for client in &mut clients {
        ping(client).await.unwrap();
    }
}

#[tokio::test]
async fn when_the_path_of_all_connections_goes_dead_new_streams_are_served_as_soon_as_one_can_be_dialled() {
    let echo = Service::echo();
    let mut pair = pair().await;
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
    pair.server.start().await;
    let road = Road::to(&pair.server.addresses().await[0]).await;
    pair.client.body = format!("{}{}", peer("server", &pair.server.id, &[road.entrance()]), forward("echo"));
    pair.client.start().await;
    let entrance = pair.client.bind("echo").await;
    let _clients = crowd(entrance, &pair.client, &road.entrance()).await;
    road.stall();
    // The keepalive of the muxer takes 25 seconds.
    within(Duration::from_secs(15), "new clients are served", async {
        // More than there are on any of the dead ones.
        let mut served = Vec::new();
        while served.len() < MANY {
            match timeout(Duration::from_secs(1), client(entrance)).await {
                Ok(client) => served.push(client),
                Err(_) => served.clear(),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_forward_to_several_peers_serves_new_clients_as_soon_as_the_one_whose_path_went_dead_can_be_dialled() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
    pair.server.start().await;
    let road = Road::to(&pair.server.addresses().await[0]).await;
    let (server, nobody) = (peer("server", &pair.server.id, &[road.entrance()]), PeerId::random().to_string());
    let either = forward("echo").replace("peer = \"server\"", "peers = [\"server\", \"absent\"]");
    pair.client.body = format!("{server}{}{either}", peer("absent", &nobody, &[]));
    pair.client.start().await;
    let entrance = pair.client.bind("echo").await;
    drop(client(entrance).await);
    road.stall();
    // The keepalive of the muxer takes 25 seconds.
    within(Duration::from_secs(10), "a new client is served", async {
        while timeout(Duration::from_secs(1), client(entrance)).await.is_err() {}
    })
    .await;
}
