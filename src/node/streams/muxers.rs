//! What becomes of our own muxers beside the swarm: each is made known to its connection's handler, and seen off when the
//! swarm has dropped it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{self, Id, JoinSet},
    time::timeout,
};

use super::reception::Reception;
use crate::yamux;

/// How long a connection that the swarm has dropped may take to leave: as long as a silent one is not taken for dead.
const DEPARTURE: Duration = Duration::from_secs(25);

/// Connections that may be leaving. What comes beyond is cut off.
const MAX_DEPARTURES: usize = 1_024;

/// The muxers of connections. Shared.
#[derive(Default)]
pub struct Muxers {
    /// By the task that polls them. The swarm gives each connection a task, which polls both its muxer and its handler,
    /// and never tells the one of the other.
    introductions: Mutex<HashMap<Id, Introduction>>,
    departures: Mutex<JoinSet<()>>,
}

/// What a connection's handler is to know of its muxer, and the muxer of the handler.
pub struct Introduction {
    pub opener: yamux::Opener,
    /// Where the handler puts who is to receive the peer's streams.
    pub reception: Arc<OnceLock<Arc<Reception>>>,
}

impl Muxers {
    /// Says by what muxer the connection of this task is carried; for as long as the returned value lives, or until it
    /// has been taken.
    pub fn introduce(self: &Arc<Self>, opener: yamux::Opener) -> Option<Introduced> {
        let task = task::try_id()?;
        let reception = Arc::<OnceLock<Arc<Reception>>>::default();
        self.introductions().insert(task, Introduction { opener, reception: reception.clone() });
        Some(Introduced { muxers: self.clone(), task, reception })
    }

    /// The muxer of this task's connection.
    pub fn take(&self) -> Option<Introduction> {
        self.introductions().remove(&task::try_id()?)
    }

    /// Keeps the driver of a connection that nobody has need for any more, until the far end has heard what is left to say
    /// and has gone as well.
    pub fn see_off(&self, mut driver: JoinSet<yamux::Error>) {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        while departures.try_join_next().is_some() {}
        // A runtime that is ending takes no tasks.
        if departures.len() < MAX_DEPARTURES && Handle::try_current().is_ok() {
            departures.spawn(async move {
                // How it went is nobody's concern any more.
                let _ = timeout(DEPARTURE, driver.join_next()).await;
            });
        }
    }

    fn introductions(&self) -> MutexGuard<'_, HashMap<Id, Introduction>> {
        self.introductions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A muxer that can be taken by its connection's handler.
pub struct Introduced {
    muxers: Arc<Muxers>,
    task: Id,
    reception: Arc<OnceLock<Arc<Reception>>>,
}

impl Introduced {
    /// Who receives the peer's streams, once the handler has said so.
    pub fn reception(&self) -> Option<&Arc<Reception>> {
        self.reception.get()
    }
}

impl Drop for Introduced {
    fn drop(&mut self) {
        self.muxers.introductions().remove(&self.task);
    }
}
