//! Tunnels: one task each, and one for each of its streams. They know no configuration file; they are told what to do.

pub mod endpoint;
pub mod events;
mod failover;
pub mod forward;
mod header;
pub mod listen;
pub mod pipe;
pub mod socket;
mod stream_set;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    events::Events,
    pipe::{Broken, Meter},
    stream_set::Ended,
};
use crate::{
    spec::{Bind, Endpoint, PeerId, Tunnel, TunnelName},
    status::{
        Counters, LastError, Path,
        streams::{LiveStream, LiveStreams},
    },
};

/// Whether this version can run such a tunnel.
pub fn is_built(tunnel: &Tunnel) -> bool {
    not_built(tunnel).is_none()
}

/// What about this tunnel is accepted in the file but not yet built.
pub fn not_built(tunnel: &Tunnel) -> Option<&'static str> {
    match tunnel {
        Tunnel::Gateway(_) => Some("not built yet: gateways"),
        Tunnel::Socks(_) => Some("not built yet: socks proxies"),
        Tunnel::Listen(listen) if matches!(listen.target, Endpoint::Udp(_)) => Some("not built yet: udp targets"),
        Tunnel::Forward(forward) if matches!(forward.bind, Bind::Udp(_)) => Some("not built yet: udp binds"),
        Tunnel::Listen(_) | Tunnel::Forward(_) => None,
    }
}

/// What a tunnel's task can be told. `S` is what it works with.
pub enum Command<S> {
    /// Use this from the next stream on. A tunnel that has retired takes no more streams, but cuts those that its
    /// successor does not allow.
    Configure(S, Done),
    /// Take no new streams; let go of the socket or the protocol, and end with the last stream or at the deadline.
    Retire { deadline: Instant, done: Done },
}

/// Tells whoever gave a command that it has taken effect.
pub struct Done(oneshot::Sender<()>);

impl Done {
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (done, finished) = oneshot::channel();
        (Self(done), finished)
    }

    fn finished(self) {
        // Nobody is obliged to wait.
        let _ = self.0.send(());
    }
}

/// What the streams of one tunnel share: its name, its books, and the table of live streams.
pub struct Scope {
    pub name: TunnelName,
    pub counters: Arc<Counters>,
    pub last_error: LastError,
    pub live: LiveStreams,
    /// Whether the end of each stream is worth an event at the level info; changes while streams live.
    pub log_streams: Arc<AtomicBool>,
    pub events: Events,
}

impl Scope {
    /// Counts a connection that was turned away.
    fn refused(&self, reason: String) {
        // The reason first: who sees the count finds it.
        self.trouble(reason);
        self.counters.refused.add(1);
    }

    /// Keeps what went wrong for whoever looks.
    fn trouble(&self, reason: String) {
        self.events.failed(&reason);
        self.last_error.set(Some(reason));
    }

    /// A stream went well: what was wrong before no longer is.
    fn works(&self) {
        self.events.works();
        self.last_error.set(None);
    }

    /// Lists a stream while it lives.
    fn enter(self: &Arc<Self>, peer: PeerId, path: Path, cut: CancellationToken) -> StreamMeter {
        let entry = self.live.enter(self.name.clone(), peer, path, cut);
        tracing::debug!(tunnel = %self.name, %peer, stream = entry.id, %path, "stream opened");
        StreamMeter { scope: self.clone(), peer, path, began: Instant::now(), entry }
    }
}

/// Counts a stream's payload, for the stream and for its tunnel.
struct StreamMeter {
    scope: Arc<Scope>,
    peer: PeerId,
    path: Path,
    began: Instant,
    entry: LiveStream,
}

impl StreamMeter {
    /// Says how the stream ended.
    fn ended(&self, piped: Result<(), Broken>) -> Ended {
        if let Err(error) = &piped {
            tracing::debug!(
                tunnel = %self.scope.name,
                peer = %self.peer,
                stream = self.entry.id,
                %error,
                "stream broken off"
            );
        }
        piped.into()
    }
}

impl Drop for StreamMeter {
    fn drop(&mut self) {
        let LiveStream { id, bytes, .. } = &self.entry;
        // A macro for each level, for a level is a constant.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    tunnel = %self.scope.name,
                    peer = %self.peer,
                    stream = id,
                    path = %self.path,
                    bytes_in = bytes.inbound.get(),
                    bytes_out = bytes.outbound.get(),
                    seconds = self.began.elapsed().as_secs_f64(),
                    "stream ended"
                )
            };
        }
        match self.scope.log_streams.load(Ordering::Relaxed) {
            true => tell!(info),
            false => tell!(debug),
        }
    }
}

impl Meter for StreamMeter {
    fn inbound(&self, bytes: usize) {
        self.entry.bytes.inbound.add(bytes as u64);
        self.scope.counters.bytes_in.add(bytes as u64);
    }

    fn outbound(&self, bytes: usize) {
        self.entry.bytes.outbound.add(bytes as u64);
        self.scope.counters.bytes_out.add(bytes as u64);
    }
}
