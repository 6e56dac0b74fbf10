//! What this node offers, and to whom: the one place that says whether a peer may open a stream of a protocol.
//!
//! Shared between the tunnels, which offer and withdraw, and the connection handlers, which ask. Every connection is
//! told when the answer may have changed, so `allow` can narrow and widen on a live connection.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, mpsc};

use super::{connection::Connection, stream::Stream};
use crate::spec::{Allow, Multiaddr, PeerId, StreamProtocol};

/// Streams that may wait for their tunnel to take them, over all connections. Not a limit that is meant to be met: a
/// tunnel takes each stream at once and counts it against its own limits, and each connection bounds its streams.
const HANDED_OVER: usize = 1 << 20;

/// Refusals that may wait for their tunnel to take note of them. What comes beyond is refused all the same, uncounted.
const REFUSALS: usize = 1 << 10;

/// A stream that a peer has opened.
pub struct Inbound {
    pub stream: Stream,
    pub peer: PeerId,
    /// `None` where this very node opened it.
    pub connection: Option<Arc<Connection>>,
}

/// A peer has asked for what is not offered to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub peer: PeerId,
    /// Where it is.
    pub address: Multiaddr,
}

/// The table of offers. Shared.
#[derive(Default)]
pub struct Offers {
    table: RwLock<Table>,
    version: AtomicU64,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    offers: HashMap<StreamProtocol, Offer>,
    /// Peers that the configuration names: they may have many connections, and theirs stay open when idle.
    known: BTreeSet<PeerId>,
}

struct Offer {
    id: u64,
    allow: Allow,
    sink: mpsc::Sender<Inbound>,
    refusals: mpsc::Sender<Refused>,
}

impl Offers {
    /// Offers `protocol` to the peers in `allow`, in place of an earlier offer of the same protocol.
    pub fn offer(self: &Arc<Self>, protocol: StreamProtocol, allow: Allow) -> Offering {
        let (sink, inbound) = mpsc::channel(HANDED_OVER);
        let (refusals, refused) = mpsc::channel(REFUSALS);
        let mut table = self.write();
        table.last_id += 1;
        let id = table.last_id;
        table.offers.insert(protocol.clone(), Offer { id, allow, sink, refusals });
        drop(table);
        self.has_changed();
        Offering { offers: self.clone(), protocol, id, inbound, refused }
    }

    /// Replaces the set of peers that the configuration names.
    pub fn set_known(&self, known: BTreeSet<PeerId>) {
        self.write().known = known;
        self.has_changed();
    }

    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.read().known.contains(peer)
    }

    /// Whether the configuration names `peer`, or something is offered to it.
    pub fn welcomes(&self, peer: &PeerId) -> bool {
        let table = self.read();
        table.known.contains(peer) || table.offers.values().any(|offer| offer.allow.allows(peer))
    }

    /// Whether strangers are welcome, because something is offered to anyone.
    pub fn to_anyone(&self) -> bool {
        self.read().offers.values().any(|offer| offer.allow == Allow::Anyone)
    }

    /// The protocols that `peer` may see, in a stable order.
    pub fn protocols_for(&self, peer: &PeerId) -> Arc<[StreamProtocol]> {
        let table = self.read();
        let allowed = table.offers.iter().filter(|(_, offer)| offer.allow.allows(peer));
        let mut protocols: Vec<_> = allowed.map(|(protocol, _)| protocol.clone()).collect();
        protocols.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        protocols.into()
    }

    /// Where a stream that `peer` has negotiated goes; `None` if it may not have it (any more).
    pub fn admit(&self, peer: &PeerId, protocol: &StreamProtocol) -> Option<mpsc::Sender<Inbound>> {
        let table = self.read();
        table.offers.get(protocol).filter(|offer| offer.allow.allows(peer)).map(|offer| offer.sink.clone())
    }

    /// Takes note that the peer at `address` asks for `protocol`, if that is something that it may not have.
    pub fn asked_for(&self, peer: &PeerId, protocol: &StreamProtocol, address: &Multiaddr) {
        let table = self.read();
        if let Some(offer) = table.offers.get(protocol).filter(|offer| !offer.allow.allows(peer)) {
            // Fails where the tunnel has gone, or does not follow.
            let _ = offer.refusals.try_send(Refused { peer: *peer, address: address.clone() });
        }
    }

    /// Where a stream of this very node goes: the own peer may open whatever is offered to anybody.
    pub fn admit_own(&self, protocol: &StreamProtocol) -> Option<mpsc::Sender<Inbound>> {
        self.read().offers.get(protocol).map(|offer| offer.sink.clone())
    }

    /// Counts the changes so far: what was asked for at an earlier version may be out of date.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn has_changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Waits until the offers may have changed. Changes are not lost between calls, but several count as one.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A protocol that is offered for as long as this value lives, and the streams that peers open.
