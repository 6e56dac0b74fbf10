//! Several connections to one peer, where several streams are open at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{net::SocketAddr, time::Duration};

use support::{
    Node, Pair, Service, Transport, eventually, forward, listen, peer, process::network_sockets, traffic::ping, within,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

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

/// The connections that stand from `node` to the port of `address`.
fn connections(node: &Node, address: &str) -> usize {
    let port = port_of(address);
    let to_it = |line: &&String| {
        let mut fields = line.split_whitespace().skip(2);
        let far_end = fields.next().unwrap().ends_with(&format!(":{port:04X}"));
        far_end && fields.next() == Some("01")
    };
    network_sockets(node.pid()).iter().filter(to_it).count()
}

fn port_of(address: &str) -> u16 {
    address.split("/tcp/").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
}

async fn client(entrance: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(entrance).await.unwrap();
    ping(&mut client).await.unwrap();
    client
}

/// Opens one client after another until there are four connections.
async fn crowd(entrance: SocketAddr, node: &Node, address: &str) -> Vec<TcpStream> {
    let mut clients = vec![client(entrance).await];
    assert_eq!(connections(node, address), 1, "one stream needs no more");
    within(PATIENCE, "there are four connections", async {
        while connections(node, address) < 4 {
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
    let many = connections(&pair.client, &address);
    // A machine that stands still for a second has another dialled in place of one that says nothing.
    assert!((4..8).contains(&many), "{many} connections");
    for client in &mut clients {
        ping(client).await.unwrap();
    }
    assert_eq!(pair.client.status().await["peers"].as_array().unwrap().len(), 1);
    clients.truncate(1);
    within(PATIENCE, "one connection is enough again", async {
        eventually("three connections have gone", async || (connections(&pair.client, &address) == 1).then_some(()))
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

/// Passes connections on to a port of this machine.
struct Road {
    address: SocketAddr,
    closed: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Road {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, closed) = (listener.local_addr().unwrap(), watch::Sender::new(false));
        let (mut task, closing) = (JoinSet::new(), closed.clone());
        task.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let was_closed = *closing.borrow();
                let mut closed = closing.subscribe();
                passing.spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let dead = async {
                        let _ = closed.wait_for(|closed| *closed && !was_closed).await;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = dead => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, closed, _task: task }
    }

    /// From now on nothing passes on the connections that there are, and nobody is told.
    fn close_behind(&self) {
        self.closed.send_replace(true);
    }
}

#[tokio::test]
async fn when_the_path_of_all_connections_goes_dead_new_streams_are_served_as_soon_as_one_can_be_dialled() {
    let echo = Service::echo();
    let mut pair = pair().await;
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
    pair.server.start().await;
    let road = Road::to(port_of(&pair.server.addresses().await[0])).await;
    let address = format!("/ip4/127.0.0.1/tcp/{}", road.address.port());
    pair.client.body =
        format!("{}{}", peer("server", &pair.server.id, std::slice::from_ref(&address)), forward("echo"));
    pair.client.start().await;
    let entrance = pair.client.bind("echo").await;
    let _clients = crowd(entrance, &pair.client, &address).await;
    road.close_behind();
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
