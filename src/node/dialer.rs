//! When to dial whom, and by which addresses: a state machine that is told what happened and what time it is, and says
//! what to do. It does no I/O.
//!
//! A peer is dialled in rounds. A round tries the TCP addresses at once and the QUIC addresses a little later, or as
//! soon as TCP has failed. When both have failed, the peer is left alone for a jittered, growing while, unless a local
//! client waits.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use libp2p::{multiaddr::Protocol, swarm::ConnectionId};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    spec::{Multiaddr, PeerId},
};

/// The head start of TCP, which is faster here and can carry a reset.
const QUIC_DELAY: Duration = Duration::from_millis(250);

/// The pauses between failed rounds.
const ROUNDS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// The longest pause while a local client waits.
const MAX_PAUSE_WHILE_WAITED_FOR: Duration = Duration::from_secs(1);

/// A connection that ends before this age counts as a failure: a peer that turns us away at once, or that closes what it
/// has no use for, must not be dialled again ever faster.
const STEADY: Duration = Duration::from_secs(30);

/// Something to be dialled now; report how it went with the connection's id.
#[derive(Debug, PartialEq)]
pub struct Dial {
    pub peer: PeerId,
    pub addresses: Vec<Multiaddr>,
}

/// Everybody who may have to be dialled.
#[derive(Default)]
pub struct Dialer {
    targets: BTreeMap<PeerId, Target>,
    /// Since when each peer is connected, whether or not it is a target.
    connected: HashMap<PeerId, Instant>,
    /// The peer and the round of each dial that is under way.
    under_way: HashMap<ConnectionId, (PeerId, u64)>,
    last_round: u64,
}

struct Target {
    addresses: Vec<Multiaddr>,
    /// Connected for as long as the configuration says so, and not just while somebody waits.
    kept: bool,
    rounds: Backoff,
    /// The number of the last round, by which the dials of an earlier one are told apart.
    round: u64,
    phase: Phase,
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing to do: connected, or nobody wants the peer.
    Idle,
    /// A round begins at this time.
    Due(Instant),
    /// TCP is being dialled; QUIC joins in at this time.
    Tcp { quic_at: Instant, dials: usize },
    /// All addresses have been dialled; this many dials have not ended.
    All { dials: usize },
}

impl Dialer {
    /// Follows a new configuration. Peers that are kept are dialled at once, whatever their back-off was.
    pub fn configure(&mut self, addresses: &BTreeMap<PeerId, Vec<Multiaddr>>, kept: &BTreeSet<PeerId>, now: Instant) {
        let wanted: BTreeSet<PeerId> = addresses.keys().chain(kept).copied().collect();
        self.targets.retain(|peer, _| wanted.contains(peer));
        for peer in wanted {
            let target = self.targets.entry(peer).or_insert_with(Target::new);
            target.addresses = addresses.get(&peer).cloned().unwrap_or_default();
            target.kept = kept.contains(&peer);
            if !self.connected.contains_key(&peer) {
                target.rounds.reset();
                match target.phase {
                    Phase::Idle | Phase::Due(_) if target.kept => target.phase = Phase::Due(now),
                    Phase::Due(_) => target.phase = Phase::Idle,
                    _ => {}
                }
            }
        }
    }

    /// A local client waits for each of `peers`: dial soon.
    pub fn waited_for(&mut self, peers: impl IntoIterator<Item = PeerId>, now: Instant) {
        for peer in peers {
            if self.connected.contains_key(&peer) {
                continue;
            }
            let Some(target) = self.targets.get_mut(&peer) else { continue };
            match target.phase {
                Phase::Idle => target.phase = Phase::Due(now),
                Phase::Due(at) => target.phase = Phase::Due(at.min(now + MAX_PAUSE_WHILE_WAITED_FOR)),
                Phase::Tcp { .. } | Phase::All { .. } => {}
            }
        }
    }

