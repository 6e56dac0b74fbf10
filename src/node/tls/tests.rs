//! Against libp2p-tls' own upgrade, and what must hold of the stream.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _,
    future::{join, join4, poll_fn},
};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    identity::Keypair,
    tls::{self as stock, certificate},
};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, crypto::aws_lc_rs, sign::CertifiedKey};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::{Ciphers, Config, TlsStream};

type Pipe = Compat<DuplexStream>;

fn pipe(size: usize) -> (Pipe, Pipe) {
    let (near, far) = tokio::io::duplex(size);
    (near.compat(), far.compat())
}

fn config(ciphers: Ciphers) -> Config {
    Config::with_ciphers(&Keypair::generate_ed25519(), ciphers).unwrap()
}

/// Our dialer and our listener over `near` and `far`.
async fn connected<N, F>(near: N, far: F) -> (TlsStream<N>, TlsStream<F>)
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let (dialed, accepted) = join(config(Ciphers::Aes).connect(near), config(Ciphers::Aes).accept(far)).await;
    (dialed.unwrap().1, accepted.unwrap().1)
}

/// A question, its answer and an end, each way.
async fn talk(near: &mut (impl AsyncRead + AsyncWrite + Unpin), far: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut said = [0; 5];
    near.write_all(b"hello").await.unwrap();
    near.flush().await.unwrap();
    far.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
    far.write_all(b"world").await.unwrap();
    far.close().await.unwrap();
    near.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"world");
    assert_eq!(near.read(&mut said).await.unwrap(), 0);
    near.close().await.unwrap();
    assert_eq!(far.read(&mut said).await.unwrap(), 0);
}

mod ciphers;
mod peers;
mod streams;
