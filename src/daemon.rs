//! The service: wires the house together, and runs the one loop that everything meets in.

mod peers;
mod refusal;
mod unbuilt;
mod vigil;

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::vigil::Vigil;
use crate::{
    config::{self, Loaded, Refused, Sources},
    control::{self, Handles, Refusal, ReloadRequest, Server, SocketError},
    log,
    node::{
        Node,
        identity::{self, Identity, IdentityError},
    },
    plan::restart_required,
    reconcile::Reconciler,
    spec::{Desired, PeerId, TunnelName},
    status::{Applied, Status, Time, streams::LiveStreams},
    systemd::Notifier,
    triggers::{Trigger, Triggers, WatchSet},
};

/// Reloads that may wait for the one that is under way.
const RELOADS: usize = 8;

/// How long after a stream has begun or ended the list of peers is made anew, so that thousands of streams a second
/// cost nothing.
const PEERS_DELAY: Duration = Duration::from_millis(100);

/// How long connections may at least take to close in good order at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the command line says to the service.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Where the control socket is to be; `None`: the default place.
    pub socket: Option<PathBuf>,
}

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] Refused),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("{what}: {source}")]
    Os { what: &'static str, source: io::Error },
}

/// A part of the service has ended that must not; that is a bug.
#[derive(Debug, thiserror::Error)]
#[error("a part of the service has ended by itself{}", .0.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
pub struct Died(pub(crate) Option<JoinError>);

/// The running service.
pub struct Daemon {
    config: PathBuf,
    /// As read at the start: some keys can't change until the next one.
    started: Desired,
    /// Keys of which the log says that they have no effect in this version.
    told_not_built: BTreeSet<&'static str>,
    /// What the set in force was read from.
    applied: Sources,
    /// What was last looked at, in force or refused.
    seen: Sources,
    status: watch::Sender<Status>,
    live: LiveStreams,
    node: Node,
    reconciler: Reconciler,
    triggers: Triggers,
    requests: mpsc::Receiver<ReloadRequest>,
    vigil: Vigil,
    socket: PathBuf,
    /// The node and the control server.
    tasks: JoinSet<()>,
    stop_control: CancellationToken,
    _identity: Identity,
}

