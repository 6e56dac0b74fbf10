//! What a tunnel does with a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use support::{
    Node, Pair, Service, Target, Transport, UnixService, eventually, forward, listen, peer, soon,
    traffic::{Ending, ending, pattern, ping, receive, reset, send},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::sleep,
};

over_tcp_and_quic!(
    bytes_come_back_as_they_went_in_and_are_counted,
    a_client_that_half_closes_still_reads_the_whole_reply,
    a_target_that_half_closes_still_gets_all_that_the_client_sends,
    a_server_may_speak_first,
    the_target_is_told_the_peer_id_if_it_asked_for_it,
    a_refused_target_ends_the_connection_and_is_counted,
    a_target_that_resets_ends_the_connection,
    a_client_that_resets_ends_the_connection_to_the_target,
    a_connection_beyond_the_limit_is_reset_and_counted,
    one_stalled_connection_does_not_hold_up_another,
    an_upload_whose_target_stops_reading_stands_still_and_is_whole_when_it_reads_on,
    a_live_stream_is_listed_and_can_be_cut_by_its_id,
    a_connection_waits_for_a_peer_that_is_still_away,
    a_peer_may_be_written_as_an_address,
    absent_peers_hold_up_nobody_and_each_is_given_up_on,
    failover_takes_the_next_peer_when_the_first_refuses_the_connection,
    failover_takes_the_next_peer_when_the_first_says_nothing,
    failover_takes_the_next_peer_when_the_first_does_not_offer_the_protocol,
);

/// Stock QUIC has no way to pass a far end's reset on, so there the client may see an EOF.
fn a_reset_as_far_as(transport: Transport) -> impl Fn(Ending) -> bool {
    move |ending| ending == Ending::Reset || transport == Transport::Quic
}

async fn bytes_come_back_as_they_went_in_and_are_counted(transport: Transport) {
    const LENGTH: u64 = 3_000_000;
    let echo = Service::echo();
    let pair = Pair::echo(transport, echo.address).await;
    let (mut from, mut to) = pair.client.connect("echo").await.into_split();
    let (sent, received) =
        soon("the echo of 3 MB", async { tokio::join!(send(&mut to, 0, LENGTH), receive(&mut from, 0, LENGTH)) }).await;
    sent.unwrap();
    received.unwrap();
    for (node, streams) in [(&pair.client, 1), (&pair.server, 1)] {
        node.wait_for_tunnel("echo", "the stream and its bytes are counted", |tunnel| {
            tunnel["streams"] == streams && tunnel["bytes_in"] == LENGTH && tunnel["bytes_out"] == LENGTH
        })
        .await;
    }
    to.shutdown().await.unwrap();
    assert_eq!(ending(&mut from).await, (vec![], Ending::Eof));
    for node in [&pair.client, &pair.server] {
        let tunnel = node.wait_for_tunnel("echo", "the stream is gone", |tunnel| tunnel["streams"] == 0).await;
        assert_eq!(tunnel["streams_total"], 1);
        assert_eq!(tunnel["refused"], 0);
    }
}

async fn a_client_that_half_closes_still_reads_the_whole_reply(transport: Transport) {
    const REPLY: u64 = 5_000_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"the whole question").await.unwrap();
    client.shutdown().await.unwrap();

    let mut server = target.accept().await;
    assert_eq!(ending(&mut server).await, (b"the whole question".to_vec(), Ending::Eof));
    let replying = async {
        send(&mut server, 0, REPLY).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let reading = async {
        receive(&mut client, 0, REPLY).await.unwrap();
        assert_eq!(ending(&mut client).await, (vec![], Ending::Eof));
    };
    soon("the reply of 5 MB", async { tokio::join!(replying, reading) }).await;
}

