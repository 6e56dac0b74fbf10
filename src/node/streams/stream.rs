//! A stream between two peers: a byte stream each way that never calls a cut an end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead as _, AsyncWrite as _};
use libp2p::{Stream as Substream, core::upgrade::NegotiationError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::Route,
    live::LiveGuard,
    loopback::{self, Loopback},
};

/// An open stream to a peer, or to this very node.
///
/// Reads end (`Ok` with nothing read) only where the far end closed its side; a reset or a lost connection is
/// [`io::ErrorKind::ConnectionReset`], as far as the muxer beneath can tell. Dropping a stream that was not shut down
/// resets it.
pub struct Stream(Io);

enum Io {
    Remote(Remote),
    Own(Loopback),
}

struct Remote {
    substream: Substream,
    end: EndOfStream,
    shut_down: bool,
    live: LiveGuard,
}

/// What is known when a read finds no more bytes.
#[derive(Clone, Copy, PartialEq)]
enum EndOfStream {
    /// The muxer shows a reset as an end; while our own side is open, an empty write tells the two apart.
    ToBeProven,
    Proven,
    /// Nothing tells a reset from an end (QUIC: a dropped stream sends FIN, and Kubo stops our side as it ends its own).
    Believed,
}

impl Stream {
    pub(super) fn remote(substream: Substream, route: Route, live: LiveGuard) -> Self {
        let end = match route {
            Route::DirectQuic => EndOfStream::Believed,
            Route::DirectTcp | Route::Relayed => EndOfStream::ToBeProven,
        };
        Self(Io::Remote(Remote { substream, end, shut_down: false, live }))
    }

    /// The two ends of a stream from this node to itself.
    pub fn pair() -> (Self, Self) {
        let (near, far) = loopback::pair();
        (Self(Io::Own(near)), Self(Io::Own(far)))
    }

    /// Whether dropping the stream tells the far end anything. The stock yamux is silent about a stream that was shut
    /// down before it was dropped, and answers nothing that still comes for it.
    pub fn can_be_reset(&self) -> bool {
        match &self.0 {
            Io::Remote(remote) => remote.end == EndOfStream::Believed || !remote.shut_down,
            Io::Own(_) => true,
        }
    }

    /// Ready when the connection has ended beneath the stream; for whoever waits for something else than a read.
    pub fn poll_connection_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Io::Remote(remote) => remote.live.poll_connection_ended(cx),
            // Only a process ends all at once.
            Io::Own(_) => Poll::Pending,
        }
    }

    /// Whether `error`, from reading a stream, says that the peer does not offer the protocol to us.
    pub fn is_refusal(error: &io::Error) -> bool {
        let negotiation = error.get_ref().and_then(|inner| inner.downcast_ref::<NegotiationError>());
        matches!(negotiation, Some(NegotiationError::Failed))
    }
}

impl Remote {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end != EndOfStream::ToBeProven || self.shut_down {
            return Poll::Ready(Ok(()));
        }
        // Flushed, so that the empty write can wait for nothing but the peer's window: and a stream whose window is
        // still waited for has not been reset.
        let flushed = ready!(Pin::new(&mut self.substream).poll_flush(cx));
        let open = flushed.and_then(|()| match Pin::new(&mut self.substream).poll_write(cx, &[]) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        });
        if open.is_err() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.end = EndOfStream::Proven;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Own(loopback) => Pin::new(loopback).poll_read(cx, buf),
            Io::Remote(remote) => match Pin::new(&mut remote.substream).poll_read(cx, buf.initialize_unfilled()) {
                Poll::Ready(Ok(0)) if buf.remaining() > 0 => remote.poll_end(cx),
                Poll::Ready(read) => Poll::Ready(read.map(|n| buf.advance(n))),
                Poll::Pending => {
                    ready!(remote.live.poll_connection_ended(cx));
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                }
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_write(cx, bytes),
            Io::Own(loopback) => Pin::new(loopback).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_flush(cx),
            Io::Own(loopback) => Pin::new(loopback).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Remote(remote) => {
                ready!(Pin::new(&mut remote.substream).poll_close(cx))?;
                remote.shut_down = true;
                Poll::Ready(Ok(()))
            }
            Io::Own(loopback) => Pin::new(loopback).poll_shutdown(cx),
        }
    }
}
