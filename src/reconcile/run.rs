//! One live tunnel, as its owner sees it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};

use crate::{
    backoff::Backoff,
    log::{Limits, Repeats},
    node::{Failure, Node},
    spec::{Destinations, ForwardPeer, Listen, PeerRef, Tunnel, TunnelName},
    status::{Due, Time, TunnelStatus},
    tunnel::{
        Command, Done, Scope,
        forward::{ForwardTunnel, Setup},
        listen::ListenTunnel,
        not_built,
        socket::{BindError, Socket},
    },
};

/// The pauses between attempts to bring up a tunnel that failed.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Reasons for failed attempts that the log tells apart.
const REASONS: Limits = Limits { kinds: 4, burst: 1 };

/// Commands that may wait for a tunnel's task. The reconciler waits for each to be done, so one is enough.
const COMMANDS: usize = 1;

/// A declared tunnel and its task.
pub struct Run {
    name: TunnelName,
    pub tunnel: Tunnel,
    /// The task; `None` where there is none to run, or where it has died.
    pub task: Option<Id>,
    control: Control,
    /// What a forward listens on; `None` while its bind fails.
    pub socket: Option<Arc<Socket>>,
    /// Why the node stays off the network, which leaves every tunnel to others useless.
    offline: Option<Failure>,
    /// Why the tunnel is not up, if it is not.
    pub error: Option<Failure>,
    pub retry: Option<Due>,
    pub retries: Backoff,
    /// Attempts to bind in vain, for the log. Each new reason is news.
    failures: Repeats<String>,
}

enum Control {
    Listen(mpsc::Sender<Command<Arc<Listen>>>),
    Forward(mpsc::Sender<Command<Setup>>),
    NotBuilt,
}

impl Run {
    /// Starts the tunnel's task. A forward serves once it has been [given a socket](Run::set_socket).
    pub fn new(scope: Scope, tunnel: Tunnel, node: &Node, tasks: &mut JoinSet<()>) -> Self {
        let name = scope.name.clone();
        let scope = Arc::new(scope);
        let offline = node.offline().cloned();
        let mut error = not_built(&tunnel).map(|reason| Failure { reason: reason.into(), at: Time::now() });
        let (task, control) = match &tunnel {
            _ if error.is_some() => (None, Control::NotBuilt),
            Tunnel::Listen(listen) => {
                let (control, commands) = mpsc::channel(COMMANDS);
                let task = ListenTunnel::new(scope, node, Arc::new(listen.clone())).run(commands);
                error.clone_from(&offline);
                if offline.is_none() {
                    tracing::info!(tunnel = %name, protocol = %listen.protocol, target = %listen.target, "tunnel up");
                }
                (Some(tasks.spawn(task).id()), Control::Listen(control))
            }
            Tunnel::Forward(forward) => {
                let (control, commands) = mpsc::channel(COMMANDS);
                let setup = Setup { forward: Arc::new(forward.clone()), socket: None };
                let task = ForwardTunnel::new(scope, node.clone(), setup).run(commands);
                (Some(tasks.spawn(task).id()), Control::Forward(control))
            }
            Tunnel::Gateway(_) | Tunnel::Socks(_) => (None, Control::NotBuilt),
        };
        let failures = Repeats::new(REASONS);
        Self { name, tunnel, task, control, socket: None, offline, error, retry: None, retries: RETRIES, failures }
    }

    /// Has the task follow the tunnel's declaration and socket as they are now.
    pub async fn configure(&mut self) {
        let (done, finished) = Done::new();
        let sent = match (&self.control, &self.tunnel) {
            (Control::Listen(control), Tunnel::Listen(listen)) => {
                control.send(Command::Configure(Arc::new(listen.clone()), done)).await.is_ok()
            }
            (Control::Forward(control), Tunnel::Forward(forward)) => {
                let setup = Setup { forward: Arc::new(forward.clone()), socket: self.socket.clone() };
                control.send(Command::Configure(setup, done)).await.is_ok()
            }
            _ => false,
        };
        if sent {
            // A task that dies instead is noticed by who owns the tasks.
            let _ = finished.await;
        }
    }

