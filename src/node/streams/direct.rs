//! Opening streams over our own muxer without a detour through the swarm, whose connection task has much to look at for
//! each: timers, handlers, and what protocols there are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::{
    sync::Semaphore,
    task::{self, Id},
};

use super::{
    live::Live,
    named::{NameError, Named},
    reception::Reception,
    request::{Handshake, RequestError},
    stream::Stream,
};
use crate::{spec::StreamProtocol, yamux};

/// Streams that we may have open on one connection: some fewer than a far end that is p2ptun too lets us open.
const MAX_OPEN: usize = 15_000;

/// Opens streams over one connection.
pub struct Direct {
    muxer: yamux::Opener,
    live: Arc<Live>,
    places: Arc<Semaphore>,
}

impl Direct {
    pub fn new(muxer: yamux::Opener, live: Arc<Live>) -> Self {
        Self { muxer, live, places: Arc::new(Semaphore::new(MAX_OPEN)) }
    }

    /// The streams of the connection.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// # Errors
    ///
    /// When the peer refuses, or the connection has ended.
    pub async fn open(&self, protocol: &StreamProtocol, handshake: Handshake) -> Result<Stream, RequestError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| RequestError::Ended)?;
        let live = self.live.enter_place(place);
        let stream = self.muxer.open().await.map_err(|_| RequestError::Ended)?;
        let mut named = Named::new(stream, protocol).map_err(|_| RequestError::Ended)?;
        if handshake == Handshake::Confirmed {
            named.confirmed().await.map_err(|error| {
                match error.get_ref().is_some_and(|inner| inner.is::<NameError>()) {
                    true => RequestError::NotSupported,
                    false => RequestError::Ended,
                }
            })?;
        }
        Ok(Stream::direct(named, live))
    }
}

/// The muxers of connections, by the task that polls them. The swarm gives each connection a task, which polls both its
/// muxer and its handler, and never tells the one of the other.
#[derive(Default)]
pub struct Muxers(Mutex<HashMap<Id, Introduction>>);

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
        self.lock().insert(task, Introduction { opener, reception: reception.clone() });
        Some(Introduced { muxers: self.clone(), task, reception })
    }

    /// The muxer of this task's connection.
    pub fn take(&self) -> Option<Introduction> {
        self.lock().remove(&task::try_id()?)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Introduction>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.muxers.lock().remove(&self.task);
    }
}
