//! The connections to each peer, and the local clients that wait for one. Shared between whoever opens streams and the
//! swarm's task, so that opening a stream over a live connection needs no detour through the swarm.

mod entry;

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p::swarm::ConnectionId;
use tokio::{sync::Notify, time::Instant};

use self::entry::{Company, Entry, Held, Standing};
use super::{
    connection::{Connection, Route},
    request::Opener,
};
use crate::spec::{PeerId, RelayUse};

/// How long a sign of life of a connection counts.
const SURE_FOR: Duration = Duration::from_secs(1);

/// One that ends before this age, or before the far end has answered on it, was not wanted there.
const YOUNG: Duration = Duration::from_secs(5);

/// Between one connection beside the oldest that came to nothing and the next attempt.
const COMPANY_PAUSE: Duration = Duration::from_secs(60);

/// The table of peers that are connected or waited for. Shared.
#[derive(Default)]
pub struct Connections {
    peers: Mutex<HashMap<PeerId, Entry>>,
    wanted: Notify,
    /// Connections in use that nobody has heard from lately.
    unsure: Mutex<Vec<(Arc<Connection>, Opener)>>,
    /// Connections that carry so much that another is wanted beside them.
    crowded: Mutex<Vec<Arc<Connection>>>,
    /// Connections that another is wanted in place of.
    worn: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    /// The connection that a new stream to `peer` takes, leaving out those that were `tried`: by the best route, and of
    /// several abreast the one with the fewest streams.
    pub fn best(&self, peer: &PeerId, relay: RelayUse, tried: &[ConnectionId]) -> Option<(Arc<Connection>, Opener)> {
        let peers = self.lock();
        let may_do = |Connection { id, route, .. }: &Connection| {
            (*route != Route::Relayed || relay != RelayUse::Never) && !tried.contains(id)
        };
        let Held { connection, opener, .. } = peers.get(peer)?.best(may_do)?;
        Some((connection.clone(), opener.clone()))
    }

    /// Says that a stream is about to be opened over `connection`. One that has carried no stream for a while is asked whether
    /// it still lives.
    pub fn in_use(&self, connection: &Connection) {
        let mut peers = self.lock();
        let Some(entry) = peers.get_mut(&connection.peer) else { return };
        let now = Instant::now();
        if let Some(held) = entry.held(connection.id).filter(|held| held.last_sign + SURE_FOR <= now) {
            held.last_sign = now;
            if held.opener.is_worn() {
                push(&self.worn, held.connection.clone());
            }
            push(&self.unsure, (held.connection.clone(), held.opener.clone()));
            self.wanted.notify_one();
        }
    }

    /// Says that `connection` carries one stream more, of whichever end.
    pub fn carries_more(&self, connection: &Connection) {
        if let Some(entry) = self.lock().get_mut(&connection.peer) {
            self.look_for_company(entry, Instant::now());
        }
    }

    fn look_for_company(&self, entry: &mut Entry, now: Instant) {
        if let Some(connection) = entry.wants_company(now).cloned() {
            entry.company = Company::Coming;
            push(&self.crowded, connection);
            self.wanted.notify_one();
        }
    }

    /// Takes the connections of ours that somebody should dial another beside, or say why not.
    pub fn take_crowded(&self) -> Vec<Arc<Connection>> {
        take(&self.crowded)
    }

    /// Takes back the wish for another connection to `peer`: there is none to be had, or none that would help, for now.
    pub fn no_company(&self, peer: &PeerId) {
        let mut peers = self.lock();
        if let Some(entry) = peers.get_mut(peer) {
            entry.dialled_beside = None;
            entry.company = Company::NotBefore(Instant::now() + COMPANY_PAUSE);
            if entry.is_idle() {
                peers.remove(peer);
            }
        }
    }

    /// Takes back the same wish until the next stream: it is not known yet whether it would help.
    pub fn ask_again_for_company(&self, peer: &PeerId) {
        if let Some(entry) = self.lock().get_mut(peer) {
            entry.company = Company::Welcome;
        }
    }

    /// Says that a connection beside the others is being dialled. If that works, nobody is to hold on to it.
    pub fn dialling_beside(&self, peer: &PeerId, dial: ConnectionId) {
        if let Some(entry) = self.lock().get_mut(peer) {
            entry.dialled_beside = Some(dial);
        }
    }

