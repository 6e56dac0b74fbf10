//! One tunnel without a file, for as long as somebody looks at it: a node of its own, no control socket, no drain.

use std::{io, path::PathBuf, time::Duration};

use libp2p::multiaddr::Protocol;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{
    daemon::Died,
    node::{Node, NodeView, identity::Identity},
    reconcile::Reconciler,
    spec::{Desired, Multiaddr, PeerId},
    status::{ListenerStatus, State, Status, streams::LiveStreams},
    triggers::{Trigger, Triggers, hangup_is_ignored},
};

/// How long the node's listeners may take to find their addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A wildcard address stands for one of each interface, which are found one by one: no more come after such a silence.
const SILENCE: Duration = Duration::from_millis(200);

/// How long streams may take to be reset, and connections to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the tunnel is not up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Bind(String),
    #[error("{what}: {source}")]
    Os { what: &'static str, source: io::Error },
}

/// The running tunnel.
pub struct Foreground {
    node: Node,
    reconciler: Reconciler,
    status: watch::Receiver<Status>,
    triggers: Triggers,
    ignores_hangup: bool,
    /// The node.
    tasks: JoinSet<()>,
    _identity: Identity,
}

impl Foreground {
    /// Returns when the tunnel is up: bound, or reachable by others. Waits for no peer.
    ///
    /// # Errors
    ///
    /// Where it can't be, for nobody would notice a retry.
    pub async fn start(desired: Desired, identity: Identity) -> Result<Self, StartError> {
        let os = |what| move |source| StartError::Os { what, source };
        let ignores_hangup = hangup_is_ignored();
        let triggers = Triggers::new().map_err(os("can't catch signals"))?;
        let mut tasks = JoinSet::new();
        let node = Node::start(identity.keypair(), None, &mut tasks).map_err(os("can't use the key"))?;
        let (shown, status) = watch::channel(Status::new(node.peer_id(), PathBuf::new()));
        let mut reconciler = Reconciler::new(node.clone(), shown, LiveStreams::default());
        let applied = reconciler.apply(desired).await;
        let mut foreground = Self { node, reconciler, status, triggers, ignores_hangup, tasks, _identity: identity };
        let failed = match applied.failed.into_iter().next() {
            Some(failed) => Some(failed.error),
            None => foreground.not_listening().await,
        };
        match failed {
            None => Ok(foreground),
            Some(error) => {
                foreground.end().await;
                Err(StartError::Bind(error))
            }
        }
    }

    /// Waits until each listener of the node has made up its mind. Why one that was asked for, or every one of those by
    /// default, does not listen.
    async fn not_listening(&mut self) -> Option<String> {
        let starting = |view: &NodeView| view.listeners.iter().any(|listener| listener.state == State::Starting);
        let mut view = self.node.view();
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        // One that takes longer is not waited for; nor is a node that has died, which is noticed soon.
        let _ = timeout_at(deadline, view.wait_for(|view| !starting(view))).await;
        let is_wildcard = |listener: &ListenerStatus| listener.address.iter().any(|part| is_unspecified(&part));
        if view.borrow_and_update().listeners.iter().any(is_wildcard) {
            while Instant::now() < deadline && timeout(SILENCE, view.changed()).await.is_ok_and(|seen| seen.is_ok()) {}
        }
        let view = self.node.view().borrow().clone();
        let failed = view.listeners.iter().find(|listener| listener.state == State::Failed)?;
        let any = view.listeners.iter().any(|listener| listener.state == State::Ready);
        let by_default = self.reconciler.declared().node.listen_addresses_are_default;
        if by_default && any {
            return None;
        }
        Some(format!("can't listen on {}: {}", failed.address, failed.error.as_deref().unwrap_or("it has failed")))
    }

    pub fn peer_id(&self) -> PeerId {
        self.node.peer_id()
    }

    /// Where the tunnel listens, port 0 resolved; `None` for one that connects to a target.
    pub fn bound(&self) -> Option<String> {
        self.status.borrow().tunnels.first()?.bind.clone()
    }

    /// Where this node can be dialled, without its peer id.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.node.view().borrow().addresses.clone()
    }

    /// Serves until it is told to stop: by a signal, or because the terminal goes. `changed` is told what the node sees,
    /// now and after each change. Streams that are open by then are reset.
    ///
    /// # Errors
    ///
    /// Where a part of it has died.
    pub async fn run(mut self, mut changed: impl FnMut(&NodeView)) -> Result<(), Died> {
        let mut view = self.node.view();
        changed(&view.borrow_and_update().clone());
        loop {
            tokio::select! {
                trigger = self.triggers.next() => if trigger == Trigger::Stop || !self.ignores_hangup {
                    break;
                },
                () = self.reconciler.next() => self.reconciler.take_care().await,
                Ok(()) = view.changed() => changed(&view.borrow_and_update().clone()),
                Some(ended) = self.tasks.join_next() => return Err(Died(ended.err())),
            }
        }
        self.end().await;
        Ok(())
    }

    /// Resets what is open and says goodbye; a second signal ends it at once.
    async fn end(&mut self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let ending = async {
            self.reconciler.retire_all(Duration::ZERO).await;
            while !self.reconciler.is_empty() {
                tokio::select! {
                    () = self.reconciler.next() => self.reconciler.take_care().await,
                    () = sleep_until(deadline) => break,
                }
            }
            if timeout(CLOSE_TIMEOUT, self.node.close()).await.is_err() {
                tracing::debug!("some connections did not close in time");
            }
        };
        tokio::select! {
            () = ending => {}
            () = self.triggers.stop() => {}
        }
    }
}

fn is_unspecified(part: &Protocol<'_>) -> bool {
    match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    }
}
