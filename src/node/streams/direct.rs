//! Opening streams over our own muxer without a detour through the swarm, whose connection task has much to look at for
//! each: timers, handlers, and what protocols there are.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    live::Live,
    named::{NameError, Named},
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

    /// As [`yamux::Opener::is_worn`].
    pub fn is_worn(&self) -> bool {
        self.muxer.is_worn()
    }

    /// Makes it so.
    #[cfg(test)]
    pub fn wear(&self) {
        self.muxer.wear();
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