    /// Says that a dial to `peer` has failed; perhaps one that was to bring company.
    pub fn company_dial_failed(&self, peer: &PeerId, dial: ConnectionId) {
        let brought = |entry: &&mut Entry| entry.dialled_beside == Some(dial);
        if self.lock().get_mut(peer).filter(brought).is_some() {
            self.no_company(peer);
        }
    }

    /// Whether a connection was dialled beside others.
    pub fn is_company(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.lock().get_mut(peer).and_then(|entry| entry.held(id)).is_some_and(|held| held.is_company())
    }

    /// Says that the far end has answered on a connection. Returns whether it was taken for silent.
    pub fn has_answered(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let mut peers = self.lock();
        let Some(entry) = peers.get_mut(peer) else { return false };
        let Some(held) = entry.held(id) else { return false };
        let was_silent = mem::take(&mut held.silent);
        if let Standing::Company { answered: answered @ false, .. } = &mut held.standing {
            *answered = true;
            entry.company = Company::Welcome;
        }
        if was_silent {
            entry.rank();
        }
        was_silent
    }

    /// Says that a connection was asked for a sign of life, and gave none. Until it does, it takes new streams only where no
    /// other direct one answers.
    pub fn gave_no_sign(&self, silent: &Connection) {
        if let Some(entry) = self.lock().get_mut(&silent.peer) {
            if let Some(held) = entry.held(silent.id) {
                held.silent = true;
            }
            entry.rank();
        }
    }

    /// Where nobody holds on to any connection of a peer, because they stood beside one that has ended, or had been
    /// replaced by it, the one that takes its place, to be held on to from now on.
    pub fn heir(&self, peer: &PeerId) -> Option<ConnectionId> {
        let mut peers = self.lock();
        let entry = peers.get_mut(peer)?;
        let orphaned = mem::take(&mut entry.orphaned);
        let heir = match entry.abreast().next() {
            Some(oldest) if orphaned || entry.abreast().all(Held::is_company) => oldest,
            None if orphaned => entry.connections.first()?,
            _ => return None,
        };
        let held = entry.held(heir.connection.id)?;
        let (heir, before) = (held.connection.id, mem::replace(&mut held.standing, Standing::Lasting));
        if let Standing::Company { answered: false, .. } = before {
            entry.company = Company::Welcome;
        }
        Some(heir)
    }

    /// Takes the connections of which somebody should ask whether they still live.
    pub fn take_unsure(&self) -> Vec<(Arc<Connection>, Opener)> {
        take(&self.unsure)
    }

    /// Takes the connections of which somebody should put another in the place.
    pub fn take_worn(&self) -> Vec<Arc<Connection>> {
        take(&self.worn)
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

    /// Resolves when a local client has begun to wait, uses a connection that may be dead, or one that carries much.
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
        let standing = match entry.dialled_beside.take_if(|dial| *dial == connection.id) {
            Some(_) => Standing::Company { since: Instant::now(), answered: false },
            None => Standing::Lasting,
        };
        entry.connections.push(Held::new(connection, opener, standing));
        entry.rank();
        entry.last_failure = None;
        entry.changed.notify_waiters();
    }

    pub(super) fn remove(&self, peer: &PeerId, id: ConnectionId) {
        let mut peers = self.lock();
        if let Some(entry) = peers.get_mut(peer) {
            if let Some(Standing::Company { since, answered }) = entry.held(id).map(|held| &held.standing)
                && (since.elapsed() < YOUNG || !answered)
            {
                entry.company = Company::NotBefore(Instant::now() + COMPANY_PAUSE);
            }
            entry.connections.retain(|held| held.connection.id != id);
            entry.replaced.retain(|replaced| *replaced != id);
            if entry.replaced.len() == entry.connections.len() && !entry.replaced.is_empty() {
                // They may have been slow and not dead, and there is nothing else.
                entry.replaced.clear();
                entry.orphaned = true;
                entry.rank();
            }
            if entry.is_idle() {
                peers.remove(peer);
            }
        }
    }

    /// Has new streams to `peer` take the connection `id` and none of the others, whatever of them was silent: what has
    /// silenced one may have silenced all. Returns those that it replaces.
    pub fn replace_others(&self, peer: &PeerId, id: ConnectionId) -> Vec<ConnectionId> {
        let mut peers = self.lock();
        let Some(entry) =
            peers.get_mut(peer).filter(|entry| entry.connections.iter().any(|held| held.connection.id == id))
        else {
            return Vec::new();
        };
        let ids = entry.connections.iter().map(|held| held.connection.id);
        let others: Vec<_> = ids.filter(|other| *other != id && !entry.replaced.contains(other)).collect();
        entry.replaced.extend(&others);
        entry.replaced_at = Some(Instant::now());
        entry.rank();
        others
    }

