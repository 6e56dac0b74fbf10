//! When to dial whom, and by which addresses: a state machine that is told what happened and what time it is, and says
//! what to do. It does no I/O, and looks at the other clock, that of people, only to tell them when things were.
//!
//! A peer is dialled in rounds. A round tries the TCP addresses at once and the QUIC addresses a little later, or as
//! soon as TCP has failed. When both have failed, the peer is left alone for a jittered, growing while, unless a local
//! client waits. Where only QUIC has succeeded, TCP is tried again now and then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use libp2p::{multiaddr::Protocol, swarm::ConnectionId};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    spec::{Multiaddr, PeerId},
    status::{Due, Time},
};

/// The head start of TCP, which is faster here and can carry a reset.
const QUIC_DELAY: Duration = Duration::from_millis(250);

/// The pauses between failed rounds.
const ROUNDS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// The pauses between attempts by TCP while a peer is connected by QUIC alone: TCP may just have been slower, or blocked.
const BY_TCP: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));

/// The longest pause while a local client waits.
const MAX_PAUSE_WHILE_WAITED_FOR: Duration = Duration::from_secs(1);

/// A connection that ends before this age counts as a failure: a peer that turns us away at once, or that closes what it
/// has no use for, must not be dialled again ever faster.
const STEADY: Duration = Duration::from_secs(30);

/// Why a peer can't be dialled at all.
pub const NO_ADDRESS: &str = "the file gives no address for it, so it has to connect to this node";

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
    by_tcp: ByTcp,
    /// What has gone wrong in this round.
    last_error: Option<String>,
    /// Why the peer is not connected, by the last round or connection that ended.
    failure: Option<Failure>,
    /// Since when the round that is under way has been due.
    begun: Option<Time>,
}

/// What people see of a peer that is not connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Away {
    /// Why it isn't, if anything has gone wrong.
    pub failure: Option<Failure>,
    /// When it is dialled next, or since when it has been; `None` if nobody is about to.
    pub retry_at: Option<Time>,
}

/// What has gone wrong, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub reason: Arc<str>,
    pub at: Time,
}

impl Failure {
    fn now(reason: impl Into<Arc<str>>) -> Option<Self> {
        Some(Self { reason: reason.into(), at: Time::now() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing to do: connected, or nobody wants the peer.
    Idle,
    /// A round begins at this time.
    Due(Due),
    /// TCP is being dialled; QUIC joins in at this time.
    Tcp { quic_at: Instant, dials: usize },
    /// All addresses have been dialled; this many dials have not ended.
    All { dials: usize },
}

/// Whether a peer is connected by TCP, the best there is.
enum ByTcp {
    NotConnected,
    /// It is connected otherwise, and is to be dialled at this time.
    Not {
        try_at: Instant,
        pauses: Backoff,
    },
    Connected,
}

impl ByTcp {
    fn not_yet(now: Instant) -> Self {
        let mut pauses = BY_TCP;
        Self::Not { try_at: now + pauses.pause(), pauses }
    }
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
                    Phase::Idle | Phase::Due(_) if target.kept => target.phase = Phase::Due(Due::at(now, now)),
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
                Phase::Idle => target.phase = Phase::Due(Due::at(now, now)),
                Phase::Due(due) if due.at > now + MAX_PAUSE_WHILE_WAITED_FOR => {
                    target.phase = Phase::Due(Due::at(now + MAX_PAUSE_WHILE_WAITED_FOR, now));
                }
                Phase::Due(_) | Phase::Tcp { .. } | Phase::All { .. } => {}
            }
        }
    }

