//! Moves bytes between a connection and its streams.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncBufRead, AsyncWrite};
use tokio::time::Instant;

use super::{
    Config, Error, Role,
    engine::{Engine, Pack},
    frame::Reason,
    hub::{Front, Hub, Wish},
    keepalive::Keepalive,
};

/// Bytes that are sent before others have their turn: the far end has something to do meanwhile.
const SENT_AT_ONCE: usize = 64 * 1024;

/// Bytes that are received before those who wait for them have their turn: what lies in the caches is copied fastest.
const RECEIVED_AT_ONCE: usize = 128 * 1024;

/// A future that keeps a connection going until it ends, and returns why. Dropping it breaks all streams.
#[must_use = "a connection stands still unless its driver is polled"]
pub struct Driver<C> {
    io: C,
    hub: Arc<Hub>,
    engine: Engine,
    keepalive: Keepalive,
    pack: Pack,
    /// How much of `pack` has been sent.
    sent: usize,
    unflushed: bool,
    /// Others who are about to write have had their turn.
    others_first: bool,
    /// Why nothing can be sent any more.
    lost: Option<Error>,
    closing: Closing,
}

/// How far the goodbye has come.
#[derive(Clone, Copy, PartialEq)]
enum Closing {
    No,
    /// What has been written is being sent.
    Sending,
    SayingGoodbye,
    /// All has been said. The far end leaves when it has heard it.
    Leaving,
}

impl<C: AsyncBufRead + AsyncWrite + Unpin> Driver<C> {
    pub(super) fn new(io: C, hub: Arc<Hub>, role: Role, config: Config) -> Self {
        let now = Instant::now();
        let engine = Engine::new(hub.clone(), role, config, now);
        let (keepalive, pack) = (Keepalive::new(now), Pack::default());
        Self {
            io,
            hub,
            engine,
            keepalive,
            pack,
            sent: 0,
            unflushed: false,
            others_first: false,
            lost: None,
            closing: Closing::No,
        }
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<Infallible, Error>> {
        let wish = self.hub.front().wish;
        match wish {
            Wish::Drop => return Poll::Ready(Err(Error::Closed)),
            Wish::Close if self.closing == Closing::No => {
                self.engine.close();
                self.closing = Closing::Sending;
            }
            Wish::Close | Wish::Stay => {}
        }
        if let Some(error) = self.lost.take() {
            return self.poll_rest(error, cx);
        }
        if self.closing == Closing::Leaving {
            return self.poll_leave(cx).map(Err);
        }
        let mut sent = match self.poll_send(cx) {
            Poll::Ready(Err(error)) => return self.poll_rest(error, cx),
            sent => sent?,
        };
        if sent.is_ready() && self.closing != Closing::No && self.has_sent_all() {
            return self.poll_goodbye(cx).map(Err);
        }
        let received = self.poll_receive(cx)?;
        // After what has come: this process may have been the one that slept.
        while self.keepalive.poll_ask(cx)?.is_ready() {
            self.engine.ask_for_answer(Instant::now());
        }
        if sent.is_ready() && !self.has_sent_all() {
            // Most often an answer to what was received.
            sent = match self.poll_send(cx) {
                Poll::Ready(Err(error)) => return self.poll_rest(error, cx),
                sent => sent?,
            };
        }
        // What was left to send may have come to nothing, and the goodbye is next.
        let says_more = self.closing != Closing::No || !self.has_sent_all();
        if received.is_ready() || sent.is_ready() && says_more {
            // Others first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Tells whoever waits for the connection to close that this gets on.
    fn note(&self, what: impl FnOnce(&mut Front) -> &mut Option<Instant>) {
        if self.closing != Closing::No {
            *what(&mut self.hub.front()) = Some(Instant::now());
        }
    }

    fn has_sent_all(&self) -> bool {
        self.pack.is_empty() && !self.engine.has_something_to_send()
    }

    /// Ready when nothing is left to send, or enough has been sent for now.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut sent = 0;
        while sent < SENT_AT_ONCE {
            if self.pack.is_empty() {
                self.engine.pack(&mut self.pack, Instant::now())?;
                if self.pack.is_empty() {
                    break;
                }
            }
            self.unflushed = true;
            sent += ready!(self.poll_send_pack(cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_pack(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let (frames, payload) = self.pack.after(self.sent);
            let total = self.sent + frames.len() + payload.len();
            let n =
                ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &[IoSlice::new(frames), IoSlice::new(payload)]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.note(|front| &mut front.last_departure);
            self.sent += n;
            if self.sent == total {
                self.sent = 0;
                self.pack.clear();
                return Poll::Ready(Ok(total));
            }
        }
    }

    /// Ready when enough has been received for now.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut received = 0;
        while received < RECEIVED_AT_ONCE {
            let Poll::Ready(input) = Pin::new(&mut self.io).poll_fill_buf(cx)? else {
                self.engine.hand_over()?;
                return Poll::Pending;
            };
            if input.is_empty() {
                self.engine.hand_over()?;
                return Poll::Ready(Err(match self.engine.is_within_a_frame() {
                    true => Error::Lost(Arc::new(io::ErrorKind::UnexpectedEof.into())),
                    false => Error::ClosedByPeer,
                }));
            }
            let (n, now) = (input.len(), Instant::now());
            self.engine.receive(input, now)?;
            self.keepalive.heard(now);
            self.note(|front| &mut front.last_arrival);
            Pin::new(&mut self.io).consume(n);
            received += n;
        }
        self.engine.hand_over()?;
        Poll::Ready(Ok(()))
    }

    /// Receives what has arrived although nothing can be sent any more, and ends.
    fn poll_rest(&mut self, error: Error, cx: &mut Context<'_>) -> Poll<Result<Infallible, Error>> {
        if let Poll::Ready(Ok(())) = self.poll_receive(cx) {
            self.lost = Some(error);
            // Others first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(error))
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.closing == Closing::Sending {
            self.closing = Closing::SayingGoodbye;
            self.engine.say_goodbye(Reason::Normal);
        }
        let sent = ready!(self.poll_send(cx));
        if let Err(error) = sent {
            return Poll::Ready(error);
        }
        if let Err(error) = ready!(Pin::new(&mut self.io).poll_close(cx)) {
            return Poll::Ready(error.into());
        }
        self.closing = Closing::Leaving;
        self.poll_leave(cx)
    }

    /// Ready when the far end has left too. A socket that is let go of while its far end still says anything throws away
    /// what is on its way there.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.poll_receive(cx) {
            Poll::Ready(Ok(())) => {
                // Others first.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Error::Closed),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<C: AsyncBufRead + AsyncWrite + Unpin> Future for Driver<C> {
    type Output = Error;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        let this = self.get_mut();
        this.hub.register_driver(cx);
        // Whoever has something to send wakes the driver, which the runtime then runs next. Streams that were waiting to be
        // run as well would each have a record and a call of the kernel of their own.
        this.others_first = !this.others_first && this.hub.has_ready();
        if this.others_first {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Err(error) = ready!(this.poll_work(cx));
        if let Error::Protocol(_) = error {
            // If it can be said at once; a peer like that is not waited for.
            this.engine.say_goodbye(Reason::ProtocolError);
            let _ = this.poll_send(cx);
        }
        this.engine.end();
        this.hub.end(error.clone());
        Poll::Ready(error)
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        self.engine.end();
        self.hub.end(Error::Closed);
    }
}
