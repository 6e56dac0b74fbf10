//! The sole owner of live tunnels: applies plans, keeps trying what failed, watches over tasks, and keeps the books.

mod run;
mod sockets;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use libp2p::multiaddr::Protocol;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use self::{
    run::{Retired, Run},
    sockets::BindResult,
};
use crate::{
    node::{Node, NodeConfig, has_ipv6},
    plan::{SocketFrom, Step, plan},
    spec::{Desired, PeerId, Tunnel, TunnelName},
    status::{Applied, Counter, Counters, Due, Failed, LastError, State, Status, TunnelStatus, streams::LiveStreams},
    tunnel::{Scope, events::Events, is_built, not_built},
};

/// Live tunnels, and what is needed to change them.
pub struct Reconciler {
    node: Node,
    status: watch::Sender<Status>,
    live: LiveStreams,
    log_streams: Arc<AtomicBool>,
    declared: Desired,
    node_config: NodeConfig,
    runs: BTreeMap<TunnelName, Run>,
    books: HashMap<TunnelName, Books>,
    tasks: JoinSet<()>,
    /// Whose task is whose; retired tunnels that still drain are here but not in `runs`.
    owners: HashMap<Id, Owner>,
    /// A retired tunnel has ended, and the node may no longer need all that it holds.
    drained: bool,
    /// What has been done so far, step by step.
    steps: Arc<Counter>,
}

/// What outlives a tunnel's task.
#[derive(Default)]
struct Books {
    counters: Arc<Counters>,
    last_error: LastError,
}

struct Owner {
    name: TunnelName,
    /// `None` while it is not retired.
    retired: Option<Retired>,
}

impl Reconciler {
    pub fn new(node: Node, status: watch::Sender<Status>, live: LiveStreams) -> Self {
        Self {
            node,
            status,
            live,
            log_streams: Arc::default(),
            declared: Desired { tunnels: BTreeMap::new(), ..Desired::default() },
            node_config: NodeConfig::default(),
            runs: BTreeMap::new(),
            books: HashMap::new(),
            tasks: JoinSet::new(),
            owners: HashMap::new(),
            drained: false,
            steps: Arc::default(),
        }
    }

    /// Counts the steps of whatever is under way: for as long as it grows, nothing hangs.
    pub fn steps(&self) -> Arc<Counter> {
        self.steps.clone()
    }

    /// The set that is in force.
    pub fn declared(&self) -> &Desired {
        &self.declared
    }

    /// Makes the live set what `desired` says: when it returns, every tunnel that can be up is up. Nothing waits for a
    /// drain or for a peer. Whatever failed before is tried again.
    pub async fn apply(&mut self, desired: Desired) -> Applied {
        let steps = plan(&self.declared, &desired);
        let mut applied = Applied::default();
        for step in &steps {
            match step {
                Step::Retire(name) if !desired.tunnels.contains_key(name) => applied.removed.push(name.clone()),
                // Its successor of the same name is a change.
                Step::Retire(_) => {}
                Step::Start { name, .. } if self.runs.contains_key(name) => applied.changed.push(name.clone()),
                Step::Start { name, .. } => applied.added.push(name.clone()),
                Step::Change { name, .. } => applied.changed.push(name.clone()),
            }
        }
        applied.changed.sort();

        self.log_streams.store(desired.log.streams, Ordering::Relaxed);
        self.declared = desired;
        for run in self.runs.values_mut().filter(|run| run.retry.is_some()) {
            run.retry = Some(Due::after(Duration::ZERO));
        }
        self.carry_out(steps).await;
        self.cut_who_lost_the_right().await;
        // After the plan, which may have freed what they wait for.
        self.retry().await;
        self.follow_node().await;
        applied.failed = self.failed();
        self.close_books();
        self.publish();
        applied
    }

    /// The declared tunnels that are not up.
    pub fn failed(&self) -> Vec<Failed> {
        let failed = |(name, run): (&TunnelName, &Run)| {
            let error = run.error.as_ref()?;
            Some(Failed { name: name.clone(), error: error.reason.to_string() })
        };
        self.runs.iter().filter_map(failed).collect()
    }

    async fn carry_out(&mut self, steps: Vec<Step>) {
        let (mut sockets, postponed) = self.acquire(&steps).await;
        for step in steps {
            self.steps.add(1);
            match step {
                Step::Retire(name) => self.retire(&name, self.declared.node.drain_timeout).await,
                Step::Start { name, tunnel, .. } => {
                    let socket = sockets.remove(&name);
                    self.start(name, tunnel, socket).await;
                }
                Step::Change { name, tunnel, socket } => {
                    let socket = match socket {
                        SocketFrom::Nowhere => None,
                        // A bind that has to wait for another to let go begins with letting go itself.
                        _ => Some(sockets.remove(&name)),
                    };
                    self.change(&name, tunnel, socket).await;
                }
            }
        }
        for name in postponed {
            self.steps.add(1);
            self.bind_again(&name).await;
        }
    }

