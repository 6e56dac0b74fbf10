//! Streams that a peer opens over our own muxer and that name a tunnel with their first bytes, as most do: they go to
//! that tunnel without a detour through the swarm.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncBufReadExt, AsyncWriteExt};
use tokio::{sync::mpsc, time::timeout};

use super::{
    connection::Connection,
    connections::Connections,
    live::Live,
    multistream::{agreement, bold_name},
    named::Named,
    offers::{Inbound, Offers},
    stream::Stream,
};
use crate::{spec::StreamProtocol, yamux};

/// How long a peer may take to negotiate a stream that it opened.
pub const INBOUND_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the streams of one connection's peer are received.
pub struct Reception {
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    offers: Arc<Offers>,
    live: Arc<Live>,
}

impl Reception {
    pub fn new(
        connection: Arc<Connection>,
        connections: Arc<Connections>,
        offers: Arc<Offers>,
        live: Arc<Live>,
    ) -> Self {
        Self { connection, connections, offers, live }
    }

    /// Waits for the first words of a stream, and hands it to the tunnel that they name. Gives it back as it came where
    /// that is not for this place to decide: it is meant for the swarm, or not for this peer, or its dialer waits for an
    /// answer. A peer that says nothing for too long is not waited for.
    pub async fn receive(self: Arc<Self>, mut stream: yamux::Stream) -> Option<yamux::Stream> {
        // The swarm doesn't know of it yet, and must not take its connection for idle.
        let live = self.live.enter();
        let words = timeout(INBOUND_TIMEOUT, stream.fill_buf()).await.ok()?.ok()?;
        let named = bold_name(words).and_then(|(name, length)| {
            let protocol = StreamProtocol::try_from_owned(name.to_owned()).ok()?;
            Some((self.admit(&protocol)?, protocol, length))
        });
        let Some((sink, protocol, length)) = named else { return Some(stream) };
        stream.consume_unpin(length);
        if let Err(error) = stream.write_all(&agreement(protocol.as_ref())).await {
            self.lost(&protocol, &error);
            return None;
        }
        self.hand_over(&sink, Stream::direct(Named::agreed(stream), live), &protocol);
        None
    }

    /// Where a stream of `protocol` goes; `None` if the peer may not have it.
    pub fn admit(&self, protocol: &StreamProtocol) -> Option<mpsc::Sender<Inbound>> {
        self.offers.admit(&self.connection.peer, protocol)
    }

    pub fn hand_over(&self, sink: &mpsc::Sender<Inbound>, stream: Stream, protocol: &StreamProtocol) {
        let connection = self.connection.clone();
        let inbound = Inbound { peer: connection.peer, stream, connection: Some(connection) };
        if sink.try_send(inbound).is_err() {
            // The tunnel has gone, or has not looked for a million streams. Dropping the stream resets it.
            tracing::debug!(peer = %self.connection.peer, %protocol, "stream came when its tunnel had gone");
        }
        self.connections.carries_more(&self.connection);
    }

    fn lost(&self, protocol: &StreamProtocol, error: &io::Error) {
        tracing::debug!(peer = %self.connection.peer, %protocol, %error, "stream was lost before it was received");
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::{AsyncReadExt, FutureExt, io::BufReader};
    use libp2p::{core::ConnectedPoint, swarm::ConnectionId};
    use tokio::{io::AsyncReadExt as _, task::JoinSet, time::Instant};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::{
        node::{
            Offering, Taken,
            streams::multistream::{HEADER, line},
        },
        spec::{Allow, Multiaddr, PeerId},
        yamux::{Budget, Config, Connection as Muxed, Role},
    };

    const SSH: StreamProtocol = StreamProtocol::new("/x/ssh");

    /// A peer's end of a connection, and ours, where it may have [`SSH`] and nothing else.
    struct Ends {
        peer: Muxed,
        own: Muxed,
        reception: Arc<Reception>,
        offering: Offering,
        _drivers: JoinSet<yamux::Error>,
    }

    impl Ends {
        fn new() -> Self {
            let (one, other) = tokio::io::duplex(64 * 1024);
            let config = || Config { max_inbound_streams: Box::new(|| 100), budget: Budget::new(0) };
            let (peer, first) = yamux::new(BufReader::new(one.compat()), Role::Dialer, config());
            let (own, second) = yamux::new(BufReader::new(other.compat()), Role::Listener, config());
            let mut drivers = JoinSet::new();
            drivers.spawn(first);
            drivers.spawn(second);
            let (id, address) = (PeerId::random(), Multiaddr::empty());
            let point = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
            let connection = Arc::new(Connection::new(ConnectionId::new_unchecked(1), id, &point));
            let offers = Arc::new(Offers::default());
            let offering = offers.offer(SSH, Allow::Peers([id].into()));
            let reception = Arc::new(Reception::new(connection, Arc::default(), offers, Arc::default()));
            Self { peer, own, reception, offering, _drivers: drivers }
        }

        /// The stream on which the peer says `words`, at both ends, and whatever our end has not received of them.
        async fn say(&mut self, words: &[u8]) -> (yamux::Stream, Option<yamux::Stream>) {
            let mut said = poll_fn(|cx| self.peer.poll_outbound(cx)).await.unwrap();
            said.write_all(words).await.unwrap();
            let heard = poll_fn(|cx| self.own.poll_inbound(cx)).await.unwrap();
            (said, self.reception.clone().receive(heard).await)
        }
    }

    #[tokio::test]
    async fn a_stream_that_names_a_tunnel_goes_to_it_with_all_that_it_carries() {
        let mut ends = Ends::new();
        let (mut said, left) = ends.say(&[&agreement("/x/ssh"), &b"SSH-2.0"[..]].concat()).await;
        assert!(left.is_none());
        assert!(ends.reception.live.is_in_use());
        let mut inbound = match ends.offering.next().await {
            Some(Taken::By(inbound)) => inbound,
            _ => unreachable!("nothing else was asked for"),
        };
        let mut heard = [0; 7];
        inbound.stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"SSH-2.0");
        let mut answer = vec![0; agreement("/x/ssh").len()];
        said.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, agreement("/x/ssh"));
        drop(inbound);
        assert!(!ends.reception.live.is_in_use());
    }

    #[tokio::test]
    async fn what_is_not_for_a_tunnel_comes_back_as_it_came() {
        let mut ends = Ends::new();
        let words = [agreement("/ipfs/id/1.0.0"), HEADER.to_vec(), line("/x/ssh"), b"GET / HTTP".to_vec()];
        for words in words {
            let (_said, left) = ends.say(&words).await;
            let mut heard = vec![0; words.len()];
            left.expect("it is the swarm's").read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, words);
        }
        ends.offering.set_allow(Allow::Peers([].into()));
        let (_said, left) = ends.say(&agreement("/x/ssh")).await;
        assert!(left.is_some(), "who may not have it is told so by the swarm, as if there were none");
        assert!(ends.offering.next().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_not_waited_for() {
        let mut ends = Ends::new();
        let mut silent = poll_fn(|cx| ends.peer.poll_outbound(cx)).await.unwrap();
        let mut answer = [0];
        let answered = async {
            // The far end hears of a stream when something is to be read from it.
            tokio::join!(silent.read(&mut answer), async {
                let heard = poll_fn(|cx| ends.own.poll_inbound(cx)).await.unwrap();
                ends.reception.clone().receive(heard).await
            })
        };
        let begun = Instant::now();
        let (answered, left) = answered.await;
        assert_eq!(answered.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(left.is_none() && begun.elapsed() >= INBOUND_TIMEOUT);
        assert!(!ends.reception.live.is_in_use());
    }
}
