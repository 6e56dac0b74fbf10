//! Connections that are dialled beside another to the same peer while that carries several streams at once: what is lost of
//! one holds up only its own streams, and each can use a processor of its own.
//!
//! Nobody holds on to them: a while after their last stream, they end. If the one that they stood beside ends first, one
//! of them takes its place.

use std::{collections::HashMap, time::Duration};

use libp2p::swarm::ConnectionId;
use tokio::{runtime::Handle, time::Instant};

use crate::spec::PeerId;

/// On a path that is shorter than this, nothing is gained by what several connections lose separately.
const LONG: Duration = Duration::from_millis(10);

/// One that ends before this age was not wanted by the far end.
const YOUNG: Duration = Duration::from_secs(5);

/// Whether several connections can carry more than one, over a path with this round-trip time. With one worker thread, on
/// loopback, eight streams got 9.0 Gbit/s on one connection and 8.6 on four; over 40 ms with 1 % of loss 6 Mbit/s and 14.
pub fn pays(round_trip: Option<Duration>) -> bool {
    Handle::current().metrics().num_workers() > 1 || round_trip.is_some_and(|round_trip| round_trip >= LONG)
}

/// Connections that stand, or are to stand, beside others.
#[derive(Default)]
pub struct Company {
    /// By the dial.
    coming: HashMap<ConnectionId, PeerId>,
    /// Since when each has stood.
    standing: HashMap<ConnectionId, Instant>,
}

/// What has become of a connection beside another.
#[derive(Debug, PartialEq)]
pub enum Gone {
    /// It had its time.
    Served,
    /// The far end doesn't want it.
    TurnedAway,
}

impl Company {
    pub fn dialling(&mut self, dial: ConnectionId, peer: PeerId) {
        self.coming.insert(dial, peer);
    }

    /// A connection stands. Returns whether it is to stand beside others.
    pub fn came(&mut self, id: ConnectionId, now: Instant) -> bool {
        let is_company = self.coming.remove(&id).is_some();
        if is_company {
            self.standing.insert(id, now);
        }
        is_company
    }

    /// A dial has failed. Returns the peer that is to have no company then.
    pub fn failed(&mut self, dial: &ConnectionId) -> Option<PeerId> {
        self.coming.remove(dial)
    }

    /// A connection has ended; `None` if it was no company.
    pub fn gone(&mut self, id: &ConnectionId, now: Instant) -> Option<Gone> {
        let since = self.standing.remove(id)?;
        Some(if now < since + YOUNG { Gone::TurnedAway } else { Gone::Served })
    }

    /// Of the connections that a peer has left, best first, the one that is to take the place of another; `None` if that
    /// is not needed.
    pub fn promote(&mut self, left: impl IntoIterator<Item = ConnectionId>) -> Option<ConnectionId> {
        let left: Vec<_> = left.into_iter().collect();
        let first = left.first().copied().filter(|_| left.iter().all(|id| self.standing.contains_key(id)))?;
        self.standing.remove(&first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_thread_gains_by_it_on_a_long_path_only() {
        assert!(!pays(None) && !pays(Some(Duration::from_millis(1))));
        assert!(pays(Some(Duration::from_millis(40))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_threads_gain_by_it_on_any_path() {
        assert!(pays(None));
    }

    #[test]
    fn one_that_the_far_end_closes_at_once_was_turned_away() {
        let (mut company, now) = (Company::default(), Instant::now());
        let [first, second, other] = [1, 2, 3].map(ConnectionId::new_unchecked);
        for id in [first, second] {
            company.dialling(id, PeerId::random());
            assert!(company.came(id, now));
        }
        assert!(!company.came(other, now));
        assert_eq!(company.gone(&first, now + YOUNG / 2), Some(Gone::TurnedAway));
        assert_eq!(company.gone(&second, now + YOUNG), Some(Gone::Served));
        assert_eq!(company.gone(&other, now), None);
    }

    #[test]
    fn the_first_of_those_that_are_left_takes_the_place_of_what_they_stood_beside() {
        let (mut company, now) = (Company::default(), Instant::now());
        let [oldest, first, second] = [1, 2, 3].map(ConnectionId::new_unchecked);
        for id in [first, second] {
            company.dialling(id, PeerId::random());
            company.came(id, now);
        }
        assert_eq!(company.promote([oldest, first, second]), None);
        assert_eq!(company.promote([first, second]), Some(first));
        assert_eq!(company.promote([first, second]), None, "it stands beside nobody now");
        assert_eq!(company.promote([]), None);
    }

    #[test]
    fn a_dial_that_failed_says_whose_it_was() {
        let (mut company, peer) = (Company::default(), PeerId::random());
        let id = ConnectionId::new_unchecked(1);
        company.dialling(id, peer);
        assert_eq!(company.failed(&id), Some(peer));
        assert_eq!(company.failed(&id), None);
    }
}