    /// Whether another connection to `peer` may be dialled in place of what is silent.
    pub fn may_be_replaced(&self, peer: &PeerId) -> bool {
        self.lock().get(peer).is_some_and(|entry| entry.may_be_replaced(Instant::now()))
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
        connections.iter().map(|held| held.connection.clone()).collect()
    }

    pub fn find(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        let peers = self.lock();
        let mut connections = peers.values().flat_map(|entry| &entry.connections);
        connections.find(|held| held.connection.id == id).map(|held| held.connection.clone())
    }

    /// Whether a tunnel has a stream over the connection `id` to `peer`.
    pub fn carries(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let mut peers = self.lock();
        peers.get_mut(peer).and_then(|entry| entry.held(id)).is_some_and(|held| held.opener.carries())
    }

    /// Adds a connection over which a tunnel has a stream for as long as the returned value lives.
    #[cfg(test)]
    pub fn add_carrying(&self, connection: Connection) -> impl Sized + use<> {
        let (opener, requests) = Opener::new();
        self.add(Arc::new(connection), opener);
        requests.live.enter().carrying()
    }

    pub fn connected_peers(&self) -> Vec<PeerId> {
        let peers = self.lock();
        peers.iter().filter(|(_, entry)| !entry.connections.is_empty()).map(|(peer, _)| *peer).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Entry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    mem::take(&mut list.lock().unwrap_or_else(PoisonError::into_inner))
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
    use libp2p::core::{ConnectedPoint, Endpoint, transport::PortUse};

    use super::{
        entry::{MAX_ABREAST, REPLACEMENT_PAUSE, WARM_FOR},
        *,
    };
    use crate::{
        node::streams::{direct::Direct, live::Live},
        spec::Multiaddr,
        status::Path,
        yamux,
    };

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

    /// A connection of ours over our muxer with its streams.
    fn dialled(id: usize, peer: PeerId) -> (Arc<Connection>, Opener, Arc<Live>) {
        let point = ConnectedPoint::Dialer {
            address: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let config = yamux::Config { max_inbound_streams: Box::new(|| 0), budget: yamux::Budget::new(0) };
        let (muxer, _) = yamux::new(futures::io::Cursor::new(Vec::new()), yamux::Role::Dialer, config);
        let (opener, requests) = Opener::new();
        let live = requests.live;
        assert!(requests.direct.set(Direct::new(muxer.opener(), live.clone())).is_ok());
        (Arc::new(Connection::new(ConnectionId::new_unchecked(id), peer, &point)), opener, live)
    }

    #[tokio::test(start_paused = true)]
    async fn of_connections_abreast_the_one_with_the_fewest_streams_takes_the_next_unless_it_may_be_gone() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let lives = [1, 2, 3].map(|id| {
            let (connection, opener, live) = dialled(id, peer);
            if id > 1 {
                table.dialling_beside(&peer, connection.id);
            }
            table.add(connection, opener);
            live
        });
        let best = || table.best(&peer, RelayUse::Any, &[]).unwrap().0.id;
        let [oldest, second, third] = [1, 2, 3].map(ConnectionId::new_unchecked);
        assert_eq!(best(), oldest, "of equals");
        let first = lives[0].enter().carrying();
        assert_eq!(best(), oldest, "the far end has yet to let the others in");
        for id in [second, third] {
            table.has_answered(&peer, id);
        }
        drop(first);
        assert_eq!(best(), oldest);
        let _first = lives[0].enter().carrying();
        assert_eq!(best(), second);
        let _second = lives[1].enter().carrying();
        assert_eq!(best(), third);
        assert_eq!(table.best(&peer, RelayUse::Any, &[third]).unwrap().0.id, oldest);
        tokio::time::advance(WARM_FOR).await;
        assert_eq!(best(), oldest, "the third has been idle for long");
        table.remove(&peer, oldest);
        assert_eq!(best(), second);
        assert_eq!((table.heir(&peer), table.heir(&peer)), (Some(second), None));
        drop(_second);
        tokio::time::advance(WARM_FOR).await;
        assert_eq!(best(), second, "it is held on to now");
    }

    #[tokio::test(start_paused = true)]
    async fn of_connections_that_the_far_end_has_dialled_the_oldest_lasts_and_others_while_they_are_warm() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let lives = [1, 2].map(|id| {
            let (_, opener, live) = dialled(id, peer);
            table.add(connection(id, peer, "/ip4/127.0.0.1/tcp/1"), opener);
            live
        });
        let best = |tried: &[_]| table.best(&peer, RelayUse::Any, tried).unwrap().0.id;
        let [oldest, other] = [1, 2].map(ConnectionId::new_unchecked);
        let _stream = lives[0].enter().carrying();
        assert_eq!(best(&[]), other);
        tokio::time::advance(WARM_FOR).await;
        assert_eq!(best(&[]), oldest);
        assert_eq!(best(&[oldest]), other, "there is nothing better");
    }

