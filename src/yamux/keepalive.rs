//! Noticing that the far end is gone without a word. Whatever comes is a sign of life, for a connection that is busy has
//! no time for others; one that is silent is asked for an answer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Error;

/// How long nothing may come before the far end is asked.
const QUIET: Duration = Duration::from_secs(10);

/// How long it may take to answer. What it is asked may have to wait behind payload that a slow line takes.
const PATIENCE: Duration = Duration::from_secs(15);

/// When to ask, and when to give up.
pub struct Keepalive {
    heard: Instant,
    asked: bool,
    /// Set when it is first polled, where there is a runtime. Moves on only when it has run out or an answer has come, not
    /// with each byte.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Keepalive {
    pub fn new(now: Instant) -> Self {
        Self { heard: now, asked: false, timer: None }
    }

    /// Takes note of a sign of life.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        if std::mem::take(&mut self.asked)
            && let Some(timer) = &mut self.timer
        {
            timer.as_mut().reset(now + QUIET);
        }
    }

    /// Ready each time that the far end is to be asked.
    ///
    /// # Errors
    ///
    /// When it was asked, and has not answered.
    pub fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.heard + QUIET)));
        loop {
            ready!(timer.poll_unpin(cx));
            if self.asked {
                return Poll::Ready(Err(Error::Unanswered));
            }
            let now = Instant::now();
            if self.heard + QUIET <= now {
                self.asked = true;
                timer.as_mut().reset(now + PATIENCE);
                return Poll::Ready(Ok(()));
            }
            timer.as_mut().reset(self.heard + QUIET);
        }
    }
}
