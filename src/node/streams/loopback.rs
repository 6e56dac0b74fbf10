//! A stream from this node to itself: the swarm refuses to dial the own peer, so both ends stay in the process.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes that may wait each way.
const BUFFER: usize = 64 * 1024;

/// One end of an in-process stream. A [`DuplexStream`] knows only ends; what is carried beside it makes a drop without
/// a shutdown a reset, as on the network.
pub struct Loopback {
    io: DuplexStream,
    shut_down: bool,
    /// Set when this end is dropped without a shutdown.
    was_reset: Arc<AtomicBool>,
    far_end_was_reset: Arc<AtomicBool>,
}

/// A stream's two ends.
pub fn pair() -> (Loopback, Loopback) {
    let (a, b) = tokio::io::duplex(BUFFER);
    let (a_reset, b_reset) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let end = |io, was_reset: &Arc<AtomicBool>, far_end_was_reset: &Arc<AtomicBool>| Loopback {
        io,
        shut_down: false,
        was_reset: was_reset.clone(),
        far_end_was_reset: far_end_was_reset.clone(),
    };
    (end(a, &a_reset, &b_reset), end(b, &b_reset, &a_reset))
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // Before the stream itself is dropped and shows its end.
        self.was_reset.store(!self.shut_down, SeqCst);
    }
}

impl AsyncRead for Loopback {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        if ended && self.far_end_was_reset.load(SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Loopback {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_shutdown_is_an_end_and_the_other_way_stays_open() {
        let (mut a, mut b) = pair();
        a.write_all(b"ping").await.unwrap();
        a.shutdown().await.unwrap();
        let mut heard = Vec::new();
        b.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"ping");
        b.write_all(b"pong").await.unwrap();
        b.shutdown().await.unwrap();
        drop(b);
        heard.clear();
        a.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"pong");
    }

    #[tokio::test]
    async fn a_drop_without_a_shutdown_is_a_reset() {
        let (mut a, mut b) = pair();
        a.write_all(b"half a mess").await.unwrap();
        drop(a);
        let error = b.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
