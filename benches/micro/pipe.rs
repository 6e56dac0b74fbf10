//! Bytes between a local client and a stream, through the pipe of a tunnel and nothing else: the stream's far end is in
//! this process as well.

#![allow(clippy::unwrap_used, reason = "a bench that can't go on has failed")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p2ptun::{
    node::Stream,
    tunnel::{
        endpoint::Local,
        pipe::{Meter, pipe},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Bytes that are sent in one round, and how many of them are written and read at once.
const SENT: usize = 8 << 20;
const PIECE: usize = 64 << 10;

const PING: usize = 64;

struct Uncounted;

impl Meter for Uncounted {
    fn inbound(&self, _: usize) {}
    fn outbound(&self, _: usize) {}
}

async fn send(mut from: impl AsyncWrite + Unpin, mut to: impl AsyncRead + Unpin) {
    let write = async {
        let piece = [7; PIECE];
        for _ in 0..SENT / PIECE {
            from.write_all(&piece).await.unwrap();
        }
    };
    let read = async {
        let (mut buffer, mut left) = (vec![0; PIECE], SENT);
        while left > 0 {
            left -= to.read(&mut buffer).await.unwrap();
        }
        black_box(&buffer);
    };
    tokio::join!(write, read);
}

async fn ping_pong(client: &mut TcpStream, far: &mut Stream) {
    let mut heard = [0; PING];
    client.write_all(&[7; PING]).await.unwrap();
    far.read_exact(&mut heard).await.unwrap();
    far.write_all(&heard).await.unwrap();
    client.read_exact(&mut heard).await.unwrap();
    black_box(heard);
}

/// The time that `work` takes `rounds` times between a client and the far end of a stream.
fn time(rounds: u64, mut work: impl AsyncFnMut(&mut TcpStream, &mut Stream)) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let local = Local::tcp(listener.accept().await.unwrap().0).unwrap();
        let (near, mut far) = Stream::pair();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { drop(pipe(local, near, &Uncounted).await) });
        let begin = Instant::now();
        for _ in 0..rounds {
            work(&mut client, &mut far).await;
        }
        begin.elapsed()
    })
}

fn pipes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_500));
    group.bench_function("ping-pong of 64 bytes", |bench| bench.iter_custom(|rounds| time(rounds, ping_pong)));
    group.throughput(Throughput::Bytes(SENT as u64));
    group.bench_function("client to stream", |bench| {
        bench.iter_custom(|rounds| time(rounds, async |c, s| send(c, s).await))
    });
    group.bench_function("stream to client", |bench| {
        bench.iter_custom(|rounds| time(rounds, async |c, s| send(s, c).await))
    });
}

criterion_group!(benches, pipes);
criterion_main!(benches);
