//! A muxer that ends when it is told to.
//!
//! Closing a connection means flushing it first. Towards a peer that takes nothing any more, a frozen one or one behind
//! a dead link, that takes for ever, and for as long the streams of the connection would hang.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::{Sleep, sleep};

/// How long what has been written may take to leave, once the connection is to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct BoundedClose<M> {
    inner: M,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> BoundedClose<M> {
    pub fn new(inner: M) -> Self {
        Self { inner, deadline: None }
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut M>
    where
        M: Unpin,
    {
        Pin::new(&mut self.get_mut().inner)
    }
}

impl<M: StreamMuxer<Error: Into<io::Error>> + Unpin> StreamMuxer for BoundedClose<M> {
    type Substream = M::Substream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<M::Substream>> {
        self.inner().poll_inbound(cx).map_err(Into::into)
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<M::Substream>> {
        self.inner().poll_outbound(cx).map_err(Into::into)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = self.as_mut().inner().poll_close(cx) {
            return Poll::Ready(closed.map_err(Into::into));
        }
        let deadline = self.get_mut().deadline.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        deadline.poll_unpin(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.inner().poll(cx).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::muxing::StreamMuxerExt;
    use tokio::{io::DuplexStream, time::Instant};

    use super::*;

    /// A connection to a peer that takes nothing.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = tokio_util::compat::Compat<DuplexStream>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_can_not_be_flushed_ends_all_the_same() {
        let begun = Instant::now();
        let error = BoundedClose::new(Stuck).close().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), CLOSE_TIMEOUT);
    }
}
