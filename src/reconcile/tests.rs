//! Two nodes in one process, on loopback, told what to do by values instead of files.

use std::{collections::BTreeSet, net::SocketAddr};

use libp2p::identity::Keypair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::spec::{
    Allow, Bind, Endpoint, Forward, ForwardPeer, Listen, Multiaddr, PeerId, PeerRef, RelayUse, StreamProtocol,
};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const PATIENCE: Duration = Duration::from_secs(20);

struct TestNode {
    reconciler: Reconciler,
    node: Node,
    _tasks: JoinSet<()>,
}

impl TestNode {
    fn new() -> Self {
        let mut tasks = JoinSet::new();
        let keypair = Keypair::generate_ed25519();
        let node = Node::start(&keypair, None, &mut tasks).unwrap();
        let status = watch::channel(Status::new(node.peer_id(), "test.toml".into())).0;
        Self { reconciler: Reconciler::new(node.clone(), status, LiveStreams::default()), node, _tasks: tasks }
    }

    async fn apply(&mut self, listen_on: &str, tunnels: Vec<(&str, Tunnel)>) -> Applied {
        let mut desired = Desired::default();
        desired.node.listen_addresses = vec![listen_on.parse().unwrap()];
        desired.tunnels = tunnels.into_iter().map(|(name, tunnel)| (name.try_into().unwrap(), tunnel)).collect();
        self.reconciler.apply(desired).await
    }

    async fn address(&self) -> Multiaddr {
        let mut view = self.node.view();
        let seen = view.wait_for(|view| !view.addresses.is_empty());
        timeout(PATIENCE, seen).await.unwrap().unwrap().addresses[0].clone()
    }