    /// What is to be dialled at `now`. Each must be confirmed by [`Dialer::dialling`] or [`Dialer::failed`].
    pub fn due(&mut self, now: Instant) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (&peer, target) in &mut self.targets {
            if let ByTcp::Not { try_at, pauses } = &mut target.by_tcp
                && *try_at <= now
            {
                *try_at = now + pauses.pause();
                let addresses: Vec<_> = target.addresses.iter().filter(|address| !is_quic(address)).cloned().collect();
                if target.kept && !addresses.is_empty() {
                    dials.push(Dial { peer, addresses });
                }
            }
            let round_begins = matches!(target.phase, Phase::Due(due) if due.at <= now);
            let quic_joins = matches!(target.phase, Phase::Tcp { quic_at, .. } if quic_at <= now);
            if !round_begins && !quic_joins {
                continue;
            }
            if let Phase::Due(due) = target.phase {
                target.begun = Some(due.time);
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
                    if target.addresses.is_empty() {
                        target.failure = Failure::now(NO_ADDRESS);
                    }
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

    /// A connection to `peer` stands, whoever dialled it; by TCP or otherwise.
    pub fn connected(&mut self, peer: PeerId, id: ConnectionId, by_tcp: bool, now: Instant) {
        self.under_way.remove(&id);
        self.connected.entry(peer).or_insert(now);
        if let Some(target) = self.targets.get_mut(&peer) {
            target.last_error = None;
            target.failure = None;
            target.phase = Phase::Idle;
            if by_tcp {
                target.by_tcp = ByTcp::Connected;
            } else if let ByTcp::NotConnected = target.by_tcp {
                target.by_tcp = ByTcp::not_yet(now);
            }
        }
    }

    /// No connection to `peer` that is left is by TCP.
    pub fn otherwise_connected(&mut self, peer: PeerId, now: Instant) {
        if let Some(target) = self.targets.get_mut(&peer)
            && let ByTcp::Connected = target.by_tcp
        {
            target.by_tcp = ByTcp::not_yet(now);
        }
    }

    /// The last connection to `peer` has gone, for this `reason`.
    pub fn disconnected(&mut self, peer: PeerId, reason: &str, now: Instant) {
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
            target.failure = Failure::now(reason);
            target.by_tcp = ByTcp::NotConnected;
            target.phase = if target.kept { Phase::Due(Due::at(now + pause, now)) } else { Phase::Idle };
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
        target.failure = Failure::now(reason.as_str());
        let pause = target.rounds.pause();
        let waited_for = waited_for(&peer);
        target.phase = match waited_for {
            true => Phase::Due(Due::at(now + pause.min(MAX_PAUSE_WHILE_WAITED_FOR), now)),
            false if target.kept => Phase::Due(Due::at(now + pause, now)),
            false => Phase::Idle,
        };
        Some((peer, reason))
    }

    /// When [`Dialer::due`] has something to say next.
    pub fn next_due(&self) -> Option<Instant> {
        let next = |target: &Target| match target.phase {
            Phase::Due(due) => Some(due.at),
            Phase::Tcp { quic_at, .. } => Some(quic_at),
            Phase::Idle | Phase::All { .. } => None,
        };
        let by_tcp = |target: &Target| match target.by_tcp {
            ByTcp::Not { try_at, .. } if target.kept => Some(try_at),
            _ => None,
        };
        self.targets.values().flat_map(|target| [next(target), by_tcp(target)]).flatten().min()
    }

    /// Why peers are not connected, and when each is dialled next. What has nothing to say is left out.
    pub fn away(&self) -> BTreeMap<PeerId, Away> {
        let away = |(peer, target): (&PeerId, &Target)| {
            let retry_at = match target.phase {
                _ if self.connected.contains_key(peer) => return None,
                Phase::Idle => None,
                Phase::Due(due) => Some(due.time),
                Phase::Tcp { .. } | Phase::All { .. } => target.begun,
            };
            let away = Away { failure: target.failure.clone(), retry_at };
            (away != Away::default()).then_some((*peer, away))
        };
        self.targets.iter().filter_map(away).collect()
    }

    /// The ways to dial `peer`.
    pub fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.targets.get(peer).map(|target| target.addresses.as_slice()).unwrap_or_default()
    }
}

impl Target {
    fn new() -> Self {
        Self {
            addresses: Vec::new(),
            kept: false,
            rounds: ROUNDS,
            round: 0,
            phase: Phase::Idle,
            by_tcp: ByTcp::NotConnected,
            last_error: None,
            failure: None,
            begun: None,
        }
    }
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

#[cfg(test)]
mod tests;
