//! The pipe between a local connection and a stream: bytes both ways, each way ended by itself, every break passed on
//! as a break.
//!
//! How they are dropped afterwards makes the difference: a [`Local`] that has not been [finished](Local::finish) and a
//! [`Stream`] that was not shut down both reset their far ends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, copy, sink},
    time::{Instant, Sleep, sleep, timeout},
};

use super::endpoint::Local;
use crate::node::{CopyError, Stream};

/// How long the rest of what a local client says is heard, unread by anybody, after its peer has stopped listening and
/// said goodbye. Closing at once would have the kernel throw away what the client has not read yet. Beyond this, a client
/// that says nothing still gets all, and one that goes on talking is reset.
const LINGER: Duration = Duration::from_secs(5);

/// How often a local connection is looked at while nothing is read from it, because its peer takes nothing or it has said
/// all. Whether the client is still there would be known only by reading, and many dead ones would use up `max_connections`.
const LOOK_AFTER: Duration = Duration::from_secs(30);

/// How a pipe broke. What was not broken has been brought to its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the local side: {0}")]
    Local(#[source] io::Error),
    #[error("the remote side: {0}")]
    Remote(#[source] io::Error),
}

impl From<CopyError> for Broken {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Stream(error) => Self::Remote(error),
            CopyError::Other(error) => Self::Local(error),
        }
    }
}

/// Counts payload as it passes.
pub trait Meter {
    /// Bytes from the remote peer, delivered.
    fn inbound(&self, bytes: usize);
    /// Bytes to the remote peer, handed over.
    fn outbound(&self, bytes: usize);
}

/// Copies until both ways have ended, or until one side breaks and the other has been told.
///
/// # Errors
///
/// When either side breaks.
pub async fn pipe(mut local: Local, mut remote: Stream, meter: &impl Meter) -> Result<(), Broken> {
    let (mut outbound, mut inbound) = (Way::Open, Way::Open);
    let (mut unheard, mut next_look) = (None, None);
    let both_ways = std::future::poll_fn(|cx| {
        let mut is_read = false;
        if unheard.is_none() {
            match outbound.poll_outbound(cx, &mut local, &mut remote, meter) {
                Poll::Ready(Ok(())) => {}
                // The peer hears no more, but it may have more to say: an answer that is on its way must arrive.
                Poll::Ready(Err(Broken::Remote(error))) => unheard = Some(error),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => is_read = outbound == Way::Open && !remote.is_held_up(),
            }
        }
        if inbound.poll_inbound(cx, &mut remote, &mut local, meter)?.is_ready() {
            if outbound == Way::Ended || unheard.is_some() {
                return Poll::Ready(Ok(()));
            }
            // Nobody reads the stream any more, and where the local side is silent nobody writes to it either.
            if remote.poll_connection_ended(cx).is_ready() {
                unheard = Some(io::ErrorKind::ConnectionReset.into());
                return Poll::Ready(Ok(()));
            }
        }
        if !is_read {
            look_after(&local, &mut next_look, cx).map_err(Broken::Local)?;
        }
        Poll::Pending
    });
    let ended = both_ways.await;
    match (ended, unheard) {
        (Ok(()), None) => {
            local.finish();
            Ok(())
        }
        (Ok(()), Some(error)) => {
            // The time is a bound, not a wait: it ends with the client.
            if !matches!(timeout(LINGER, copy(&mut local, &mut sink())).await, Ok(Err(_))) {
                // The client may still be reading what its peer has said to the end: a reset would throw that away. To
                // whatever the client says from now on, the kernel answers with one.
                local.finish();
            }
            Err(Broken::Remote(error))
        }
        (Err(broken), _) => Err(broken),
    }
}

/// Looks now and then whether the local side has broken.
fn look_after(local: &Local, next: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> io::Result<()> {
    let next = next.get_or_insert_with(|| Box::pin(sleep(LOOK_AFTER)));
    while next.as_mut().poll(cx).is_ready() {
        local.check()?;
        next.as_mut().reset(Instant::now() + LOOK_AFTER);
    }
    Ok(())
}

/// How far one way of a pipe has come.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Open,
    /// All has been read, and the other side is being told.
    Ending,
    Ended,
}

