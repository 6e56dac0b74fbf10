//! A connection, as its user has it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::{
    Error,
    cell::Cell,
    hub::{Hub, Wish},
    stream::Stream,
};

/// Opens and accepts streams. Dropping it ends the connection and breaks its streams, unless it is to be
/// [closed](Self::close_when_dropped).
pub struct Connection {
    hub: Arc<Hub>,
    opening: PollSemaphore,
    at_drop: Wish,
}

impl Connection {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let opening = PollSemaphore::new(hub.unacknowledged.clone());
        Self { hub, opening, at_drop: Wish::Drop }
    }

    /// What opens streams in other places.
    pub fn opener(&self) -> Opener {
        Opener { hub: self.hub.clone() }
    }

    /// The next stream that the far end opens.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let mut front = self.hub.front();
        if let Some(stream) = front.inbound.pop_front() {
            drop(front);
            stream.accept();
            return Poll::Ready(Ok(stream));
        }
        if let Some(error) = &front.ended {
            return Poll::Ready(Err(error.clone()));
        }
        front.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A stream of our own; it waits while many of them have not been acknowledged. The far end hears of it with the
    /// first bytes that are written, or when something is to be read.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        match ready!(self.opening.poll_acquire(cx)) {
            Some(permit) => {
                permit.forget();
                Poll::Ready(Ok(Stream::new(Cell::outbound(self.hub.clone()))))
            }
            None => Poll::Ready(Err(self.hub.front().ended())),
        }
    }

    /// Ready when the connection has ended, with the reason.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.hub.front().poll_ended(cx)
    }

    /// Sends what has been written, says goodbye and ends the connection. Streams that have not been closed are broken.
    /// Takes as long as the far end takes to take it, and to leave too.
    ///
    /// # Errors
    ///
    /// Where the connection had ended, or ends, otherwise.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut front = self.hub.front();
        if front.wish == Wish::Stay && front.ended.is_none() {
            drop(front);
            self.hub.wish(Wish::Close);
            front = self.hub.front();
        }
        front.poll_ended(cx).map(|error| match error {
            Error::Closed => Ok(()),
            error => Err(error),
        })
    }

    /// Has the connection close as by [`Self::poll_close`] when this is dropped, if its driver is kept.
    pub fn close_when_dropped(&mut self) {
        self.at_drop = Wish::Close;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.wish(self.at_drop);
    }
}

/// Opens streams of a connection, and knows how it fares. Does not keep it alive.
#[derive(Clone)]
pub struct Opener {
    hub: Arc<Hub>,
}

impl Opener {
    /// A stream of our own, as from [`Connection::poll_outbound`]. Whoever waits is served in order. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn open(&self) -> Result<Stream, Error> {
        match self.hub.unacknowledged.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.hub.front().ended()),
        }
        Ok(Stream::new(Cell::outbound(self.hub.clone())))
    }

    /// When bytes last left, since the connection was to be closed.
    pub fn last_departure(&self) -> Option<Instant> {
        self.hub.front().last_departure
    }

    /// When bytes last came, since the connection was to be closed.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.hub.front().last_arrival
    }

    /// Whether so many streams have been opened that it is time for another connection: their ids are not used twice, and
    /// there are 2^31 of them.
    pub fn is_worn(&self) -> bool {
        self.hub.worn.load(Relaxed)
    }

    /// Makes it so.
    #[cfg(test)]
    pub fn wear(&self) {
        self.hub.worn.store(true, Relaxed);
    }
}