    /// What is to be dialled at `now`. Each must be confirmed by [`Dialer::dialling`] or [`Dialer::failed`].
    pub fn due(&mut self, now: Instant) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (&peer, target) in &mut self.targets {
            let round_begins = matches!(target.phase, Phase::Due(at) if at <= now);
            let quic_joins = matches!(target.phase, Phase::Tcp { quic_at, .. } if quic_at <= now);
            if !round_begins && !quic_joins {
                continue;
            }
            if round_begins {
                self.last_round += 1;
                target.round = self.last_round;
                target.last_error = None;
            }
            let (quic, tcp): (Vec<_>, Vec<_>) = target.addresses.iter().cloned().partition(is_quic);
            let addresses = match target.phase {
                Phase::Tcp { dials, .. } => {
                    target.phase = Phase::All { dials };
                    quic
                }
                _ if tcp.is_empty() => {
                    target.phase = Phase::All { dials: 0 };
                    quic
                }
                _ => {
                    target.phase = Phase::Tcp { quic_at: now + QUIC_DELAY, dials: 0 };
                    tcp
                }
            };
            if addresses.is_empty() {
                if target.phase == (Phase::All { dials: 0 }) {
                    target.phase = Phase::Idle;
                }
                continue;
            }
            dials.push(Dial { peer, addresses });
        }
        dials
    }

    /// A dial that was [due](Dialer::due) has begun.
    pub fn dialling(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            self.under_way.insert(id, (peer, target.round));
            match &mut target.phase {
                Phase::Tcp { dials, .. } | Phase::All { dials } => *dials += 1,
                Phase::Idle | Phase::Due(_) => {}
            }
        }
    }

    /// A connection to `peer` stands, whoever dialled it.
    pub fn connected(&mut self, peer: PeerId, id: ConnectionId, now: Instant) {
        self.under_way.remove(&id);
        self.connected.entry(peer).or_insert(now);
        if let Some(target) = self.targets.get_mut(&peer) {
            target.last_error = None;
            target.phase = Phase::Idle;
        }
    }

    /// The last connection to `peer` has gone.
    pub fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let since = self.connected.remove(&peer);
        if let Some(target) = self.targets.get_mut(&peer) {
            // Jittered, because the far end of a connection that both ends keep redials as well.
            let pause = match since.is_some_and(|since| since + STEADY <= now) {
                true => {
                    target.rounds.reset();
                    ROUNDS.clone().pause() / 4
                }
                false => target.rounds.pause(),
            };
            target.phase = if target.kept { Phase::Due(now + pause) } else { Phase::Idle };
        }
    }

    /// A dial has failed. Returns the peer and the reason if that ended its round.
    pub fn failed(
        &mut self,
        id: ConnectionId,
        reason: String,
        waited_for: impl FnOnce(&PeerId) -> bool,
        now: Instant,
    ) -> Option<(PeerId, String)> {
        let (peer, round) = self.under_way.remove(&id)?;
        let target = self.targets.get_mut(&peer).filter(|target| target.round == round)?;
        let reason = match target.last_error.take() {
            Some(earlier) if earlier != reason => format!("{earlier}; {reason}"),
            _ => reason,
        };
        target.last_error = Some(reason.clone());
        match &mut target.phase {
            Phase::Tcp { dials, quic_at } if target.addresses.iter().any(is_quic) => {
                *dials -= 1;
                if *dials == 0 {
                    *quic_at = now;
                }
                return None;
            }
            Phase::Tcp { dials, .. } | Phase::All { dials } => {
                *dials -= 1;
                if *dials > 0 {
                    return None;
                }
            }
            Phase::Idle | Phase::Due(_) => return None,
        }
        target.last_error = None;
        let pause = target.rounds.pause();
        let waited_for = waited_for(&peer);
        target.phase = match waited_for {
            true => Phase::Due(now + pause.min(MAX_PAUSE_WHILE_WAITED_FOR)),
            false if target.kept => Phase::Due(now + pause),
            false => Phase::Idle,
        };
        Some((peer, reason))
    }

    /// When [`Dialer::due`] has something to say next.
    pub fn next_due(&self) -> Option<Instant> {
        let next = |target: &Target| match target.phase {
            Phase::Due(at) => Some(at),
            Phase::Tcp { quic_at, .. } => Some(quic_at),
            Phase::Idle | Phase::All { .. } => None,
        };
        self.targets.values().filter_map(next).min()
    }

    /// The ways to dial `peer`.
    pub fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.targets.get(peer).map(|target| target.addresses.as_slice()).unwrap_or_default()
    }
}

