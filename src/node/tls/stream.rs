//! The stream of a connection under TLS: large reads from the socket, large writes to it, and little held while idle.

use std::{
    cell::Cell,
    io::{self, BufRead as _, IoSlice, Write},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncBufRead, AsyncRead, AsyncWrite, future::poll_fn};
use rustls::{Connection, pki_types::CertificateDer};

/// Bytes asked of the socket at once: some records. rustls by itself asks for 4 KiB.
const READ: usize = 128 << 10;

/// Bytes that may wait for more of them, so that the socket is written to seldom.
const WRITE: usize = 128 << 10;

/// Bytes that a connection holds at most for a peer that takes nothing: enough above [`WRITE`] that a frame of a muxer
/// is not cut, for each cut makes a short record.
const WRITE_LIMIT: usize = 256 << 10;

/// Bytes of payload in a full record, and what a record adds to them: header, content type and tag.
const RECORD: usize = 16 << 10;
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// A byte stream under TLS. What is written goes out once there is much of it, or when it is flushed.
///
/// Reads end (`Ok` with nothing read) only where the peer said so by close_notify; a connection that just ends is
/// [`io::ErrorKind::UnexpectedEof`]. What arrived whole before an end or an error is read first.
pub struct TlsStream<C> {
    socket: C,
    tls: Connection,
    received: Received,
    /// Bytes that were encrypted and not sent.
    unsent: usize,
    closed: bool,
    failure: Option<rustls::Error>,
}

/// What came from the socket and wasn't decrypted yet. Holds no memory once all of it was.
#[derive(Default)]
struct Received {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

thread_local! {
    /// A buffer that no connection needs now, so that none is cleared for each wake-up.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Received {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads from `socket` in place of what was taken. `false` where it ended.
    fn poll_fill(&mut self, socket: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.buffer.is_empty() {
            self.buffer = SPARE.take();
            self.buffer.resize(READ, 0);
        }
        (self.start, self.end) = (0, 0);
        let polled = Pin::new(socket).poll_read(cx, &mut self.buffer);
        if let Poll::Ready(Ok(read @ 1..)) = polled {
            self.end = read;
            return Poll::Ready(Ok(true));
        }
        SPARE.set(mem::take(&mut self.buffer));
        polled.map_ok(|_| false)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> TlsStream<C> {
    pub(super) async fn handshake(socket: C, mut tls: Connection) -> io::Result<Self> {
        tls.set_buffer_limit(Some(WRITE_LIMIT));
        let mut stream = Self { socket, tls, received: Received::default(), unsent: 0, closed: false, failure: None };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            if let Some(failure) = self.failure() {
                return Poll::Ready(Err(failure));
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.poll_receive(cx))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Writes all that is to be sent to the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sink = Sink { socket: &mut self.socket, cx };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => self.unsent = self.unsent.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.unsent = 0;
        Poll::Ready(Ok(()))
    }

    /// Hands rustls more of what was received, and reads from the socket if nothing is left. `false` where it ended.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let goes_on = !self.received.is_empty() || ready!(self.received.poll_fill(&mut self.socket, cx))?;
        let mut source = &self.received.buffer[self.received.start..self.received.end];
        self.received.start += self.tls.read_tls(&mut source)?;
        if let Err(error) = self.tls.process_new_packets() {
            self.failure = Some(error);
            // The alert that says why, as far as the socket takes it at once.
            let _ = self.poll_send(cx);
            let _ = Pin::new(&mut self.socket).poll_flush(cx);
        }
        Poll::Ready(Ok(goes_on))
    }

    fn failure(&self) -> Option<io::Error> {
        let failure = self.failure.as_ref()?;
        Some(io::Error::new(io::ErrorKind::InvalidData, failure.clone()))
    }
}

/// The socket as rustls writes to it.
struct Sink<'a, 'b, C> {
    socket: &'a mut C,
    cx: &'a mut Context<'b>,
}

impl<C: AsyncWrite + Unpin> Write for Sink<'_, '_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        loop {
            match this.tls.reader().fill_buf() {
                Ok(_) => return Poll::Ready(this.tls.reader().into_first_chunk()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
            if let Some(failure) = this.failure() {
                return Poll::Ready(Err(failure));
            }
            ready!(this.poll_receive(cx))?;
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().tls.reader().consume(amount);
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let taken = chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&chunk[..taken]);
        self.consume(taken);
        Poll::Ready(Ok(taken))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.closed || this.failure.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            if this.unsent < WRITE {
                let taken = this.tls.writer().write_vectored(slices)?;
                if taken > 0 {
                    this.unsent += taken + RECORD_OVERHEAD * taken.div_ceil(RECORD);
                    return Poll::Ready(Ok(taken));
                }
            }
            ready!(this.poll_send(cx))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed && this.failure.is_none() {
            // A write of nothing makes rustls send the answer to new keys of the peer, which it holds back otherwise.
            let _ = this.tls.writer().write(&[])?;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.closed = true;
        this.tls.send_close_notify();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_close(cx)
    }
}

#[cfg(test)]
mod probes {
    use super::*;

    impl<C> TlsStream<C> {
        pub fn cipher(&self) -> Option<rustls::CipherSuite> {
            Some(self.tls.negotiated_cipher_suite()?.suite())
        }

        pub fn handshake_kind(&self) -> Option<rustls::HandshakeKind> {
            self.tls.handshake_kind()
        }

        pub fn key_exchange(&self) -> Option<rustls::NamedGroup> {
            Some(self.tls.negotiated_key_exchange_group()?.name())
        }

        pub fn refresh_keys(&mut self) {
            self.tls.refresh_traffic_keys().unwrap();
        }

        pub fn socket_mut(&mut self) -> &mut C {
            &mut self.socket
        }

        pub fn unsent(&self) -> usize {
            self.unsent
        }

        pub fn held(&self) -> usize {
            self.received.buffer.capacity()
        }
    }
}
