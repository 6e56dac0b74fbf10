//! Many clients at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{self, Runtime},
    task::JoinSet,
    time::timeout,
};

use super::service::{ECHO, ECHO_AT_END};

/// How long any one client waits before it counts as lost.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What each client of a burst sends, and wants back.
const MESSAGE: usize = 1024;

/// One thread: there are two cores, and the daemons need them more.
fn runtime() -> Result<Runtime> {
    Ok(runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn connect(entrance: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(entrance).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What became of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Until the last client had its answer, or had lost it.
    pub took: Duration,
    pub lost: usize,
}

/// `clients` connect together; each sends 1 KiB and waits until that is back. If they half-close, they end their way
/// before, and the service answers only then.
pub fn burst(entrance: SocketAddr, clients: usize, half_close: bool) -> Result<Burst> {
    runtime()?.block_on(async {
        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(timeout(TIMEOUT, exchange(entrance, half_close)));
        }
        let outcomes = running.join_all().await;
        let took = start.elapsed();
        Ok(Burst { took, lost: outcomes.iter().filter(|outcome| !matches!(outcome, Ok(Ok(())))).count() })
    })
}

async fn exchange(entrance: SocketAddr, half_close: bool) -> Result<()> {
    let mut stream = connect(entrance).await?;
    let message = vec![if half_close { ECHO_AT_END } else { ECHO }; MESSAGE];
    stream.write_all(&message).await?;
    let mut answer = Vec::new();
    if half_close {
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await?;
    } else {
        answer.resize(MESSAGE, 0);
        stream.read_exact(&mut answer).await?;
    }
    ensure!(answer == message, "the echo is cut, or another");
    Ok(())
}

/// Connections a second, each for the echo of one byte, by `clients` that take turns at it for `window`.
pub fn rate(entrance: SocketAddr, clients: usize, window: Duration) -> Result<f64> {
    runtime()?.block_on(async {
        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(timeout(window + TIMEOUT, take_turns(entrance, start + window)));
        }
        let mut done = 0;
        while let Some(client) = running.join_next().await {
            done += client???;
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    })
}

async fn take_turns(entrance: SocketAddr, until: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        drop(idler(entrance).await?);
        done += 1;
    }
    Ok(done)
}

/// Connections that are open, and do nothing.
pub struct Idlers {
    runtime: Runtime,
    streams: Vec<TcpStream>,
    entrance: SocketAddr,
}

impl Idlers {
    pub fn new(entrance: SocketAddr) -> Result<Self> {
        Ok(Self { runtime: runtime()?, streams: Vec::new(), entrance })
    }

    /// Opens more, until there are `number`. A byte has gone through each, and come back.
    pub fn grow(&mut self, number: usize) -> Result<()> {
        /// As many connect at once; the rest waits.
        const AT_ONCE: usize = 64;
        let entrance = self.entrance;
        while self.streams.len() < number {
            let more = AT_ONCE.min(number - self.streams.len());
            let opened = self.runtime.block_on(async {
                let mut opening = JoinSet::new();
                for _ in 0..more {
                    opening.spawn(timeout(TIMEOUT, idler(entrance)));
                }
                opening.join_all().await
            });
            for stream in opened {
                let open = self.streams.len();
                match stream.map_err(anyhow::Error::from).and_then(|stream| stream) {
                    Ok(stream) => self.streams.push(stream),
                    Err(error) => return Err(error.context(format!("{open} connections were open"))),
                }
            }
        }
        Ok(())
    }
}

async fn idler(entrance: SocketAddr) -> Result<TcpStream> {
    let mut stream = connect(entrance).await?;
    stream.write_all(&[ECHO]).await?;
    stream.read_exact(&mut [0]).await?;
    Ok(stream)
}
