//! The stream of a connection under TLS: large reads from the socket, large writes to it, and nothing held while idle.

use std::{
    io::{self, BufRead as _, IoSlice, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncBufRead, AsyncRead, AsyncWrite, future::poll_fn};
use rustls::{Connection, pki_types::CertificateDer};

/// Bytes asked of the socket at once: some records of 16 KiB.
const READ: usize = 64 << 10;

/// Bytes of ciphertext that may wait for more of them, so that the socket is written to seldom.
const WRITE_LIMIT: usize = 128 << 10;

/// A byte stream under TLS. What is written goes out once there is much of it, or when it is flushed.
///
/// Reads end (`Ok` with nothing read) only where the peer said so by close_notify; a connection that just ends is
/// [`io::ErrorKind::UnexpectedEof`].
pub struct TlsStream<C> {
    socket: C,
    tls: Connection,
    received: Received,
    ended: bool,
}

/// What came from the socket and wasn't decrypted yet. Holds no memory while it is empty and the socket has nothing.
#[derive(Default)]
struct Received {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<C: AsyncRead + AsyncWrite + Unpin> TlsStream<C> {
    pub(super) async fn handshake(socket: C, mut tls: Connection) -> io::Result<Self> {
        tls.set_buffer_limit(Some(WRITE_LIMIT));
        let mut stream = Self { socket, tls, received: Received::default(), ended: false };
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
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Writes all ciphertext to the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sink = Sink { socket: &mut self.socket, cx };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket, or what was read before, until there is plaintext, or the handshake goes on, or the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.received.start == self.received.end {
            let received = &mut self.received;
            if received.buffer.is_empty() {
                received.buffer = vec![0; READ];
            }
            match Pin::new(&mut self.socket).poll_read(cx, &mut received.buffer) {
                Poll::Pending => {
                    *received = Received::default();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(read)) => (received.start, received.end) = (0, read),
            }
        }
        let mut source = &self.received.buffer[self.received.start..self.received.end];
        let taken = self.tls.read_tls(&mut source)?;
        self.received.start += taken;
        match self.tls.process_new_packets() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => {
                // The alert that says why: as far as the socket takes it at once.
                let _ = self.poll_send(cx);
                let _ = Pin::new(&mut self.socket).poll_flush(cx);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
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
        while let Err(error) = this.tls.reader().fill_buf() {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Poll::Ready(Err(error));
            }
            ready!(this.poll_receive(cx))?;
            if this.tls.wants_write() {
                // An answer that the peer's keys asked for; whatever the socket doesn't take now goes out with the next.
                let _ = this.poll_send(cx)?;
            }
        }
        Poll::Ready(this.tls.reader().into_first_chunk())
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
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            let taken = this.tls.writer().write_vectored(slices)?;
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            ready!(this.poll_send(cx))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tls.send_close_notify();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_close(cx)
    }
}
