//! Wakers that can be looked at.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Whether somebody should poll: not while a poll has had nothing to give and nobody has been woken since.
pub struct Alarm(Arc<Rang>);

struct Rang(AtomicBool);

impl Wake for Rang {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self(Arc::new(Rang(true.into())))
    }
}

impl Alarm {
    pub fn rings(&self) -> bool {
        self.0.0.load(SeqCst)
    }

    /// Calls `poll` with a waker that rings this alarm. If it has nothing to give, the alarm is silent until then.
    pub fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.0.0.store(false, SeqCst);
        let polled = poll(&mut Context::from_waker(&Waker::from(self.0.clone())));
        if polled.is_ready() {
            self.0.0.store(true, SeqCst);
        }
        polled
    }
}

/// A future that is polled only when it was woken.
pub struct Task<F: Future> {
    future: Option<Pin<Box<F>>>,
    alarm: Alarm,
    pub result: Option<F::Output>,
}

impl<F: Future> Task<F> {
    pub fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), alarm: Alarm::default(), result: None }
    }

    /// Returns whether there was anything to do.
    pub fn turn(&mut self) -> bool {
        let Some(future) = &mut self.future else { return false };
        if !self.alarm.rings() {
            return false;
        }
        if let Poll::Ready(result) = self.alarm.poll(|cx| future.as_mut().poll(cx)) {
            self.result = Some(result);
            self.future = None;
        }
        true
    }

    /// Whether it has come to an end, or was dropped.
    pub fn is_over(&self) -> bool {
        self.future.is_none()
    }

    /// Drops the future, wherever it is.
    pub fn abort(&mut self) {
        self.future = None;
    }
}