    #[tokio::test(start_paused = true)]
    async fn company_is_asked_for_once_while_streams_outnumber_their_connections() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let (first, opener, live) = dialled(1, peer);
        table.add(first.clone(), opener);
        let asked = || {
            table.carries_more(&first);
            table.take_crowded().len()
        };
        let _being_agreed_on = live.enter();
        let mut streams = vec![live.enter().carrying()];
        assert_eq!(asked(), 0, "one stream has one connection");
        streams.push(live.enter().carrying());
        assert_eq!((asked(), asked()), (1, 0), "it is coming");
        table.no_company(&peer);
        assert_eq!(asked(), 0, "it did not come");
        tokio::time::advance(COMPANY_PAUSE).await;
        assert_eq!(asked(), 1);
        table.ask_again_for_company(&peer);
        assert_eq!(asked(), 1);
        streams.resize_with(9, || live.enter().carrying());
        for id in 2..=MAX_ABREAST {
            let (connection, opener, _) = dialled(id, peer);
            let id = connection.id;
            table.dialling_beside(&peer, id);
            table.add(connection, opener);
            assert_eq!(asked(), 0, "{id} has yet to be answered");
            table.has_answered(&peer, id);
            assert_eq!(asked(), usize::from(id != ConnectionId::new_unchecked(MAX_ABREAST)), "{id}");
        }
        let youngest = ConnectionId::new_unchecked(MAX_ABREAST);
        tokio::time::advance(YOUNG / 2).await;
        table.remove(&peer, youngest);
        assert_eq!(asked(), 0, "the far end has closed the last");
        tokio::time::advance(COMPANY_PAUSE).await;
        assert_eq!(asked(), 1);
        let (silent, opener, _) = dialled(MAX_ABREAST, peer);
        table.dialling_beside(&peer, youngest);
        table.add(silent, opener);
        tokio::time::advance(2 * YOUNG).await;
        table.remove(&peer, youngest);
        assert_eq!(asked(), 0, "the far end has never answered on it");
        tokio::time::advance(COMPANY_PAUSE).await;
        assert_eq!(asked(), 1);
    }

    #[test]
    fn a_connection_beside_one_that_ends_meanwhile_is_known_and_takes_its_place() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let [first, second, third] = [1, 2, 3].map(|id| dialled(id, peer));
        table.add(first.0.clone(), first.1);
        table.dialling_beside(&peer, second.0.id);
        table.remove(&peer, first.0.id);
        table.add(second.0.clone(), second.1);
        assert!(table.is_company(&peer, second.0.id));
        assert_eq!((table.heir(&peer), table.heir(&peer)), (Some(second.0.id), None));
        table.dialling_beside(&peer, third.0.id);
        table.remove(&peer, second.0.id);
        table.company_dial_failed(&peer, first.0.id);
        assert!(!table.lock().is_empty(), "that was another dial");
        table.company_dial_failed(&peer, third.0.id);
        assert!(table.lock().is_empty());
    }

    #[test]
    fn who_was_dialled_does_not_dial_back() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let held = connection(1, peer, "/ip4/127.0.0.1/tcp/1");
        let (_, opener, live) = dialled(1, peer);
        table.add(held.clone(), opener);
        let _streams = [live.enter().carrying(), live.enter().carrying(), live.enter().carrying()];
        table.carries_more(&held);
        assert!(table.take_crowded().is_empty());
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
        assert_eq!(table.replace_others(&peer, new), [old]);
        assert_eq!(best(), new);
        table.remove(&peer, old);
        assert_eq!(best(), new);
    }

    #[tokio::test(start_paused = true)]
    async fn what_replaced_others_is_not_replaced_at_once_but_later_even_if_they_live_on() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let add = |id| table.add(connection(id, peer, "/ip4/127.0.0.1/tcp/1"), Opener::new().0);
        add(1);
        assert!(table.may_be_replaced(&peer));
        for id in 2..8 {
            add(id);
            table.replace_others(&peer, ConnectionId::new_unchecked(id));
            assert!(!table.may_be_replaced(&peer), "{id} has just come");
            tokio::time::advance(REPLACEMENT_PAUSE).await;
            assert_eq!(table.may_be_replaced(&peer), id < 7, "{id} connections");
        }
        let youngest = ConnectionId::new_unchecked(7);
        assert_eq!(table.best(&peer, RelayUse::Any, &[]).unwrap().0.id, youngest);
        table.remove(&peer, ConnectionId::new_unchecked(1));
        assert!(table.may_be_replaced(&peer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_gave_no_sign_of_life_comes_after_those_that_did_until_it_answers() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let [first, second] = [1, 2].map(|id| {
            let (_, opener, live) = dialled(id, peer);
            let connection = connection(id, peer, "/ip4/127.0.0.1/tcp/1");
            table.add(connection.clone(), opener);
            (connection, live)
        });
        table.add(connection(3, peer, &format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit")), Opener::new().0);
        let best = || table.best(&peer, RelayUse::Any, &[]).unwrap().0;
        tokio::time::advance(WARM_FOR).await;
        assert_eq!(best(), first.0);
        table.gave_no_sign(&first.0);
        assert_eq!(best(), second.0, "though the far end may let go of it");
        table.gave_no_sign(&second.0);
        assert_eq!(best(), first.0, "rather than a relayed one");
        table.has_answered(&peer, second.0.id);
        assert_eq!(best(), second.0);
        table.has_answered(&peer, first.0.id);
        assert_eq!(best(), first.0);
    }

    #[test]
    fn what_was_replaced_has_its_place_again_when_the_new_connection_ends_first() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let [old, company, new] = [1, 2, 3].map(ConnectionId::new_unchecked);
        let lives = [1, 2].map(|id| {
            let (connection, opener, live) = dialled(id, peer);
            if connection.id == company {
                table.dialling_beside(&peer, company);
            }
            table.add(connection, opener);
            live
        });
        // By another route than theirs.
        table.add(connection(3, peer, "/ip4/127.0.0.1/udp/1/quic-v1"), Opener::new().0);
        assert_eq!(table.replace_others(&peer, new), [old, company]);
        let best = || table.best(&peer, RelayUse::Any, &[]).unwrap().0.id;
        assert_eq!((best(), table.heir(&peer)), (new, None));
        let _streams = [lives[0].enter().carrying(), lives[0].enter().carrying()];
        table.carries_more(&table.find(old).unwrap());
        assert!(table.take_crowded().is_empty(), "for what was replaced");
        table.remove(&peer, new);
        assert_eq!(best(), old);
        assert_eq!((table.heir(&peer), table.heir(&peer)), (Some(old), None));
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
        let held = connection(1, peer, "/ip4/127.0.0.1/tcp/1");
        table.add(held.clone(), Opener::new().0);
        let asked_after = async |pause| {
            tokio::time::advance(pause).await;
            table.in_use(&held);
            table.take_unsure().len()
        };
        assert_eq!(asked_after(Duration::ZERO).await, 0, "it is new");
        assert_eq!(asked_after(SURE_FOR).await, 1);
        assert_eq!(asked_after(SURE_FOR / 2).await, 0);
        assert_eq!(asked_after(SURE_FOR / 2).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_is_wanted_in_place_of_a_connection_that_has_carried_so_many_streams_that_it_is_worn() {
        let (table, peer) = (Connections::default(), PeerId::random());
        let (held, opener, _) = dialled(1, peer);
        table.add(held.clone(), opener.clone());
        let asked = async || {
            tokio::time::advance(SURE_FOR).await;
            table.in_use(&held);
            table.take_worn()
        };
        assert_eq!(asked().await, []);
        opener.wear();
        assert_eq!(asked().await, std::slice::from_ref(&held));
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