    /// Counters follow the last byte of a stream by a moment.
    async fn wait_until(&self, name: &str, seen: impl Fn(&TunnelStatus) -> bool) -> TunnelStatus {
        let waited = timeout(PATIENCE, async {
            while !seen(&self.status(name)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.unwrap();
        self.status(name)
    }

    fn status(&self, name: &str) -> TunnelStatus {
        let status = self.reconciler.status.borrow();
        status.tunnels.iter().find(|tunnel| tunnel.name.as_str() == name).unwrap().clone()
    }
}

fn listen(protocol: &'static str, target: SocketAddr, allow: Allow) -> Tunnel {
    Tunnel::Listen(Listen {
        protocol: StreamProtocol::new(protocol),
        target: Endpoint::Tcp(target.into()),
        allow,
        report_peer_id: false,
        proxy_protocol: None,
        max_connections: 1024,
        max_connections_per_peer: None,
        connect_timeout: Duration::from_secs(10),
        on: None,
    })
}

fn forward(protocol: &'static str, bind: SocketAddr, peer: PeerId, addresses: Vec<Multiaddr>) -> Tunnel {
    Tunnel::Forward(Forward {
        protocol: StreamProtocol::new(protocol),
        bind: Bind::Tcp(bind.into()),
        peer: ForwardPeer::One(PeerRef { written: "far".into(), id: peer, addresses }),
        open_timeout: Duration::from_secs(30),
        max_connections: 1024,
        relay: RelayUse::Trusted,
        on: None,
    })
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Echoes until the client's end, then ends.
async fn echo_server(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut echoes = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            echoes.spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

async fn echo(address: SocketAddr, said: Vec<u8>) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&said).await?;
    stream.shutdown().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard == said)
}

async fn pair(transport: &str, tasks: &mut JoinSet<()>) -> (TestNode, TestNode, SocketAddr) {
    let (mut near, mut far) = (TestNode::new(), TestNode::new());
    let service = echo_server(tasks).await;
    let allow = Allow::Peers(BTreeSet::from([near.node.peer_id()]));
    far.apply(transport, vec![("echo", listen("/x/echo", service, allow))]).await;
    let addresses = vec![far.address().await];
    let forward = forward("/x/echo", any_port(), far.node.peer_id(), addresses);
    near.apply(transport, vec![("echo", forward)]).await;
    let bound = near.status("echo").bind.unwrap().parse().unwrap();
    (near, far, bound)
}

async fn burst(transport: &str) {
    let mut tasks = JoinSet::new();
    let (near, far, bound) = pair(transport, &mut tasks).await;
    let mut clients = JoinSet::new();
    for i in 0..300u32 {
        clients.spawn(echo(bound, i.to_be_bytes().repeat(256)));
    }
    let echoed = timeout(PATIENCE, clients.join_all()).await.unwrap();
    let failed: Vec<_> = echoed.into_iter().filter(|echoed| !matches!(echoed, Ok(true))).collect();
    assert!(failed.is_empty(), "{} of 300, such as {:?}", failed.len(), failed[0]);
    assert_eq!(near.status("echo").counters.refused.get(), 0);
    let status = far.wait_until("echo", |status| status.counters.streams.get() == 0).await;
    assert_eq!(status.counters.streams_total.get(), 300);
    assert_eq!(status.counters.bytes_in.get(), 300 * 1024);
    assert_eq!(status.counters.bytes_out.get(), 300 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_all_reach_the_service_over_tcp() {
    burst(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_all_reach_the_service_over_quic() {
    burst(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reaches_its_own_service_without_the_network() {
    let mut tasks = JoinSet::new();
    let service = echo_server(&mut tasks).await;
    let mut node = TestNode::new();
    let own = node.node.peer_id();
    let tunnels = vec![
        ("echo", listen("/x/echo", service, Allow::Peers(BTreeSet::new()))),
        ("own", forward("/x/echo", any_port(), own, vec![])),
    ];
    node.apply(TCP, tunnels).await;
    let bound = node.status("own").bind.unwrap().parse().unwrap();
    assert!(timeout(PATIENCE, echo(bound, vec![7; 100_000])).await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_may_not_is_reset_and_the_reason_is_shown() {
    let mut tasks = JoinSet::new();
    let (near, mut far, bound) = pair(TCP, &mut tasks).await;
    assert!(timeout(PATIENCE, echo(bound, vec![7; 10])).await.unwrap().unwrap());
    let service = echo_server(&mut tasks).await;
    far.apply(TCP, vec![("echo", listen("/x/echo", service, Allow::Peers(BTreeSet::new())))]).await;
    let error = timeout(PATIENCE, echo(bound, vec![7; 10])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let status = near.wait_until("echo", |status| status.counters.refused.get() == 1).await;
    assert_eq!(status.error.get().unwrap(), "the peer does not offer the protocol to this node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_may_be_offered_a_thousand_tunnels_and_still_gets_an_identify_message() {
    let mut tasks = JoinSet::new();
    let service = echo_server(&mut tasks).await;
    let (mut near, mut far) = (TestNode::new(), TestNode::new());
    let names: Vec<String> = (0..1000).map(|i| format!("tunnel-number-{i}")).collect();
    let tunnels = names.iter().map(|name| {
        let protocol = StreamProtocol::try_from_owned(format!("/x/{name}")).unwrap();
        let Tunnel::Listen(listen) = listen("/x/", service, Allow::Peers([near.node.peer_id()].into())) else {
            unreachable!()
        };
        (name.as_str(), Tunnel::Listen(Listen { protocol, ..listen }))
    });
    far.apply(TCP, tunnels.collect()).await;
    let forward = forward("/x/tunnel-number-999", any_port(), far.node.peer_id(), vec![far.address().await]);
    near.apply(TCP, vec![("last", forward)]).await;
    let bound = near.status("last").bind.unwrap().parse().unwrap();
    assert!(timeout(PATIENCE, echo(bound, vec![7; 1000])).await.unwrap().unwrap());
    let mut view = near.node.view();
    let far_id = far.node.peer_id();
    let identified = view.wait_for(|view| view.peers.get(&far_id).is_some_and(|peer| peer.agent.is_some()));
    timeout(PATIENCE, identified).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_becomes_one_that_is_built_works_and_the_other_way_round_says_what_it_lacks() {
    let mut tasks = JoinSet::new();
    let service = echo_server(&mut tasks).await;
    let mut node = TestNode::new();
    let own = node.node.peer_id();
    let over_tcp = || {
        let allow = Allow::Peers(BTreeSet::new());
        vec![("echo", listen("/x/echo", service, allow)), ("own", forward("/x/echo", any_port(), own, vec![]))]
    };
    let over_udp = || {
        let mut tunnels = over_tcp();
        for (_, tunnel) in &mut tunnels {
            match tunnel {
                Tunnel::Listen(listen) => listen.target = Endpoint::Udp(service.into()),
                Tunnel::Forward(forward) => forward.bind = Bind::Udp(any_port().into()),
                _ => unreachable!(),
            }
        }
        tunnels
    };
    for _ in 0..2 {
        let applied = node.apply(TCP, over_udp()).await;
        let errors: Vec<_> = applied.failed.iter().map(|failed| failed.error.as_str()).collect();
        assert_eq!(errors, ["not built yet: udp targets", "not built yet: udp binds"]);
        assert!(node.reconciler.runs.values().all(|run| run.retry.is_none()), "nothing to try again");
        let applied = node.apply(TCP, over_tcp()).await;
        assert_eq!((applied.changed.len(), applied.failed), (2, vec![]));
        let bound = node.status("own").bind.unwrap().parse().unwrap();
        assert!(timeout(PATIENCE, echo(bound, vec![7; 1000])).await.unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_loses_the_right_is_cut_also_where_its_stream_drains() {
    let mut tasks = JoinSet::new();
    let (near, mut far, bound) = pair(TCP, &mut tasks).await;
    let service = echo_server(&mut tasks).await;
    let friends = Allow::Peers([near.node.peer_id()].into());
    let stream = async || {
        let mut stream = TcpStream::connect(bound).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        stream
    };

    let mut drains = stream().await;
    far.apply(TCP, vec![("echo", listen("/x/other", service, friends.clone()))]).await;
    drains.write_all(b"y").await.unwrap();
    assert_eq!(drains.read_u8().await.unwrap(), b'y', "another protocol alone cuts nothing");
    far.apply(TCP, vec![("echo", listen("/x/other", service, Allow::Peers(BTreeSet::new())))]).await;
    timeout(PATIENCE, drains.read_u8()).await.unwrap().unwrap_err();

    far.apply(TCP, vec![("echo", listen("/x/echo", service, friends))]).await;
    let mut in_one_edit = stream().await;
    far.apply(TCP, vec![("echo", listen("/x/third", service, Allow::Peers(BTreeSet::new())))]).await;
    timeout(PATIENCE, in_one_edit.read_u8()).await.unwrap().unwrap_err();
}

/// With thousands of tunnels, a look at each of them for each that ends would take longer than a stop may.
#[tokio::test]
async fn tunnels_that_end_at_once_are_taken_care_of_at_once() {
    let mut node = TestNode::new();
    let (own, names) = (node.node.peer_id(), ["a", "b", "c", "d"]);
    node.apply(TCP, names.map(|name| (name, forward("/x/echo", any_port(), own, vec![]))).into()).await;
    node.reconciler.retire_all(Duration::ZERO).await;
    // They have taken their leave, and need but a turn each.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    timeout(PATIENCE, node.reconciler.next()).await.unwrap();
    assert!(node.reconciler.is_empty());
    node.reconciler.take_care().await;
    assert_eq!(node.reconciler.books.len(), 0);
    assert_eq!(node.reconciler.status.borrow().tunnels.len(), 0);
}

#[tokio::test]
async fn the_books_of_a_tunnel_that_never_had_a_task_are_closed_too() {
    let mut node = TestNode::new();
    let Tunnel::Listen(mut udp) = listen("/x/echo", any_port(), Allow::Anyone) else { unreachable!() };
    udp.target = Endpoint::Udp(any_port().into());
    node.apply(TCP, vec![("udp", Tunnel::Listen(udp))]).await;
    assert_eq!(node.reconciler.books.len(), 1);
    node.apply(TCP, vec![]).await;
    assert_eq!(node.reconciler.books.len(), 0);
}
