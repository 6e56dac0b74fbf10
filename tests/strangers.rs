//! What strangers can make a node do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{task::Context, time::Duration};

use futures::{AsyncWrite, AsyncWriteExt, FutureExt, future::poll_fn};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::{StreamMuxerBox, StreamMuxerExt},
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
    quic,
};
use support::{Pair, Service, Transport, process::resident_kib};

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
