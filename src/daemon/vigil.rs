//! What the loop tells the service manager, and when: that it works, that something takes longer, and how things stand.
//!
//! The watchdog is told from the loop itself, and only when the node's task has answered as well: no timer beside them
//! vouches for either.

use std::{future::pending, pin::pin, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    node::Node,
    status::{Counter, Status},
    systemd::{EXTEND_EVERY, Notifier},
};

/// The status line changes no more often than this.
const SHOW_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// How often to look whether it has changed where nothing says so: what goes wrong with a connection is no event.
const SHOW_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Vigil {
    notifier: Notifier,
    node: Node,
    status: watch::Receiver<Status>,
    shown: Instant,
    show_at: Instant,
    /// Half of what the manager allows between two signs of life.
    beat: Option<Duration>,
    beat_at: Option<Instant>,
    /// Ends when the node answers.
    asked: Option<oneshot::Receiver<()>>,
    told_of_silence: bool,
    /// When to ask the manager for more time, while the service stops.
    extend_at: Option<Instant>,
}

impl Vigil {
    pub(super) fn new(notifier: Notifier, node: Node, status: watch::Receiver<Status>) -> Self {
        let now = Instant::now();
        let beat = notifier.watchdog().map(|interval| interval / 2);
        Self {
            notifier,
            node,
            status,
            shown: now,
            show_at: now,
            beat,
            beat_at: beat.map(|_| now),
            asked: None,
            told_of_silence: false,
            extend_at: None,
        }
    }

    /// Everything that can be up is up, or a reload is over.
    pub(super) async fn ready(&mut self) {
        if self.notifier.is_silent() {
            return;
        }
        let status = self.status.borrow().clone();
        self.notifier.ready(&status).await;
        self.shown_now();
    }

    pub(super) async fn reloading(&mut self) {
        self.notifier.reloading().await;
    }

    /// From here on the manager is asked for more time, for as long as [`Vigil::keep`] is awaited.
    pub(super) async fn stopping(&mut self) {
        if self.notifier.is_silent() {
            return;
        }
        let status = self.status.borrow().clone();
        self.notifier.stopping(&status).await;
        self.shown_now();
        self.extend_at = Some(Instant::now() + EXTEND_EVERY);
    }

    /// The status may have changed without a word.
    pub(super) fn news(&mut self) {
        self.show_at = self.show_at.min(self.shown + SHOW_AT_MOST_EVERY);
    }

    fn shown_now(&mut self) {
        self.shown = Instant::now();
        self.show_at = self.shown + SHOW_AT_LEAST_EVERY;
    }

    /// Does what falls due while the loop waits for something to do. Never returns; to be dropped at any time.
    pub(super) async fn keep(&mut self) {
        if self.notifier.is_silent() {
            return pending().await;
        }
        loop {
            tokio::select! {
                // After a pause of the whole process all fall due at once, and an answer that is there is no silence.
                biased;
                () = answered(&mut self.asked) => self.node_answered(),
                () = at(self.beat_at) => self.ask(),
                () = sleep_until(self.show_at) => {
                    self.notifier.show(&self.status.borrow_and_update());
                    self.shown_now();
                }
                Ok(()) = self.status.changed() => self.news(),
                () = at(self.extend_at) => {
                    self.notifier.extend();
                    self.extend_at = Some(Instant::now() + EXTEND_EVERY);
                }
            }
        }
    }

    /// Does a piece of work in the loop's stead. If it takes long, the manager is asked for patience as often as the work
    /// gets on, which `steps` counts; for work that hangs nobody vouches.
    pub(super) async fn during<T>(&mut self, steps: &Counter, work: impl Future<Output = T>) -> T {
        if self.notifier.is_silent() {
            return work.await;
        }
        // The loop has come here, however little it has waited since: one short piece of work after the other must not look
        // like a loop that hangs.
        if self.beat_at.is_some_and(|due| due <= Instant::now()) {
            self.ask();
        }
        let mut work = pin!(work);
        let pause = self.beat.map_or(EXTEND_EVERY, |beat| beat.min(EXTEND_EVERY));
        let (mut done, mut look_at) = (steps.get(), Instant::now() + pause);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = answered(&mut self.asked) => self.node_answered(),
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + pause;
                    if std::mem::replace(&mut done, steps.get()) != done {
                        self.notifier.extend();
                        if self.beat.is_some() {
                            self.ask();
                        }
                    }
                }
            }
        }
    }

    /// Asks the node for a sign of life, unless it still owes one.
    fn ask(&mut self) {
        self.beat_at = self.beat.map(|beat| Instant::now() + beat);
        if self.asked.is_none() {
            self.asked = self.node.ask_for_sign_of_life();
            if self.asked.is_some() {
                return;
            }
        }
        if !std::mem::replace(&mut self.told_of_silence, true) {
            tracing::error!("the node does not answer; the service manager's watchdog is left waiting for it");
        }
    }

    fn node_answered(&mut self) {
        self.told_of_silence = false;
        self.notifier.alive();
    }
}

/// Waits until the question has been answered, and forgets it. Cancel-safe.
async fn answered(asked: &mut Option<oneshot::Receiver<()>>) {
    let Some(answer) = asked else { return pending().await };
    let answered = answer.await;
    *asked = None;
    if answered.is_err() {
        // The node has ended, whose owner notices.
        pending().await
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
