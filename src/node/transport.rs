//! How bytes reach a peer: TCP with TLS or Noise and yamux, or QUIC; names resolved on the way.

mod socket;

use std::{error::Error, io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite, FutureExt, TryFutureExt, future, future::BoxFuture, io::BufReader};
use libp2p::{
    Transport as _,
    core::{
        ConnectedPoint, Endpoint,
        muxing::{StreamMuxer, StreamMuxerBox},
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version},
    },
    identity::Keypair,
    noise, quic, tcp,
};
use multistream_select::{dialer_select_proto, listener_select_proto};

use self::socket::Socket;
use super::{
    asking::Asking,
    dns::Resolving,
    muxer::Muxer,
    streams::{Muxers, Offers},
    tls,
};
use crate::{
    spec::PeerId,
    yamux::{self, Budget, Role},
};

/// From the first packet to a connection that carries streams.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that the far end may have open on one QUIC connection.
const QUIC_STREAMS: u32 = 4_096;

/// Bytes that may lie unread on one QUIC stream, and on one connection: as many streams as the one goes into the other
/// may be left unread before they stop every other stream of the connection (two, with libp2p's defaults). It is also
/// what one stranger's connection can make this node hold, for the limits are agreed on before anybody knows who it is.
const QUIC_STREAM_WINDOW: u32 = 1 << 20;
const QUIC_CONNECTION_WINDOW: u32 = 64 << 20;

/// Streams that the far end may have open on one TCP connection, and a far end to which nothing is offered: it may say
/// who it is and be told that there is nothing.
const MAX_STREAMS: usize = 16_384;
const MAX_STREAMS_OF_A_STRANGER: usize = 16;

/// How far the windows of all TCP connections, and of one, may grow, in bytes.
const WINDOWS: usize = 1 << 30;
const WINDOWS_OF_A_CONNECTION: usize = 128 << 20;

/// Bytes read at once of a connection under Noise: its largest message.
const NOISE_READ: usize = 64 << 10;

/// The node's transport. What peers ask for is made known to `offers`, and our own muxers to
/// `muxers`.
///
/// # Errors
///
/// Where the key cannot be used for TLS or Noise.
pub fn new(
    keypair: &Keypair,
    offers: &Arc<Offers>,
    muxers: &Arc<Muxers>,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let security = Security::new(keypair)?;
    let budget = Budget::new(WINDOWS);
    let (asked, introduced) = (offers.clone(), muxers.clone());
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |socket, point| set_up(Socket::new(socket), point, security, asked, introduced, budget).boxed());
    let tcp = TransportTimeout::new(tcp, SET_UP_TIMEOUT).map(listening_to(offers.clone()));

    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = SET_UP_TIMEOUT;
    config.max_concurrent_stream_limit = QUIC_STREAMS;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    let quic = quic::tokio::Transport::new(config).map(listening_to(offers.clone()));

    let either = tcp.or_transport(quic).map(|either, _| match either {
        future::Either::Left(connection) | future::Either::Right(connection) => connection,
    });
    Ok(Resolving::new(either.boxed()).boxed())
}

/// Makes a connection that carries streams of a new socket.
async fn set_up<C>(
    socket: C,
    point: ConnectedPoint,
    security: Security,
    offers: Arc<Offers>,
    muxers: Arc<Muxers>,
    budget: Arc<Budget>,
) -> io::Result<(PeerId, Muxer)>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // In a hole punch, one of two dialers takes the listener's part.
    let dials = matches!(point, ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. });
    let (role, (peer, io)) = match dials {
        true => {
            let protocols = security.protocol_info();
            let agreed = dialer_select_proto(socket, protocols, Version::V1Lazy).await;
            let (agreed, socket) = agreed.map_err(io::Error::other)?;
            (Role::Dialer, security.upgrade_outbound(socket, agreed).await?)
        }
        false => {
            let agreed = listener_select_proto(socket, security.protocol_info()).await;
            let (agreed, socket) = agreed.map_err(io::Error::other)?;
            (Role::Listener, security.upgrade_inbound(socket, agreed).await?)
        }
    };
    // Asked for each stream, so that who has just been allowed something need not come anew.
    let max_inbound_streams = move || match offers.welcomes(&peer) {
        true => MAX_STREAMS,
        false => MAX_STREAMS_OF_A_STRANGER,
    };
    let budget = budget.part(WINDOWS_OF_A_CONNECTION);
    let config = yamux::Config { max_inbound_streams: Box::new(max_inbound_streams), budget };
    Ok((peer, Muxer::begin(io, role, config, muxers).await?))
}

/// Wraps a new connection, so that it is known what its peer asks for.
fn listening_to<M>(
    offers: Arc<Offers>,
) -> impl Fn((PeerId, M), ConnectedPoint) -> (PeerId, StreamMuxerBox) + Clone + Send
where
    M: StreamMuxer<Substream: Send + AsyncRead + AsyncWrite + Unpin + 'static, Error: Error + Send + Sync>
        + Send
        + Unpin
        + 'static,
{
    move |(peer, connection), point| {
        let asking = Asking::new(connection, offers.clone(), peer, &point);
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

type Secured<C> = (PeerId, future::Either<tls::TlsStream<C>, BufReader<noise::Output<C>>>);

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

fn right<A, B: AsyncRead>((peer, stream): (PeerId, B)) -> (PeerId, future::Either<A, BufReader<B>>) {
    (peer, future::Either::Right(BufReader::with_capacity(NOISE_READ, stream)))
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
        let transport = new(keypair, &Arc::default(), &Arc::default()).unwrap();
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
