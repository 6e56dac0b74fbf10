//! The connections to each peer, and the local clients that wait for one. Shared between whoever opens streams and the
//! swarm's task, so that opening a stream over a live connection needs no detour through the swarm.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p::swarm::ConnectionId;
use tokio::{sync::Notify, time::Instant};

use super::{
    connection::{Connection, Route},
    request::Opener,
};
use crate::spec::{PeerId, RelayUse};

/// How long a sign of life of a connection counts.
const SURE_FOR: Duration = Duration::from_secs(1);

/// The table of peers that are connected or waited for. Shared.
#[derive(Default)]
pub struct Connections {
    peers: Mutex<HashMap<PeerId, Entry>>,
    wanted: Notify,
    /// Connections in use that nobody has heard from lately.
    unsure: Mutex<Vec<(Arc<Connection>, Opener)>>,
}

#[derive(Default)]
struct Entry {
    /// Best route first; of one route, the oldest first. Those that another has replaced come last.
    connections: Vec<(Arc<Connection>, Opener)>,
    replaced: Vec<ConnectionId>,
    /// Local clients that wait for a connection.
    waiting: usize,
    failed_rounds: u64,
    last_failure: Option<Arc<str>>,
    changed: Arc<Notify>,
    /// When the best connection was last known to be alive, or asked whether it is.
    last_sign: Option<Instant>,
}

impl Entry {
    fn rank(&mut self) {
        // A stable sort: of equals, the oldest stays first.
        self.connections.sort_by_key(|(connection, _)| (self.replaced.contains(&connection.id), connection.route));
    }

    fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.waiting == 0
    }
}

impl Connections {
    /// The connection that a new stream to `peer` takes, leaving out those that were `tried`.
    pub fn best(&self, peer: &PeerId, relay: RelayUse, tried: &[ConnectionId]) -> Option<(Arc<Connection>, Opener)> {
        let peers = self.lock();
        let usable = |connection: &Connection| {
            (connection.route != Route::Relayed || relay != RelayUse::Never) && !tried.contains(&connection.id)
        };
        peers.get(peer)?.connections.iter().find(|(connection, _)| usable(connection)).cloned()
    }

    /// Says that a stream is opened over the best connection of `peer`. One that has carried no stream for a while is
    /// asked whether it still lives.
    pub fn in_use(&self, peer: &PeerId) {
        let mut peers = self.lock();
        let Some(entry) = peers.get_mut(peer) else { return };
        let now = Instant::now();
        let heard_lately = entry.last_sign.is_some_and(|last| now < last + SURE_FOR);
        if let (false, Some(connection)) = (heard_lately, entry.connections.first()) {
            entry.last_sign = Some(now);
            self.unsure.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
            self.wanted.notify_one();
        }
    }

