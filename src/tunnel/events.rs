//! What one tunnel says in the log: the first failure at once, then how many there were.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{
    log::{Limits, Repeats, Told},
    node::Refused,
    spec::{Multiaddr, PeerId, StreamProtocol, TunnelName},
};

/// Reasons for failures that are told apart; enough for a target that fails in turns.
const REASONS: Limits = Limits { kinds: 4, burst: 1 };

/// Peers that are told apart. Strangers have ids for nothing.
const PEERS: Limits = Limits { kinds: 16, burst: 1 };

const RECOVERIES: Limits = Limits { kinds: 1, burst: 1 };

/// The log of one tunnel. What was held back is told when it is [due](Events::tell_due), and at the end.
pub struct Events {
    name: TunnelName,
    state: Mutex<State>,
}

struct State {
    failures: Repeats<String>,
    refusals: Repeats<PeerId, (Multiaddr, StreamProtocol)>,
    recoveries: Repeats<()>,
    /// Since the last stream that went well.
    in_trouble: bool,
}

impl Events {
    pub fn new(name: TunnelName) -> Self {
        let state = State {
            failures: Repeats::new(REASONS),
            refusals: Repeats::new(PEERS),
            recoveries: Repeats::new(RECOVERIES),
            in_trouble: false,
        };
        Self { name, state: Mutex::new(state) }
    }

    /// A connection failed.
    pub fn failed(&self, reason: &str) {
        let mut state = self.lock();
        state.in_trouble = true;
        if let Some(told) = state.failures.seen(reason.to_owned(), (), Instant::now()) {
            self.tell_failure(&told);
        }
    }

    /// A stream went well.
    pub fn works(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.in_trouble)
            && let Some(told) = state.recoveries.seen((), (), Instant::now())
        {
            self.tell_recovery(&told);
        }
    }

    /// A peer that may not have a stream has asked for one.
    pub fn refused(&self, refused: Refused, protocol: &StreamProtocol) {
        let detail = (refused.address, protocol.clone());
        if let Some(told) = self.lock().refusals.seen(refused.peer, detail, Instant::now()) {
            self.tell_refusal(&told);
        }
    }

    /// When [`Events::tell_due`] has something to say next.
    pub fn next_due(&self) -> Option<Instant> {
        let state = self.lock();
        [state.failures.next_due(), state.refusals.next_due(), state.recoveries.next_due()].into_iter().flatten().min()
    }

    /// Says what has been held back for long enough.
    pub fn tell_due(&self) {
        let (mut state, now) = (self.lock(), Instant::now());
        state.failures.due(now).iter().for_each(|told| self.tell_failure(told));
        state.refusals.due(now).iter().for_each(|told| self.tell_refusal(told));
        let recoveries = state.recoveries.due(now);
        // If it has failed again since, there is no news.
        recoveries.iter().filter(|_| !state.in_trouble).for_each(|told| self.tell_recovery(told));
    }

    fn tell_failure(&self, told: &Told<String>) {
        let (tunnel, error, repeated) = (&self.name, told.kind.as_str(), told.repeated());
        match told.mixed {
            false => tracing::warn!(%tunnel, error, repeated, "connection failed"),
            true => tracing::warn!(%tunnel, error, repeated, "connections failed for many reasons; this is the latest"),
        }
    }

    fn tell_recovery(&self, told: &Told<()>) {
        tracing::info!(tunnel = %self.name, repeated = told.repeated(), "connections succeed again");
    }

    fn tell_refusal(&self, told: &Told<PeerId, (Multiaddr, StreamProtocol)>) {
        let (tunnel, peer, repeated) = (&self.name, &told.kind, told.repeated());
        let (address, protocol) = &told.detail;
        match told.mixed {
            false => tracing::warn!(%tunnel, %peer, %address, %protocol, repeated, "peer refused"),
            true => {
                tracing::warn!(%tunnel, %peer, %address, %protocol, repeated, "many peers refused; this is the latest");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let (mut state, now) = (self.lock(), Instant::now());
        state.failures.rest(now).iter().for_each(|told| self.tell_failure(told));
        state.refusals.rest(now).iter().for_each(|told| self.tell_refusal(told));
    }
}
