//! Local connections: to the target of a listen tunnel, or from a client of a forward.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, lookup_host},
    time::{Instant, sleep, timeout_at},
};

use crate::spec::{Endpoint, Host, HostPort};

/// Between two attempts at a unix socket whose backlog is full, which the kernel says at once.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// How long a connection may be silent before the kernel asks whether its far end is there.
const SILENT_FOR: Duration = Duration::from_secs(120);

/// Bytes that the kernel takes of a stream beyond what it can send, in case the far end reads on. By itself it takes
/// megabytes on loopback: a thousand clients that don't read use up the memory that a machine has for all TCP (`tcp_mem`),
/// and every other connection of the machine slows down. Less than this costs throughput.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;

/// A local byte stream. Unless it is [finished](Local::finish), dropping it resets the far end, also when the whole
/// process dies: nobody may take a cut for an end. (A unix socket can't reset: there, its client sees an end.)
pub enum Local {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A target that can't be reached.
#[derive(Debug, thiserror::Error)]
#[error("can't connect to {target}: {source}")]
pub struct ConnectError {
    pub target: String,
    pub source: io::Error,
}

impl Local {
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO))?;
        // A client that lost its power says nothing; without this it would hold its place for ever. Nor does one that was
        // killed while its peer took nothing: its kernel has given up what it had to say, and tells whoever asks.
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENT_FOR))?;
        // A kernel that doesn't know it, as some sandboxes' is, serves all the same.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_notsent_lowat(UNSENT);
        Ok(Self::Tcp(stream))
    }

    pub fn unix(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }

    /// Connects to `target`, by `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// With the reason of the last address that was tried.
    pub async fn connect(target: &Endpoint, deadline: Instant) -> Result<Self, ConnectError> {
        let connected = timeout_at(deadline, async {
            match target {
                Endpoint::Tcp(address) => Self::connect_tcp(address).await,
                Endpoint::Unix(path) => loop {
                    match UnixStream::connect(path).await {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
                        connected => break connected.map(Self::unix),
                    }
                },
                Endpoint::Udp(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        });
        let connected = connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|source| ConnectError { target: target.to_string(), source })
    }

    async fn connect_tcp(address: &HostPort) -> io::Result<Self> {
        let mut last = None;
        for address in resolve(address).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Self::tcp(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("the name stands for no address")))
    }

    /// Whether the connection has broken meanwhile, for whoever neither reads nor writes.
    ///
    /// # Errors
    ///
    /// Where it has, once.
    pub fn check(&self) -> io::Result<()> {
        match self {
            // By itself an error may be one that TCP gets over, as a route that is gone for a moment; and a connection that
            // both ends have ended in good order may have something left to read.
            Self::Tcp(stream) if stream.peer_addr().is_ok() => Ok(()),
            Self::Tcp(stream) => stream.take_error()?.map_or(Ok(()), Err),
            Self::Unix(stream) => stream.take_error()?.map_or(Ok(()), Err),
        }
    }

    /// Ends the connection in good order: both ways have been shut down.
    pub fn finish(self) {
        if let Self::Tcp(stream) = self {
            // If it fails, the connection is gone already.
            let _ = SockRef::from(&stream).set_linger(None);
        }
    }
}

/// The addresses that `address` stands for, now.
pub async fn resolve(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    match &address.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::Name(name) => Ok(lookup_host((name.as_str(), address.port)).await?.collect()),
    }
}

impl AsyncRead for Local {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Local::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Local::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Local {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Local::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Local::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Local::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Local::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Local::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Local::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_far_end_that_says_nothing_is_asked_after_two_minutes_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = Local::tcp(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()).unwrap();
        let Local::Tcp(stream) = &local else { unreachable!() };
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENT_FOR);
    }
}