    /// Serves on `bound` from now on. If there is nothing to serve on, the old socket is let go as well.
    pub async fn set_socket(&mut self, bound: Result<Arc<Socket>, BindError>) {
        match bound {
            Ok(socket) => {
                let is_news = self.socket.as_ref().is_none_or(|held| held.bound() != socket.bound());
                if is_news && self.offline.is_none() {
                    tracing::info!(tunnel = %self.name, bind = socket.bound(), "tunnel up");
                }
                self.socket = Some(socket);
                self.error.clone_from(&self.offline);
                self.retry = None;
                self.retries = RETRIES;
                self.failures = Repeats::new(REASONS);
            }
            Err(error) => {
                let error = error.to_string();
                if let Some(told) = self.failures.seen(error.clone(), (), Instant::now()) {
                    let repeated = told.repeated();
                    tracing::warn!(tunnel = %self.name, error, repeated, "tunnel not up; trying again");
                }
                self.socket = None;
                self.fail(&error);
            }
        }
        self.configure().await;
    }

    /// Goes on with the socket it has, whose owner and mode may have been declared anew.
    pub async fn keep_socket(&mut self) {
        let access = match (&self.tunnel, &self.socket) {
            (Tunnel::Forward(forward), Some(socket)) => socket.set_access(&forward.bind),
            _ => Ok(()),
        };
        match access {
            Ok(()) => self.configure().await,
            Err(error) => self.set_socket(Err(error)).await,
        }
    }

    /// Stops serving on the socket it has.
    pub async fn let_go(&mut self) {
        self.socket = None;
        self.configure().await;
    }

    /// The task has ended without being told to.
    pub fn died(&mut self, error: String) {
        self.task = None;
        self.fail(&error);
    }

    fn fail(&mut self, error: &str) {
        self.error = Some(Failure { reason: error.into(), at: Time::now() });
        self.retry = Some(Due::after(self.retries.pause()));
    }

    /// Has the task take no new streams and end by `deadline`. Returns when its socket and its protocol are free.
    pub async fn retire(self, deadline: Instant) -> Retired {
        let (done, finished) = Done::new();
        let sent = match &self.control {
            Control::Listen(control) => control.send(Command::Retire { deadline, done }).await.is_ok(),
            Control::Forward(control) => control.send(Command::Retire { deadline, done }).await.is_ok(),
            Control::NotBuilt => false,
        };
        drop(self.socket);
        if sent {
            let _ = finished.await;
        }
        Retired { tunnel: self.tunnel, control: self.control }
    }
}

/// A tunnel that takes no new streams, and drains.
pub struct Retired {
    /// As it was declared last.
    pub tunnel: Tunnel,
    control: Control,
}

impl Retired {
    /// Cuts the streams of peers that `successor`, which has the same name, does not allow: who has lost the right
    /// does not keep it for as long as a drain takes.
    pub async fn follow(&self, successor: &Listen) {
        let Control::Listen(control) = &self.control else { return };
        let (done, finished) = Done::new();
        if control.send(Command::Configure(Arc::new(successor.clone()), done)).await.is_ok() {
            // Fails where the last stream has ended meanwhile.
            let _ = finished.await;
        }
    }
}

/// Fills in what is particular to the kind of tunnel.
pub fn describe(tunnel: &Tunnel, bound: Option<String>, status: &mut TunnelStatus) {
    let written = |peers: &[PeerRef]| peers.iter().map(|peer| peer.written.clone()).collect();
    match tunnel {
        Tunnel::Listen(listen) => {
            status.protocol = Some(listen.protocol.to_string());
            status.target = Some(listen.target.to_string());
        }
        Tunnel::Forward(forward) => {
            status.protocol = Some(forward.protocol.to_string());
            status.bind = Some(bound.unwrap_or_else(|| forward.bind.to_string()));
            match &forward.peer {
                ForwardPeer::One(peer) => status.peer = Some(peer.written.clone()),
                ForwardPeer::FirstOf(peers) => status.peers = Some(written(peers)),
            }
        }
        Tunnel::Gateway(gateway) => {
            status.bind = Some(gateway.bind.to_string());
            if let Destinations::Peers(peers) = &gateway.destinations {
                status.peers = Some(written(peers));
            }
        }
        Tunnel::Socks(socks) => {
            status.bind = Some(socks.bind.to_string());
            if let Destinations::Peers(peers) = &socks.destinations {
                status.peers = Some(written(peers));
            }
        }
    }
}
