//! Whatever is done at both ends, in whatever order: what is read is what was written, and it ends as it was ended.

use std::{task::Poll, time::Duration};

use futures::AsyncRead;
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

/// What happens at one of the two ends, to one of the streams.
#[derive(Clone, Debug)]
enum Step {
    Open,
    Write {
        stream: usize,
        bytes: usize,
    },
    Read {
        stream: usize,
        bytes: usize,
    },
    Close {
        stream: usize,
    },
    Drop {
        stream: usize,
    },
    /// Everything else has its turn this many times.
    Wait {
        turns: usize,
    },
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let stream = 0..6_usize;
    let bytes = prop_oneof![1..100_usize, 1..200_000_usize];
    let step = prop_oneof![
        1 => Just(Step::Open),
        6 => (stream.clone(), bytes.clone()).prop_map(|(stream, bytes)| Step::Write { stream, bytes }),
        6 => (stream.clone(), bytes).prop_map(|(stream, bytes)| Step::Read { stream, bytes }),
        1 => stream.clone().prop_map(|stream| Step::Close { stream }),
        1 => stream.prop_map(|stream| Step::Drop { stream }),
        4 => (1..20_usize).prop_map(|turns| Step::Wait { turns }),
    ];
    (any::<bool>(), step)
}

/// One end of a stream, and what has been done with it.
struct End {
    stream: Option<Stream>,
    written: usize,
    read: usize,
    closed: bool,
    /// What reading has come to: an end, or a break.
    over: Option<Over>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Ended,
    Broken,
}

impl End {
    fn new(stream: Stream) -> Self {
        Self { stream: Some(stream), written: 0, read: 0, closed: false, over: None }
    }

    fn dropped(&self) -> bool {
        self.stream.is_none()
    }

    /// The bytes at a place of the endless pattern that everybody writes.
    fn write(&mut self, bytes: usize) {
        let Some(stream) = &mut self.stream else { return };
        let chunk: Vec<u8> = (self.written..self.written + bytes).map(|i| (i % 251) as u8).collect();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Ok(n)) = std::pin::Pin::new(stream).poll_write(&mut cx, &chunk) {
            self.written += n;
        }
    }

    fn take(&mut self, n: usize, buffer: &[u8]) {
        for byte in &buffer[..n] {
            assert_eq!(usize::from(*byte), self.read % 251);
            self.read += 1;
        }
    }

    fn finish(&mut self, result: io::Result<usize>, buffer: &[u8]) {
        match result {
            Ok(0) => self.over = Some(Over::Ended),
            Ok(n) => self.take(n, buffer),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                self.over = Some(Over::Broken);
            }
        }
    }

    fn read(&mut self, bytes: usize) {
        let Some(stream) = &mut self.stream else { return };
        let mut buffer = vec![0; bytes];
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(result) = std::pin::Pin::new(stream).poll_read(&mut cx, &mut buffer) {
            self.finish(result, &buffer);
        }
    }

    /// Reads until there is nothing more to be had.
    async fn drain(&mut self) {
        let mut buffer = vec![0; 50_000];
        while self.over.is_none() {
            let Some(stream) = &mut self.stream else { return };
            // The clock stands still while anything can go on: time passes only when all are asleep.
            match timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                Ok(result) => self.finish(result, &buffer),
                Err(_) => return,
            }
        }
    }
}

/// Both ends of a stream; the far one once it has been accepted.
struct Both {
    near: End,
    far: Option<End>,
    by_dialer: bool,
}

impl Both {
    fn end(&mut self, dialer: bool) -> Option<&mut End> {
        if dialer == self.by_dialer { Some(&mut self.near) } else { self.far.as_mut() }
    }
}

/// What `reader` has come to must be what `writer` did.
fn check(reader: &End, writer: &End) {
    assert!(reader.read <= writer.written);
    match reader.over {
        Some(Over::Ended) => assert!(writer.closed && reader.read == writer.written, "an end that nobody made"),
        Some(Over::Broken) => assert!(writer.dropped(), "a break that nobody made"),
        None if reader.dropped() => {}
        None => {
            assert!(!writer.closed, "the end never came");
            assert!(!writer.dropped(), "the reset never came");
            assert_eq!(reader.read, writer.written, "bytes never came");
        }
    }
}

async fn run(steps: Vec<(bool, Step)>) {
    let mut pair = pair();
    let mut streams: Vec<Both> = Vec::new();
    for (dialer, step) in steps {
        let number = match step {
            Step::Write { stream, .. } | Step::Read { stream, .. } => stream,
            Step::Close { stream } | Step::Drop { stream } => stream,
            Step::Open if streams.len() < 6 => {
                let connection = if dialer { &mut pair.dialer } else { &mut pair.listener };
                let mut near = End::new(open(connection).await);
                near.write(1);
                let connection = if dialer { &mut pair.listener } else { &mut pair.dialer };
                let far = Some(End::new(accept(connection).await));
                streams.push(Both { near, far, by_dialer: dialer });
                continue;
            }
            Step::Open => continue,
            Step::Wait { turns } => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                continue;
            }
        };
        let Some(end) = streams.get_mut(number).and_then(|both| both.end(dialer)) else { continue };
        match step {
            Step::Write { bytes, .. } if !end.closed => end.write(bytes),
            Step::Read { bytes, .. } => end.read(bytes),
            Step::Close { .. } => {
                if let Some(stream) = &mut end.stream
                    && stream.close().await.is_ok()
                {
                    end.closed = true;
                }
            }
            Step::Drop { .. } => end.stream = None,
            _ => {}
        }
    }
    for both in &mut streams {
        let Some(far) = &mut both.far else { continue };
        tokio::join!(both.near.drain(), far.drain());
    }
    for Both { near, far, .. } in &streams {
        if let Some(far) = far {
            check(near, far);
            check(far, near);
        }
    }
    assert!(pair.drivers.try_join_next().is_none(), "the connection has ended");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written_and_ends_as_it_was_ended(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