impl Target {
    fn new() -> Self {
        Self { addresses: Vec::new(), kept: false, rounds: ROUNDS, round: 0, phase: Phase::Idle, last_error: None }
    }
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "/ip4/127.0.0.1/tcp/1";
    const QUIC: &str = "/ip4/127.0.0.1/udp/1/quic-v1";

    fn dialer(addresses: &[&str], kept: bool, now: Instant) -> (Dialer, PeerId) {
        let peer = PeerId::random();
        let mut dialer = Dialer::default();
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        dialer.configure(&[(peer, addresses)].into(), &kept.then_some(peer).into_iter().collect(), now);
        (dialer, peer)
    }

    fn begin(dialer: &mut Dialer, now: Instant, id: usize) -> Option<(String, ConnectionId)> {
        let mut due = dialer.due(now);
        assert!(due.len() <= 1);
        let dial = due.pop()?;
        let id = ConnectionId::new_unchecked(id);
        dialer.dialling(dial.peer, id);
        Some((dial.addresses[0].to_string(), id))
    }

    #[test]
    fn tcp_has_a_head_start_of_250_ms_over_quic() {
        let start = Instant::now();
        let (mut dialer, _) = dialer(&[QUIC, TCP], true, start);
        assert_eq!(begin(&mut dialer, start, 1).unwrap().0, TCP);
        assert_eq!(dialer.next_due(), Some(start + QUIC_DELAY));
        assert_eq!(begin(&mut dialer, start + QUIC_DELAY / 2, 2), None);
        assert_eq!(begin(&mut dialer, start + QUIC_DELAY, 2).unwrap().0, QUIC);
    }

