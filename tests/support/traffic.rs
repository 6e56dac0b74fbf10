//! Bytes that can be recognised, and what becomes of a connection.

use std::{io, sync::LazyLock, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;

/// Bytes that show by their value where in a stream they belong.
///
/// The length is a prime, so that a lost, repeated or moved buffer of any usual size shows.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    (0..1_048_573).map(|_| next()).collect()
});

/// The longest run of the pattern that begins at `position` and is stored in one piece.
fn run(position: u64) -> &'static [u8] {
    &PATTERN[(position % PATTERN.len() as u64) as usize..]
}

/// The bytes of the pattern from `position` on.
pub fn pattern(position: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let run = run(position + bytes.len() as u64);
        bytes.extend_from_slice(&run[..run.len().min(length - bytes.len())]);
    }
    bytes
}

/// Writes the pattern's bytes `from..to`.
pub async fn send(to_peer: &mut (impl AsyncWrite + Unpin), from: u64, to: u64) -> io::Result<()> {
    let mut position = from;
    while position < to {
        let run = run(position);
        let length = run.len().min((to - position).min(64 * 1024) as usize);
        to_peer.write_all(&run[..length]).await?;
        position += length as u64;
    }
    to_peer.flush().await
}

/// Reads the pattern's bytes `from..to`; anything else is an error.
pub async fn receive(from_peer: &mut (impl AsyncRead + Unpin), from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut position = from;
    while position < to {
        let run = run(position);
        let wanted = run.len().min(buffer.len()).min((to - position) as usize);
        let got = from_peer.read(&mut buffer[..wanted]).await?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("end after {position} of {to} bytes")));
        }
        if buffer[..got] != run[..got] {
            return Err(io::Error::other(format!("wrong bytes between {position} and {}", position + got as u64)));
        }
        position += got as u64;
    }
    Ok(())
}

/// How a connection ended for the one who read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other side said that it has no more to send.
    Eof,
    /// The connection was torn down.
    Reset,
}

/// Reads until a connection ends.
pub async fn ending(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Ending) {
    let mut bytes = Vec::new();
    let result = soon("the connection ends", stream.read_to_end(&mut bytes)).await;
    match result {
        Ok(_) => (bytes, Ending::Eof),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (bytes, Ending::Reset),
        Err(error) => panic!("the connection ended with neither EOF nor a reset: {error}"),
    }
}

/// Sends a small message and waits for it to come back.
pub async fn ping(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let message = b"are you there?";
    stream.write_all(message).await?;
    stream.flush().await?;
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).await?;
    if &answer == message { Ok(()) } else { Err(io::Error::other("an echo of something else")) }
}

/// Writes until somebody says that the connection has been reset, which the kernel calls a broken pipe where the other
/// side had ended its way before.
pub async fn reset_of_writes(stream: &mut TcpStream) {
    let error = soon("a writer is told", async {
        loop {
            match stream.write_all(b"does anybody hear this?").await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => break error,
            }
        }
    });
    let kind = error.await.kind();
    assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{kind:?}");
}

/// Ends a TCP connection with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
