//! What the tunnels lead to. The first byte of a connection says what is wanted.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    thread,
};

use anyhow::Result;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime,
};

use super::BUFFER;
use crate::place::Place;

/// Every byte comes back, this one included, until the client ends its way.
pub const ECHO: u8 = b'E';
/// All that came before the client ended its way comes back then.
pub const ECHO_AT_END: u8 = b'H';
/// The service sends for as long as the client reads.
pub const DOWNLOAD: u8 = b'D';
/// The same, and the service reads all that comes, both at once.
pub const BOTH_WAYS: u8 = b'B';

/// Serves on a port that the system picks, on a thread of its own, until the process ends.
///
/// Returns where it answers requests, and where it speaks first: one byte to whoever connects.
pub fn start(place: &Place) -> Result<(SocketAddr, SocketAddr)> {
    let (requests, greetings) = place.within(|| Ok((bind(place.address)?, bind(place.address)?)))?;
    let at = (requests.local_addr()?, greetings.local_addr()?);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("service".to_owned()).spawn(move || {
        runtime.block_on(async {
            let both = async { tokio::try_join!(serve(requests), greet_all(greetings)) };
            let ended: io::Result<(Never, Never)> = tokio::task::LocalSet::new().run_until(both).await;
            eprintln!("the service of the benchmark ended: {ended:?}");
        });
    })?;
    Ok(at)
}

fn bind(address: IpAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    // A burst waits here, not for a second SYN. The kernel cuts it down to its own limit.
    socket.listen(8192)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

type Never = std::convert::Infallible;

async fn serve(listener: std::net::TcpListener) -> io::Result<Never> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::task::spawn_local(answer(listener.accept().await?.0));
    }
}

async fn greet_all(listener: std::net::TcpListener) -> io::Result<Never> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::task::spawn_local(greet(listener.accept().await?.0));
    }
}

async fn greet(mut stream: tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&[ECHO]).await?;
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn answer(mut stream: tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut length = stream.read(&mut buffer).await?;
    match buffer[..length].first() {
        Some(&ECHO) => {
            while length > 0 {
                stream.write_all(&buffer[..length]).await?;
                length = stream.read(&mut buffer).await?;
            }
        }
        Some(&ECHO_AT_END) => {
            let mut all = buffer[..length].to_vec();
            stream.read_to_end(&mut all).await?;
            stream.write_all(&all).await?;
        }
        // What moves as much as it can gets threads of its own, or it would be this one that is measured.
        Some(&request @ (DOWNLOAD | BOTH_WAYS)) => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            let other = stream.try_clone()?;
            thread::spawn(move || send(&stream));
            if request == BOTH_WAYS {
                thread::spawn(move || receive(&other));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Ends when the client does.
fn send(mut stream: &TcpStream) {
    let buffer = vec![0x5a; BUFFER];
    while stream.write_all(&buffer).is_ok() {}
    let _ = stream.shutdown(Shutdown::Both);
}

fn receive(mut stream: &TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while matches!(stream.read(&mut buffer), Ok(length) if length > 0) {}
}
