//! Which connections still answer pings. libp2p's ping behaviour only measures: it leaves a connection that answers
//! nothing as it is, and keeps the first failure of each to itself.

use std::{collections::HashMap, time::Duration};

use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

/// How often a peer is asked, and how long it may take to answer.
pub const INTERVAL: Duration = Duration::from_secs(10);
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest silence of a living connection: one lost ping, its successor, and some slack.
const SILENCE: Duration = Duration::from_secs(25);

#[derive(Default)]
pub struct Pulses(HashMap<ConnectionId, Pulse>);

struct Pulse {
    last: Instant,
    round_trip: Option<Duration>,
}

impl Pulses {
    pub fn begin(&mut self, id: ConnectionId, now: Instant) {
        self.0.insert(id, Pulse { last: now, round_trip: None });
    }

    pub fn answered(&mut self, id: ConnectionId, round_trip: Duration, now: Instant) {
        if let Some(pulse) = self.0.get_mut(&id) {
            *pulse = Pulse { last: now, round_trip: Some(round_trip) };
        }
    }

    /// No longer watches a connection: it has ended, or its peer speaks no ping.
    pub fn end(&mut self, id: &ConnectionId) {
        self.0.remove(id);
    }

    pub fn round_trip(&self, id: &ConnectionId) -> Option<Duration> {
        self.0.get(id)?.round_trip
    }

    /// When a connection will have been silent for too long, if nothing is heard.
    pub fn next_check(&self) -> Option<Instant> {
        self.0.values().map(|pulse| pulse.last + SILENCE).min()
    }

    /// Takes out the connections that have been silent for too long.
    pub fn silent(&mut self, now: Instant) -> Vec<ConnectionId> {
        self.0.extract_if(|_, pulse| pulse.last + SILENCE <= now).map(|(id, _)| id).collect()
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
        pulses.begin(dead, start);
        pulses.begin(living, start);
        pulses.answered(living, Duration::from_millis(3), start + INTERVAL);
        assert_eq!(pulses.next_check(), Some(start + SILENCE));
        assert!(pulses.silent(start + INTERVAL + TIMEOUT).is_empty());
        assert_eq!(pulses.silent(start + SILENCE), [dead]);
        assert_eq!(pulses.next_check(), Some(start + INTERVAL + SILENCE));
        assert_eq!(pulses.round_trip(&living), Some(Duration::from_millis(3)));
        pulses.end(&living);
        assert_eq!(pulses.next_check(), None);
    }
}
