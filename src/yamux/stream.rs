//! A stream, as its user has it.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{AsyncBufRead, AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as Source, AsyncWrite as Sink};

use super::{
    cell::{Cell, Outflow},
    chunk::Chunk,
    frame::Flags,
};

/// Which end of a copy broke.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("the stream: {0}")]
    Stream(#[source] io::Error),
    #[error("what is copied from or to: {0}")]
    Other(#[source] io::Error),
}

/// A stream of bytes each way.
///
/// Reading ends (`Ok(0)`) only where the far end has closed its side; a reset, or the loss of the connection, is
/// [`io::ErrorKind::ConnectionReset`]. A stream that is dropped before it was closed is reset. What is written is on its
/// way at once; flushing is not needed. One task may read while another writes.
pub struct Stream {
    cell: Arc<Cell>,
    /// What is being read.
    current: Option<Chunk>,
    /// What has been read since the far end's window was last looked at.
    read: u32,
}

impl Stream {
    pub(super) fn new(cell: Arc<Cell>) -> Self {
        Self { cell, current: None, read: 0 }
    }

    /// Tells the far end that its stream is welcome, with the first frame or without.
    pub(super) fn accept(&self) {
        let mut state = self.cell.lock();
        state.greeting = Flags::ACK;
        self.cell.schedule(&mut state);
    }

    /// Writes what `from` says, which is read straight into what is sent; only a little is copied. Ready with the number of bytes,
    /// 0 where `from` has said all. Nothing is read while nothing can be written.
    ///
    /// # Errors
    ///
    /// Where either of the two breaks.
    pub fn poll_copy_from<R>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<Result<usize, CopyError>>
    where
        R: Source + Unpin,
    {
        let room = ready!(self.poll_writable(cx)).map_err(CopyError::Stream)?;
        let mut chunk = Chunk::for_bytes(room);
        let n = ready!(chunk.poll_fill_from(cx, from, room)).map_err(CopyError::Other)?;
        if n > 0 {
            self.write(chunk.fitted());
        }
        Poll::Ready(Ok(n))
    }

    /// Whether nothing can be written for now.
    pub fn is_held_up(&self) -> bool {
        self.cell.lock().writable().is_none()
    }

    /// Has `to` write what has come, straight from where it was received. Ready with the number of bytes that it took, 0
    /// where the far end has said all.
    ///
    /// # Errors
    ///
    /// Where either of the two breaks.
    pub fn poll_copy_to<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<usize, CopyError>>
    where
        W: Sink + Unpin,
    {
        let bytes = ready!(Pin::new(&mut *self).poll_fill_buf(cx)).map_err(CopyError::Stream)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = ready!(Pin::new(to).poll_write(cx, bytes)).map_err(CopyError::Other)?;
        if n == 0 {
            return Poll::Ready(Err(CopyError::Other(io::ErrorKind::WriteZero.into())));
        }
        Pin::new(self).consume(n);
        Poll::Ready(Ok(n))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.cell.lock();
        match state.writable() {
            Some(room) => Poll::Ready(room),
            None => {
                remember(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    fn write(&self, chunk: Chunk) {
        let mut state = self.cell.lock();
        state.push_unsent(chunk);
        self.cell.schedule(&mut state);
    }
}

/// Keeps the waker of whoever polled last.
fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.current.is_none() {
            let mut state = this.cell.lock();
            if this.read > 0 && state.window.consume(std::mem::take(&mut this.read)) && !state.credit_due {
                state.credit_due = true;
                this.cell.schedule(&mut state);
            }
            match state.next_unread() {
                Some(Ok(Some(chunk))) => this.current = Some(chunk),
                Some(Ok(None)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    remember(&mut state.reader, cx);
                    if state.greeting == Flags::SYN {
                        // Nothing is written before something is read: the far end has to know of the stream.
                        this.cell.schedule(&mut state);
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(this.current.as_ref().map_or(&[], Chunk::as_slice)))
    }

    fn consume(self: Pin<&mut Self>, n: usize) {
        let this = self.get_mut();
        if let Some(chunk) = &mut this.current {
            chunk.skip(n);
            this.read += n as u32;
            if chunk.is_empty() {
                this.current = None;
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_writable(cx))?;
        let expected = slices.iter().map(|slice| slice.len()).sum::<usize>().min(room);
        if expected == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut chunk = Chunk::for_bytes(expected);
        for slice in slices {
            let left = expected - chunk.len();
            chunk.fill(&slice[..slice.len().min(left)]);
        }
        self.write(chunk);
        Poll::Ready(Ok(expected))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back. Who reads after flushing must still get what came before a reset.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.cell.lock();
        match state.outflow {
            Outflow::Open => {
                state.outflow = Outflow::Ending;
                self.cell.schedule(&mut state);
                Poll::Ready(Ok(()))
            }
            Outflow::Ending | Outflow::Ended => Poll::Ready(Ok(())),
            Outflow::Resetting | Outflow::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.cell.lock();
        state.abandon();
        self.cell.schedule(&mut state);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.cell.lock().id).finish_non_exhaustive()
    }
}