async fn a_target_that_half_closes_still_gets_all_that_the_client_sends(transport: Transport) {
    const UPLOAD: u64 = 5_000_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    let mut server = target.accept().await;
    server.write_all(b"go ahead").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(ending(&mut client).await, (b"go ahead".to_vec(), Ending::Eof));

    let uploading = async {
        send(&mut client, 0, UPLOAD).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reading = async {
        receive(&mut server, 0, UPLOAD).await.unwrap();
        assert_eq!(ending(&mut server).await, (vec![], Ending::Eof));
    };
    soon("the upload of 5 MB", async { tokio::join!(uploading, reading) }).await;
}

async fn a_server_may_speak_first(transport: Transport) {
    let service = Service::saying("220 at your service");
    let pair = Pair::echo(transport, service.address).await;
    let mut client = pair.client.connect("echo").await;
    assert_eq!(ending(&mut client).await, (b"220 at your service".to_vec(), Ending::Eof));
}

async fn the_target_is_told_the_peer_id_if_it_asked_for_it(transport: Transport) {
    let target = Target::bind();
    let listens = format!("{}report_peer_id = true\n", listen("echo", target.address));
    let pair = Pair::start(transport, &listens, &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let (got, _) = ending(&mut target.accept().await).await;
    assert_eq!(String::from_utf8(got).unwrap(), format!("{}\nhello", pair.client.id));
}

async fn a_refused_target_ends_the_connection_and_is_counted(transport: Transport) {
    let closed = Target::bind().address;
    let pair = Pair::echo(transport, closed).await;
    let (got, end) = pair.client.ending_of_a_connection("echo").await;
    assert_eq!(got, b"");
    assert!(a_reset_as_far_as(transport)(end), "{end:?}");
    pair.server.wait_for_tunnel("echo", "the refusal is counted", |tunnel| tunnel["refused"] == 1).await;
}

async fn a_target_that_resets_ends_the_connection(transport: Transport) {
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    let mut server = target.accept().await;
    server.write_all(b"half of an ans").await.unwrap();
    let mut got = [0; 14];
    soon("the first half", client.read_exact(&mut got)).await.unwrap();
    reset(server);
    let (rest, end) = ending(&mut client).await;
    assert_eq!(rest, b"");
    assert!(a_reset_as_far_as(transport)(end), "{end:?}");
}

async fn a_client_that_resets_ends_the_connection_to_the_target(transport: Transport) {
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    let mut server = target.accept().await;
    client.write_all(b"half of a ques").await.unwrap();
    let mut got = [0; 14];
    soon("the first half", server.read_exact(&mut got)).await.unwrap();
    reset(client);
    let (rest, end) = ending(&mut server).await;
    assert_eq!(rest, b"");
    assert!(a_reset_as_far_as(transport)(end), "{end:?}");
}

async fn a_connection_beyond_the_limit_is_reset_and_counted(transport: Transport) {
    let echo = Service::echo();
    let forwards = format!("{}max_connections = 2\n", forward("echo"));
    let pair = Pair::start(transport, &listen("echo", echo.address), &forwards).await;
    let mut first = pair.client.connect("echo").await;
    let mut second = pair.client.connect("echo").await;
    soon("an echo", ping(&mut first)).await.unwrap();
    soon("an echo", ping(&mut second)).await.unwrap();

    assert_eq!(pair.client.ending_of_a_connection("echo").await, (vec![], Ending::Reset));
    pair.client.wait_for_tunnel("echo", "the refusal is counted", |tunnel| tunnel["refused"] == 1).await;

    soon("an echo", ping(&mut first)).await.unwrap();
    drop(second);
    pair.client.wait_for_tunnel("echo", "there is room again", |tunnel| tunnel["streams"] == 1).await;
    let mut fourth = pair.client.connect("echo").await;
    soon("an echo", ping(&mut fourth)).await.unwrap();
}

async fn one_stalled_connection_does_not_hold_up_another(transport: Transport) {
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut stalled = pair.client.connect("echo").await;
    let _never_read = target.accept().await;
    // Far more than every buffer on the way holds, so this write cannot end.
    let flood = send(&mut stalled, 0, 200_000_000);
    let other = async {
        pair.client
            .wait_for_tunnel("echo", "the flood has begun", |tunnel| tunnel["bytes_out"].as_u64() > Some(100_000))
            .await;
        let mut client = pair.client.connect("echo").await;
        client.write_all(b"not held up").await.unwrap();
        client.shutdown().await.unwrap();
        let mut server = target.accept().await;
        assert_eq!(ending(&mut server).await.0, b"not held up");
    };
    tokio::select! {
        result = flood => panic!("a flood that nobody reads came to an end: {result:?}"),
        () = other => {}
    }
}

async fn an_upload_whose_target_stops_reading_stands_still_and_is_whole_when_it_reads_on(transport: Transport) {
    // More than every buffer on the way holds, unless the kernel's have been made larger than they are by default.
    const UPLOAD: u64 = 60_000_000;
    const READ: u64 = 100_000;
    let target = Target::bind();
    let pair = Pair::echo(transport, target.address).await;
    let mut client = pair.client.connect("echo").await;
    let uploading = async {
        send(&mut client, 0, UPLOAD).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reading = async {
        let mut server = target.accept().await;
        receive(&mut server, 0, READ).await.unwrap();
        let mut held = None;
        loop {
            let taken = pair.client.tunnel("echo").await["bytes_out"].as_u64();
            if held == taken {
                break;
            }
            held = taken;
            sleep(Duration::from_millis(300)).await;
        }
        assert!(held < Some(UPLOAD), "nobody has held it up");
        receive(&mut server, READ, UPLOAD).await.unwrap();
        assert_eq!(ending(&mut server).await, (vec![], Ending::Eof));
    };
    soon("the whole upload", async { tokio::join!(uploading, reading) }).await;
}

async fn a_live_stream_is_listed_and_can_be_cut_by_its_id(transport: Transport) {
    let echo = Service::echo();
    let pair = Pair::echo(transport, echo.address).await;
    let mut kept = pair.client.connect("echo").await;
    soon("an echo", ping(&mut kept)).await.unwrap();
    let first = eventually("the stream and its bytes are listed", || async {
        let streams = pair.client.streams().await;
        (streams.len() == 1 && streams[0]["bytes_in"] == 14 && streams[0]["bytes_out"] == 14).then_some(streams)
    })
    .await;
    assert_eq!(first[0]["tunnel"], "echo");
    assert_eq!(first[0]["peer"], pair.server.id.as_str());
    assert_eq!(first[0]["path"], "direct");

    let mut cut = pair.client.connect("echo").await;
    soon("an echo", ping(&mut cut)).await.unwrap();
    let id = pair.client.streams().await.iter().map(|stream| stream["id"].as_u64().unwrap()).max().unwrap();
    assert_ne!(first[0]["id"], id);
    assert_eq!(pair.client.request("DELETE", &format!("/v1/streams/{id}")).await.0, 204);
    assert_eq!(ending(&mut cut).await, (vec![], Ending::Reset));
    eventually("the stream is no longer listed", || async { (pair.client.streams().await.len() == 1).then_some(()) })
        .await;
    assert_eq!(pair.client.request("DELETE", &format!("/v1/streams/{id}")).await.0, 404);
    soon("an echo", ping(&mut kept)).await.unwrap();
}

async fn a_connection_waits_for_a_peer_that_is_still_away(transport: Transport) {
    let echo = Service::echo();
    let mut pair = Pair::echo(transport, echo.address).await;
    pair.server.listen_address = pair.server.addresses().await.remove(0);
    // A connection that only one of them has come to know would not end in good order.
    for node in [&pair.client, &pair.server] {
        node.wait_until("the peer is there", |status| status["peers"][0]["connected"] == true).await;
    }
    pair.server.stop().await;
    pair.client.wait_until("the peer is away", |status| status["peers"][0]["connected"] == false).await;

    let mut early = pair.client.connect("echo").await;
    early.write_all(b"sent before the peer was there").await.unwrap();
    early.shutdown().await.unwrap();
    pair.server.start().await;
    assert_eq!(ending(&mut early).await, (b"sent before the peer was there".to_vec(), Ending::Eof));
}

async fn a_peer_may_be_written_as_an_address(transport: Transport) {
    let echo = Service::echo();
    let mut pair = Pair::echo(transport, echo.address).await;
    pair.client.stop().await;
    let written = format!("{}/p2p/{}", pair.server.addresses().await[0], pair.server.id);
    pair.client.body = forward("echo").replace("\"server\"", &format!("{written:?}"));
    pair.client.start().await;
    assert_eq!(pair.client.tunnel("echo").await["peer"], written);
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
}

async fn absent_peers_hold_up_nobody_and_each_is_given_up_on(transport: Transport) {
    const ABSENT: usize = 20;
    let echo = Service::echo();
    let silent_tcp = Target::bind();
    let silent_udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = match transport {
        Transport::Tcp => silent_tcp.address.port(),
        Transport::Quic => silent_udp.local_addr().unwrap().port(),
    };
    let silent = transport.any_port().replace("/0", &format!("/{port}"));
    let names: Vec<String> = (0..ABSENT).map(|nth| format!("absent-{nth}")).collect();
    let absent = |name: &String| {
        let forward = forward(name).replace("\"server\"", &format!("{name:?}"));
        let somebody = libp2p::PeerId::random().to_string();
        format!("{}{forward}open_timeout = \"3s\"\n", peer(name, &somebody, std::slice::from_ref(&silent)))
    };
    let forwards = forward("echo") + &names.iter().map(absent).collect::<String>();
    let pair = Pair::start(transport, &listen("echo", echo.address), &forwards).await;

    let mut waiting = JoinSet::new();
    for name in &names {
        let mut client = pair.client.connect(name).await;
        waiting.spawn(async move { ending(&mut client).await });
    }
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    let given_up = soon("each is given up on", waiting.join_all()).await;
    assert_eq!(given_up, vec![(vec![], Ending::Reset); ABSENT]);
    soon("an echo", ping(&mut client)).await.unwrap();
}

/// A client whose forward names a peer `first` at `address`, then the server; both with time to spare.
async fn failover_from(transport: Transport, first: &str, address: &str) {
    let echo = Service::echo();
    let mut pair = Pair::prepare(transport).await;
    let either = forward("echo").replace("peer = \"server\"", "peers = [\"first\", \"server\"]");
    let first = peer("first", first, &[address.to_owned()]);
    pair.launch(&listen("echo", echo.address), &format!("{first}{either}")).await;
    let tunnel = pair.client.tunnel("echo").await;
    assert_eq!(tunnel["peers"], serde_json::json!(["first", "server"]));
    assert!(tunnel["peer"].is_null());

    let mut client = pair.client.connect("echo").await;
    client.write_all(b"not a byte is lost on the way to the second").await.unwrap();
    client.shutdown().await.unwrap();
    let (got, end) = ending(&mut client).await;
    assert_eq!(String::from_utf8(got).unwrap(), "not a byte is lost on the way to the second");
    assert_eq!(end, Ending::Eof);
    assert_eq!(echo.accepted(), 1);
}

/// The address of a port on which nothing listens.
fn closed_address(transport: Transport) -> String {
    let port = match transport {
        Transport::Tcp => Target::bind().address.port(),
        Transport::Quic => std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
    };
    transport.any_port().replace("/0", &format!("/{port}"))
}

async fn failover_takes_the_next_peer_when_the_first_refuses_the_connection(transport: Transport) {
    let absent = libp2p::PeerId::random().to_string();
    failover_from(transport, &absent, &closed_address(transport)).await;
}

async fn failover_takes_the_next_peer_when_the_first_says_nothing(transport: Transport) {
    let absent = libp2p::PeerId::random().to_string();
    let silent_tcp = Target::bind();
    let silent_udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = match transport {
        Transport::Tcp => silent_tcp.address.port(),
        Transport::Quic => silent_udp.local_addr().unwrap().port(),
    };
    failover_from(transport, &absent, &transport.any_port().replace("/0", &format!("/{port}"))).await;
}

async fn failover_takes_the_next_peer_when_the_first_does_not_offer_the_protocol(transport: Transport) {
    let other = Service::echo();
    let mut unwilling = Node::prepare("unwilling", transport).await;
    unwilling.body = listen("something-else", other.address).replace("\"client\"", "");
    unwilling.start().await;
    failover_from(transport, &unwilling.id, &unwilling.addresses().await[0]).await;
    assert_eq!(other.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_gives_up_on_an_absent_peer_after_its_timeout() {
    let mut client = Node::prepare("client", Transport::Tcp).await;
    let absent = peer("server", &libp2p::PeerId::random().to_string(), &[closed_address(Transport::Tcp)]);
    client.body = format!("{absent}{}open_timeout = \"1s\"\n", forward("echo"));
    client.start().await;
    let mut waiting = client.connect("echo").await;
    let (got, end) = within(Duration::from_secs(10), "the forward gives up", ending(&mut waiting)).await;
    assert_eq!((got, end), (vec![], Ending::Reset));
    client.wait_for_tunnel("echo", "the refusal is counted", |tunnel| tunnel["refused"] == 1).await;
    assert_eq!(client.tunnel("echo").await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listen_tunnel_turns_away_what_is_beyond_its_limits() {
    let echo = Service::echo();
    let listens = ["max_connections = 1", "max_connections_per_peer = 1"]
        .into_iter()
        .zip(["all", "each"])
        .map(|(limit, name)| format!("{}{limit}\n", listen(name, echo.address)))
        .collect::<String>();
    let pair = Pair::start(Transport::Tcp, &listens, &(forward("all") + &forward("each"))).await;
    for name in ["all", "each"] {
        let mut first = pair.client.connect(name).await;
        soon("an echo", ping(&mut first)).await.unwrap();
        assert_eq!(pair.client.ending_of_a_connection(name).await, (vec![], Ending::Reset), "{name}");
        pair.server.wait_for_tunnel(name, "the refusal is counted", |tunnel| tunnel["refused"] == 1).await;
        soon("an echo", ping(&mut first)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_tunnels_for_one_peer_all_work() {
    let echo = Service::echo();
    // More protocols than an identify message may name.
    let names: Vec<String> = (0..300).map(|nth| format!("a-tunnel-with-a-rather-long-name-{nth}")).collect();
    let listens: String = names.iter().map(|name| listen(name, echo.address)).collect();
    let forwards: String = names.iter().map(|name| forward(name)).collect();
    let pair = Pair::start(Transport::Tcp, &listens, &forwards).await;
    let mut clients = Vec::new();
    for name in &names {
        let mut client = pair.client.connect(name).await;
        soon("an echo", ping(&mut client)).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        soon("an echo over the same connection", ping(client)).await.unwrap();
    }
    assert_eq!(echo.accepted(), names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_serve_at_either_end() {
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let service = pair.server.dir().join("service.sock");
    let _unix = UnixService::echo(&service);
    let tcp = Service::echo();
    let local = |name: &str| pair.client.dir().join(format!("{name}.sock"));
    let (unix_unix, unix_tcp) = (local("unix-unix"), local("unix-tcp"));
    let listens = format!(
        "{}{}{}",
        listen("unix-unix", format!("unix:{}", service.display())),
        listen("tcp-unix", format!("unix:{}", service.display())),
        listen("unix-tcp", tcp.address),
    );
    let from_unix =
        |name: &str, path: &std::path::Path| forward(name).replace("127.0.0.1:0", &format!("unix:{}", path.display()));
    let forwards = format!(
        "{}{}bind_mode = \"0660\"\n{}",
        from_unix("unix-unix", &unix_unix),
        from_unix("unix-tcp", &unix_tcp),
        forward("tcp-unix"),
    );
    // What a service that was killed leaves behind must not be in the way.
    drop(std::os::unix::net::UnixListener::bind(&unix_unix).unwrap());
    pair.launch(&listens, &forwards).await;

    for path in [&unix_unix, &unix_tcp] {
        let client = soon("a unix forward accepts", UnixStream::connect(path)).await.unwrap();
        whole_echo(client).await;
    }
    let client: TcpStream = pair.client.connect("tcp-unix").await;
    whole_echo(client).await;
    assert_eq!(tcp.accepted(), 1);

    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&unix_unix), mode(&unix_tcp)), (0o600, 0o660));
    pair.client.stop().await;
    assert!(!unix_unix.exists() && !unix_tcp.exists(), "a service that stops takes its socket files along");
}

async fn whole_echo(client: impl tokio::io::AsyncRead + tokio::io::AsyncWrite) {
    let (mut from, mut to) = tokio::io::split(client);
    let writing = async {
        send(&mut to, 0, 1_000_000).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let reading = async {
        receive(&mut from, 0, 1_000_000).await.unwrap();
        assert_eq!(ending(&mut from).await, (vec![], Ending::Eof));
    };
    soon("the echo of 1 MB", async { tokio::join!(writing, reading) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_never_replaced_by_one() {
    let mut client = Node::prepare("client", Transport::Tcp).await;
    let precious = client.dir().join("precious");
    std::fs::write(&precious, "do not touch").unwrap();
    let absent = peer("server", &libp2p::PeerId::random().to_string(), &[]);
    let on_file = forward("echo").replace("127.0.0.1:0", &format!("unix:{}", precious.display()));
    client.body = format!("{absent}{on_file}");
    client.start().await;
    let tunnel = client.tunnel("echo").await;
    assert_eq!(tunnel["state"], "failed");
    assert!(tunnel["error"].as_str().unwrap().contains("precious"), "{tunnel}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "do not touch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_of_version_1_precedes_the_payload() {
    let target = Target::bind();
    let listens = format!("{}proxy_protocol = \"v1\"\n", listen("echo", target.address));
    let pair = Pair::start(Transport::Tcp, &listens, &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let (got, _) = ending(&mut target.accept().await).await;
    let got = String::from_utf8(got).unwrap();
    let (header, payload) = got.split_once("\r\n").unwrap();
    let fields: Vec<&str> = header.split(' ').collect();
    assert_eq!(fields[..3], ["PROXY", "TCP4", "127.0.0.1"], "{header}");
    assert_eq!(fields.len(), 6, "{header}");
    assert_eq!(payload, "GET / HTTP/1.0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_of_version_2_carries_the_peer_id() {
    let target = Target::bind();
    let listens = format!("{}proxy_protocol = \"v2\"\n", listen("echo", target.address));
    let pair = Pair::start(Transport::Tcp, &listens, &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    client.write_all(b"payload").await.unwrap();
    client.shutdown().await.unwrap();
    let (got, _) = ending(&mut target.accept().await).await;

    let header = ppp::v2::Header::try_from(got.as_slice()).unwrap();
    assert_eq!(header.command, ppp::v2::Command::Proxy);
    assert!(
        matches!(header.addresses, ppp::v2::Addresses::IPv4(ips) if ips.source_address.is_loopback()),
        "{header:?}"
    );
    let of_the_peer: Vec<_> = header.tlvs().map(Result::unwrap).filter(|tlv| tlv.kind == 0xE0).collect();
    assert_eq!(of_the_peer.len(), 1);
    assert_eq!(String::from_utf8_lossy(&of_the_peer[0].value), pair.client.id);
    assert_eq!(&got[header.len()..], b"payload");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_to_this_very_node_stays_in_the_process() {
    let target = Target::bind();
    let mut node = Node::prepare("alone", Transport::Tcp).await;
    let nobody_else = listen("echo", target.address).replace("\"client\"", "");
    node.body = format!(
        "{}{nobody_else}{}",
        peer("server", &node.id, &[]),
        forward("echo").replace("[forward.echo]", "[forward.own]")
    );
    node.start().await;
    assert_eq!(node.status().await["peers"], serde_json::json!([]), "oneself is not a peer");

    let mut client = node.connect("own").await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = target.accept().await;
    assert_eq!(ending(&mut server).await, (b"question".to_vec(), Ending::Eof));
    let long = pattern(0, 1_000_000);
    let (written, read) = tokio::join!(
        async {
            server.write_all(&long).await.unwrap();
            server.shutdown().await
        },
        ending(&mut client)
    );
    written.unwrap();
    assert!(read == (long, Ending::Eof), "the reply of 1 MB to a half-closed client");

    let mut client = node.connect("own").await;
    let server = target.accept().await;
    reset(server);
    assert_eq!(ending(&mut client).await, (vec![], Ending::Reset));
}
