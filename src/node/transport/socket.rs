//! The socket of a connection over TCP, which is written to before the kernel says that it has room again.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::tcp::tokio::TcpStream;
use socket2::SockRef;
use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep},
};

/// How soon a full socket is tried again where something leaves it all the time: the shortest that tokio's timers know.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// A pause in which less than that has left was too short: a TLS record. A line of 130 Mbit/s takes a millisecond for it.
const WORTH_IT: usize = 16 << 10;

/// The longest pause. A socket that has taken nothing for longer is not tried any more: the kernel will say when it has room.
const MAX_PAUSE: Duration = Duration::from_millis(16);

/// A TCP stream that tries a full socket again of its own accord, as long as something leaves it.
///
/// Linux wakes up a writer only when a third of the socket's buffer is free. On a long path all of the buffer is on its way,
/// and what can't be written meanwhile is missing there: a tunnel, which has to encrypt a third of the buffer then, falls
/// behind.
pub struct Socket {
    stream: TcpStream,
    attempts: Attempts,
}

impl Socket {
    /// Must be called within a tokio runtime.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, attempts: Attempts::new() }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, attempts } = &mut *self;
        if let Poll::Ready(written) = Pin::new(&mut *stream).poll_write_vectored(cx, pieces) {
            attempts.are_not_needed();
            return Poll::Ready(written);
        }
        if !has_budget_remaining() {
            // The socket may have room, and others have their turn first.
            return Poll::Pending;
        }
        // Past tokio, which knows from the kernel that the socket is full.
        let offered = pieces.iter().map(|piece| piece.len()).sum();
        attempts.poll(cx, offered, || SockRef::from(&stream.0).send_vectored(pieces))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// When a full socket is tried again.
struct Attempts {
    next: Next,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
}

#[derive(PartialEq)]
enum Next {
    /// Nobody has looked since the kernel last said that there is room, or it is to say so.
    Undecided,
    /// When the timer has run down.
    Later,
    /// The last attempt has found room.
    Now,
}

impl Attempts {
    fn new() -> Self {
        Self { next: Next::Undecided, pause: MIN_PAUSE, timer: Box::pin(sleep(MIN_PAUSE)) }
    }

    /// The kernel has said that there is room.
    fn are_not_needed(&mut self) {
        self.next = Next::Undecided;
        self.try_sooner();
    }

    fn try_sooner(&mut self) {
        self.pause = (self.pause / 2).max(MIN_PAUSE);
    }

