//! libp2p's TLS 1.3 (`/tls/1.0.0`, specs/tls/tls.md), with the cipher that this machine is fastest at and a stream made
//! for bulk.
//!
//! What binds a certificate to a peer is libp2p-tls' own: how it is made, parsed and verified. Ours is the configuration
//! of rustls around it, and the stream. Nobody resumes a session here: a connection lives for days, and tickets would
//! only be memory. For the same reason the key exchange is rustls' default, X25519 with ML-KEM before X25519 alone, as Go
//! and rust-libp2p have it: it costs a tenth of a millisecond and 2 KiB once, and what is recorded today stays secret.

mod ciphers;
mod stream;
mod verifier;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    tls::certificate,
};
use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{self, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

pub(super) use self::stream::TlsStream;
use self::{ciphers::Ciphers, verifier::Verifier};
use crate::spec::PeerId;

const ALPN: &[u8] = b"libp2p";

/// Pays what the first use of the cryptographic library costs a process: tens of milliseconds in which it gathers entropy
/// from the CPU's jitter. Blocks for as long, so it belongs on a thread where that holds nobody up.
pub(super) fn warm_up() {
    // A library without entropy fails the first handshake as well, and says so there.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut [0; 32]);
}

/// The upgrade of a connection. Clones share it.
#[derive(Clone)]
pub(super) struct Config {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Config {
    /// Makes a certificate that `keypair` vouches for.
    ///
    /// # Errors
    ///
    /// Where the key cannot sign.
    pub(super) fn new(keypair: &Keypair) -> io::Result<Self> {
        Self::with_ciphers(keypair, Ciphers::for_this_machine())
    }

    fn with_ciphers(keypair: &Keypair, ciphers: Ciphers) -> io::Result<Self> {
        let (certificate, key) = certificate::generate(keypair).map_err(io::Error::other)?;
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(io::Error::other)?;
        Self::with_certificate(CertifiedKey::new(vec![certificate], key), ciphers)
    }

    fn with_certificate(own: CertifiedKey, ciphers: Ciphers) -> io::Result<Self> {
        let provider = Arc::new(CryptoProvider { cipher_suites: ciphers.suites(), ..aws_lc_rs::default_provider() });
        let own = Arc::new(SingleCertAndKey::from(own));
        let verifier = Arc::new(Verifier);

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(own.clone());
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        // The specification keeps the name for versions to come.
        client.enable_sni = false;

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(own);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.ignore_client_order = ciphers.come_first_here();

        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// # Errors
    ///
    /// Where the handshake fails, or the peer can't prove who it is.
    async fn accept<C: AsyncRead + AsyncWrite + Unpin>(self, socket: C) -> io::Result<(PeerId, TlsStream<C>)> {
        let connection = ServerConnection::new(self.server).map_err(io::Error::other)?;
        handshake(socket, connection.into()).await
    }

    /// # Errors
    ///
    /// Where the handshake fails, or the peer can't prove who it is. Whether it is the one that was meant, the swarm asks.
    async fn connect<C: AsyncRead + AsyncWrite + Unpin>(self, socket: C) -> io::Result<(PeerId, TlsStream<C>)> {
        // Never sent: an address is no server name.
        let name = ServerName::IpAddress(pki_types::IpAddr::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let connection = ClientConnection::new(self.client, name).map_err(io::Error::other)?;
        handshake(socket, connection.into()).await
    }
}

async fn handshake<C: AsyncRead + AsyncWrite + Unpin>(
    socket: C,
    connection: Connection,
) -> io::Result<(PeerId, TlsStream<C>)> {
    let stream = TlsStream::handshake(socket, connection).await?;
    let Some([certificate]) = stream.peer_certificates() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake ended without a certificate"));
    };
    let peer = certificate::parse(certificate).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((peer.peer_id(), stream))
}

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/tls/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Config {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        self.accept(socket).boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Config {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        self.connect(socket).boxed()
    }
}

#[cfg(test)]
mod tests;
