//! How bytes reach a peer: TCP with TLS or Noise and yamux, or QUIC; names resolved on the way.

use std::{error::Error, io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite, FutureExt, TryFutureExt, future, future::BoxFuture};
use libp2p::{
    Transport as _,
    core::{
        ConnectedPoint,
        muxing::{StreamMuxer, StreamMuxerBox},
        transport::Boxed,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version},
    },
    identity::Keypair,
    noise, quic, tcp, yamux,
};

use super::{asking::Asking, dns::Resolving, muxer::BoundedClose, streams::Offers, tls};
use crate::spec::PeerId;

/// From the first packet to a connection that carries streams.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that the far end may have open on one QUIC connection.
const QUIC_STREAMS: u32 = 4_096;

/// Bytes that may lie unread on one QUIC stream, and on one connection: as many streams as the one goes into the other
/// may be left unread before they stop every other stream of the connection (two, with libp2p's defaults). It is also
/// what one stranger's connection can make this node hold, for the limits are agreed on before anybody knows who it is.
const QUIC_STREAM_WINDOW: u32 = 1 << 20;
const QUIC_CONNECTION_WINDOW: u32 = 64 << 20;

/// Streams of one yamux connection, beyond which the stock muxer ends it; see `streams::MAX_LIVE`. The window of every
/// *possible* stream is set aside, so a larger number would leave nothing for windows to grow.
const YAMUX_STREAMS: usize = 3_072;

/// The node's transport. What peers ask for is made known to `offers`.
///
/// # Errors
///
/// Where the key cannot be used for TLS or Noise.
pub fn new(keypair: &Keypair, offers: &Arc<Offers>) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(YAMUX_STREAMS);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(Security::new(keypair)?)
        .multiplex(multiplexer)
        .timeout(SET_UP_TIMEOUT)
        .map(listening_to(offers.clone(), BoundedClose::new));

    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = SET_UP_TIMEOUT;
    config.max_concurrent_stream_limit = QUIC_STREAMS;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    let quic = quic::tokio::Transport::new(config).map(listening_to(offers.clone(), |connection| connection));

    let either = tcp.or_transport(quic).map(|either, _| match either {
        future::Either::Left(connection) | future::Either::Right(connection) => connection,
    });
    Ok(Resolving::new(either.boxed()).boxed())
}

/// Wraps a new connection, so that it is known what its peer asks for.
fn listening_to<C, M>(
    offers: Arc<Offers>,
    wrap: impl Fn(C) -> M + Clone + Send,
) -> impl Fn((PeerId, C), ConnectedPoint) -> (PeerId, StreamMuxerBox) + Clone + Send
where
    M: StreamMuxer<Substream: Send + AsyncRead + AsyncWrite + Unpin + 'static, Error: Error + Send + Sync>
        + Send
        + Unpin
        + 'static,
{
    move |(peer, connection), point| {
        let asking = Asking::new(wrap(connection), offers.clone(), peer, &point);
        (peer, StreamMuxerBox::new(asking))
    }
}

/// TLS 1.3 before Noise: both are offered, and TLS has the faster ciphers.
#[derive(Clone)]
struct Security {
    tls: tls::Config,
    noise: noise::Config,
}

/// The protocol that was agreed on.
#[derive(Clone, Copy)]
enum Agreed {
    Tls(&'static str),
    Noise(&'static str),
}

impl AsRef<str> for Agreed {
    fn as_ref(&self) -> &str {
        match self {
            Agreed::Tls(name) | Agreed::Noise(name) => name,
        }
    }
}

type Secured<C> = (PeerId, future::Either<tls::TlsStream<C>, noise::Output<C>>);

impl Security {
    fn new(keypair: &Keypair) -> io::Result<Self> {
        let tls = tls::Config::new(keypair)?;
        let noise = noise::Config::new(keypair).map_err(io::Error::other)?;
        Ok(Self { tls, noise })
    }
}

impl UpgradeInfo for Security {
    type Info = Agreed;
    type InfoIter = Vec<Agreed>;

    fn protocol_info(&self) -> Vec<Agreed> {
        let tls = self.tls.protocol_info().map(Agreed::Tls);
        let noise = self.noise.protocol_info().map(Agreed::Noise);
        tls.chain(noise).collect()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Security {
    type Output = Secured<C>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Secured<C>>>;

    fn upgrade_inbound(self, socket: C, agreed: Agreed) -> Self::Future {
        match agreed {
            Agreed::Tls(name) => self.tls.upgrade_inbound(socket, name).map_ok(left).boxed(),
            Agreed::Noise(name) => {
                self.noise.upgrade_inbound(socket, name).map_ok(right).map_err(io::Error::other).boxed()
            }
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Security {
    type Output = Secured<C>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Secured<C>>>;

    fn upgrade_outbound(self, socket: C, agreed: Agreed) -> Self::Future {
        match agreed {
            Agreed::Tls(name) => self.tls.upgrade_outbound(socket, name).map_ok(left).boxed(),
            Agreed::Noise(name) => {
                self.noise.upgrade_outbound(socket, name).map_ok(right).map_err(io::Error::other).boxed()
            }
        }
    }
}

fn left<A, B>((peer, stream): (PeerId, A)) -> (PeerId, future::Either<A, B>) {
    (peer, future::Either::Left(stream))
}

fn right<A, B>((peer, stream): (PeerId, B)) -> (PeerId, future::Either<A, B>) {
    (peer, future::Either::Right(stream))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use libp2p::{
        Swarm,
        swarm::{Config, DialError, SwarmEvent, dial_opts::DialOpts, dummy},
    };

    use super::*;

    fn swarm(keypair: &Keypair) -> Swarm<dummy::Behaviour> {
        let transport = new(keypair, &Arc::default()).unwrap();
        Swarm::new(transport, dummy::Behaviour, keypair.public().to_peer_id(), Config::with_tokio_executor())
    }

    #[tokio::test]
    async fn who_answers_in_place_of_the_peer_that_was_meant_is_refused() {
        let (true_peer, meant) = (Keypair::generate_ed25519(), Keypair::generate_ed25519().public().to_peer_id());
        let mut listener = swarm(&true_peer);
        listener.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = listener.select_next_some().await {
                break address;
            }
        };
        let mut dialer = swarm(&Keypair::generate_ed25519());
        dialer.dial(DialOpts::peer_id(meant).addresses(vec![address]).build()).unwrap();
        let refusal = loop {
            tokio::select! {
                event = dialer.select_next_some() => {
                    assert!(!matches!(event, SwarmEvent::ConnectionEstablished { .. }), "anybody will do");
                    if let SwarmEvent::OutgoingConnectionError { error, .. } = event {
                        break error;
                    }
                }
                _ = listener.select_next_some() => {}
            }
        };
        let answered = true_peer.public().to_peer_id();
        assert!(matches!(refusal, DialError::WrongPeerId { obtained, .. } if obtained == answered), "{refusal}");
    }
}