pub struct Offering {
    offers: Arc<Offers>,
    protocol: StreamProtocol,
    id: u64,
    inbound: mpsc::Receiver<Inbound>,
    refused: mpsc::Receiver<Refused>,
}

/// What becomes of an offer.
pub enum Taken {
    /// A peer has opened a stream.
    By(Inbound),
    /// A peer has asked for a stream that it may not have.
    Refused(Refused),
}

impl Offering {
    /// The next stream, or the next peer that may not have one; `None` once another offering of the same protocol has
    /// taken this one's place. Cancel-safe.
    pub async fn next(&mut self) -> Option<Taken> {
        tokio::select! {
            // A flood of refusals holds up nobody.
            biased;
            Some(inbound) = self.inbound.recv() => Some(Taken::By(inbound)),
            Some(refused) = self.refused.recv() => Some(Taken::Refused(refused)),
            else => None,
        }
    }

    /// The protocol that is offered.
    pub fn protocol(&self) -> &StreamProtocol {
        &self.protocol
    }

    /// Changes who sees the protocol. Streams that are open stay open; cutting them is the owner's part.
    pub fn set_allow(&self, allow: Allow) {
        let mut table = self.offers.write();
        if let Some(offer) = table.offers.get_mut(&self.protocol).filter(|offer| offer.id == self.id) {
            offer.allow = allow;
        }
        drop(table);
        self.offers.has_changed();
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        let mut table = self.offers.write();
        if table.offers.get(&self.protocol).is_some_and(|offer| offer.id == self.id) {
            table.offers.remove(&self.protocol);
        }
        drop(table);
        self.offers.has_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH: StreamProtocol = StreamProtocol::new("/x/ssh");

    #[test]
    fn a_peer_sees_only_what_is_offered_to_it() {
        let offers = Arc::new(Offers::default());
        let (friend, stranger) = (PeerId::random(), PeerId::random());
        let offering = offers.offer(SSH, Allow::Peers([friend].into()));
        assert_eq!(&*offers.protocols_for(&friend), [SSH]);
        assert!(offers.protocols_for(&stranger).is_empty());
        assert!(offers.admit(&stranger, &SSH).is_none());
        offering.set_allow(Allow::Anyone);
        assert!(offers.admit(&stranger, &SSH).is_some());
        assert!(offers.to_anyone());
        drop(offering);
        assert!(offers.protocols_for(&friend).is_empty());
    }

    #[tokio::test]
    async fn a_tunnel_hears_of_peers_that_ask_for_it_and_may_not_have_it() {
        let offers = Arc::new(Offers::default());
        let (friend, stranger) = (PeerId::random(), PeerId::random());
        let mut offering = offers.offer(SSH, Allow::Peers([friend].into()));
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        offers.asked_for(&friend, &SSH, &address);
        offers.asked_for(&stranger, &StreamProtocol::new("/x/other"), &address);
        offers.asked_for(&stranger, &SSH, &address);
        let taken = offering.next().await;
        assert!(matches!(taken, Some(Taken::Refused(refused)) if refused == Refused { peer: stranger, address }));
        assert!(offering.refused.try_recv().is_err());
    }

    #[test]
    fn a_later_offering_outlives_the_one_it_replaced() {
        let offers = Arc::new(Offers::default());
        let first = offers.offer(SSH, Allow::Anyone);
        let second = offers.offer(SSH, Allow::Peers(BTreeSet::new()));
        first.set_allow(Allow::Anyone);
        drop(first);
        assert!(!offers.to_anyone());
        assert!(offers.admit_own(&SSH).is_some());
        drop(second);
        assert!(offers.admit_own(&SSH).is_none());
    }
}
