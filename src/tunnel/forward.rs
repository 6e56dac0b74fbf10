//! A forward: local connections go to a remote peer's service.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Command, Scope,
    endpoint::Local,
    failover,
    pipe::pipe,
    socket::Socket,
    stream_set::{Ended, StreamSet},
};
use crate::{
    node::{Handshake, Node, Open, OpenError, Opened, Patience},
    spec::{Forward, ForwardPeer, PeerId},
    status::Path,
};

/// How long a forward leaves a socket alone that can't accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a forward works with at a time.
#[derive(Clone)]
pub struct Setup {
    pub forward: Arc<Forward>,
    /// `None` while the bind fails: streams that are open go on.
    pub socket: Option<Arc<Socket>>,
}

/// The task of one forward.
pub struct ForwardTunnel {
    scope: Arc<Scope>,
    node: Node,
    setup: Setup,
    streams: StreamSet,
}

impl ForwardTunnel {
    pub fn new(scope: Arc<Scope>, node: Node, setup: Setup) -> Self {
        Self { streams: StreamSet::new(scope.clone()), scope, node, setup }
    }

    /// Serves until it is told to retire, and then until its streams have drained.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command<Setup>>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Configure(setup, done)) => {
                        self.setup = setup;
                        done.finished();
                    }
                    Some(Command::Retire { deadline, done }) => {
                        // Its port is free from here on.
                        drop(self.setup);
                        done.finished();
                        self.streams.begin_drain();
                        return self.streams.drained(deadline).await;
                    }
                    None => return,
                },
                accepted = accept(self.setup.socket.as_deref()) => self.serve(accepted).await,
                () = self.streams.reap() => {}
            }
        }
    }

    async fn serve(&mut self, accepted: io::Result<Local>) {
        let local = match accepted {
            Ok(local) => local,
            Err(error) => {
                self.scope.trouble(format!("can't accept a connection: {error}"));
                return sleep(ACCEPT_PAUSE).await;
            }
        };
        let forward = &self.setup.forward;
        if self.streams.admits(forward.max_connections, None) {
            let cut = CancellationToken::new();
            let stream = carry(self.scope.clone(), self.node.clone(), forward.clone(), local, cut.clone());
            self.streams.spawn(None, cut, stream);
        }
    }
}

async fn accept(socket: Option<&Socket>) -> io::Result<Local> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

async fn carry(scope: Arc<Scope>, node: Node, forward: Arc<Forward>, local: Local, cut: CancellationToken) -> Ended {
    let deadline = Instant::now() + forward.open_timeout;
    let (peer, opened) = match open(&node, &forward, deadline).await {
        Ok(opened) => opened,
        Err(error) => return Ended::Refused(error.to_string()),
    };
    let path = opened.connection.as_ref().map_or(Path::Direct, |connection| connection.path());
    let meter = scope.enter(peer, path, cut);
    meter.ended(pipe(local, opened.stream, &meter).await)
}

async fn open(node: &Node, forward: &Forward, deadline: Instant) -> Result<(PeerId, Opened), OpenError> {
    let to = |peer, handshake, patience| Open {
        peer,
        protocol: forward.protocol.clone(),
        handshake,
        relay: forward.relay,
        patience,
    };
    match &forward.peer {
        ForwardPeer::One(peer) => {
            // Nobody stands by, so nothing is gained by waiting for the peer's word.
            let open = to(peer.id, Handshake::Lazy, Patience::UntilDeadline);
            Ok((peer.id, node.open(&open, deadline).await?))
        }
        ForwardPeer::FirstOf(peers) => {
            let opens = peers.iter().map(|peer| to(peer.id, Handshake::Confirmed, Patience::FirstFailure));
            failover::first(node, opens.collect(), deadline).await
        }
    }
}
