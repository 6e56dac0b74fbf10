//! The libp2p node: who we are, whom we are connected to, and streams to and from them. Knows no tunnels.

mod asking;
mod company;
mod dialer;
mod dns;
mod events;
mod identify;
pub mod identity;
mod limits;
mod listeners;
mod muxer;
mod pulse;
mod streams;
mod suspects;
mod swarm;
mod tls;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt as _, future,
    future::{BoxFuture, Shared},
};
use libp2p::{identity::Keypair, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

#[cfg(test)]
pub use self::streams::LENT;
pub use self::{
    dialer::{Away, Failure},
    listeners::has_ipv6,
    streams::{Connection, CopyError, Handshake, Inbound, Offering, Refused, Route, Stream, Taken},
};
use self::{
    streams::{Connections, Offers, RequestError, Waiting},
    swarm::{Command, SwarmTask},
};
use crate::{
    spec::{Allow, Multiaddr, PeerId, RelayUse, StreamProtocol},
    status::{ListenerStatus, Path, State, Time},
};

/// How long a client waits for another connection before it asks one again that has just let it down.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A handle to the node. Clones share it; the swarm ends with the last one.
#[derive(Clone)]
pub struct Node {
    own: PeerId,
    offers: Arc<Offers>,
    connections: Arc<Connections>,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<NodeView>,
    /// Ends when the first handshake costs no more than any other.
    warm: Shared<BoxFuture<'static, ()>>,
    /// Why this node must not touch the network, if it must not.
    offline: Option<Failure>,
}

/// What the node is to do. `Default` is nothing at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfig {
    pub listen: Vec<Multiaddr>,
    pub addresses: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Peers that stay connected.
    pub kept: BTreeSet<PeerId>,
    /// Peers that the configuration names in any place.
    pub known: BTreeSet<PeerId>,
}

/// What the node sees, as of its last change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    pub listeners: Vec<ListenerStatus>,
    /// Concrete addresses of this node's listeners.
    pub addresses: Vec<Multiaddr>,
    /// Connected peers.
    pub peers: BTreeMap<PeerId, PeerView>,
    /// Peers that the configuration names and that are not connected, as far as there is anything to say.
    pub away: BTreeMap<PeerId, Away>,
}

/// How a connected peer is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerView {
    pub path: Path,
    pub address: Multiaddr,
    pub round_trip: Option<Duration>,
    /// What the peer says that it runs. Not to be trusted, nor printed as it is.
    pub agent: Option<String>,
}

/// A stream that somebody wants to open.
#[derive(Clone, Debug)]
pub struct Open {
    pub peer: PeerId,
    pub protocol: StreamProtocol,
    pub handshake: Handshake,
    pub relay: RelayUse,
    pub patience: Patience,
}

/// What to do while the peer can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait until the deadline.
    UntilDeadline,
    /// Give up when all addresses have been tried in vain, because another peer stands by.
    FirstFailure,
}

/// A stream that has been opened.
pub struct Opened {
    pub stream: Stream,
    /// `None` where the peer is this very node.
    pub connection: Option<Arc<Connection>>,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the peer does not offer {protocol} to this node (the listen tunnel there must name this node in `allow`)")]
    NotSupported { protocol: StreamProtocol },
    #[error("this node has no listen tunnel for {protocol}")]
    NoSuchTunnelHere { protocol: StreamProtocol },
    #[error("the peer can't be reached: {reason}")]
    Unreachable { reason: Arc<str> },
    #[error("the peer did not answer in time")]
    TimedOut,
    #[error("{reason}")]
    Offline { reason: Arc<str> },
}

impl Node {
    /// Starts a node that neither listens nor dials until it is [configured](Node::configure). Its task runs in `tasks`.
    ///
    /// With `offline`, it never will, and says why.
    ///
    /// # Errors
    ///
    /// Where the key cannot be used.
    pub fn start(keypair: &Keypair, offline: Option<Arc<str>>, tasks: &mut JoinSet<()>) -> io::Result<Self> {
        let (commands, incoming) = mpsc::channel(16);
        let (view, watched) = watch::channel(NodeView::default());
        let (connections, offers) = (Arc::<Connections>::default(), Arc::<Offers>::default());
        let task = SwarmTask::new(keypair, connections.clone(), offers.clone(), incoming, view)?;
        tasks.spawn(task.run());
        let warm = match offline {
            // The thread runs while whoever starts the node goes on with other things.
            None => tokio::task::spawn_blocking(tls::warm_up).map(drop).boxed(),
            Some(_) => future::ready(()).boxed(),
        };
        let offline = offline.map(|reason| Failure { reason, at: Time::now() });
        let own = keypair.public().to_peer_id();
        Ok(Self { own, offers, connections, commands, view: watched, warm: warm.shared(), offline })
    }

    pub fn peer_id(&self) -> PeerId {
        self.own
    }

