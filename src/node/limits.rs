//! Bounds on the connections that strangers can cause. Peers that the configuration names are hardly bounded.

mod pending;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt;
use libp2p::{
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::time::{Instant, Sleep, sleep_until};

use self::pending::Pending;
use super::streams::{Connections, Offers};
use crate::spec::{Multiaddr, PeerId};

/// Connections of strangers, where nothing is offered to anyone: enough to be told so.
const MAX_STRANGERS: usize = 16;
/// How long a peer to which nothing is offered may stay. Being told so takes a round trip; streams that negotiate for
/// ever take memory.
const WELCOME: Duration = Duration::from_secs(20);
/// Connections of strangers, where something is.
const MAX_GUESTS: usize = 4_096;
/// Those that share a busy peer's streams, and as many that take their places when it has changed its network.
const MAX_PER_STRANGER: usize = 8;
const MAX_PER_KNOWN_PEER: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TooMany {
    #[error("too many connections are being set up")]
    Pending,
    #[error("too many connections of peers that the configuration doesn't name")]
    Strangers,
    #[error("too many connections of one peer")]
    OfOnePeer,
}

pub struct Limits {
    offers: Arc<Offers>,
    connections: Arc<Connections>,
    pending: Pending,
    inbound: HashMap<PeerId, HashSet<ConnectionId>>,
    /// Of the offers, when all inbound connections were last looked at.
    version: u64,
    /// Those to whose peers nothing was offered when they came or at that look, with the time; the oldest first.
    unwelcome: VecDeque<(Instant, PeerId, ConnectionId)>,
    timer: Pin<Box<Sleep>>,
}

impl Limits {
    /// Must be called within a tokio runtime.
    pub fn new(offers: Arc<Offers>, connections: Arc<Connections>) -> Self {
        let (pending, inbound, unwelcome) = (Pending::default(), HashMap::new(), VecDeque::new());
        let timer = Box::pin(sleep_until(Instant::now()));
        Self { offers, connections, pending, inbound, version: 0, unwelcome, timer }
    }

    /// The next connection that has outstayed its welcome.
    fn poll_unwelcome(&mut self, cx: &mut Context<'_>) -> Poll<(PeerId, ConnectionId)> {
        self.look_again();
        while let Some((since, peer, id)) = self.unwelcome.front().copied() {
            if self.timer.deadline() != since + WELCOME {
                self.timer.as_mut().reset(since + WELCOME);
            }
            ready!(self.timer.poll_unpin(cx));
            self.unwelcome.pop_front();
            let is_open = self.inbound.get(&peer).is_some_and(|connections| connections.contains(&id));
            if !is_open || self.offers.welcomes(&peer) {
                continue;
            }
            if !self.connections.carries(&peer, id) {
                return Poll::Ready((peer, id));
            }
            // Its stream may go on: of a tunnel that drains, or of a forward that leads elsewhere now.
            self.unwelcome.push_back((Instant::now(), peer, id));
        }
        Poll::Pending
    }

    /// Finds those who are no longer welcome since the offers have changed. The swarm is polled after every change.
    fn look_again(&mut self) {
        // Before the look, so that a change meanwhile leads to another.
        let version = self.offers.version();
        if mem::replace(&mut self.version, version) == version {
            return;
        }
        let found_before: HashSet<_> = self.unwelcome.iter().map(|(.., id)| *id).collect();
        let now = Instant::now();
        for (peer, connections) in self.inbound.iter().filter(|(peer, _)| !self.offers.welcomes(peer)) {
            let found = connections.iter().filter(|id| !found_before.contains(id));
            self.unwelcome.extend(found.map(|id| (now, *peer, *id)));
        }
    }

    fn check(&self, peer: &PeerId) -> Result<(), TooMany> {
        let known = self.offers.is_known(peer);
        let of_this_peer = self.inbound.get(peer).map_or(0, HashSet::len);
        if of_this_peer >= if known { MAX_PER_KNOWN_PEER } else { MAX_PER_STRANGER } {
            return Err(TooMany::OfOnePeer);
        }
        if known {
            return Ok(());
        }
        let strangers = self.inbound.iter().filter(|(peer, _)| !self.offers.is_known(peer));
        let strangers: usize = strangers.map(|(_, connections)| connections.len()).sum();
        match strangers >= if self.offers.to_anyone() { MAX_GUESTS } else { MAX_STRANGERS } {
            true => Err(TooMany::Strangers),
            false => Ok(()),
        }
    }
}

impl NetworkBehaviour for Limits {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local_addr: &Multiaddr,
        send_back_addr: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match self.pending.insert(id, local_addr, send_back_addr) {
            true => Ok(()),
            false => Err(ConnectionDenied::new(TooMany::Pending)),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(id);
        self.check(&peer).map_err(ConnectionDenied::new)?;
        self.inbound.entry(peer).or_default().insert(id);
        if !self.offers.welcomes(&peer) {
            self.unwelcome.push_back((Instant::now(), peer, id));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        let (peer, id) = match event {
            FromSwarm::ConnectionClosed(closed) => (Some(closed.peer_id), closed.connection_id),
            FromSwarm::ListenFailure(failure) => {
                self.pending.remove(failure.connection_id);
                (failure.peer_id, failure.connection_id)
            }
            _ => return,
        };
        let Some(peer) = peer else { return };
        if let Some(connections) = self.inbound.get_mut(&peer) {
            connections.remove(&id);
            if connections.is_empty() {
                self.inbound.remove(&peer);
            }
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        let (peer_id, id) = ready!(self.poll_unwelcome(cx));
        Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_fn;
    use libp2p::{
        core::ConnectedPoint,
        swarm::{ListenError, behaviour::ListenFailure},
    };
    use tokio::time::timeout;

    use super::*;
    use crate::{
        node::streams::Connection,
        spec::{Allow, StreamProtocol},
    };

    fn connect(limits: &mut Limits, id: usize, peer: PeerId) -> Result<(), ConnectionDenied> {
        let (id, nowhere) = (ConnectionId::new_unchecked(id), Multiaddr::empty());
        limits.handle_pending_inbound_connection(id, &nowhere, &nowhere)?;
        limits.handle_established_inbound_connection(id, peer, &nowhere, &nowhere).map(drop)
    }

    #[tokio::test]
    async fn a_connection_that_has_come_to_something_or_to_nothing_leaves_its_place() {
        let mut limits = Limits::new(Arc::default(), Arc::default());
        let address: Multiaddr = "/ip4/203.0.113.1/tcp/1".parse().unwrap();
        let begin = |limits: &mut Limits, id: &ConnectionId| {
            limits.handle_pending_inbound_connection(*id, &address, &address).is_ok()
        };
        let ids = (0..100).map(ConnectionId::new_unchecked);
        let begun: Vec<_> = ids.take_while(|id| begin(&mut limits, id)).collect();
        assert!(begun.len() > MAX_STRANGERS + 1, "this test needs some that come to nothing");
        for (nth, connection_id) in begun.into_iter().enumerate() {
            match nth < MAX_STRANGERS + 1 {
                // The last of them is refused.
                true => drop(limits.handle_established_inbound_connection(
                    connection_id,
                    PeerId::random(),
                    &address,
                    &address,
                )),
                false => limits.on_swarm_event(FromSwarm::ListenFailure(ListenFailure {
                    local_addr: &address,
                    send_back_addr: &address,
                    error: &ListenError::Aborted,
                    connection_id,
                    peer_id: None,
                })),
            }
        }
        assert_eq!(limits.pending.len(), 0);
    }

    #[tokio::test]
    async fn strangers_are_few_unless_something_is_offered_to_anyone_and_never_crowd_out_a_known_peer() {
        let offers = Arc::<Offers>::default();
        let mut limits = Limits::new(offers.clone(), Arc::default());
        let friend = PeerId::random();
        offers.set_known([friend].into());
        for id in 0..MAX_STRANGERS {
            connect(&mut limits, id, PeerId::random()).unwrap();
        }
        assert!(connect(&mut limits, 1000, PeerId::random()).is_err());
        connect(&mut limits, 1001, friend).unwrap();
        let _offering = offers.offer(StreamProtocol::new("/x/web"), Allow::Anyone);
        connect(&mut limits, 1002, PeerId::random()).unwrap();
    }

    #[tokio::test]
    async fn one_stranger_has_few_connections() {
        let mut limits = Limits::new(Arc::default(), Arc::default());
        let stranger = PeerId::random();
        for id in 0..MAX_PER_STRANGER {
            connect(&mut limits, id, stranger).unwrap();
        }
        assert!(connect(&mut limits, 10, stranger).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_offered_nothing_is_shown_the_door_and_a_guest_is_not() {
        let offers = Arc::<Offers>::default();
        let mut limits = Limits::new(offers.clone(), Arc::default());
        let (stranger, guest, gone) = (PeerId::random(), PeerId::random(), PeerId::random());
        for (id, peer) in [gone, guest, stranger].into_iter().enumerate() {
            connect(&mut limits, id, peer).unwrap();
        }
        limits.inbound.remove(&gone);
        let _offering = offers.offer(StreamProtocol::new("/x/web"), Allow::Peers([guest].into()));
        let come = Instant::now();
        let unwelcome = poll_fn(|cx| limits.poll_unwelcome(cx)).await;
        assert_eq!(unwelcome, (stranger, ConnectionId::new_unchecked(2)));
        assert_eq!(come.elapsed(), WELCOME);
        assert!(poll_fn(|cx| limits.poll_unwelcome(cx)).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_no_longer_welcome_is_shown_the_door_and_nobody_wakes_up_for_who_is() {
        let offers = Arc::<Offers>::default();
        let mut limits = Limits::new(offers.clone(), Arc::default());
        let (friend, guest) = (PeerId::random(), PeerId::random());
        offers.set_known([friend].into());
        let offering = offers.offer(StreamProtocol::new("/x/web"), Allow::Peers([guest].into()));
        for (id, peer) in [friend, guest].into_iter().enumerate() {
            connect(&mut limits, id, peer).unwrap();
        }
        assert!(poll_fn(|cx| limits.poll_unwelcome(cx)).now_or_never().is_none());
        tokio::time::advance(10 * WELCOME).await;
        assert!(limits.unwelcome.is_empty());

        let changed = Instant::now();
        offers.set_known([].into());
        assert!(poll_fn(|cx| limits.poll_unwelcome(cx)).now_or_never().is_none());
        tokio::time::advance(WELCOME / 2).await;
        offering.set_allow(Allow::Peers([].into()));
        for (nth, peer) in [friend, guest].into_iter().enumerate() {
            let unwelcome = timeout(2 * WELCOME, poll_fn(|cx| limits.poll_unwelcome(cx))).await;
            assert_eq!(unwelcome, Ok((peer, ConnectionId::new_unchecked(nth))));
            assert_eq!(changed.elapsed(), WELCOME + nth as u32 * WELCOME / 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whose_stream_goes_on_may_stay_until_it_has_ended() {
        let connections = Arc::<Connections>::default();
        let mut limits = Limits::new(Arc::default(), connections.clone());
        let (peer, id, address) = (PeerId::random(), ConnectionId::new_unchecked(1), Multiaddr::empty());
        connect(&mut limits, 1, peer).unwrap();
        let point = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
        let stream = connections.add_carrying(Connection::new(id, peer, &point));
        let staying = poll_fn(|cx| limits.poll_unwelcome(cx));
        assert!(timeout(10 * WELCOME, staying).await.is_err());
        drop(stream);
        let ended = Instant::now();
        assert_eq!(poll_fn(|cx| limits.poll_unwelcome(cx)).await, (peer, id));
        assert!(ended.elapsed() <= WELCOME);
    }
}
