//! How long a client waits.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::service::ECHO;

/// Longer than anything takes that works.
const TIMEOUT: Duration = Duration::from_secs(10);

pub fn connect(entrance: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&entrance, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// From before the connect until the byte that the client has sent is back.
pub fn fresh(entrance: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = connect(entrance)?;
    stream.write_all(&[ECHO])?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

/// From before the connect until the byte that the service sends by itself is here.
pub fn greeting(entrance: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = connect(entrance)?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

/// Round trips of 64 bytes, one after another on one connection.
pub fn ping_pong(entrance: SocketAddr, rounds: usize) -> Result<Vec<Duration>> {
    let mut stream = connect(entrance)?;
    let (message, mut answer) = ([ECHO; 64], [0; 64]);
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        took.push(start.elapsed());
        ensure!(answer == message, "the echo is another");
    }
    Ok(took)
}