    /// Follows a configuration: returns when listening has been tried on each new address, and the first peer will not
    /// have to wait for what a process pays once. Never waits for a peer.
    pub async fn configure(&self, config: NodeConfig) {
        if self.offline.is_some() {
            return;
        }
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Configure(Box::new(config), done)).await.is_ok() {
            // The swarm's task ends only with the service, whose end everybody notices.
            let _ = future::join(finished, self.warm.clone()).await;
        }
    }

    /// Asks the swarm's task for a sign of life: it answers as soon as it has a turn. `None` where it has more to do already
    /// than it can be told, or has ended. Never waits.
    pub fn ask_for_sign_of_life(&self) -> Option<oneshot::Receiver<()>> {
        let (sign, answer) = oneshot::channel();
        self.commands.try_send(Command::GiveSignOfLife(sign)).ok()?;
        Some(answer)
    }

    /// Closes every connection, so that what streams said last arrives. Ends the node's task.
    pub async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = finished.await;
        }
    }

    /// What the node sees, now and after each change.
    pub fn view(&self) -> watch::Receiver<NodeView> {
        self.view.clone()
    }

    /// Listeners as a view shows them: an offline node says at each wanted address why it isn't listening.
    pub fn listeners(&self, wanted: &NodeConfig) -> Vec<ListenerStatus> {
        let Some(Failure { reason, at }) = &self.offline else { return self.view.borrow().listeners.clone() };
        let failed = |address: &Multiaddr| ListenerStatus {
            address: address.clone(),
            state: State::Failed,
            error: Some(reason.to_string()),
            error_at: Some(*at),
            retry_at: None,
        };
        wanted.listen.iter().map(failed).collect()
    }

    /// Why this node stays off the network, if it does.
    pub fn offline(&self) -> Option<&Failure> {
        self.offline.as_ref()
    }

    /// Offers `protocol` to the peers in `allow` for as long as the returned value lives.
    pub fn offer(&self, protocol: StreamProtocol, allow: Allow) -> Offering {
        self.offers.offer(protocol, allow)
    }

    /// Opens a stream, over the best connection there is or, if need be, a new one. Opens to one peer are served in the
    /// order of the calls; opens to many run side by side.
    ///
    /// # Errors
    ///
    /// When the peer refuses, or at `deadline`.
    pub async fn open(&self, open: &Open, deadline: Instant) -> Result<Opened, OpenError> {
        if open.peer == self.own {
            return self.open_here(open);
        }
        if let Some(Failure { reason, .. }) = &self.offline {
            return Err(OpenError::Offline { reason: reason.clone() });
        }
        let mut waiting = None;
        let opened = timeout_at(deadline, self.open_over_a_connection(open, deadline, &mut waiting)).await;
        opened.unwrap_or_else(|_| match waiting.as_ref().and_then(Waiting::failure) {
            Some(reason) => Err(OpenError::Unreachable { reason }),
            None => Err(OpenError::TimedOut),
        })
    }

    fn open_here(&self, open: &Open) -> Result<Opened, OpenError> {
        let missing = || OpenError::NoSuchTunnelHere { protocol: open.protocol.clone() };
        let sink = self.offers.admit_own(&open.protocol).ok_or_else(missing)?;
        let (near, far) = Stream::pair();
        let inbound = Inbound { stream: far, peer: self.own, connection: None };
        sink.try_send(inbound).map_err(|_| missing())?;
        Ok(Opened { stream: near, connection: None })
    }

    async fn open_over_a_connection(
        &self,
        open: &Open,
        deadline: Instant,
        waiting: &mut Option<Waiting>,
    ) -> Result<Opened, OpenError> {
        let mut tried: Vec<ConnectionId> = Vec::new();
        loop {
            if let Some((connection, opener)) = self.connections.best(&open.peer, open.relay, &tried) {
                // At once, for a connection that is dead gives no answer to wait for.
                self.connections.in_use(&connection);
                match opener.open(open.protocol.clone(), open.handshake, deadline).await {
                    Ok(stream) => {
                        self.connections.carries_more(&connection);
                        return Ok(Opened { stream, connection: Some(connection) });
                    }
                    Err(RequestError::NotSupported) => {
                        return Err(OpenError::NotSupported { protocol: open.protocol.clone() });
                    }
                    Err(RequestError::Failed | RequestError::Ended) => {}
                }
                tried.push(connection.id);
                continue;
            }
            let waiting = waiting.get_or_insert_with(|| self.connections.wait(open.peer));
            let changed = waiting.changed();
            if self.connections.best(&open.peer, open.relay, &tried).is_some() {
                continue;
            }
            if let Some(reason) = waiting.failure().filter(|_| open.patience == Patience::FirstFailure) {
                return Err(OpenError::Unreachable { reason });
            }
            if timeout_at(Instant::now() + TRY_AGAIN, changed).await.is_err() {
                tried.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_is_configured_has_paid_for_the_first_handshake() {
        let mut tasks = JoinSet::new();
        let node = Node::start(&Keypair::generate_ed25519(), None, &mut tasks).unwrap();
        node.configure(NodeConfig::default()).await;
        assert!(node.warm.peek().is_some(), "READY would come before the set-up");
    }
}