impl Daemon {
    /// Brings everything up: returns when every local socket that can be bound is bound. Waits for no peer.
    ///
    /// # Errors
    ///
    /// Where the file, the identity or the control socket forbids it. Tunnels that fail are retried instead.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Self::start_under(options, Notifier::silent()).await
    }

    /// The same under a service manager, which is told when that is done and how the service does from then on.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub async fn start_under(options: Options, notifier: Notifier) -> Result<Self, StartError> {
        let os = |what| move |source| StartError::Os { what, source };
        let loaded = config::load(&options.config)?;
        // Before anybody can think that the service is up: a signal that comes before would end the process.
        let triggers = Triggers::new().map_err(os("can't catch signals"))?;
        let desired = loaded.desired;
        let path = match &desired.node.identity {
            Some(path) => path.clone(),
            None => identity::default_path()?,
        };
        let identity = identity::load_or_create(&path)?;
        for warning in &identity.warnings {
            tracing::warn!(file = %path.display(), warning, "identity is not as it should be");
        }
        let own = identity.peer_id();

        let status = watch::Sender::new(Status::new(own, shown(&options.config)));
        let live = LiveStreams::default();
        let (reload, requests) = mpsc::channel(RELOADS);
        let handles = Handles { status: status.subscribe(), streams: live.clone(), reload };
        let server = Server::bind(&control::service_path(options.socket.as_deref())?, handles)?;
        let socket = server.path().to_owned();

        let mut tasks = JoinSet::new();
        let stop_control = CancellationToken::new();
        let offline = unbuilt::offline(&desired);
        if let Some(reason) = &offline {
            tracing::error!(error = %reason, "node stays off the network");
        }
        let node = Node::start(identity.keypair(), offline, &mut tasks).map_err(os("can't use the key"))?;
        tasks.spawn(server.run(stop_control.clone()));
        let reconciler = Reconciler::new(node.clone(), status.clone(), live.clone());
        let mut daemon = Self {
            config: options.config,
            vigil: Vigil::new(notifier, node.clone(), status.subscribe()),
            started: desired.clone(),
            told_not_built: BTreeSet::new(),
            applied: loaded.sources.clone(),
            seen: loaded.sources.clone(),
            status,
            live,
            node,
            reconciler,
            triggers,
            requests,
            socket,
            tasks,
            stop_control,
            _identity: identity,
        };
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(peer = %own, file = %daemon.config.display(), version, "starting");
        daemon.apply(Loaded { desired, ..loaded }).await;
        daemon.vigil.ready().await;
        Ok(daemon)
    }

    pub fn peer_id(&self) -> PeerId {
        self.node.peer_id()
    }

    /// Where the control socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the service is doing, now and after each change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Serves until it is told to stop, and then until streams have drained.
    ///
    /// # Errors
    ///
    /// Where a part of it has died.
    pub async fn run(mut self) -> Result<(), Died> {
        let mut view = self.node.view();
        let mut refresh_peers = None;
        loop {
            tokio::select! {
                trigger = self.triggers.next() => match trigger {
                    Trigger::Reload => self.look_again().await,
                    Trigger::Stop => break,
                },
                Some(request) = self.requests.recv() => {
                    let outcome = self.reload().await;
                    // Whoever asked may have left; the outcome stands in the status.
                    let _ = request.reply.send(outcome);
                }
                () = self.reconciler.next() => self.take_care().await,
                Ok(()) = view.changed() => self.show_node(),
                () = self.live.changed(), if refresh_peers.is_none() => {
                    refresh_peers = Some(Instant::now() + PEERS_DELAY);
                }
                () = at(refresh_peers) => {
                    refresh_peers = None;
                    self.show_node();
                    self.vigil.news();
                }
                () = self.vigil.keep() => {}
                Some(ended) = self.tasks.join_next() => return Err(Died(ended.err())),
            }
        }
        self.stop().await;
        Ok(())
    }

    /// What a trigger asks for: nothing, unless the files say something else than the last time.
    async fn look_again(&mut self) {
        let looked = config::load(&self.config);
        let sources = match &looked {
            Ok(loaded) => &loaded.sources,
            Err(refused) => &refused.sources,
        };
        if *sources != self.seen {
            // The error, if any, is logged and shown; nobody waits for it here.
            let _ = self.take(looked).await;
        }
    }

    /// What `p2ptun reload` asks for: the file is applied again even if it is the same, so that what failed is retried.
    async fn reload(&mut self) -> Result<Applied, Refusal> {
        self.take(config::load(&self.config)).await
    }

    /// Applies what was looked at or refuses it, and tells the service manager of both.
    async fn take(&mut self, looked: Result<Loaded, Refused>) -> Result<Applied, Refusal> {
        self.vigil.reloading().await;
        let outcome = self.apply_or_refuse(looked).await;
        // Also where it was refused, and before whoever asked is answered: else the unit is left "reloading".
        self.vigil.ready().await;
        outcome
    }

    async fn apply_or_refuse(&mut self, looked: Result<Loaded, Refused>) -> Result<Applied, Refusal> {
        let (sources, refusal) = match looked {
            Ok(loaded) => match loaded.sources.emptied_since(&self.applied) {
                None => return Ok(self.apply(loaded).await),
                Some(path) => {
                    let refusal = refusal::emptied(path);
                    (loaded.sources, refusal)
                }
            },
            Err(refused) => {
                let refusal = refusal::of(&refused);
                (refused.sources, refusal)
            }
        };
        let file = self.config.display();
        tracing::error!(%file, error = refusal.error, "configuration refused; the old set stays");
        self.watch(&sources, self.reconciler.declared().watch);
        self.seen = sources;
        self.status.send_modify(|status| {
            status.config.error = Some(refusal.error.clone());
            status.config.error_at = Some(Time::now());
        });
        Err(refusal)
    }

    async fn apply(&mut self, loaded: Loaded) -> Applied {
        let Loaded { desired, warnings, sources, .. } = loaded;
        for warning in &warnings {
            tracing::warn!(warning = warning.short(), "configuration is taken, with a warning");
        }
        self.log_what_does_not_act(&desired);
        let restart_required = restart_required(&self.started, &desired);
        if !restart_required.is_empty() {
            tracing::warn!(keys = restart_required.join(", "), "changes to these keys wait for a restart");
        }
        let mut effective = desired.for_node(self.node.peer_id());
        // Until listeners can follow a change, the addresses are those of the start.
        effective.node.listen_addresses.clone_from(&self.started.node.listen_addresses);
        effective.node.listen_addresses_are_default = self.started.node.listen_addresses_are_default;
        self.watch(&sources, effective.watch);
        let names = effective.peers.iter().rev().map(|(name, peer)| (peer.id.to_string(), name.to_string()));
        log::name_peers(self.node.peer_id(), names);
        let steps = self.reconciler.steps();
        let mut applied = self.vigil.during(&steps, self.reconciler.apply(effective)).await;
        applied.restart_required.clone_from(&restart_required);
        self.applied = sources.clone();
        self.seen = sources;
        self.status.send_modify(|status| {
            status.config.loaded_at = Some(Time::now());
            status.config.error = None;
            status.config.error_at = None;
            status.config.restart_required = restart_required;
        });
        self.show_node();
        let Applied { added, removed, changed, failed, .. } = &applied;
        let failed: Vec<_> = failed.iter().map(|failed| failed.name.clone()).collect();
        let [added, removed, changed, failed] = [added, removed, changed, &failed].map(|names| list(names));
        tracing::info!(file = %self.config.display(), added, removed, changed, failed, "configuration applied");
        applied
    }

    async fn take_care(&mut self) {
        let steps = self.reconciler.steps();
        self.vigil.during(&steps, self.reconciler.take_care()).await;
    }

    fn watch(&mut self, sources: &Sources, wanted: bool) {
        let set = || WatchSet {
            files: sources.named().map(Path::to_owned).collect(),
            directories: sources.wildcards().iter().flat_map(|wildcard| wildcard.folders.clone()).collect(),
        };
        self.triggers.watch(wanted.then(set));
    }

    /// Shows what the node sees: listeners, addresses, peers.
    fn show_node(&mut self) {
        self.reconciler.show_listeners();
        let view = self.node.view();
        let view = view.borrow();
        let own = self.node.peer_id();
        let addresses = view.addresses.iter().filter_map(|address| address.clone().with_p2p(own).ok()).collect();
        let peers = peers::peers(self.reconciler.declared(), &view, self.live.peers(), own);
        self.status.send_if_modified(|status| {
            let changed = status.addresses != addresses || status.peers != peers;
            (status.addresses, status.peers) = (addresses, peers);
            changed
        });
    }

    /// Says once what of a configuration is accepted but has no effect in this version.
    fn log_what_does_not_act(&mut self, desired: &Desired) {
        let keys = unbuilt::keys(desired).filter(|key| self.told_not_built.insert(key));
        let keys: Vec<_> = keys.collect();
        if !keys.is_empty() {
            tracing::warn!(keys = keys.join(", "), "these keys have no effect yet, whether the file names them or not");
        }
    }

    /// Lets live streams end for as long as the configuration says, or until it is told a second time.
    async fn stop(mut self) {
        let drain = self.reconciler.declared().node.stop_timeout;
        let streams = self.live.list().len();
        tracing::info!(streams, "stopping; told once more, the service ends at once");
        let deadline = Instant::now() + drain;
        let mut view = self.node.view();
        self.vigil.stopping().await;
        let steps = self.reconciler.steps();
        let at_once = || tracing::info!("stopping at once, as told");
        tokio::select! {
            () = self.vigil.during(&steps, self.reconciler.retire_all(drain)) => {}
            () = self.triggers.stop() => return at_once(),
        }
        while !self.reconciler.is_empty() {
            tokio::select! {
                () = self.triggers.stop() => return at_once(),
                () = self.reconciler.next() => self.take_care().await,
                // Whoever asks sees it as it is, for a drain may be long.
                Ok(()) = view.changed() => self.show_node(),
                () = self.live.changed() => self.vigil.news(),
                () = self.vigil.keep() => {}
                // Each tunnel ends at the deadline by itself; this is for one that can't.
                () = sleep_until(deadline + CLOSE_TIMEOUT) => break,
                // Not refused, for nobody looked at the file; whoever asked is told that the service is stopping.
                Some(_) = self.requests.recv() => {}
            }
        }
        self.stop_control.cancel();
        tokio::select! {
            closed = timeout_at(deadline.max(Instant::now() + CLOSE_TIMEOUT), self.node.close()) => if closed.is_err() {
                tracing::debug!("connections did not close in time");
            },
            () = self.triggers.stop() => at_once(),
            () = self.vigil.keep() => {}
        }
    }
}

/// Names of tunnels as a field, if there are any.
fn list(names: &[TunnelName]) -> Option<String> {
    let names: Vec<_> = names.iter().map(TunnelName::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The path of the configuration for whoever asks from another folder, as far as JSON can tell it.
fn shown(config: &Path) -> PathBuf {
    let absolute = std::path::absolute(config);
    absolute.as_deref().unwrap_or(config).to_string_lossy().into_owned().into()
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
