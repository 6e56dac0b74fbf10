//! Two ends in one process.

mod endings;
mod foreign;
mod limits;
mod model;
mod sharing;
mod silence;

use std::{future::poll_fn, io, pin::pin, sync::Arc};

use futures::{AsyncReadExt, AsyncWriteExt, io::BufReader, poll};
use tokio::{io::DuplexStream, task::JoinSet};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

type Wire = BufReader<Compat<DuplexStream>>;

/// Two ends of a connection, which lives as long as this does.
struct Pair {
    dialer: Connection,
    listener: Connection,
    drivers: JoinSet<Error>,
}

fn config() -> Config {
    config_with(|| usize::MAX, 64 << 20)
}

fn config_with(max_inbound_streams: impl Fn() -> usize + Send + 'static, budget: usize) -> Config {
    Config { max_inbound_streams: Box::new(max_inbound_streams), budget: Budget::new(budget) }
}

fn wire() -> (Wire, Wire) {
    let (one, other) = tokio::io::duplex(32 * 1024);
    (BufReader::new(one.compat()), BufReader::new(other.compat()))
}

fn pair() -> Pair {
    pair_with(config(), config())
}

fn pair_with(dialer: Config, listener: Config) -> Pair {
    let (one, other) = wire();
    let (dialer, first) = new(one, Role::Dialer, dialer);
    let (listener, second) = new(other, Role::Listener, listener);
    let mut drivers = JoinSet::new();
    drivers.spawn(first);
    drivers.spawn(second);
    Pair { dialer, listener, drivers }
}

async fn open(connection: &mut Connection) -> Stream {
    poll_fn(|cx| connection.poll_outbound(cx)).await.unwrap()
}

async fn accept(connection: &mut Connection) -> Stream {
    poll_fn(|cx| connection.poll_inbound(cx)).await.unwrap()
}

impl Pair {
    /// A stream that both ends know.
    async fn stream(&mut self) -> (Stream, Stream) {
        let mut near = open(&mut self.dialer).await;
        near.write_all(b"?").await.unwrap();
        let mut far = accept(&mut self.listener).await;
        let mut byte = [0];
        far.read_exact(&mut byte).await.unwrap();
        (near, far)
    }
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

/// Bytes that show where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_arrive_both_ways_at_once_and_end() {
    let mut pair = pair();
    let (near, far) = pair.stream().await;
    let sent = Arc::new(pattern(3_000_000));
    let mut ends = JoinSet::new();
    for stream in [near, far] {
        let sent = sent.clone();
        ends.spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let write = async {
                writer.write_all(&sent).await.unwrap();
                writer.close().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, got) = tokio::join!(write, reader.read_to_end(&mut read));
            assert_eq!(got.unwrap(), sent.len());
            assert!(read == *sent);
        });
    }
    ends.join_all().await;
}

#[tokio::test]
async fn whoever_only_listens_is_heard_of() {
    let mut pair = pair();
    let mut near = open(&mut pair.dialer).await;
    let listening = async {
        let mut heard = [0; 5];
        near.read_exact(&mut heard).await.unwrap();
        heard
    };
    let speaking = async {
        let mut far = accept(&mut pair.listener).await;
        far.write_all(b"hello").await.unwrap();
        far
    };
    let (heard, _far) = tokio::join!(listening, speaking);
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn a_pipe_takes_little_writes_one_by_one() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    let sent = pattern(2_000);
    let write = async {
        for byte in &sent {
            near.write_all(&[*byte]).await.unwrap();
        }
        near.close().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, got) = tokio::join!(write, far.read_to_end(&mut read));
    assert_eq!((got.unwrap(), read), (sent.len(), sent));
}

#[tokio::test]
async fn what_streams_write_at_about_the_same_time_leaves_together() {
    let (one, far) = tokio::io::duplex(32 * 1024);
    let mut far = far.compat();
    let (mut near, mut driver) = new(BufReader::new(one.compat()), Role::Dialer, config());
    let (mut first, mut second, mut heard) = (open(&mut near).await, open(&mut near).await, [0; 1024]);
    assert!(poll!(&mut driver).is_pending());
    let _ping = far.read(&mut heard).await.unwrap();

    first.write_all(b"one").await.unwrap();
    assert!(poll!(&mut driver).is_pending());
    assert!(poll!(pin!(far.read(&mut heard))).is_pending(), "others have their turn");
    second.write_all(b"two").await.unwrap();
    assert!(poll!(&mut driver).is_pending());
    let n = far.read(&mut heard).await.unwrap();
    let says = |word: &[u8]| heard[..n].windows(word.len()).any(|said| said == word);
    assert!(says(b"one") && says(b"two"), "{:?}", &heard[..n]);
}

#[tokio::test]
async fn streams_share_the_connection_fairly() {
    let mut pair = pair();
    let (mut greedy, mut far_greedy) = pair.stream().await;
    let (mut modest, mut far_modest) = pair.stream().await;
    let flood = async {
        let chunk = vec![0; 1 << 20];
        while greedy.write_all(&chunk).await.is_ok() {}
    };
    let drain = async {
        let mut buffer = vec![0; 1 << 20];
        while far_greedy.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    let ping_pong = async {
        for _ in 0..100 {
            modest.write_all(b"ping").await.unwrap();
            let mut heard = [0; 4];
            far_modest.read_exact(&mut heard).await.unwrap();
        }
    };
    tokio::select! {
        () = flood => panic!("the flood has ended"),
        () = drain => panic!("the drain has ended"),
        () = ping_pong => {}
    }
}
