//! Naming a protocol to the far end of a stream, as multistream-select 1.0.0 has it, without waiting for the answer: the
//! name travels with the first bytes, and the answer precedes the first that are read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};
use tokio::io::{AsyncRead as Source, AsyncWrite as Sink};

use super::multistream::{HEADER, NOT_AVAILABLE, agreement};
use crate::{
    spec::StreamProtocol,
    yamux::{self, CopyError},
};

/// Why the far end does not carry on with a protocol.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error("the peer does not offer the protocol")]
    NotAvailable,
}

/// A stream on which a protocol has been named.
pub struct Named {
    stream: yamux::Stream,
    /// What has yet to be heard; `None` once the far end has agreed.
    awaited: Option<Box<Awaited>>,
}

struct Awaited {
    agreement: Vec<u8>,
    heard: Vec<u8>,
}

impl Named {
    /// Names `protocol` on a new stream.
    ///
    /// # Errors
    ///
    /// Where the connection has ended meanwhile.
    pub fn new(mut stream: yamux::Stream, protocol: &StreamProtocol) -> io::Result<Self> {
        let agreement = agreement(protocol.as_ref());
        // A new stream has room for more than a name.
        match stream.write_all(&agreement).now_or_never() {
            Some(written) => written?,
            None => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let heard = Vec::new();
        Ok(Self { stream, awaited: Some(Box::new(Awaited { agreement, heard })) })
    }

    /// A stream that has come this far at both ends.
    pub fn agreed(stream: yamux::Stream) -> Self {
        Self { stream, awaited: None }
    }

    /// As [`yamux::Stream::poll_copy_from`].
    pub fn poll_copy_from<R>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<Result<usize, CopyError>>
    where
        R: Source + Unpin,
    {
        self.stream.poll_copy_from(cx, from)
    }

    /// As [`yamux::Stream::is_held_up`].
    pub fn is_held_up(&self) -> bool {
        self.stream.is_held_up()
    }

    /// As [`yamux::Stream::poll_copy_to`].
    pub fn poll_copy_to<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<usize, CopyError>>
    where
        W: Sink + Unpin,
    {
        ready!(self.poll_confirmed(cx)).map_err(CopyError::Stream)?;
        self.stream.poll_copy_to(cx, to)
    }

    /// Waits until the far end has agreed.
    ///
    /// # Errors
    ///
    /// Where it does not; with a [`NameError`] where it said so.
    pub async fn confirmed(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_confirmed(cx)).await
    }

    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(awaited) = &mut self.awaited {
            // Never more than the agreement: what follows is for others.
            let mut buffer = [0; 64];
            let wanted = (awaited.agreement.len() - awaited.heard.len()).min(buffer.len());
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer[..wanted]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            awaited.heard.extend_from_slice(&buffer[..n]);
            match awaited.verdict() {
                Some(Ok(())) => self.awaited = None,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Awaited {
    /// What is to be made of what has been heard; `None` while that is not certain.
    fn verdict(&self) -> Option<io::Result<()>> {
        if self.agreement.starts_with(&self.heard) {
            return (self.heard.len() == self.agreement.len()).then_some(Ok(()));
        }
        let refusal = [HEADER, NOT_AVAILABLE].concat();
        if self.heard.starts_with(&refusal) {
            return Some(Err(io::Error::other(NameError::NotAvailable)));
        }
        let may_become_one = refusal.starts_with(&self.heard);
        (!may_become_one).then(|| Err(io::Error::new(io::ErrorKind::InvalidData, "the peer answers what nobody asked")))
    }
}

impl AsyncRead for Named {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_confirmed(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Named {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(protocol: &str, heard: &[u8]) -> Awaited {
        Awaited { agreement: agreement(protocol), heard: heard.to_vec() }
    }

    #[test]
    fn an_agreement_is_known_when_the_last_byte_of_it_has_come() {
        for name in ["/x/ssh", "/x", &format!("/x/{}", "y".repeat(130))] {
            let agreement = awaited(name, b"").agreement;
            for end in 0..agreement.len() {
                assert!(awaited(name, &agreement[..end]).verdict().is_none(), "{name} {end}");
            }
            assert!(matches!(awaited(name, &agreement).verdict(), Some(Ok(()))));
        }
    }

    #[test]
    fn a_refusal_is_told_from_nonsense_also_for_a_name_as_short_as_the_refusal() {
        let refusal = b"\x13/multistream/1.0.0\n\x03na\n";
        for name in ["/x/ssh", "/x"] {
            for end in 0..refusal.len() {
                assert!(awaited(name, &refusal[..end]).verdict().is_none(), "{name} {end}");
            }
            let error = awaited(name, refusal).verdict().unwrap().unwrap_err();
            assert!(error.get_ref().unwrap().is::<NameError>());
            let error = awaited(name, b"\x13/multistream/2.0.0\n").verdict().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
