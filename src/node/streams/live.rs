//! How many streams live on one connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::AcqRel},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;

/// A counter of live streams that can wake the connection's handler when one ends.
#[derive(Default)]
pub struct Live {
    streams: AtomicUsize,
    handler: AtomicWaker,
}

impl Live {
    /// Counts one stream for as long as the returned value lives.
    pub fn enter(self: &Arc<Self>) -> LiveGuard {
        self.streams.fetch_add(1, AcqRel);
        LiveGuard(self.clone())
    }

    /// Ready while fewer than `limit` streams live; else wakes the caller when one ends.
    pub fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.streams.load(std::sync::atomic::Ordering::Acquire) < limit {
            return Poll::Ready(());
        }
        self.handler.register(cx.waker());
        // One may have ended between the look and the registration.
        match self.streams.load(std::sync::atomic::Ordering::Acquire) < limit {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

pub struct LiveGuard(Arc<Live>);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, AcqRel);
        self.0.handler.wake();
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
}
