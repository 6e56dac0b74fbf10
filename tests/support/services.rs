//! Services that tunnels lead to, all in this process and on loopback.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
};

use super::soon;

/// Room for a burst of connections that arrive before the first is accepted.
const BACKLOG: u32 = 4096;

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(BACKLOG).unwrap()
}

/// A target that leaves each connection to the test.
pub struct Target {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Target {
    pub fn bind() -> Self {
        let listener = listener();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The next connection that a tunnel makes.
    pub async fn accept(&self) -> TcpStream {
        soon("a tunnel connects to its target", self.listener.accept()).await.unwrap().0
    }
}

/// A service that runs until it is dropped.
pub struct Service {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Service {
    /// Serves each connection by a task of its own.
    pub fn new<F: Future<Output = io::Result<()>> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    connection = listener.accept() => {
                        count.fetch_add(1, SeqCst);
                        connections.spawn(serve(connection.unwrap().0));
                    }
                    // How a connection ended is for the client to tell.
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { address, accepted, _task: task }
    }

    /// Sends back what it gets, and closes when the client has.
    pub fn echo() -> Self {
        Self::new(echo)
    }

    /// Says `text` to whoever connects, and closes.
    pub fn saying(text: &'static str) -> Self {
        Self::new(move |mut stream| async move {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        })
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

/// An echo service on a unix socket, which runs until it is dropped.
pub struct UnixService {
    _task: JoinSet<()>,
}

impl UnixService {
    pub fn echo(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections: JoinSet<io::Result<()>> = JoinSet::new();
            loop {
                tokio::select! {
                    connection = listener.accept() => {
                        let (stream, _): (UnixStream, _) = connection.unwrap();
                        connections.spawn(echo(stream));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { _task: task }
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
