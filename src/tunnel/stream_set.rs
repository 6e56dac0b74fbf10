//! The live streams of one tunnel: counts them, limits them, cuts them, and lets them drain.

use std::{collections::HashMap, future::Future, sync::Arc};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Scope, pipe::Broken};
use crate::{node::Stream, spec::PeerId};

/// How a stream's task ended.
#[derive(Debug)]
pub enum Ended {
    /// Both ways reached their ends.
    Clean,
    /// It broke on the way; both sides have been told.
    Broken,
    /// It never came to be: the target or the peer failed, or the peer refused.
    Refused(String),
    /// Somebody wanted it cut.
    Cut,
}

impl From<Result<(), Broken>> for Ended {
    fn from(piped: Result<(), Broken>) -> Self {
        match piped {
            Ok(()) => Self::Clean,
            Err(Broken::Remote(error)) if Stream::is_refusal(&error) => {
                Self::Refused("the peer does not offer the protocol to this node".to_owned())
            }
            Err(_) => Self::Broken,
        }
    }
}

/// Owns the tasks of a tunnel's streams.
pub struct StreamSet {
    scope: Arc<Scope>,
    tasks: JoinSet<Ended>,
    entries: HashMap<Id, Entry>,
    of_peer: HashMap<PeerId, u32>,
    draining: bool,
}

struct Entry {
    peer: Option<PeerId>,
    cut: CancellationToken,
}

impl StreamSet {
    pub fn new(scope: Arc<Scope>) -> Self {
        Self { scope, tasks: JoinSet::new(), entries: HashMap::new(), of_peer: HashMap::new(), draining: false }
    }

    /// Whether there is room for one more stream, of `peer` where a limit for each peer is set. If not, that is counted.
    pub fn admits(&mut self, max: u32, per_peer: Option<(PeerId, u32)>) -> bool {
        // Who has left holds no place, even if nobody has looked yet.
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.account_for(joined);
        }
        let of_peer = |peer| self.of_peer.get(&peer).copied().unwrap_or(0);
        let full = self.entries.len() >= max as usize;
        let reason = match per_peer {
            _ if full => format!("{max} connections are open, which is `max_connections`"),
            Some((peer, max)) if of_peer(peer) >= max => {
                format!("{peer} has {max} connections open, which is `max_connections_per_peer`")
            }
            _ => return true,
        };
        self.scope.refused(reason);
        false
    }

    /// Runs a stream's task. It is dropped, with everything it holds, when `cut` is cancelled.
    pub fn spawn<F>(&mut self, peer: Option<PeerId>, cut: CancellationToken, stream: F)
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let cutter = cut.clone();
        let task = self.tasks.spawn(async move { cutter.run_until_cancelled(stream).await.unwrap_or(Ended::Cut) });
        self.entries.insert(task.id(), Entry { peer, cut });
        if let Some(peer) = peer {
            *self.of_peer.entry(peer).or_default() += 1;
        }
        self.scope.counters.streams.add(1);
        self.scope.counters.streams_total.add(1);
    }

    /// Waits for a stream to end and accounts for it, or says what the log has held back; for ever while there is neither.
    /// Cancel-safe.
    pub async fn reap(&mut self) {
        let due = self.scope.events.next_due();
        let due = async {
            match due {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(joined) = self.tasks.join_next_with_id() => self.account_for(joined),
            () = due => self.scope.events.tell_due(),
        }
    }

    fn account_for(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, ended),
            Err(error) => {
                tracing::error!(tunnel = %self.scope.name, %error, "the task of a stream has failed, which is a bug");
                (error.id(), Ended::Cut)
            }
        };
        self.forget(id);
        match ended {
            Ended::Clean => self.scope.works(),
            Ended::Refused(reason) => self.scope.refused(reason),
            Ended::Broken | Ended::Cut => {}
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let counters = &self.scope.counters;
        if self.draining { &counters.draining_streams } else { &counters.streams }.subtract(1);
        if let Some(peer) = entry.peer
            && let Some(count) = self.of_peer.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }

    /// Cuts the streams of every peer for which `keeps` says no.
    pub fn cut_unless(&self, keeps: impl Fn(&PeerId) -> bool) {
        for entry in self.entries.values() {
            if entry.peer.is_some_and(|peer| !keeps(&peer)) {
                entry.cut.cancel();
            }
        }
    }

    /// Counts the live streams as draining from here on. No more may be spawned.
    pub fn begin_drain(&mut self) {
        let live = self.entries.len() as u64;
        self.draining = true;
        self.scope.counters.streams.subtract(live);
        self.scope.counters.draining_streams.add(live);
    }

    /// Lets the streams end by themselves until `deadline`; what is left then is reset when the set is dropped.
    /// Cancel-safe.
    pub async fn drained(&mut self, deadline: Instant) {
        while !self.entries.is_empty() {
            tokio::select! {
                () = self.reap() => {}
                () = sleep_until(deadline) => {
                    let (tunnel, streams) = (&self.scope.name, self.entries.len());
                    tracing::info!(%tunnel, streams, "streams drained for long enough; resetting those that are left");
                    break;
                }
            }
        }
    }
}

impl Drop for StreamSet {
    fn drop(&mut self) {
        let counters = &self.scope.counters;
        let left = if self.draining { &counters.draining_streams } else { &counters.streams };
        left.subtract(self.entries.len() as u64);
    }
}
