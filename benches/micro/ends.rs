//! The two ends of a connection by our multiplexer, and by the yamux crate, under one surface.

use std::{
    future::poll_fn,
    task::{Poll, ready},
};

use futures::{AsyncBufRead, AsyncRead, AsyncWrite, io::BufReader};
use p2ptun::yamux::{self, Budget, Config, Connection, Role};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Bytes that the wire in memory holds.
const HELD: usize = 256 << 10;

/// Bytes that are read of a wire at once, as from Noise.
const READ: usize = 64 << 10;

/// Streams of the yamux crate that may wait to be accepted.
const ACCEPTED: usize = 1_024;

/// What a connection runs over.
#[derive(Clone, Copy)]
pub enum Wire {
    Memory,
    /// Loopback, without TLS.
    Tcp,
}

impl Wire {
    pub const ALL: [Self; 2] = [Self::Memory, Self::Tcp];

    pub fn name(self) -> &'static str {
        match self {
            Wire::Memory => "memory",
            Wire::Tcp => "tcp",
        }
    }
}

/// One end of a connection.
pub trait End: Sized {
    /// Whose multiplexer it is.
    const NAME: &str;
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// What keeps the connection going becomes one of `tasks`.
    fn new<C>(io: C, role: Role, tasks: &mut JoinSet<()>) -> Self
    where
        C: AsyncBufRead + AsyncWrite + Send + Unpin + 'static;

    async fn open(&mut self) -> Self::Stream;

    async fn accept(&mut self) -> Self::Stream;

    /// The dialer's end and the listener's.
    async fn pair(wire: Wire, tasks: &mut JoinSet<()>) -> (Self, Self) {
        match wire {
            Wire::Memory => {
                let (near, far) = tokio::io::duplex(HELD);
                let (near, far) = (near.compat(), far.compat());
                Self::pair_over(near, far, tasks)
            }
            Wire::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (far, _) = listener.accept().await.unwrap();
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                Self::pair_over(near.compat(), far.compat(), tasks)
            }
        }
    }

    fn pair_over<C>(near: C, far: C, tasks: &mut JoinSet<()>) -> (Self, Self)
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let dialer = Self::new(BufReader::with_capacity(READ, near), Role::Dialer, tasks);
        (dialer, Self::new(BufReader::with_capacity(READ, far), Role::Listener, tasks))
    }
}

/// By p2ptun.
pub struct Ours(Connection);

impl End for Ours {
    const NAME: &str = "ours";
    type Stream = yamux::Stream;

    fn new<C>(io: C, role: Role, tasks: &mut JoinSet<()>) -> Self
    where
        C: AsyncBufRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = Config { max_inbound_streams: Box::new(|| usize::MAX), budget: Budget::new(128 << 20) };
        let (connection, driver) = yamux::new(io, role, config);
        tasks.spawn(async { drop(driver.await) });
        Self(connection)
    }

    async fn open(&mut self) -> yamux::Stream {
        poll_fn(|cx| self.0.poll_outbound(cx)).await.unwrap()
    }

    async fn accept(&mut self) -> yamux::Stream {
        poll_fn(|cx| self.0.poll_inbound(cx)).await.unwrap()
    }
}

/// By the yamux crate, as libp2p uses it.
pub struct Theirs {
    asks: mpsc::Sender<oneshot::Sender<::yamux::Stream>>,
    accepted: mpsc::Receiver<::yamux::Stream>,
}

impl End for Theirs {
    const NAME: &str = "yamux crate";
    type Stream = ::yamux::Stream;

    fn new<C>(io: C, role: Role, tasks: &mut JoinSet<()>) -> Self
    where
        C: AsyncBufRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mode = match role {
            Role::Dialer => ::yamux::Mode::Client,
            Role::Listener => ::yamux::Mode::Server,
        };
        let mut connection = ::yamux::Connection::new(io, ::yamux::Config::default(), mode);
        let (asks, mut asked) = mpsc::channel(1);
        let (accepts, accepted) = mpsc::channel(ACCEPTED);
        let mut asking: Option<oneshot::Sender<::yamux::Stream>> = None;
        tasks.spawn(poll_fn(move |cx| {
            loop {
                if asking.is_none()
                    && let Poll::Ready(ask) = asked.poll_recv(cx)
                {
                    asking = ask;
                }
                if asking.is_some()
                    && let Poll::Ready(opened) = connection.poll_new_outbound(cx)
                    && let Some(ask) = asking.take()
                {
                    drop(ask.send(opened.unwrap()));
                    continue;
                }
                match ready!(connection.poll_next_inbound(cx)) {
                    Some(Ok(stream)) => accepts.try_send(stream).unwrap(),
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        }));
        Self { asks, accepted }
    }

    async fn open(&mut self) -> ::yamux::Stream {
        let (ask, opened) = oneshot::channel();
        self.asks.send(ask).await.unwrap();
        opened.await.unwrap()
    }

    async fn accept(&mut self) -> ::yamux::Stream {
        self.accepted.recv().await.unwrap()
    }
}
