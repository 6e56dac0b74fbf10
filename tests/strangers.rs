//! What strangers can make a node do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{io, task::Context, time::Duration};

use futures::{AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, future::poll_fn};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::{StreamMuxerBox, StreamMuxerExt},
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
    quic,
};
use p2ptun::yamux;
use support::{Pair, Puppet, Service, Transport, forward, listen, process::resident_kib, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_can_not_fill_the_memory_over_quic() {
    let echo = Service::echo();
    let pair = Pair::echo(Transport::Quic, echo.address).await;
    let address: Multiaddr = pair.server.addresses().await[0].parse().unwrap();
    let before = resident_kib(pair.server.pid()) / 1024;

    let mut config = quic::Config::new(&Keypair::generate_ed25519());
    config.max_concurrent_stream_limit = 4096;
    let mut transport = quic::tokio::Transport::new(config).map(|(peer, c), _| (peer, StreamMuxerBox::new(c))).boxed();
    let options = DialOpts { role: libp2p::core::Endpoint::Dialer, port_use: PortUse::New };
    let (_, mut connection) = transport.dial(address, options).unwrap().await.unwrap();
    let mut streams = Vec::new();
    let flooding = async {
        for n in 0..1000 {
            let Ok(mut stream) = poll_fn(|cx: &mut Context<'_>| connection.poll_outbound_unpin(cx)).await else {
                break;
            };
            if n < 300 {
                // Holds a place among those that negotiate.
                let _ = stream.write_all(b"\x13").await;
            } else {
                let chunk = vec![0; 1 << 20];
                for _ in 0..4 {
                    let mut at = 0;
                    while at < chunk.len() {
                        match tokio::time::timeout(
                            Duration::from_millis(300),
                            poll_fn(|cx| std::pin::Pin::new(&mut stream).poll_write(cx, &chunk[at..])),
                        )
                        .await
                        {
                            Ok(Ok(n)) => at += n,
                            _ => break,
                        }
                    }
                }
            }
            streams.push(stream);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(25), flooding).await;
    let after = resident_kib(pair.server.pid()) / 1024;
    let _ = connection.close().now_or_never();
    assert!(after < before + 100, "{before} MiB before, {after} MiB with one stranger's connection");
}

/// Streams that a node lets a peer have to which nothing is offered.
const FEW: usize = 16;

/// What a stream of libp2p begins with, from either end.
const HELLO: &[u8] = b"\x13/multistream/1.0.0\n";

const PING: &[u8] = b"\x11/ipfs/ping/1.0.0\n";

/// Says `words`, and hears the same.
async fn is_echoed(stream: &mut yamux::Stream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    let mut heard = vec![0; words.len()];
    soon("an answer", stream.read_exact(&mut heard)).await?;
    assert_eq!(heard, words);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_has_few_streams_until_it_is_allowed_something_on_the_connection_that_it_has() {
    let echo = Service::echo();
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    let puppet = Puppet::new();
    let mut connection = puppet.dial(&pair.server.addresses().await[0]).await;
    let mut few = Vec::new();
    for _ in 0..FEW {
        let mut stream = connection.open().await;
        is_echoed(&mut stream, HELLO).await.unwrap();
        few.push(stream);
    }
    let mut excess = connection.open().await;
    assert_eq!(is_echoed(&mut excess, HELLO).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    is_echoed(&mut few[0], PING).await.unwrap();
    is_echoed(&mut few[0], &[7; 32]).await.unwrap();

    pair.server.edit(|body| body.replace("allow = [\"client\"]", &format!("allow = [\"client\", \"{}\"]", puppet.id)));
    pair.server.reload_applied().await;
    let mut many = Vec::new();
    for _ in 0..20 * FEW {
        let mut stream = connection.open_for("/x/echo").await;
        stream.write_all(b"hello").await.unwrap();
        many.push(stream);
    }
    for stream in &mut many {
        let mut heard = [0; 5];
        soon("an echo", stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"hello");
    }
    assert_eq!(pair.server.tunnel("echo").await["streams"], many.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_may_no_longer_come_is_left_the_streams_that_are_no_tunnels_and_is_a_stranger_to_more() {
    let (echo, puppet) = (Service::echo(), Puppet::new());
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let too = format!("allow = [\"client\", \"{}\"]", puppet.id);
    let listens = listen("echo", echo.address).replace("allow = [\"client\"]", &too);
    pair.launch(&listens, &forward("echo")).await;
    let mut connection = puppet.dial(&pair.server.addresses().await[0]).await;
    let mut tunnelled = connection.open_for("/x/echo").await;
    tunnelled.write_all(b"hello").await.unwrap();
    soon("an echo", tunnelled.read_exact(&mut [0; 5])).await.unwrap();
    let mut live = Vec::new();
    for _ in 0..3 * FEW {
        let mut stream = connection.open().await;
        is_echoed(&mut stream, HELLO).await.unwrap();
        live.push(stream);
    }

    pair.server.edit(|body| body.replace(&too, "allow = [\"client\"]"));
    pair.server.reload_applied().await;
    let cut = soon("the tunnel's stream is cut", tunnelled.read(&mut [0])).await;
    assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    drop(tunnelled);
    let mut excess = connection.open().await;
    assert_eq!(is_echoed(&mut excess, HELLO).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    for stream in &mut live {
        // One that is agreed on for pings would take the place of another.
        stream.write_all(b"\x06/none\n").await.unwrap();
        let mut heard = [0; 4];
        soon("an answer", stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"\x03na\n");
    }

    // As few as a stranger may have, less one.
    live.truncate(FEW - 1);
    let mut last = connection.open().await;
    is_echoed(&mut last, HELLO).await.unwrap();
    let mut excess = connection.open().await;
    assert_eq!(is_echoed(&mut excess, HELLO).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