    async fn start(&mut self, name: TunnelName, tunnel: Tunnel, socket: Option<BindResult>) {
        let books = self.books.entry(name.clone()).or_default();
        books.last_error.set(None);
        let scope = Scope {
            name: name.clone(),
            counters: books.counters.clone(),
            last_error: books.last_error.clone(),
            live: self.live.clone(),
            log_streams: self.log_streams.clone(),
            events: Events::new(name.clone()),
        };
        if let Some(reason) = not_built(&tunnel) {
            tracing::warn!(tunnel = %name, error = reason, "tunnel can't be up");
        }
        let mut run = Run::new(scope, tunnel, &self.node, &mut self.tasks);
        if let Some(task) = run.task {
            self.owners.insert(task, Owner { name: name.clone(), retired: None });
        }
        if let Some(socket) = socket {
            run.set_socket(socket).await;
        }
        self.runs.insert(name, run);
    }

    /// `socket`: `None` to keep what it has, `Some(None)` to let go of it and bind later.
    async fn change(&mut self, name: &TunnelName, tunnel: Tunnel, socket: Option<Option<BindResult>>) {
        let Some(run) = self.runs.get_mut(name) else { return };
        if is_built(&run.tunnel) != is_built(&tunnel) {
            // Only one of the two has a task, so that there is nothing to go on with.
            self.retire(name, self.declared.node.drain_timeout).await;
            return self.start(name.clone(), tunnel, socket.flatten()).await;
        }
        run.tunnel = tunnel;
        match socket {
            Some(Some(socket)) => run.set_socket(socket).await,
            Some(None) => run.let_go().await,
            None => run.keep_socket().await,
        }
    }

    async fn retire(&mut self, name: &TunnelName, drain: Duration) {
        let Some(run) = self.runs.remove(name) else { return };
        let task = run.task;
        let retired = run.retire(Instant::now() + drain).await;
        if let Some(owner) = task.and_then(|task| self.owners.get_mut(&task)) {
            owner.retired = Some(retired);
        }
    }

    /// Has tunnels that drain follow the `allow` of the tunnel that has their name now, if it is one that has any.
    async fn cut_who_lost_the_right(&self) {
        for Owner { name, retired } in self.owners.values() {
            if let (Some(retired), Some(Tunnel::Listen(successor))) = (retired, self.declared.tunnels.get(name)) {
                retired.follow(successor).await;
            }
        }
    }

