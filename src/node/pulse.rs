//! How long pings take, and which QUIC connections still answer them. libp2p's ping behaviour only measures: it leaves a
//! connection that answers nothing as it is, and keeps the first failure of each to itself. Our own muxer notices by
//! itself that a far end is gone, and counts all that comes as a sign of life, which pings can't.

use std::{collections::HashMap, time::Duration};

use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

/// How often a peer is asked, and how long it may take to answer. js-libp2p gives up each stream of pings ten seconds
/// after it began: the next ping meets that, and the one after it takes another stream. No ping may be under way at that
/// moment, so ten is no multiple of this.
pub const INTERVAL: Duration = Duration::from_secs(7);
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest silence of a living connection: one lost ping, its successor, and some slack.
const SILENCE: Duration = Duration::from_secs(25);

#[derive(Default)]
pub struct Pulses(HashMap<ConnectionId, Pulse>);

struct Pulse {
    /// The last answer; `None` where others watch over the connection.
    watched: Option<Instant>,
    round_trip: Option<Duration>,
}

impl Pulses {
    /// Measures a connection, and watches over it if nobody else does.
    pub fn begin(&mut self, id: ConnectionId, watch: bool, now: Instant) {
        self.0.insert(id, Pulse { watched: watch.then_some(now), round_trip: None });
    }

    pub fn answered(&mut self, id: ConnectionId, round_trip: Duration, now: Instant) {
        if let Some(pulse) = self.0.get_mut(&id) {
            pulse.watched = pulse.watched.map(|_| now);
            pulse.round_trip = Some(round_trip);
        }
    }

    /// Forgets a connection: it has ended, or its peer speaks no ping.
    pub fn end(&mut self, id: &ConnectionId) {
        self.0.remove(id);
    }

    pub fn round_trip(&self, id: &ConnectionId) -> Option<Duration> {
        self.0.get(id)?.round_trip
    }

    /// When a connection will have been silent for too long, if nothing is heard.
    pub fn next_check(&self) -> Option<Instant> {
        self.0.values().filter_map(|pulse| pulse.watched).min().map(|last| last + SILENCE)
    }

    /// Takes out the connections that have been silent for too long.
    pub fn silent(&mut self, now: Instant) -> Vec<ConnectionId> {
        let silent = |pulse: &Pulse| pulse.watched.is_some_and(|last| last + SILENCE <= now);
        self.0.extract_if(|_, pulse| silent(pulse)).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_says_nothing_is_found_and_one_that_answers_is_not() {
        let (dead, living) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        let start = Instant::now();
        let mut pulses = Pulses::default();
        pulses.begin(dead, true, start);
        pulses.begin(living, true, start);
        pulses.answered(living, Duration::from_millis(3), start + INTERVAL);
        assert_eq!(pulses.next_check(), Some(start + SILENCE));
        assert!(pulses.silent(start + INTERVAL + TIMEOUT).is_empty());
        assert_eq!(pulses.silent(start + SILENCE), [dead]);
        assert_eq!(pulses.next_check(), Some(start + INTERVAL + SILENCE));
        assert_eq!(pulses.round_trip(&living), Some(Duration::from_millis(3)));
        pulses.end(&living);
        assert_eq!(pulses.next_check(), None);
    }

    #[test]
    fn a_connection_that_others_watch_over_is_measured_and_never_found() {
        let id = ConnectionId::new_unchecked(1);
        let start = Instant::now();
        let mut pulses = Pulses::default();
        pulses.begin(id, false, start);
        pulses.answered(id, Duration::from_millis(3), start);
        assert_eq!((pulses.next_check(), pulses.round_trip(&id)), (None, Some(Duration::from_millis(3))));
        assert!(pulses.silent(start + 2 * SILENCE).is_empty());
    }
}
