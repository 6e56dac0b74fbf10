//! A listen tunnel: streams of allowed peers go to a local service.

use std::sync::Arc;

use tokio::{io::AsyncWriteExt, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Command, Scope,
    endpoint::Local,
    header::header,
    pipe::{Broken, pipe},
    stream_set::{Ended, StreamSet},
};
use crate::{
    node::{Inbound, Node, Offering, Refused, Taken},
    spec::{Listen, Multiaddr, PeerId},
    status::Path,
};

/// The task of one listen tunnel.
pub struct ListenTunnel {
    scope: Arc<Scope>,
    own: PeerId,
    listen: Arc<Listen>,
    offering: Offering,
    streams: StreamSet,
}

impl ListenTunnel {
    /// Offers the protocol; the streams wait for [`ListenTunnel::run`].
    pub fn new(scope: Arc<Scope>, node: &Node, listen: Arc<Listen>) -> Self {
        let offering = node.offer(listen.protocol.clone(), listen.allow.clone());
        Self { own: node.peer_id(), streams: StreamSet::new(scope.clone()), scope, listen, offering }
    }

    /// Serves until it is told to retire, and then until its streams have drained.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command<Arc<Listen>>>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Configure(listen, done)) => {
                        self.configure(listen);
                        done.finished();
                    }
                    Some(Command::Retire { deadline, done }) => {
                        drop(self.offering);
                        done.finished();
                        return drain(self.streams, self.own, deadline, commands).await;
                    }
                    None => return,
                },
                Some(taken) = self.offering.next() => match taken {
                    Taken::By(inbound) => self.serve(inbound),
                    Taken::Refused(refused) => self.refuse(refused),
                },
                () = self.streams.reap() => {}
            }
        }
    }

    fn configure(&mut self, listen: Arc<Listen>) {
        if listen.allow != self.listen.allow {
            self.offering.set_allow(listen.allow.clone());
            self.streams.cut_unless(|peer| *peer == self.own || listen.allow.allows(peer));
        }
        self.listen = listen;
    }

    /// Takes note of a peer that is not in `allow`. That is no trouble of the tunnel's.
    fn refuse(&self, refused: Refused) {
        self.scope.events.refused(refused, self.offering.protocol());
        self.scope.counters.refused.add(1);
    }

    fn serve(&mut self, inbound: Inbound) {
        let listen = &self.listen;
        let peer = inbound.peer;
        if peer != self.own && !listen.allow.allows(&peer) {
            // It lost the right between its negotiation and now.
            let address =
                inbound.connection.as_ref().map_or(Multiaddr::empty(), |connection| connection.remote.clone());
            return self.refuse(Refused { peer, address });
        }
        let of_peer = listen.max_connections_per_peer.map(|max| (peer, max));
        if !self.streams.admits(listen.max_connections, of_peer) {
            return;
        }
        let cut = CancellationToken::new();
        let stream = carry(self.scope.clone(), listen.clone(), inbound, cut.clone());
        self.streams.spawn(Some(peer), cut, stream);
    }
}

/// Lets streams end until `deadline`, but not those of a peer that the tunnel's successor no longer allows.
async fn drain(
    mut streams: StreamSet,
    own: PeerId,
    deadline: Instant,
    mut commands: mpsc::Receiver<Command<Arc<Listen>>>,
) {
    streams.begin_drain();
    loop {
        tokio::select! {
            () = streams.drained(deadline) => return,
            Some(command) = commands.recv() => if let Command::Configure(successor, done) = command {
                streams.cut_unless(|peer| *peer == own || successor.allow.allows(peer));
                done.finished();
            },
        }
    }
}

async fn carry(scope: Arc<Scope>, listen: Arc<Listen>, inbound: Inbound, cut: CancellationToken) -> Ended {
    let path = inbound.connection.as_ref().map_or(Path::Direct, |connection| connection.path());
    let meter = scope.enter(inbound.peer, path, cut);
    let deadline = Instant::now() + listen.connect_timeout;
    let mut local = match Local::connect(&listen.target, deadline).await {
        Ok(local) => local,
        Err(error) => return Ended::Refused(error.to_string()),
    };
    let greeted = match header(&listen, &inbound) {
        Ok(header) => local.write_all(&header).await,
        Err(error) => Err(error),
    };
    if let Err(error) = greeted {
        return meter.ended(Err(Broken::Local(error)));
    }
    meter.ended(pipe(local, inbound.stream, &meter).await)
}
