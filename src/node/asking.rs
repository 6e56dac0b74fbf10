//! What peers ask for: the name of the first protocol on each stream that they open.
//!
//! Who may not have a protocol is told what it would be told if there were none, by libp2p's negotiation, which tells
//! nobody else. An operator wants to know: the id of a friend that is missing in `allow` stands in the log then. So the
//! names are read as they pass, below the negotiation and without touching it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::{
    ConnectedPoint,
    muxing::{StreamMuxer, StreamMuxerEvent},
};

use super::streams::{
    Offers,
    multistream::{Name, first_name},
    remote_address,
};
use crate::spec::{Multiaddr, PeerId, StreamProtocol};

/// How many bytes may come before the name, and the name itself: longer ones are of no tunnel that anybody would declare.
const MAX_LISTENED: usize = 1024;

/// Who asks, and who wants to know.
struct Asker {
    offers: Arc<Offers>,
    peer: PeerId,
    address: Multiaddr,
}

/// A connection on which the peer is listened to.
pub struct Asking<M> {
    inner: M,
    asker: Arc<Asker>,
}

impl<M> Asking<M> {
    pub fn new(inner: M, offers: Arc<Offers>, peer: PeerId, point: &ConnectedPoint) -> Self {
        Self { inner, asker: Arc::new(Asker { offers, peer, address: remote_address(point) }) }
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut M>
    where
        M: Unpin,
    {
        Pin::new(&mut self.get_mut().inner)
    }
}

impl<M: StreamMuxer<Substream: Unpin> + Unpin> StreamMuxer for Asking<M> {
    type Substream = AskingStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(self.as_mut().inner().poll_inbound(cx))?;
        let heard = Heard { asker: self.asker.clone(), bytes: Vec::new() };
        Poll::Ready(Ok(AskingStream { inner, heard: Some(heard) }))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(self.inner().poll_outbound(cx))?;
        Poll::Ready(Ok(AskingStream { inner, heard: None }))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        self.inner().poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        self.inner().poll(cx)
    }
}

/// A stream whose first name is listened for. After that, nothing but what it carries.
pub struct AskingStream<S> {
    inner: S,
    /// What has been heard so far; `None` when there is nothing to listen for any more.
    heard: Option<Heard>,
}

struct Heard {
    asker: Arc<Asker>,
    bytes: Vec<u8>,
}

impl Heard {
    /// Takes note of what the peer says. Returns whether there is more to listen for.
    fn listen(&mut self, said: &[u8]) -> bool {
        self.bytes.extend_from_slice(&said[..said.len().min(MAX_LISTENED)]);
        match first_name(&self.bytes) {
            Name::Unfinished => self.bytes.len() < MAX_LISTENED,
            Name::None => false,
            Name::Is(name) => {
                // What is no name of a protocol is nobody's tunnel.
                if let Ok(protocol) = StreamProtocol::try_from_owned(name.to_owned()) {
                    self.asker.offers.asked_for(&self.asker.peer, &protocol, &self.asker.address);
                }
                false
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AskingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.heard.take_if(|heard| !heard.listen(&buffer[..read]));
        Poll::Ready(Ok(read))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.heard.is_none() {
            return Pin::new(&mut self.inner).poll_read_vectored(cx, buffers);
        }
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.poll_read(cx, buffer),
            None => self.poll_read(cx, &mut []),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AskingStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncReadExt;

    use super::*;
    use crate::{node::Taken, spec::Allow};

    const ASKS: &[u8] = b"\x13/multistream/1.0.0\n\x07/x/ssh\nSSH-2.0-OpenSSH";

    #[tokio::test]
    async fn the_tunnel_hears_who_asks_and_the_bytes_pass_unchanged() {
        let offers = Arc::new(Offers::default());
        let mut offering = offers.offer(StreamProtocol::new("/x/ssh"), Allow::Peers([].into()));
        let peer = PeerId::random();
        let asker = Arc::new(Asker { offers, peer, address: "/ip4/127.0.0.1/tcp/1".parse().unwrap() });
        let mut stream = AskingStream { inner: ASKS, heard: Some(Heard { asker, bytes: Vec::new() }) };
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, ASKS);
        assert!(stream.heard.is_none());
        let taken = offering.next().await;
        assert!(matches!(taken, Some(Taken::Refused(refused)) if refused.peer == peer));
    }

    #[test]
    fn nobody_is_listened_to_for_ever() {
        let asker = Arc::new(Asker { offers: Arc::default(), peer: PeerId::random(), address: Multiaddr::empty() });
        let mut heard = Heard { asker, bytes: Vec::new() };
        // A line of 16,000 bytes.
        assert!(heard.listen(&[0x80, 0x7d]));
        let steps = (0..1000).take_while(|_| heard.listen(&[b'x'; 100])).count();
        assert!(steps * 100 <= MAX_LISTENED && heard.bytes.len() < 2 * MAX_LISTENED, "{steps}");
    }
}
