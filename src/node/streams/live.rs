//! What the streams of one connection share with its handler: their number, and the connection's end.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{AcqRel, Acquire},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, task::AtomicWaker};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Counts live streams and wakes the connection's handler when one ends; tells the streams when the connection has.
pub struct Live {
    streams: AtomicUsize,
    /// Those of them that a tunnel has.
    carrying: AtomicUsize,
    /// When the last stream ended that has.
    last_end: Mutex<Instant>,
    handler: AtomicWaker,
    ended: CancellationToken,
}

impl Default for Live {
    fn default() -> Self {
        let (handler, ended) = (AtomicWaker::new(), CancellationToken::new());
        let (streams, carrying) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { streams, carrying, last_end: Mutex::new(Instant::now()), handler, ended }
    }
}

impl Live {
    /// Counts one stream for as long as the returned value lives.
    pub fn enter(self: &Arc<Self>) -> LiveGuard {
        self.streams.fetch_add(1, AcqRel);
        LiveGuard { connection_ended: None, live: self.clone(), carries: false, _place: None }
    }

    /// The same, for one that holds a place among those that were opened here.
    pub fn enter_place(self: &Arc<Self>, place: OwnedSemaphorePermit) -> LiveGuard {
        let mut guard = self.enter();
        guard._place = Some(place);
        guard
    }

    /// How many streams carry what tunnels have to say. Others are being agreed on, or ask whether the far end lives.
    pub fn load(&self) -> usize {
        self.carrying.load(Acquire)
    }

    /// How many streams live.
    pub fn streams(&self) -> usize {
        self.streams.load(Acquire)
    }

    /// Whether any stream lives.
    pub fn is_in_use(&self) -> bool {
        self.streams() > 0
    }

    /// How long no stream has lived.
    pub fn idle_for(&self) -> Duration {
        match self.is_in_use() {
            true => Duration::ZERO,
            false => self.last_end().elapsed(),
        }
    }

    /// When the last stream ended that has; before there was any, when the connection began.
    pub fn last_end(&self) -> Instant {
        *self.lock_last_end()
    }

    /// Wakes the caller when the next stream ends.
    pub fn watch(&self, cx: &mut Context<'_>) {
        self.handler.register(cx.waker());
    }

    fn lock_last_end(&self) -> MutexGuard<'_, Instant> {
        self.last_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is no more.
    pub fn connection_ended(&self) {
        self.ended.cancel();
    }

    /// Ready while fewer than `limit` streams live; else wakes the caller when one ends.
    pub fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.streams.load(Acquire) < limit {
            return Poll::Ready(());
        }
        self.watch(cx);
        // One may have ended between the look and the registration.
        match self.streams.load(Acquire) < limit {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// A stream's share.
pub struct LiveGuard {
    live: Arc<Live>,
    /// Few ever ask.
    connection_ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    carries: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl LiveGuard {
    /// Says that a tunnel has the stream.
    pub fn carrying(mut self) -> Self {
        if !std::mem::replace(&mut self.carries, true) {
            self.live.carrying.fetch_add(1, AcqRel);
        }
        self
    }

    /// Ready when the connection has ended.
    pub fn poll_connection_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = &self.live.ended;
        let waiting = self.connection_ended.get_or_insert_with(|| Box::pin(ended.clone().cancelled_owned()));
        waiting.poll_unpin(cx)
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        // Before the stream is gone, so that nobody takes the connection for long idle.
        *self.live.lock_last_end() = Instant::now();
        self.live.streams.fetch_sub(1, AcqRel);
        self.live.carrying.fetch_sub(usize::from(self.carries), AcqRel);
        self.live.handler.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::poll_fn};

    use super::*;

    #[test]
    fn the_one_who_waits_for_room_is_woken_when_a_stream_ends() {
        let live = Arc::new(Live::default());
        let stream = live.enter();
        let waiting = poll_fn(|cx| live.poll_below(1, cx)).shared();
        assert_eq!(waiting.clone().now_or_never(), None);
        drop(stream);
        assert_eq!(waiting.now_or_never(), Some(()));
    }

    #[test]
    fn a_stream_that_waits_is_woken_when_its_connection_ends() {
        let live = Arc::new(Live::default());
        let mut stream = live.enter();
        let waiting = poll_fn(move |cx| stream.poll_connection_ended(cx)).shared();
        assert_eq!(waiting.clone().now_or_never(), None);
        live.connection_ended();
        assert_eq!(waiting.now_or_never(), Some(()));
    }
}
