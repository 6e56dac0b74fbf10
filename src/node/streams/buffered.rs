//! Streams that are copied from and to by way of a buffer, which is lent to them only while bytes are on their way.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::Buffer;
use crate::yamux::CopyError;

/// A stream of any kind that can be copied from and to.
pub struct Buffered<S> {
    stream: S,
    unsent: Option<Bytes>,
    received: Option<Bytes>,
    unflushed: bool,
}

/// The part of a buffer that is on its way.
struct Bytes {
    buffer: Buffer,
    start: usize,
    end: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Buffered<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, unsent: None, received: None, unflushed: false }
    }

    /// Sends what `from` says. Ready with the number of bytes sent, 0 where it has said all.
    pub fn poll_copy_from<R>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<Result<usize, CopyError>>
    where
        R: AsyncRead + Unpin,
    {
        if self.unsent.is_none() {
            match Bytes::poll_read(cx, from) {
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(bytes)) => self.unsent = bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(CopyError::Other(error))),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(CopyError::Stream)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        let written = Bytes::poll_write(&mut self.unsent, cx, &mut self.stream);
        self.unflushed = true;
        written.map_err(CopyError::Stream)
    }

    /// Whether something waits to be sent.
    pub fn is_held_up(&self) -> bool {
        self.unsent.is_some()
    }

    /// Says to `to` what has been received. Ready with the number of bytes that it took, 0 where the stream has ended.
    pub fn poll_copy_to<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<usize, CopyError>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.received.is_none() {
            match ready!(Bytes::poll_read(cx, &mut self.stream)).map_err(CopyError::Stream)? {
                Some(bytes) => self.received = Some(bytes),
                None => return Poll::Ready(Ok(0)),
            }
        }
        Bytes::poll_write(&mut self.received, cx, to).map_err(CopyError::Other)
    }
}

impl<S: AsyncWrite + Unpin> Buffered<S> {
    /// Sends what is left of a copy.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.is_some() {
            ready!(Bytes::poll_write(&mut self.unsent, cx, &mut self.stream))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Bytes {
    /// Holds no buffer while there is nothing to read. `None` at the end.
    fn poll_read(cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<Option<Self>>> {
        let mut buffer = Buffer::take();
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        let end = read.filled().len();
        Poll::Ready(Ok((end > 0).then_some(Self { buffer, start: 0, end })))
    }

    /// Writes as much as `to` takes, and lets go of the buffer after the last byte.
    fn poll_write(
        bytes: &mut Option<Self>,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<usize>> {
        let Some(Self { buffer, start, end }) = bytes else { return Poll::Ready(Ok(0)) };
        let n = ready!(Pin::new(to).poll_write(cx, &buffer[*start..*end]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *start += n;
        if start == end {
            *bytes = None;
        }
        Poll::Ready(Ok(n))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(Bytes { buffer, start, end }) = &mut self.received else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        let n = buf.remaining().min(*end - *start);
        buf.put_slice(&buffer[*start..*start + n]);
        *start += n;
        if start == end {
            self.received = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
