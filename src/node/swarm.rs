//! The sole owner of the libp2p swarm: one task that drives it, dials, listens, and tells what it sees.

mod beside;
mod departure;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Swarm,
    core::upgrade::Version,
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    ping,
    swarm::{
        self, ConnectionId, DialError, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts, dial_opts::PeerCondition,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    NodeConfig, NodeView, PeerView,
    dialer::{Dialer, NO_ADDRESS},
    events::{Ending, Events, innermost},
    limits::Limits,
    listeners::Listeners,
    pulse::{self, Pulses},
    streams::{self, Connection, Connections, Muxers, Offers, Route},
    suspects::{Answer, Suspects},
    transport,
};
use crate::spec::{Multiaddr, PeerId};

/// How long a connection that nobody wants may stay.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection that may be negotiating. What comes beyond waits in `muxer.rs`.
const MAX_NEGOTIATING: usize = 256;

/// Characters of a peer's word for its own software that are kept.
const MAX_AGENT: usize = 64;

/// What other tasks ask of the swarm's owner.
pub enum Command {
    /// Follow this configuration; answered when listening has been tried on every new address.
    Configure(Box<NodeConfig>, oneshot::Sender<()>),
    /// Say that this task works.
    GiveSignOfLife(oneshot::Sender<()>),
    /// Close every connection in good order, so that what was said last arrives, and end.
    Close(oneshot::Sender<()>),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    // First, because it may deny what the others would prepare for.
    limits: Limits,
    streams: streams::Behaviour,
    identify: super::identify::Behaviour,
    ping: ping::Behaviour,
}

pub struct SwarmTask {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    connections: Arc<Connections>,
    muxers: Arc<Muxers>,
    offers: Arc<Offers>,
    dialer: Dialer,
    listeners: Listeners,
    pulses: Pulses,
    suspects: Suspects,
    agents: HashMap<PeerId, String>,
    events: Events,
    view: watch::Sender<NodeView>,
    /// What has been published may no longer be so.
    stale: bool,
    closing: Option<oneshot::Sender<()>>,
}

