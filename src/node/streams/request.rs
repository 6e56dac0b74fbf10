//! What is asked of a connection.

use std::sync::{Arc, OnceLock};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{direct::Direct, live::Live, stream::Stream};
use crate::spec::StreamProtocol;

/// Requests that may wait for one connection's handler; whoever comes later waits in order for a place.
const REQUESTS: usize = 256;

/// A stream that somebody wants opened on this connection.
pub struct Request {
    pub protocol: StreamProtocol,
    pub handshake: Handshake,
    /// When nobody waits for it any more.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Stream, RequestError>>,
}

#[derive(Debug)]
pub enum RequestError {
    /// The peer doesn't offer the protocol, or not to us.
    NotSupported,
    /// The negotiation came to nothing in the time that there was; another connection may do better.
    Failed,
    /// The connection has ended, or has broken off this stream.
    Ended,
}

/// How sure the opener of a stream must be that the peer offers the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Not at all: the protocol's name travels with the first bytes, and a refusal shows at the first read.
    Lazy,
    /// One round trip, and the peer has agreed.
    Confirmed,
}

/// Opens streams over one connection: directly over our own muxer, or by asking the connection's handler.
#[derive(Clone)]
pub struct Opener {
    requests: mpsc::Sender<Request>,
    direct: Arc<OnceLock<Direct>>,
    live: Arc<Live>,
}

/// The handler's side of an [`Opener`].
pub struct Requests {
    pub queue: mpsc::Receiver<Request>,
    /// Set once the handler knows what muxer carries its connection.
    pub direct: Arc<OnceLock<Direct>>,
    /// The streams of the connection, whatever carries it.
    pub live: Arc<Live>,
}

impl Opener {
    pub fn new() -> (Self, Requests) {
        let (requests, queue) = mpsc::channel(REQUESTS);
        let (direct, live) = (Arc::<OnceLock<Direct>>::default(), Arc::<Live>::default());
        (Self { requests, direct: direct.clone(), live: live.clone() }, Requests { queue, direct, live })
    }

    /// The streams of the connection, if our own muxer carries it.
    pub fn live(&self) -> Option<&Live> {
        self.direct.get().map(|_| &*self.live)
    }

    /// Whether a tunnel has a stream of the connection.
    pub fn carries(&self) -> bool {
        self.live.load() > 0
    }

    /// Whether another connection should take its place.
    pub fn is_worn(&self) -> bool {
        self.direct.get().is_some_and(Direct::is_worn)
    }

    /// Makes it so.
    #[cfg(test)]
    pub fn wear(&self) {
        self.direct.get().into_iter().for_each(Direct::wear);
    }

    /// Opens a stream. Whoever waits is served in order.
    ///
    /// # Errors
    ///
    /// When the peer refuses, or the connection has ended. After `deadline` nobody may wait any more.
    pub async fn open(
        &self,
        protocol: StreamProtocol,
        handshake: Handshake,
        deadline: Instant,
    ) -> Result<Stream, RequestError> {
        if let Some(direct) = self.direct.get() {
            return direct.open(&protocol, handshake).await;
        }
        let (reply, answer) = oneshot::channel();
        let request = Request { protocol, handshake, deadline, reply };
        self.requests.send(request).await.map_err(|_| RequestError::Ended)?;
        answer.await.unwrap_or(Err(RequestError::Ended))
    }
}
