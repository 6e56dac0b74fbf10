//! A stream between two peers: a byte stream each way that never calls a cut an end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead as _, AsyncWrite as _};
use libp2p::{Stream as Substream, core::upgrade::NegotiationError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::{
    buffered::Buffered,
    live::LiveGuard,
    loopback::{self, Loopback},
    named::{NameError, Named},
};
use crate::yamux::CopyError;

/// An open stream to a peer, or to this very node.
///
/// Reads end (`Ok` with nothing read) only where the far end closed its side; a reset or a lost connection is an error.
/// Dropping a stream that was not shut down resets it. Over QUIC, libp2p shows a reset as an end, and sends an end for
/// it.
pub struct Stream(Io);

enum Io {
    /// Over our own muxer, without the swarm.
    Direct(Direct),
    /// Over libp2p's QUIC, or by negotiation through the swarm.
    Remote(Box<Remote>),
    Own(Buffered<Loopback>),
}

struct Direct {
    stream: Named,
    live: LiveGuard,
}

struct Remote {
    substream: Buffered<Compat<Substream>>,
    live: LiveGuard,
}

impl Stream {
    pub(super) fn remote(substream: Substream, live: LiveGuard) -> Self {
        Self(Io::Remote(Box::new(Remote { substream: Buffered::new(substream.compat()), live: live.carrying() })))
    }

    pub(super) fn direct(stream: Named, live: LiveGuard) -> Self {
        Self(Io::Direct(Direct { stream, live: live.carrying() }))
    }

    /// The two ends of a stream from this node to itself.
    pub fn pair() -> (Self, Self) {
        let (near, far) = loopback::pair();
        (Self(Io::Own(Buffered::new(near))), Self(Io::Own(Buffered::new(far))))
    }

    /// Sends what `from` says. Ready with the number of bytes that are on their way, 0 where `from` has said all. No
    /// memory is held for bytes that have not come.
    ///
    /// # Errors
    ///
    /// Where either of the two breaks.
    pub fn poll_copy_from<R>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<Result<usize, CopyError>>
    where
        R: AsyncRead + Unpin,
    {
        match &mut self.0 {
            Io::Direct(direct) => direct.stream.poll_copy_from(cx, from),
            Io::Remote(remote) => remote.substream.poll_copy_from(cx, from),
            Io::Own(loopback) => loopback.poll_copy_from(cx, from),
        }
    }

    /// Whether the far end takes nothing more for now, so that nothing is copied to it.
    pub fn is_held_up(&self) -> bool {
        match &self.0 {
            Io::Direct(direct) => direct.stream.is_held_up(),
            Io::Remote(remote) => remote.substream.is_held_up(),
            Io::Own(loopback) => loopback.is_held_up(),
        }
    }

    /// Says to `to` what the far end has sent. Ready with the number of bytes that `to` took, 0 where the far end has said
    /// all.
    ///
    /// # Errors
    ///
    /// Where either of the two breaks.
    pub fn poll_copy_to<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<usize, CopyError>>
    where
        W: AsyncWrite + Unpin,
    {
        match &mut self.0 {
            Io::Direct(direct) => direct.stream.poll_copy_to(cx, to),
            Io::Remote(remote) => remote.substream.poll_copy_to(cx, to),
            Io::Own(loopback) => loopback.poll_copy_to(cx, to),
        }
    }

    /// Ready when the connection has ended beneath the stream; for whoever waits for something else than a read.
    pub fn poll_connection_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Io::Direct(direct) => direct.live.poll_connection_ended(cx),
            Io::Remote(remote) => remote.live.poll_connection_ended(cx),
            // Only a process ends all at once.
            Io::Own(_) => Poll::Pending,
        }
    }

    /// Whether `error`, from reading a stream, says that the peer does not offer the protocol to us.
    pub fn is_refusal(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| {
            inner.is::<NameError>() || matches!(inner.downcast_ref(), Some(NegotiationError::Failed))
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Own(loopback) => Pin::new(loopback).poll_read(cx, buf),
            Io::Direct(direct) => {
                let read = ready!(Pin::new(&mut direct.stream).poll_read(cx, buf.initialize_unfilled()));
                Poll::Ready(read.map(|n| buf.advance(n)))
            }
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Io::Direct(direct) => Pin::new(&mut direct.stream).poll_write(cx, bytes),
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_write(cx, bytes),
            Io::Own(loopback) => Pin::new(loopback).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Direct(direct) => Pin::new(&mut direct.stream).poll_flush(cx),
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_flush(cx),
            Io::Own(loopback) => Pin::new(loopback).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Io::Direct(direct) => Pin::new(&mut direct.stream).poll_close(cx),
            Io::Remote(remote) => Pin::new(&mut remote.substream).poll_shutdown(cx),
            Io::Own(loopback) => Pin::new(loopback).poll_shutdown(cx),
        }
    }
}
