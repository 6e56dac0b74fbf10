//! Streams through two ends of our multiplexer, beside the same through the yamux crate, on one thread: what a
//! connection costs without TLS, and without the threads that hide some of it.

#![allow(clippy::unwrap_used, reason = "a bench that can't go on has failed")]

mod ends;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use tokio::{runtime::Runtime, task::JoinSet};

use ends::{End, Ours, Theirs, Wire};

/// Bytes that are sent in one round, by all streams together, and how many of them are written and read at once.
const SENT: usize = 8 << 20;
const PIECE: usize = 64 << 10;

/// Bytes of a ping, and of what a short stream says.
const SHORT: usize = 64;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection with streams that both ends know.
struct Connected<E: End> {
    dialer: E,
    listener: E,
    streams: Vec<(E::Stream, E::Stream)>,
    _tasks: JoinSet<()>,
}

impl<E: End> Connected<E> {
    async fn new(wire: Wire, streams: usize) -> Self {
        let mut tasks = JoinSet::new();
        let (mut dialer, mut listener) = E::pair(wire, &mut tasks).await;
        let mut pairs = Vec::new();
        for _ in 0..streams {
            let mut near = dialer.open().await;
            near.write_all(b"?").await.unwrap();
            near.flush().await.unwrap();
            let mut far = listener.accept().await;
            far.read_exact(&mut [0]).await.unwrap();
            pairs.push((near, far));
        }
        Self { dialer, listener, streams: pairs, _tasks: tasks }
    }

    async fn send(&mut self, bytes: usize) {
        let each = bytes / self.streams.len();
        join_all(self.streams.iter_mut().map(|(near, far)| async move {
            let write = async {
                let piece = [7; PIECE];
                for _ in 0..each / PIECE {
                    near.write_all(&piece).await.unwrap();
                }
                near.flush().await.unwrap();
            };
            let read = async {
                let (mut buffer, mut left) = (vec![0; PIECE], each);
                while left > 0 {
                    left -= far.read(&mut buffer).await.unwrap();
                }
                black_box(&buffer);
            };
            tokio::join!(write, read);
        }))
        .await;
    }

    async fn ping_pong(&mut self) {
        let (near, far) = &mut self.streams[0];
        let mut heard = [0; SHORT];
        near.write_all(&[7; SHORT]).await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut heard).await.unwrap();
        far.write_all(&heard).await.unwrap();
        far.flush().await.unwrap();
        near.read_exact(&mut heard).await.unwrap();
        black_box(heard);
    }

    /// From an open to an end, both ways, for `streams` of them at once.
    async fn exchange(&mut self, streams: usize) {
        let mut ends = JoinSet::new();
        for _ in 0..streams {
            let mut near = self.dialer.open().await;
            ends.spawn(async move {
                near.write_all(&[7; SHORT]).await.unwrap();
                near.close().await.unwrap();
                let mut heard = Vec::with_capacity(2 * SHORT);
                assert_eq!(near.read_to_end(&mut heard).await.unwrap(), SHORT);
            });
        }
        for _ in 0..streams {
            let mut far = self.listener.accept().await;
            ends.spawn(async move {
                let mut heard = Vec::with_capacity(2 * SHORT);
                assert_eq!(far.read_to_end(&mut heard).await.unwrap(), SHORT);
                far.write_all(&heard).await.unwrap();
                far.close().await.unwrap();
            });
        }
        ends.join_all().await;
    }
}

/// The time that `work` takes `rounds` times over a new connection with `streams`.
fn time<E: End>(wire: Wire, streams: usize, rounds: u64, mut work: impl AsyncFnMut(&mut Connected<E>)) -> Duration {
    runtime().block_on(async {
        let mut connected = Connected::<E>::new(wire, streams).await;
        let begin = Instant::now();
        for _ in 0..rounds {
            work(&mut connected).await;
        }
        begin.elapsed()
    })
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_500));
    group
}

fn throughput<E: End>(group: &mut BenchmarkGroup<'_, WallTime>, wire: Wire, streams: usize) {
    group.throughput(Throughput::Bytes(SENT as u64));
    group.bench_function(E::NAME, |bench| {
        bench.iter_custom(|rounds| time::<E>(wire, streams, rounds, async |connected| connected.send(SENT).await));
    });
}

fn ping_pong<E: End>(group: &mut BenchmarkGroup<'_, WallTime>, wire: Wire) {
    group.bench_function(E::NAME, |bench| {
        bench.iter_custom(|rounds| time::<E>(wire, 1, rounds, async |connected| connected.ping_pong().await));
    });
}

fn exchange<E: End>(group: &mut BenchmarkGroup<'_, WallTime>, streams: usize) {
    group.throughput(Throughput::Elements(streams as u64));
    group.bench_function(E::NAME, |bench| {
        bench.iter_custom(|rounds| {
            time::<E>(Wire::Memory, 0, rounds, async |connected| connected.exchange(streams).await)
        });
    });
}

/// Ours and theirs follow one another, so that a machine that becomes slower does so for both.
fn muxer(criterion: &mut Criterion) {
    for wire in Wire::ALL {
        for streams in [1, 8] {
            let mut group = group(criterion, &format!("throughput/{}/{streams} streams", wire.name()));
            throughput::<Ours>(&mut group, wire, streams);
            throughput::<Theirs>(&mut group, wire, streams);
        }
        let mut group = group(criterion, &format!("ping-pong of {SHORT} bytes/{}", wire.name()));
        ping_pong::<Ours>(&mut group, wire);
        ping_pong::<Theirs>(&mut group, wire);
    }
    for streams in [1, 100] {
        let mut group = group(criterion, &format!("open, echo, close/{streams} at once"));
        exchange::<Ours>(&mut group, streams);
        exchange::<Theirs>(&mut group, streams);
    }
}

criterion_group!(benches, muxer);
criterion_main!(benches);