impl Way {
    /// Copies what the local side says, to its end.
    fn poll_outbound(
        &mut self,
        cx: &mut Context<'_>,
        local: &mut Local,
        remote: &mut Stream,
        meter: &impl Meter,
    ) -> Poll<Result<(), Broken>> {
        while *self == Way::Open {
            match ready!(remote.poll_copy_from(cx, local))? {
                0 => *self = Way::Ending,
                n => meter.outbound(n),
            }
        }
        self.poll_end(cx, remote).map_err(Broken::Remote)
    }

    /// Copies what the peer says, to its end.
    fn poll_inbound(
        &mut self,
        cx: &mut Context<'_>,
        remote: &mut Stream,
        local: &mut Local,
        meter: &impl Meter,
    ) -> Poll<Result<(), Broken>> {
        while *self == Way::Open {
            match ready!(remote.poll_copy_to(cx, local))? {
                0 => *self = Way::Ending,
                n => meter.inbound(n),
            }
        }
        self.poll_end(cx, local).map_err(Broken::Local)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        if *self == Way::Ending {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            *self = Way::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::poll;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::node::LENT;

    #[derive(Default)]
    struct Count {
        inbound: Cell<usize>,
        outbound: Cell<usize>,
    }

    impl Meter for Count {
        fn inbound(&self, bytes: usize) {
            self.inbound.set(self.inbound.get() + bytes);
        }

        fn outbound(&self, bytes: usize) {
            self.outbound.set(self.outbound.get() + bytes);
        }
    }

    /// A client, and the local connection that it has made.
    async fn client() -> (TcpStream, Local) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        (client, Local::tcp(accepted).unwrap())
    }

    /// Does `something` while a pipe goes on.
    async fn beside(pipe: impl Future<Output: std::fmt::Debug>, something: impl Future<Output = ()>) {
        tokio::select! {
            ended = pipe => panic!("the pipe has ended: {ended:?}"),
            () = something => {}
        }
    }

    #[tokio::test]
    async fn each_way_ends_by_itself_and_is_counted() {
        let ((mut client, local), (near, mut far)) = (client().await, Stream::pair());
        let count = Count::default();
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            far.read_to_end(&mut asked).await.unwrap();
            far.write_all(b"the answer").await.unwrap();
            far.shutdown().await.unwrap();
            let mut answered = Vec::new();
            client.read_to_end(&mut answered).await.unwrap();
            (asked, answered)
        };
        let (piped, (asked, answered)) = tokio::join!(pipe(local, near, &count), talk);
        piped.unwrap();
        assert_eq!((asked.as_slice(), answered.as_slice()), (&b"question"[..], &b"the answer"[..]));
        assert_eq!((count.outbound.get(), count.inbound.get()), (8, 10));
    }