    /// Waits for something that needs care and takes care of it. Cancel-safe: what is not done now is done by the next
    /// call.
    pub async fn next(&mut self) {
        let next_retry = self.runs.values().filter_map(|run| Some(run.retry?.at)).min();
        let retry = async {
            match next_retry {
                Some(time) => sleep_until(time).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => {
                self.task_ended(ended);
                // Where many are retired many end at once, and what follows goes through all tunnels.
                while let Some(ended) = self.tasks.try_join_next_with_id() {
                    self.task_ended(ended);
                }
            }
            () = retry => {}
        }
    }

    /// Does what [`Reconciler::next`] has found to be due. Not cancel-safe.
    pub async fn take_care(&mut self) {
        self.retry().await;
        if std::mem::take(&mut self.drained) {
            self.follow_node().await;
            self.close_books();
        }
        self.publish();
    }

    fn task_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(owner) = self.owners.remove(&id) else { return };
        if owner.retired.is_some() {
            tracing::info!(tunnel = %owner.name, "tunnel ended");
            self.drained = true;
        } else if let Some(run) = self.runs.get_mut(&owner.name).filter(|run| run.task == Some(id)) {
            let error = error.map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string());
            tracing::error!(tunnel = %owner.name, error, "the task of a tunnel has failed, which is a bug");
            run.died(error);
        }
    }

    /// Keeps the books of tunnels that are declared, or still drain.
    fn close_books(&mut self) {
        let live: HashSet<_> = self.owners.values().map(|owner| &owner.name).collect();
        self.books.retain(|name, _| self.declared.tunnels.contains_key(name) || live.contains(name));
    }

    async fn retry(&mut self) {
        let now = Instant::now();
        let due = self.runs.iter().filter(|(_, run)| run.retry.is_some_and(|due| due.at <= now));
        let due: Vec<_> = due.map(|(name, _)| name.clone()).collect();
        let lacks_a_socket = |name: &TunnelName| match self.runs.get(name) {
            Some(Run { tunnel: Tunnel::Forward(forward), socket: None, .. }) => Some((name.clone(), forward)),
            _ => None,
        };
        let (names, forwards): (Vec<_>, Vec<_>) = due.iter().filter_map(lacks_a_socket).unzip();
        let bound = self.bind_all(forwards).await;
        let mut bound: HashMap<_, _> = names.into_iter().zip(bound).collect();
        for name in due {
            self.steps.add(1);
            let bound = bound.remove(&name);
            match self.runs.get_mut(&name) {
                Some(run) if run.task.is_some() => {
                    if let Some(bound) = bound {
                        run.set_socket(bound).await;
                    }
                }
                _ => self.revive(name, bound).await,
            }
        }
    }

    /// Starts the task of a tunnel anew that has died. The socket and the books stay; the pauses go on growing.
    async fn revive(&mut self, name: TunnelName, bound: Option<BindResult>) {
        let Some(Run { tunnel, socket, retries, .. }) = self.runs.remove(&name) else { return };
        self.start(name.clone(), tunnel, socket.map(Ok).or(bound)).await;
        if let Some(run) = self.runs.get_mut(&name) {
            run.retries = retries;
        }
    }

    /// Has the node follow the declared set.
    async fn follow_node(&mut self) {
        let mut config = node_config(&self.declared, self.node.peer_id());
        // Streams that drain need their listeners: closing a QUIC one cuts every stream that came through it.
        if config.listen.is_empty() && self.owners.values().any(|owner| owner.retired.is_some()) {
            config.listen = self.node_config.listen.clone();
        }
        self.node_config = config.clone();
        self.node.configure(config).await;
    }

    /// Takes no more streams anywhere; live ones may finish within `drain`. Wait with [`Reconciler::next`] until
    /// [`Reconciler::is_empty`].
    pub async fn retire_all(&mut self, drain: Duration) {
        let names: Vec<_> = self.runs.keys().cloned().collect();
        for name in names {
            self.steps.add(1);
            self.retire(&name, drain).await;
        }
        self.declared.tunnels.clear();
        self.publish();
    }

    /// Whether no tunnel's task is left.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn publish(&self) {
        let declared = self.runs.iter().map(|(name, run)| self.tunnel_status(name, &run.tunnel, Some(run)));
        let drains = self.owners.values().filter_map(|owner| Some((&owner.name, &owner.retired.as_ref()?.tunnel)));
        let drains: BTreeMap<_, _> = drains.filter(|(name, _)| !self.runs.contains_key(*name)).collect();
        let draining = drains.into_iter().map(|(name, tunnel)| self.tunnel_status(name, tunnel, None));
        let tunnels: Vec<_> = declared.chain(draining).collect();
        self.status.send_modify(|status| status.tunnels = tunnels);
        self.show_listeners();
    }

    /// Shows where the node listens.
    pub fn show_listeners(&self) {
        let listeners = self.node.listeners(&self.node_config);
        self.status.send_if_modified(|status| {
            let changed = status.listeners != listeners;
            status.listeners = listeners;
            changed
        });
    }

    fn tunnel_status(&self, name: &TunnelName, tunnel: &Tunnel, run: Option<&Run>) -> TunnelStatus {
        let books = self.books.get(name);
        let not_up = run.and_then(|run| run.error.clone());
        let (state, error) = match (run, not_up) {
            (None, _) => (State::Draining, LastError::default()),
            (Some(_), Some(error)) => (State::Failed, LastError::since(error.reason.to_string(), error.at)),
            (Some(_), None) => (State::Ready, books.map(|books| books.last_error.clone()).unwrap_or_default()),
        };
        let mut status = TunnelStatus {
            name: name.clone(),
            kind: tunnel.kind(),
            state,
            protocol: None,
            target: None,
            bind: None,
            peer: None,
            peers: None,
            counters: books.map(|books| books.counters.clone()).unwrap_or_default(),
            error,
            retry_at: run.and_then(|run| Some(run.retry?.time)),
        };
        let bound = run.and_then(|run| run.socket.as_deref()).map(|socket| socket.bound().to_owned());
        run::describe(tunnel, bound, &mut status);
        status
    }
}

/// What `desired` asks of the node with the identity `own`: nothing, where no tunnel needs the network.
fn node_config(desired: &Desired, own: PeerId) -> NodeConfig {
    if !desired.tunnels.values().any(is_built) {
        return NodeConfig::default();
    }
    let mut listen = desired.node.listen_addresses.clone();
    if desired.node.listen_addresses_are_default && !has_ipv6() {
        listen.retain(|address| !matches!(address.iter().next(), Some(Protocol::Ip6(_))));
    }
    let mut addresses = desired.addresses();
    let mut kept = desired.kept_connected();
    // The swarm refuses to dial the own peer; its streams need no connection.
    addresses.remove(&own);
    kept.remove(&own);
    NodeConfig { listen, addresses, kept, known: desired.known_peers() }
}

#[cfg(test)]
mod tests;
