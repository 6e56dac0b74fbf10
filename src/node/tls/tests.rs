//! Against libp2p-tls' own upgrade, and what must hold of the stream.

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    identity::Keypair,
    tls as stock,
};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::Config;

type Pipe = Compat<DuplexStream>;

fn pipe(size: usize) -> (Pipe, Pipe) {
    let (near, far) = tokio::io::duplex(size);
    (near.compat(), far.compat())
}

#[tokio::test]
async fn a_stock_listener_takes_our_dialer() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (near, far) = pipe(1 << 16);
    let (dialed, accepted) = join(
        Config::new(&ours).unwrap().connect(near),
        stock::Config::new(&theirs).unwrap().upgrade_inbound(far, "/tls/1.0.0"),
    )
    .await;
    let ((peer, mut near), (own, mut far)) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!((peer, own), (theirs.public().to_peer_id(), ours.public().to_peer_id()));
    talk(&mut near, &mut far).await;
}

#[tokio::test]
async fn our_listener_takes_a_stock_dialer() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (near, far) = pipe(1 << 16);
    let (accepted, dialed) = join(
        Config::new(&ours).unwrap().accept(near),
        stock::Config::new(&theirs).unwrap().upgrade_outbound(far, "/tls/1.0.0"),
    )
    .await;
    let ((peer, mut near), (own, mut far)) = (accepted.unwrap(), dialed.unwrap());
    assert_eq!((peer, own), (theirs.public().to_peer_id(), ours.public().to_peer_id()));
    talk(&mut near, &mut far).await;
}

/// A question, its answer and an end, each way.
async fn talk(
    near: &mut (impl futures::AsyncRead + futures::AsyncWrite + Unpin),
    far: &mut (impl futures::AsyncRead + futures::AsyncWrite + Unpin),
) {
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
