//! What must hold of the stream: nothing lost, nothing invented, nothing held without bound.

use super::*;

/// A pipe that counts the TLS records which are written to it, and can turn one bit of them.
struct Tapped {
    pipe: Pipe,
    records: Arc<AtomicUsize>,
    written: usize,
    header: Vec<u8>,
    body: usize,
    spoil: Option<usize>,
}

impl Tapped {
    fn new(pipe: Pipe, spoil: Option<usize>) -> (Self, Arc<AtomicUsize>) {
        let records = Arc::<AtomicUsize>::default();
        (Self { pipe, records: records.clone(), written: 0, header: Vec::new(), body: 0, spoil }, records)
    }

    fn look_at(&mut self, byte: u8) {
        if self.body > 0 {
            self.body -= 1;
            return;
        }
        self.header.push(byte);
        if let [_, _, _, high, low] = self.header[..] {
            self.body = usize::from(high) << 8 | usize::from(low);
            self.header.clear();
            self.records.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Tapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut bytes = bytes.to_vec();
        let spoiled = self.spoil.and_then(|at| at.checked_sub(self.written)).filter(|at| *at < bytes.len());
        if let Some(at) = spoiled {
            bytes[at] ^= 1;
        }
        let polled = Pin::new(&mut self.pipe).poll_write(cx, &bytes);
        if let Poll::Ready(Ok(taken)) = polled {
            self.written += taken;
            bytes[..taken].iter().for_each(|byte| self.look_at(*byte));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_close(cx)
    }
}

/// Bytes that tell their place.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[tokio::test]
async fn a_frame_of_several_slices_becomes_one_record() {
    let (near, far) = pipe(1 << 20);
    let (near, records) = Tapped::new(near, None);
    let (mut near, mut far) = connected(near, far).await;
    let before = records.load(Ordering::Relaxed);
    let (header, payload) = ([1; 12], [2; 1_000]);
    let taken = near.write_vectored(&[IoSlice::new(&header), IoSlice::new(&[]), IoSlice::new(&payload)]).await.unwrap();
    near.flush().await.unwrap();
    assert_eq!((taken, records.load(Ordering::Relaxed) - before), (1_012, 1));
    assert_eq!(far.fill_buf().await.unwrap(), [&header[..], &payload].concat());
}

#[tokio::test]
async fn a_large_frame_fills_its_records() {
    let (near, far) = pipe(1 << 20);
    let (near, records) = Tapped::new(near, None);
    let (mut near, _far) = connected(near, far).await;
    let before = records.load(Ordering::Relaxed);
    for _ in 0..2 {
        let taken = near.write_vectored(&[IoSlice::new(&[1; 12]), IoSlice::new(&vec![2; (64 << 10) - 12])]).await;
        assert_eq!(taken.unwrap(), 64 << 10);
    }
    near.flush().await.unwrap();
    assert_eq!(records.load(Ordering::Relaxed) - before, 8);
}

/// Sends `total` bytes in pieces of any size, some flushed, then ends.
async fn send(writer: &mut (impl AsyncWrite + Unpin), total: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = 0;
    while at < total {
        let piece = pattern(at, random.usize(1..40_000).min(total - at));
        let (first, second) = piece.split_at(random.usize(..=piece.len()));
        at += writer.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await.unwrap();
        if random.u8(..4) == 0 {
            writer.flush().await.unwrap();
        }
    }
    writer.close().await.unwrap();
}

/// Receives what [`send`] sent, by copies and by looking, to its end.
async fn receive(stream: &mut (impl futures::AsyncBufRead + Unpin), total: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = 0;
    loop {
        let got = if random.bool() {
            let mut buffer = vec![0; random.usize(1..20_000)];
            let read = stream.read(&mut buffer).await.unwrap();
            buffer.truncate(read);
            buffer
        } else {
            let chunk = stream.fill_buf().await.unwrap();
            let taken = chunk[..random.usize(..=chunk.len())].to_vec();
            let ended = chunk.is_empty();
            stream.consume_unpin(taken.len());
            if taken.is_empty() && !ended {
                continue;
            }
            taken
        };
        if got.is_empty() {
            break;
        }
        assert!(got == pattern(at, got.len()), "wrong bytes at {at}");
        at += got.len();
    }
    assert_eq!(at, total);
}

#[tokio::test]
async fn both_ways_at_once_in_random_pieces_nothing_is_lost() {
    for (seed, window) in [(1, 61), (2, 4_096), (3, 70_000)] {
        let (near, far) = pipe(window);
        let (near, far) = connected(near, far).await;
        let total = if window < 100 { 200_000 } else { 3_000_000 };
        // Two tasks for each stream, as a caller may have them.
        let ((mut near_reader, mut near_writer), (mut far_reader, mut far_writer)) =
            (Halves::of(near), Halves::of(far));
        join4(
            send(&mut near_writer, total, seed),
            receive(&mut far_reader, total, seed + 10),
            send(&mut far_writer, total, seed + 20),
            receive(&mut near_reader, total, seed + 30),
        )
        .await;
    }
}

/// One half of a stream whose other half somebody else polls.
struct Halves<C>(Arc<std::sync::Mutex<TlsStream<C>>>);

impl<C: AsyncRead + AsyncWrite + Unpin> Halves<C> {
    fn of(stream: TlsStream<C>) -> (futures::io::BufReader<Self>, Self) {
        let stream = Arc::new(std::sync::Mutex::new(stream));
        (futures::io::BufReader::new(Self(stream.clone())), Self(stream))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Halves<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_read(cx, buffer)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Halves<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_close(cx)
    }
}

#[tokio::test]
async fn a_stock_peer_gets_and_gives_the_same_bytes() {
    let (near, far) = pipe(5_000);
    let theirs = stock::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (dialed, accepted) = join(config(Ciphers::Aes).connect(near), theirs.upgrade_inbound(far, "")).await;
    let (mut near, far) = (dialed.unwrap().1, accepted.unwrap().1);
    let mut far = futures::io::BufReader::new(far);
    join(send(&mut near, 1_000_000, 5), receive(&mut far, 1_000_000, 6)).await;
    join(send(far.get_mut(), 1_000_000, 7), receive(&mut near, 1_000_000, 8)).await;
}

#[tokio::test]
async fn a_turned_bit_is_an_error_after_what_was_whole() {
    let (near, far) = pipe(1 << 20);
    let (near, _) = Tapped::new(near, None);
    let (mut near, mut far) = connected(near, far).await;
    near.write_all(b"whole").await.unwrap();
    near.flush().await.unwrap();
    near.socket_mut().spoil = Some(near.socket_mut().written + 20);
    near.write_all(b"spoiled").await.unwrap();
    near.write_all(b"never seen").await.unwrap();
    near.flush().await.unwrap();

    let mut all = Vec::new();
    let error = far.read_to_end(&mut all).await.unwrap_err();
    assert_eq!((error.kind(), &all[..]), (io::ErrorKind::InvalidData, &b"whole"[..]));
    assert_eq!(far.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(far.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let told = near.read(&mut [0; 10]).await.unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
}

#[tokio::test]
async fn an_end_that_the_peer_did_not_announce_is_an_error() {
    let (near, far) = pipe(1 << 16);
    let (mut near, mut far) = connected(near, far).await;
    near.write_all(b"half of it").await.unwrap();
    near.flush().await.unwrap();
    drop(near);
    let mut all = Vec::new();
    let error = far.read_to_end(&mut all).await.unwrap_err();
    assert_eq!((error.kind(), &all[..]), (io::ErrorKind::UnexpectedEof, &b"half of it"[..]));
    assert_eq!(far.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_record_cut_short_is_an_error() {
    let (near, far) = pipe(1 << 16);
    let (mut near, mut far) = connected(near, far).await;
    near.write_all(&[7; 1_000]).await.unwrap();
    // All of the record but its last bytes: the pipe between is cut there.
    let (mut cut, wire) = pipe(1 << 16);
    let mut raw = std::mem::replace(near.socket_mut(), wire);
    near.flush().await.unwrap();
    let mut record = vec![0; 1_022];
    cut.read_exact(&mut record).await.unwrap();
    raw.write_all(&record[..1_000]).await.unwrap();
    drop(raw);
    assert_eq!(far.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_closed_side_takes_nothing_more_and_the_other_goes_on() {
    let (near, far) = pipe(1 << 16);
    let (mut near, mut far) = connected(near, far).await;
    near.close().await.unwrap();
    assert_eq!(near.write(b"late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(far.read(&mut [0; 10]).await.unwrap(), 0);
    far.write_all(b"an answer").await.unwrap();
    far.close().await.unwrap();
    let mut all = Vec::new();
    near.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"an answer");
}

#[tokio::test]
async fn a_writer_whose_peer_is_gone_gets_an_error() {
    let (near, far) = pipe(1 << 10);
    let (mut near, far) = connected(near, far).await;
    drop(far);
    let error = near.write_all(&vec![0; 1 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_makes_a_writer_wait_and_costs_little() {
    for piece in [1, 100, 5_000, 1 << 20] {
        let (near, far) = pipe(1 << 10);
        let (mut near, mut far) = connected(near, far).await;
        let bytes = vec![3; piece];
        let mut taken = 0;
        // At 1 MiB in pieces this would have waited long ago; with no bound it would go on for ever.
        while let Some(written) = near.write(&bytes).now_or_never() {
            taken += written.unwrap();
            assert!(taken < 1 << 20);
        }
        assert!(near.unsent() <= 257 << 10, "{}", near.unsent());
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut near).poll_flush(cx).is_pending())).await);
        // And who waits is woken.
        let (_, read) = join(near.flush(), async {
            let mut read = 0;
            while read < taken {
                read += far.read(&mut [0; 5_000]).await.unwrap();
            }
            read
        })
        .await;
        assert_eq!(read, taken);
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_sent_no_more_than_its_buffers_hold() {
    let (near, far) = pipe(1 << 10);
    let (mut near, mut far) = connected(near, far).await;
    let sent = Arc::<AtomicUsize>::default();
    let counted = sent.clone();
    let writing = async {
        loop {
            counted.fetch_add(near.write(&[1; 10_000]).await.unwrap(), Ordering::Relaxed);
        }
    };
    let looking = async {
        for _ in 0..1_000 {
            assert!(!far.fill_buf().await.unwrap().is_empty());
            tokio::task::yield_now().await;
        }
    };
    futures::future::select(pin!(writing), pin!(looking)).await;
    assert!(sent.load(Ordering::Relaxed) < 400_000, "{sent:?}");
}

#[tokio::test]
async fn new_keys_are_answered_at_the_next_flush_and_both_ways_go_on() {
    let (near, far) = pipe(1 << 16);
    let (near, records) = Tapped::new(near, None);
    let (mut near, mut far) = connected(near, far).await;
    for round in 0..40_u8 {
        far.refresh_keys();
        far.write_all(&[round]).await.unwrap();
        far.flush().await.unwrap();
        let mut got = [0];
        near.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [round]);
        let before = records.load(Ordering::Relaxed);
        near.flush().await.unwrap();
        assert_eq!(records.load(Ordering::Relaxed) - before, 1, "the answer");
        near.write_all(&[round]).await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [round]);
    }
}

#[tokio::test]
async fn an_idle_stream_holds_no_read_buffer() {
    let (near, far) = pipe(1 << 20);
    let (mut near, mut far) = connected(near, far).await;
    near.write_all(&[1; 100_000]).await.unwrap();
    near.flush().await.unwrap();
    far.read_exact(&mut vec![0; 100_000]).await.unwrap();
    assert!(far.read(&mut [0; 1]).now_or_never().is_none());
    assert_eq!(far.held(), 0);
}