impl SwarmTask {
    /// # Errors
    ///
    /// Where the key cannot be used.
    pub fn new(
        keypair: &Keypair,
        connections: Arc<Connections>,
        offers: Arc<Offers>,
        commands: mpsc::Receiver<Command>,
        view: watch::Sender<NodeView>,
    ) -> io::Result<Self> {
        let muxers = Arc::<Muxers>::default();
        let agent = format!("p2ptun/{}", env!("CARGO_PKG_VERSION"));
        let identify = identify::Config::new("ipfs/0.1.0".to_owned(), keypair.public())
            .with_agent_version(agent)
            .with_cache_size(0);
        let behaviour = Behaviour {
            limits: Limits::new(offers.clone(), connections.clone()),
            streams: streams::Behaviour::new(connections.clone(), offers.clone(), muxers.clone()),
            identify: super::identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(pulse::INTERVAL).with_timeout(pulse::TIMEOUT)),
        };
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
            .with_substream_upgrade_protocol_override(Version::V1Lazy);
        let swarm =
            Swarm::new(transport::new(keypair, &offers, &muxers)?, behaviour, keypair.public().to_peer_id(), config);
        Ok(Self {
            swarm,
            commands,
            connections,
            muxers,
            offers,
            dialer: Dialer::default(),
            listeners: Listeners::default(),
            pulses: Pulses::default(),
            suspects: Suspects::default(),
            agents: HashMap::new(),
            events: Events::new(),
            view,
            stale: false,
            closing: None,
        })
    }

    /// Runs until every handle of the node is gone.
    pub async fn run(mut self) {
        loop {
            let timers =
                [self.dialer.next_due(), self.listeners.next_retry(), self.pulses.next_check(), self.events.next_due()];
            let next_timer = timers.into_iter().flatten().min();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Configure(config, done)) => {
                        self.configure(&config);
                        // Who is answered finds in the view what has been tried.
                        self.publish();
                        // Whoever asked may have given up waiting.
                        let _ = done.send(());
                    }
                    Some(Command::GiveSignOfLife(sign)) => {
                        let _ = sign.send(());
                    }
                    Some(Command::Close(done)) => self.close(done),
                    None => return,
                },
                () = self.offers.changed() => self.swarm.behaviour_mut().streams.offers_changed(),
                () = self.connections.wanted() => self.clients_wait(),
                Answer { connection, is_alive } = self.suspects.answer() => match is_alive {
                    true => self.stale |= self.connections.has_answered(&connection.peer, connection.id),
                    false => self.challenge(&connection),
                },
                () = until(next_timer) => self.on_time(Instant::now()),
            }
            self.dial_what_is_due();
            self.publish();
            if let Some(done) = self.closing.take_if(|_| self.swarm.connected_peers().next().is_none()) {
                self.part().await;
                let _ = done.send(());
                return;
            }
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.stale = true;
        self.listeners.retry(&mut self.swarm, now);
        for id in self.pulses.silent(now) {
            if let Some(connection) = self.connections.find(id) {
                let Connection { peer, remote, .. } = &*connection;
                tracing::info!(%peer, address = %remote, "connection no longer answers; closing it");
            }
            self.swarm.close_connection(id);
        }
        self.events.tell_due(&self.connections, now);
    }

    fn configure(&mut self, config: &NodeConfig) {
        self.stale = true;
        let now = Instant::now();
        self.offers.set_known(config.known.clone());
        self.listeners.configure(&config.listen, &mut self.swarm, now);
        self.dialer.configure(&config.addresses, &config.kept, now);
    }

    fn clients_wait(&mut self) {
        for (connection, opener) in self.connections.take_unsure() {
            self.suspects.ask(connection, opener);
        }
        for connection in self.connections.take_worn() {
            self.dial_in_place_of(&connection);
        }
        for connection in self.connections.take_crowded() {
            self.dial_beside(&connection);
        }
        let peers = self.connections.waited_for();
        for peer in &peers {
            if self.dialer.addresses(peer).is_empty() {
                self.connections.dial_failed(peer, NO_ADDRESS);
            }
        }
        self.stale |= !peers.is_empty();
        self.dialer.waited_for(peers, Instant::now());
    }

    fn dial_what_is_due(&mut self) {
        let now = Instant::now();
        self.stale |= self.dialer.next_due().is_some_and(|due| due <= now);
        for dial in self.dialer.due(now) {
            let options = dial_options(dial.peer, dial.addresses);
            let id = options.connection_id();
            self.dialer.dialling(dial.peer, id);
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(id, &error);
            }
        }
    }

    fn dial_failed(&mut self, id: ConnectionId, error: &DialError) {
        let waited_for = self.connections.waited_for();
        let waited_for = |peer: &PeerId| waited_for.contains(peer);
        if let Some((peer, reason)) = self.dialer.failed(id, in_words(error), waited_for, Instant::now()) {
            self.events.unreachable(peer, &reason, Instant::now());
            self.connections.dial_failed(&peer, &reason);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        // What strangers can cause in numbers is not shown.
        self.stale |= !matches!(
            event,
            SwarmEvent::IncomingConnection { .. }
                | SwarmEvent::IncomingConnectionError { .. }
                | SwarmEvent::Dialing { .. }
        );
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, num_established, .. } => {
                if self.closing.is_some() {
                    self.swarm.close_connection(connection_id);
                }
                self.log_connected(peer_id, connection_id, num_established.get());
                let route = self.connections.find(connection_id).map(|connection| connection.route);
                self.dialer.connected(peer_id, connection_id, route == Some(Route::DirectTcp), Instant::now());
                self.pulses.begin(connection_id, route == Some(Route::DirectQuic), Instant::now());
                self.find_its_place(peer_id, connection_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let ending = Ending::of(cause.as_ref());
                ending.tell(peer_id, num_established);
                if num_established == 0 && self.closing.is_none() && self.offers.is_known(&peer_id) {
                    self.events.went(peer_id, &ending, Instant::now());
                }
                self.pulses.end(&connection_id);
                self.hold_on_to_one(peer_id);
                if num_established == 0 {
                    self.agents.remove(&peer_id);
                    let now = Instant::now();
                    self.dialer.disconnected(peer_id, &ending.to_string(), now);
                    self.dialer.waited_for(self.connections.waited_for(), now);
                } else if !self.connections.of(&peer_id).iter().any(|left| left.route == Route::DirectTcp) {
                    self.dialer.otherwise_connected(peer_id, Instant::now());
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error, .. } => {
                let peer = peer_id.map(tracing::field::display);
                tracing::debug!(peer, error = in_words(&error), "dial failed");
                self.suspects.challenged_by(&connection_id);
                if let Some(peer) = peer_id {
                    self.connections.company_dial_failed(&peer, connection_id);
                }
                self.dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(%address, "listener up");
                self.listeners.new_address(listener_id, address);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                self.listeners.expired_address(listener_id, &address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                self.listeners.closed(listener_id, reason, Instant::now());
            }
            SwarmEvent::ListenerError { error, .. } => self.events.listener_failed(&error, Instant::now()),
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.events.incoming_failed(&send_back_addr, &error, Instant::now());
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                connection_id,
            })) => {
                self.connections.has_answered(&peer_id, connection_id);
                let agent = info.agent_version.chars().take(MAX_AGENT).collect();
                self.agents.insert(peer_id, agent);
            }
            _ => {}
        }
    }

    fn log_connected(&mut self, peer: PeerId, id: ConnectionId, connections: u32) {
        let Some(connection) = self.connections.find(id) else { return };
        let (address, path) = (&connection.remote, connection.path());
        tracing::debug!(%peer, %address, %path, connections, "connection established");
        if connections == 1 && self.offers.is_known(&peer) {
            self.events.came(&connection, Instant::now());
        }
    }

    fn on_ping(&mut self, ping::Event { peer, connection, result }: ping::Event) {
        match result {
            Ok(round_trip) => {
                self.connections.has_answered(&peer, connection);
                self.pulses.answered(connection, round_trip, Instant::now());
            }
            Err(ping::Failure::Unsupported) => self.pulses.end(&connection),
            // Silence ends a connection; a failed ping may be part of it.
            Err(error) => tracing::debug!(%peer, %error, "ping failed"),
        }
    }

    /// Shows what has changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let peers: BTreeMap<_, _> = self
            .connections
            .connected_peers()
            .into_iter()
            .filter_map(|peer| {
                let best = self.connections.of(&peer).into_iter().next()?;
                let round_trip = self.pulses.round_trip(&best.id);
                let agent = self.agents.get(&peer).cloned();
                Some((peer, PeerView { path: best.path(), address: best.remote.clone(), round_trip, agent }))
            })
            .collect();
        let view = NodeView {
            listeners: self.listeners.status(),
            addresses: self.listeners.addresses().cloned().collect(),
            peers,
            away: self.dialer.away(),
        };
        self.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
    }
}

/// Options to dial these addresses at once, from a port of their own: a dial from the listening port collides with its own
/// past connection to the same address for as long as that is in TIME_WAIT.
fn dial_options(peer: PeerId, addresses: Vec<Multiaddr>) -> DialOpts {
    DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).allocate_new_port().build()
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What a person can do something about in a failed dial: the addresses, each with its reason, without the layers.
fn in_words(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let reasons = errors.iter().map(|(address, error)| {
                let mut address = address.clone();
                // Whose address it is goes without saying.
                if let Some(Protocol::P2p(_)) = address.iter().last() {
                    address.pop();
                }
                format!("{address}: {}", innermost(error))
            });
            reasons.collect::<Vec<_>>().join("; ")
        }
        DialError::WrongPeerId { obtained, address } => format!("{address} is another peer, {obtained}"),
        other => innermost(other),
    }
}
