//! What becomes of what was said while the path to a peer stands still.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{io, time::Duration};

use support::{
    Pair, Road, Service, Transport, eventually, forward, listen, peer,
    process::connections_to,
    road::port_of,
    soon,
    traffic::{Ending, ending, receive, reset, send},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// More than the kernel takes on a connection that nobody reads, and less than would make the muxer take less of each.
const STREAMS: usize = 100;
const LAST_WORDS: u64 = 50_000;

/// libp2p drops a connection of which nobody has had need for ten seconds.
const UNNEEDED_FOR: Duration = Duration::from_secs(12);

#[tokio::test]
async fn what_streams_said_last_arrives_though_nobody_needs_their_connection_any_more() {
    let (heard, mut hearing) = mpsc::channel(STREAMS);
    let service = Service::new(move |mut client| {
        let heard = heard.clone();
        async move {
            client.shutdown().await?;
            let all = async {
                receive(&mut client, 0, LAST_WORDS).await?;
                match client.read(&mut [0]).await? {
                    0 => Ok(()),
                    _ => Err(io::Error::other("more than was said")),
                }
            };
            // Who connects to be answered says nothing.
            let _ = heard.send(all.await).await;
            Ok(())
        }
    });
    let mut pair = Pair::prepare(Transport::Tcp).await;
    // One connection has to hold all.
    pair.client.variables.push(("TOKIO_WORKER_THREADS", "1".to_owned()));
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("deaf", service.address));
    pair.server.start().await;
    let road = Road::to(&pair.server.addresses().await[0]).await;
    pair.client.body = format!("{}{}", peer("server", &pair.server.id, &[road.entrance()]), forward("deaf"));
    pair.client.start().await;

    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let mut client = pair.client.connect("deaf").await;
        assert_eq!(ending(&mut client).await, (Vec::new(), Ending::Eof));
        clients.push(client);
    }
    road.stall();
    let stalled = Instant::now();
    for client in &mut clients {
        send(client, 0, LAST_WORDS).await.unwrap();
        client.shutdown().await.unwrap();
    }
    pair.client.wait_for_tunnel("deaf", "all has been said", |tunnel| tunnel["streams"] == 0).await;
    within(Duration::from_secs(10), "another connection has taken the place of the one that stands still", async {
        loop {
            let mut client = pair.client.connect("deaf").await;
            if let Ok((_, Ending::Eof)) = timeout(Duration::from_secs(1), ending(&mut client)).await {
                return;
            }
            reset(client);
        }
    })
    .await;
    pair.client.wait_for_tunnel("deaf", "nobody needs the old one", |tunnel| tunnel["streams"] == 0).await;
    sleep(UNNEEDED_FOR).await;
    // The muxer takes the far end for dead after 25 seconds.
    assert!(stalled.elapsed() < Duration::from_secs(22), "this machine is too slow for this test");
    road.go_on();
    let mut whole = 0;
    while whole < STREAMS {
        match soon("every stream is heard to its end", hearing.recv()).await.unwrap() {
            Ok(()) => whole += 1,
            // Of those who only connected, too.
            Err(error) => eprintln!("not heard to its end: {error}"),
        }
    }
    let port = port_of(&road.entrance());
    eventually("the old connection goes when it has sent all", async || {
        (connections_to(pair.client.pid(), port) == 1).then_some(())
    })
    .await;
}
