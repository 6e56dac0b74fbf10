//! A peer without a node: the test makes each of its steps.

use std::{future::poll_fn, time::Duration};

use futures::{AsyncRead, AsyncWrite, io::BufReader};
use libp2p::{
    Multiaddr, PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    multiaddr::Protocol,
    noise,
};
use multistream_select::{Negotiated, Version, dialer_select_proto, listener_select_proto};
use p2ptun::yamux::{self, Budget, Role};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::soon;

/// Who it is. Its connections are over TCP, with Noise, and with the muxer of p2ptun, for that of others hides resets.
pub struct Puppet {
    pub id: PeerId,
    noise: noise::Config,
}

/// One connection. What its peer opens is neither taken nor refused.
pub struct PuppetConnection {
    yamux: yamux::Connection,
    _driver: JoinSet<yamux::Error>,
}

impl Puppet {
    pub fn new() -> Self {
        let key = Keypair::generate_ed25519();
        Self { id: key.public().to_peer_id(), noise: noise::Config::new(&key).unwrap() }
    }

    /// Connects to a node at `address`.
    pub async fn dial(&self, address: &str) -> PuppetConnection {
        let address: Multiaddr = address.parse().unwrap();
        let parts: Vec<_> = address.iter().collect();
        let [Protocol::Ip4(ip), Protocol::Tcp(port)] = parts[..] else { panic!("{address} is not over TCP") };
        let socket = soon("a node accepts", TcpStream::connect((ip, port))).await.unwrap().compat();
        soon("a connection is set up", async {
            let noise = self.noise.clone();
            let (name, socket) = dialer_select_proto(socket, noise.protocol_info(), Version::V1).await.unwrap();
            let (_, io) = noise.upgrade_outbound(socket, name).await.unwrap();
            let (_, io) = dialer_select_proto(io, [yamux::PROTOCOL], Version::V1).await.unwrap();
            PuppetConnection::new(io, Role::Dialer)
        })
        .await
    }

    /// The next node that connects.
    pub async fn accept(&self, listener: &TcpListener) -> PuppetConnection {
        let socket = soon("a node dials", listener.accept()).await.unwrap().0.compat();
        soon("a connection is set up", async {
            let noise = self.noise.clone();
            let (name, socket) = listener_select_proto(socket, noise.protocol_info()).await.unwrap();
            let (_, io) = noise.upgrade_inbound(socket, name).await.unwrap();
            let (_, io) = listener_select_proto(io, [yamux::PROTOCOL]).await.unwrap();
            PuppetConnection::new(io, Role::Listener)
        })
        .await
    }
}

impl PuppetConnection {
    fn new(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, role: Role) -> Self {
        let config = yamux::Config { max_inbound_streams: Box::new(|| usize::MAX), budget: Budget::new(0) };
        let (yamux, driver) = yamux::new(BufReader::new(io), role, config);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Self { yamux, _driver: tasks }
    }

    /// Opens a stream, on which nothing has been said yet.
    pub async fn open(&mut self) -> yamux::Stream {
        soon("a stream opens", poll_fn(|cx| self.yamux.poll_outbound(cx))).await.unwrap()
    }

    /// Opens a stream of `protocol`, to which the peer agrees.
    pub async fn open_for(&mut self, protocol: &'static str) -> Negotiated<yamux::Stream> {
        let stream = self.open().await;
        soon("the peer agrees", dialer_select_proto(stream, [protocol], Version::V1)).await.unwrap().1
    }

    /// Why the connection ends, if it does before `limit`.
    pub async fn ended_within(&mut self, limit: Duration) -> Option<yamux::Error> {
        tokio::time::timeout(limit, poll_fn(|cx| self.yamux.poll_ended(cx))).await.ok()
    }
}