    /// Takes the connections of which somebody should ask whether they still live.
    pub fn take_unsure(&self) -> Vec<(Arc<Connection>, Opener)> {
        std::mem::take(&mut self.unsure.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that a local client waits for a connection to `peer`, for as long as the returned value lives.
    pub fn wait(self: &Arc<Self>, peer: PeerId) -> Waiting {
        let mut peers = self.lock();
        let entry = peers.entry(peer).or_default();
        entry.waiting += 1;
        let waiting = Waiting {
            table: self.clone(),
            peer,
            changed: entry.changed.clone(),
            failed_rounds_before: entry.failed_rounds,
        };
        drop(peers);
        self.wanted.notify_one();
        waiting
    }

    /// Resolves when a local client has begun to wait, or uses a connection that may be dead.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Peers without a connection for which local clients wait.
    pub fn waited_for(&self) -> Vec<PeerId> {
        let peers = self.lock();
        let waited_for = peers.iter().filter(|(_, entry)| entry.waiting > 0 && entry.connections.is_empty());
        waited_for.map(|(peer, _)| *peer).collect()
    }

    pub(super) fn add(&self, connection: Arc<Connection>, opener: Opener) {
        let mut peers = self.lock();
        let entry = peers.entry(connection.peer).or_default();
        entry.connections.push((connection, opener));
        entry.rank();
        entry.last_failure = None;
        entry.last_sign = Some(Instant::now());
        entry.changed.notify_waiters();
    }

    pub(super) fn remove(&self, peer: &PeerId, id: ConnectionId) {
        let mut peers = self.lock();
        if let Some(entry) = peers.get_mut(peer) {
            entry.connections.retain(|(connection, _)| connection.id != id);
            entry.replaced.retain(|replaced| *replaced != id);
            if entry.is_idle() {
                peers.remove(peer);
            }
        }
    }

    /// Has new streams to `peer` take any other connection than `id`.
    pub fn replace(&self, peer: &PeerId, id: ConnectionId) {
        if let Some(entry) = self.lock().get_mut(peer)
            && entry.connections.iter().any(|(connection, _)| connection.id == id)
        {
            entry.replaced.push(id);
            entry.rank();
        }
    }

    /// Whether a connection of `peer` has been replaced and is still there: one is enough.
    pub fn has_replaced(&self, peer: &PeerId) -> bool {
        self.lock().get(peer).is_some_and(|entry| !entry.replaced.is_empty())
    }

    /// Tells those who wait for `peer` that every address has been tried in vain.
    pub fn dial_failed(&self, peer: &PeerId, reason: &str) {
        if let Some(entry) = self.lock().get_mut(peer) {
            entry.failed_rounds += 1;
            entry.last_failure = Some(reason.into());
            entry.changed.notify_waiters();
        }
    }

    /// The connections of `peer`, best first.
    pub fn of(&self, peer: &PeerId) -> Vec<Arc<Connection>> {
        let peers = self.lock();
        let connections = peers.get(peer).map(|entry| entry.connections.as_slice()).unwrap_or_default();
        connections.iter().map(|(connection, _)| connection.clone()).collect()
    }

    pub fn find(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        let peers = self.lock();
        let mut connections = peers.values().flat_map(|entry| &entry.connections);
        connections.find(|(connection, _)| connection.id == id).map(|(connection, _)| connection.clone())
    }

    pub fn connected_peers(&self) -> Vec<PeerId> {
        let peers = self.lock();
        peers.iter().filter(|(_, entry)| !entry.connections.is_empty()).map(|(peer, _)| *peer).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Entry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A local client that waits for a connection.
pub struct Waiting {
    table: Arc<Connections>,
    peer: PeerId,
    changed: Arc<Notify>,
    failed_rounds_before: u64,
}

impl Waiting {
    /// Why the last round of dials to the peer failed, if one has failed since the wait began.
    pub fn failure(&self) -> Option<Arc<str>> {
        let peers = self.table.lock();
        let entry = peers.get(&self.peer)?;
        entry.last_failure.clone().filter(|_| entry.failed_rounds > self.failed_rounds_before)
    }

    /// A future that resolves at the next connection or failed round after this call, polled or not.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut peers = self.table.lock();
        if let Some(entry) = peers.get_mut(&self.peer) {
            entry.waiting -= 1;
            if entry.is_idle() {
                peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;

    use super::*;
    use crate::{spec::Multiaddr, status::Path};

    fn connection(id: usize, peer: PeerId, address: &str) -> Arc<Connection> {
        let point =
            ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: address.parse().unwrap() };
        Arc::new(Connection::new(ConnectionId::new_unchecked(id), peer, &point))
    }

    #[test]
    fn streams_take_tcp_before_quic_before_a_relay_and_the_oldest_of_equals() {
        let table = Connections::default();
        let peer = PeerId::random();
        let relayed = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit");
        let addresses =
            [relayed.as_str(), "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"];
        let mut best = Vec::new();
        for (id, address) in addresses.into_iter().enumerate() {
            table.add(connection(id, peer, address), Opener::new().0);
            best.push(table.best(&peer, RelayUse::Any, &[]).unwrap().0.id);
        }
        assert_eq!(best, [0, 1, 2, 2].map(ConnectionId::new_unchecked));
        assert_eq!(table.of(&peer).last().unwrap().path(), Path::Relayed);
    }

    #[test]
    fn a_connection_that_was_replaced_comes_last_until_it_ends() {
        let table = Connections::default();
        let peer = PeerId::random();
        let [old, new] = [1, 2].map(ConnectionId::new_unchecked);
        for id in [1, 2] {
            table.add(connection(id, peer, "/ip4/127.0.0.1/tcp/1"), Opener::new().0);
        }
        let best = || table.best(&peer, RelayUse::Any, &[]).unwrap().0.id;
        assert_eq!(best(), old);
        table.replace(&peer, old);
        assert_eq!((best(), table.has_replaced(&peer)), (new, true));
        table.remove(&peer, old);
        assert_eq!((best(), table.has_replaced(&peer)), (new, false));
    }

    #[test]
    fn a_forward_that_wants_no_relay_waits_instead() {
        let table = Connections::default();
        let peer = PeerId::random();
        table.add(connection(1, peer, "/p2p-circuit"), Opener::new().0);
        assert!(table.best(&peer, RelayUse::Never, &[]).is_none());
        assert!(table.best(&peer, RelayUse::Any, &[]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_is_asked_for_a_sign_of_life_when_it_is_used_and_not_at_every_stream() {
        let table = Connections::default();
        let peer = PeerId::random();
        table.add(connection(1, peer, "/ip4/127.0.0.1/tcp/1"), Opener::new().0);
        let asked_after = async |pause| {
            tokio::time::advance(pause).await;
            table.in_use(&peer);
            table.take_unsure().len()
        };
        assert_eq!(asked_after(Duration::ZERO).await, 0, "it is new");
        assert_eq!(asked_after(SURE_FOR).await, 1);
        assert_eq!(asked_after(SURE_FOR / 2).await, 0);
        assert_eq!(asked_after(SURE_FOR / 2).await, 1);
    }

    #[test]
    fn a_peer_is_forgotten_when_nothing_is_left_of_it() {
        let table = Arc::new(Connections::default());
        let peer = PeerId::random();
        let waiting = table.wait(peer);
        assert_eq!(table.waited_for(), [peer]);
        table.add(connection(1, peer, "/ip4/127.0.0.1/tcp/1"), Opener::new().0);
        assert!(table.waited_for().is_empty());
        table.remove(&peer, ConnectionId::new_unchecked(1));
        drop(waiting);
        assert!(table.lock().is_empty());
    }

    #[test]
    fn who_waits_learns_of_failures_since_it_began_only() {
        let table = Arc::new(Connections::default());
        let peer = PeerId::random();
        let first = table.wait(peer);
        table.dial_failed(&peer, "refused");
        let second = table.wait(peer);
        assert_eq!(first.failure().as_deref(), Some("refused"));
        assert_eq!(second.failure(), None);
    }
}