    #[tokio::test]
    async fn a_pipe_holds_a_buffer_only_while_bytes_are_on_their_way() {
        let ((_client, local), (near, mut far)) = (client().await, Stream::pair());
        let count = Count::default();
        let mut pipe = Box::pin(pipe(local, near, &count));
        assert!(poll!(&mut pipe).is_pending());
        assert_eq!(LENT.get(), 0, "an idle pipe");
        // More than the client's kernel takes unread.
        let mut flood = Box::pin(async {
            let chunk = vec![0; 1 << 20];
            while far.write_all(&chunk).await.is_ok() {}
        });
        while LENT.get() == 0 {
            assert!(poll!(&mut flood).is_pending());
            assert!(poll!(&mut pipe).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(LENT.get(), 1, "a pipe whose client does not read");
        drop((pipe, flood));
        assert_eq!(LENT.get(), 0);
    }

    #[tokio::test]
    async fn a_stream_that_is_reset_resets_the_client() {
        let ((mut client, local), (near, far)) = (client().await, Stream::pair());
        drop(far);
        let broken = pipe(local, near, &Count::default()).await.unwrap_err();
        assert!(matches!(broken, Broken::Remote(_)), "{broken}");
        assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_resets_resets_the_stream_also_where_the_peer_takes_nothing() {
        let ((mut client, local), (near, mut far)) = (client().await, Stream::pair());
        let count = Count::default();
        let mut pipe = Box::pin(pipe(local, near, &count));
        let flood = async {
            let chunk = vec![0; 1 << 20];
            // Until all that lies between is full.
            while timeout(Duration::from_secs(1), client.write_all(&chunk)).await.is_ok() {}
        };
        beside(&mut pipe, flood).await;
        drop(Local::tcp(client).unwrap());
        let broken = timeout(2 * LOOK_AFTER, pipe).await.unwrap().unwrap_err();
        assert!(matches!(broken, Broken::Local(_)), "{broken}");
        let heard = far.read_to_end(&mut Vec::new()).await;
        assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_said_all_and_resets_resets_the_stream_also_where_the_peer_says_nothing() {
        let ((mut client, local), (near, mut far)) = (client().await, Stream::pair());
        let count = Count::default();
        let mut pipe = Box::pin(pipe(local, near, &count));
        let ask = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            far.read_to_end(&mut Vec::new()).await.unwrap();
        };
        beside(&mut pipe, ask).await;
        assert!(timeout(10 * LOOK_AFTER, &mut pipe).await.is_err(), "a client that waits may wait");
        drop(Local::tcp(client).unwrap());
        let broken = timeout(2 * LOOK_AFTER, pipe).await.unwrap().unwrap_err();
        assert!(matches!(broken, Broken::Local(_)), "{broken}");
        while far.write_all(b"answer").await.is_ok() {}
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_said_before_it_left_in_good_order_waits_for_a_peer_that_takes_its_time() {
        let ((mut client, local), (near, mut far)) = (client().await, Stream::pair());
        let count = Count::default();
        let mut pipe = Box::pin(pipe(local, near, &count));
        // The peer is the first to say all. What the client says fills all that lies between, but for some of its kernel's room.
        let (mut said, chunk) = (0, [7; 16 << 10]);
        let talk = async {
            far.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            client.set_nodelay(true).unwrap();
            while count.outbound.get() == said {
                client.write_all(&chunk).await.unwrap();
                said += chunk.len();
                sleep(Duration::from_secs(1)).await;
            }
            drop(client);
        };
        beside(&mut pipe, talk).await;
        assert!(said > 64 << 10, "{said} bytes fill nothing");
        assert!(timeout(10 * LOOK_AFTER, &mut pipe).await.is_err(), "the pipe waits");
        let mut heard = Vec::new();
        let (piped, read) = tokio::join!(pipe, far.read_to_end(&mut heard));
        piped.unwrap();
        read.unwrap();
        assert_eq!(heard.len(), said);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_its_side_open_gets_a_whole_reply_also_after_its_peer_has_gone() {
        // More than its kernel takes unread. The rest waits in ours.
        let (reply, count) = (vec![7; 200_000], Count::default());
        let ((mut client, local), (near, mut far)) = (client().await, Stream::pair());
        let last_words = async {
            far.write_all(&reply).await.unwrap();
            far.shutdown().await.unwrap();
            drop(far);
            client.write_all(b"does anybody hear this?").await.unwrap();
        };
        let (piped, ()) = tokio::join!(pipe(local, near, &count), last_words);
        assert!(matches!(piped, Err(Broken::Remote(_))), "{piped:?}");
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard == reply, "{} bytes", heard.len());
        while client.write_all(b"or this?").await.is_ok() {}
    }

    #[tokio::test]
    async fn a_client_that_resets_resets_the_stream() {
        let ((client, local), (near, mut far)) = (client().await, Stream::pair());
        drop(Local::tcp(client).unwrap());
        let broken = pipe(local, near, &Count::default()).await.unwrap_err();
        assert!(matches!(broken, Broken::Local(_)), "{broken}");
        assert_eq!(far.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