    /// Tries to `send` what is offered if it is time to.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.next {
                Next::Now => {}
                Next::Later => ready!(self.timer.poll_unpin(cx)),
                Next::Undecided if self.pause > MAX_PAUSE => return Poll::Pending,
                Next::Undecided => {
                    self.next = Next::Later;
                    self.timer.as_mut().reset(Instant::now() + self.pause);
                    continue;
                }
            }
            let sent = send();
            let is_full = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            if self.next == Next::Later {
                match sent {
                    _ if is_full => self.pause *= 2,
                    Ok(n) if n < offered.min(WORTH_IT) => self.pause = (self.pause * 2).min(MAX_PAUSE),
                    _ => self.try_sooner(),
                }
            }
            if !is_full {
                self.next = Next::Now;
                return Poll::Ready(sent);
            }
            self.next = Next::Undecided;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, mem, net};

    use futures::{AsyncWriteExt as _, future::poll_fn};
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    const ROOM: usize = 1000;

    fn full() -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// How many attempts a socket sees that takes nothing, and how long that goes on.
    async fn standstill(attempts: &mut Attempts) -> (usize, Duration) {
        let (begin, mut last, mut seen) = (Instant::now(), Instant::now(), 0);
        let gives_up = poll_fn(|cx| {
            attempts.poll(cx, ROOM, || {
                (last, seen) = (Instant::now(), seen + 1);
                full()
            })
        });
        assert!(timeout(Duration::from_secs(3600), gives_up).await.is_err());
        (seen, last - begin)
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nothing_is_tried_ever_more_seldom_and_then_not_before_the_kernel_says_so() {
        let mut attempts = Attempts::new();
        assert_eq!(standstill(&mut attempts).await, (5, Duration::from_millis(1 + 2 + 4 + 8 + 16)));
        assert_eq!(standstill(&mut attempts).await.0, 0);
        attempts.are_not_needed();
        assert_eq!(standstill(&mut attempts).await, (1, MAX_PAUSE), "as seldom as it came to something before");
        (0..10).for_each(|_| attempts.are_not_needed());
        assert_eq!(standstill(&mut attempts).await.0, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_a_socket_is_made_up_for_a_pause_later_and_as_far_as_there_is_room() {
        let (mut attempts, mut rooms, begin) = (Attempts::new(), 0, Instant::now());
        for nth in 1..=30_u32 {
            // Three writes have room after each pause.
            let sent = poll_fn(|cx| {
                attempts.poll(cx, ROOM, || {
                    rooms += 1;
                    if rooms % 4 == 0 { full() } else { Ok(ROOM) }
                })
            });
            assert_eq!(timeout(2 * MIN_PAUSE, sent).await.unwrap().unwrap(), ROOM);
            assert_eq!(begin.elapsed(), MIN_PAUSE * nth.div_ceil(3), "write {nth}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_too_soon_is_tried_later_and_then_sooner_again() {
        let (mut attempts, begin, mut seen) = (Attempts::new(), Instant::now(), Vec::new());
        while seen.len() < 5 {
            // Nothing leaves in the first six milliseconds; then all that is written has left a pause later.
            let mut full_again = attempts.next == Next::Now;
            let sent = poll_fn(|cx| {
                attempts.poll(cx, ROOM, || {
                    match mem::take(&mut full_again) || begin.elapsed() < Duration::from_millis(6) {
                        true => full(),
                        false => Ok(ROOM),
                    }
                })
            });
            timeout(Duration::from_secs(1), sent).await.unwrap().unwrap();
            seen.push(begin.elapsed().as_millis());
        }
        // Tried in vain after one and two milliseconds more, then with success after four, two, one, and so on.
        assert_eq!(seen, [7, 9, 10, 11, 12]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_a_slow_line_empties_drop_by_drop_is_tried_seldom_and_goes_on_being_tried() {
        let (mut attempts, mut seen, mut last) = (Attempts::new(), Vec::new(), Instant::now());
        for _ in 0..7 {
            // One byte less has room than it is worth it for.
            let mut full_again = attempts.next == Next::Now;
            let sent = poll_fn(|cx| {
                attempts.poll(cx, 4 * WORTH_IT, || match mem::take(&mut full_again) {
                    true => full(),
                    false => Ok(WORTH_IT - 1),
                })
            });
            timeout(Duration::from_secs(1), sent).await.unwrap().unwrap();
            seen.push(last.elapsed().as_millis());
            last = Instant::now();
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 16, 16]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_an_attempt_is_an_error_of_the_write() {
        let broken = || Err(io::ErrorKind::BrokenPipe.into());
        let mut attempts = Attempts::new();
        let sent = poll_fn(|cx| attempts.poll(cx, ROOM, broken));
        let error = timeout(2 * MIN_PAUSE, sent).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// A socket with a small buffer, and who reads from it.
    async fn connected() -> (Socket, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).set_recv_buffer_size(64 << 10).unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        SockRef::from(&stream).set_send_buffer_size(200 << 10).unwrap();
        let reader = listener.accept().await.unwrap().0.into_std().unwrap();
        reader.set_nonblocking(false).unwrap();
        (Socket::new(TcpStream(stream)), reader)
    }

    #[tokio::test]
    async fn a_full_socket_is_written_to_where_less_has_left_than_the_kernel_speaks_of() {
        let (mut socket, mut reader) = connected().await;
        let bytes = [0; 16 << 10];
        let filled = poll_fn(|cx| {
            while Pin::new(&mut socket).poll_write(cx, &bytes)?.is_ready() {}
            Poll::Ready(io::Result::Ok(()))
        });
        filled.await.unwrap();
        // How much makes room depends on when the reader's kernel says that it has some.
        loop {
            reader.read_exact(&mut [0; 8 << 10]).unwrap();
            let kernel_says = timeout(Duration::from_millis(50), socket.stream.0.writable()).await;
            assert!(kernel_says.is_err(), "the kernel was first");
            socket.attempts = Attempts::new();
            if let Ok(written) = timeout(Duration::from_millis(100), socket.write(&bytes)).await {
                assert!(written.unwrap() > 0);
                break;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_keep_their_order_whichever_way_they_take() {
        const TOTAL: usize = 4 << 20;
        let (mut socket, mut reader) = connected().await;
        let bytes: Vec<_> = (0..TOTAL).map(|n| (n / 251) as u8).collect();
        let (mut attempted, mut asked_for) = (0, 0);
        let write = async {
            for piece in bytes.chunks(16 << 10) {
                socket.write_all(piece).await.unwrap();
                *(if socket.attempts.next == Next::Now { &mut attempted } else { &mut asked_for }) += 1;
            }
            socket.close().await.unwrap();
        };
        let read = async {
            let (mut all, mut piece) = (Vec::new(), [0; 32 << 10]);
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                all.extend_from_slice(&piece[..n]);
                // The writer fills the socket meanwhile, by itself or at the kernel's word.
                sleep(2 * MIN_PAUSE).await;
            }
            all
        };
        let (_, all) = tokio::join!(write, read);
        assert!(all == bytes);
        assert!(attempted > 0 && asked_for > 0, "{attempted} attempted, {asked_for} at the kernel's word");
    }
}