    #[test]
    fn quic_is_tried_at_once_when_tcp_has_failed_and_the_round_ends_with_it() {
        let start = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP, QUIC], true, start);
        let (_, tcp) = begin(&mut dialer, start, 1).unwrap();
        assert_eq!(dialer.failed(tcp, "refused".into(), |_| false, start), None);
        let (_, quic) = begin(&mut dialer, start, 2).unwrap();
        let ended = dialer.failed(quic, "timed out".into(), |_| false, start);
        assert_eq!(ended, Some((peer, "refused; timed out".into())));
        let next = dialer.next_due().unwrap() - start;
        assert!(next > Duration::ZERO && next <= Duration::from_millis(500), "{next:?}");
    }

    #[test]
    fn a_peer_with_only_a_quic_address_is_dialled_over_quic_at_once() {
        let start = Instant::now();
        let (mut dialer, _) = dialer(&[QUIC], true, start);
        assert_eq!(begin(&mut dialer, start, 1).unwrap().0, QUIC);
    }

    #[test]
    fn pauses_grow_to_a_minute_but_stay_within_a_second_while_a_client_waits() {
        let mut now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], true, now);
        for round in 0..40 {
            let (_, id) = begin(&mut dialer, now, round).unwrap();
            dialer.failed(id, "refused".into(), |_| false, now).unwrap();
            let pause = dialer.next_due().unwrap() - now;
            assert!(pause <= Duration::from_secs(60));
            assert!(round < 10 || pause >= Duration::from_secs(30));
            now += pause;
        }
        let (_, id) = begin(&mut dialer, now, 100).unwrap();
        dialer.failed(id, "refused".into(), |_| true, now).unwrap();
        assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(1));
        let (_, id) = begin(&mut dialer, now + Duration::from_secs(1), 101).unwrap();
        dialer.failed(id, "refused".into(), |_| false, now).unwrap();
        dialer.waited_for([peer], now);
        assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(1));
    }

    #[test]
    fn a_peer_that_is_not_kept_is_dialled_only_while_somebody_waits() {
        let now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], false, now);
        assert_eq!(dialer.next_due(), None);
        dialer.waited_for([peer], now);
        let (_, id) = begin(&mut dialer, now, 1).unwrap();
        dialer.failed(id, "refused".into(), |_| false, now);
        assert_eq!(dialer.next_due(), None);
    }

    #[test]
    fn a_kept_peer_is_dialled_again_soon_after_its_connection_has_gone() {
        let now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], true, now);
        let (_, id) = begin(&mut dialer, now, 1).unwrap();
        dialer.connected(peer, id, now);
        assert_eq!(dialer.next_due(), None);
        let now = now + STEADY;
        dialer.disconnected(peer, now);
        assert!(dialer.next_due().unwrap() - now <= Duration::from_millis(125));
    }

    #[test]
    fn a_new_configuration_ends_the_pause() {
        let now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], true, now);
        let (_, id) = begin(&mut dialer, now, 1).unwrap();
        dialer.failed(id, "refused".into(), |_| false, now).unwrap();
        dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
        assert_eq!(dialer.next_due(), Some(now));
        dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
        assert_eq!(dialer.next_due(), None);
    }

    #[test]
    fn connections_that_die_young_are_not_dialled_again_ever_faster() {
        let mut now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], true, now);
        let begun = now;
        let mut dials = 0;
        while now < begun + Duration::from_secs(600) {
            let (_, id) = begin(&mut dialer, now, dials).unwrap();
            dials += 1;
            dialer.connected(peer, id, now);
            dialer.disconnected(peer, now);
            now = dialer.next_due().unwrap();
        }
        assert!(dials < 40, "{dials} dials in ten minutes");
    }

    #[test]
    fn a_peer_that_is_connected_when_the_file_first_names_it_is_not_dialled() {
        let now = Instant::now();
        let mut dialer = Dialer::default();
        let peer = PeerId::random();
        let configure = |dialer: &mut Dialer| {
            dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
        };
        // It dialled us.
        dialer.connected(peer, ConnectionId::new_unchecked(1), now);
        configure(&mut dialer);
        assert_eq!(dialer.next_due(), None);
        // Taken out of the file and put back.
        dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
        configure(&mut dialer);
        assert_eq!(dialer.next_due(), None);
        dialer.disconnected(peer, now);
        assert!(dialer.next_due().is_some());
    }

    #[test]
    fn what_failed_beside_a_connection_is_no_reason_of_a_later_round() {
        let now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP, QUIC], true, now);
        let (_, tcp) = begin(&mut dialer, now, 1).unwrap();
        let (_, quic) = begin(&mut dialer, now + QUIC_DELAY, 2).unwrap();
        dialer.connected(peer, tcp, now);
        assert_eq!(dialer.failed(quic, "blocked".into(), |_| false, now), None);
        dialer.disconnected(peer, now);
        let now = dialer.next_due().unwrap();
        let (_, tcp) = begin(&mut dialer, now, 3).unwrap();
        dialer.failed(tcp, "refused".into(), |_| false, now);
        let (_, quic) = begin(&mut dialer, now, 4).unwrap();
        let ended = dialer.failed(quic, "timed out".into(), |_| false, now);
        assert_eq!(ended, Some((peer, "refused; timed out".into())));
    }

    #[test]
    fn dials_of_an_earlier_time_do_not_count_in_a_later_round() {
        let now = Instant::now();
        let (mut dialer, peer) = dialer(&[TCP], true, now);
        let (_, old) = begin(&mut dialer, now, 1).unwrap();
        dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
        dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
        let (_, new) = begin(&mut dialer, now, 2).unwrap();
        assert_eq!(dialer.failed(old, "refused".into(), |_| false, now), None);
        assert!(dialer.failed(new, "refused".into(), |_| false, now).is_some());
    }
}
