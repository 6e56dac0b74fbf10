//! Connections that may be dead without anybody knowing: the far end was restarted, or this machine slept or changed its
//! network. Waiting for a ping to fail takes half a minute, and whoever opens a stream meanwhile waits with it.
//!
//! So a connection that is used is asked for a sign of life. If none comes soon, its peer is dialled anew, and if that
//! succeeds, new streams take the new connection. The old one is left alone: it may only be slow, behind an upload that
//! fills its line, and if it is dead, the pings will tell.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::swarm::ConnectionId;
use tokio::time::{Instant, timeout_at};

use super::streams::{Connection, Handshake, Opener, RequestError};
use crate::spec::{PeerId, StreamProtocol};

/// Nobody offers this. To be told so is a sign of life that costs the far end nothing.
const NOBODY_OFFERS: StreamProtocol = StreamProtocol::new("/p2ptun/are-you-there/1");

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connections that are asked, and those whose place a new one may take.
#[derive(Default)]
pub struct Suspects {
    asked: FuturesUnordered<BoxFuture<'static, Option<Answer>>>,
    /// Whose connections a dial may replace.
    rivals: HashMap<ConnectionId, PeerId>,
}

/// What came of asking a connection.
pub struct Answer {
    pub connection: Arc<Connection>,
    pub is_alive: bool,
}

impl Suspects {
    /// Asks a connection for a sign of life.
    pub fn ask(&mut self, connection: Arc<Connection>, opener: Opener) {
        let deadline = Instant::now() + PATIENCE;
        let answer = async move {
            match timeout_at(deadline, opener.open(NOBODY_OFFERS, Handshake::Confirmed, deadline)).await {
                // The connection's own clock may be the first to say that no answer came.
                Err(_) | Ok(Err(RequestError::Failed)) => Some(Answer { connection, is_alive: false }),
                Ok(Err(RequestError::NotSupported) | Ok(_)) => Some(Answer { connection, is_alive: true }),
                // A connection that ends instead of answering is nobody's suspect any more.
                Ok(Err(RequestError::Ended)) => None,
            }
        };
        self.asked.push(answer.boxed());
    }

    /// The next connection of which it is known whether it gave a sign of life; for ever while there is none. Cancel-safe.
    pub async fn answer(&mut self) -> Answer {
        loop {
            match self.asked.next().await {
                Some(Some(answer)) => return answer,
                Some(None) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// `dial` is to bring a connection in place of the `old` one.
    pub fn challenge(&mut self, dial: ConnectionId, old: &Connection) {
        self.rivals.insert(dial, old.peer);
    }

    /// Whether such a dial is under way, which another connection of the same peer may have caused.
    pub fn is_challenged(&self, old: &Connection) -> bool {
        self.rivals.values().any(|peer| *peer == old.peer)
    }

    /// A dial has ended. Returns whether it takes the place of the others, if it succeeded.
    pub fn challenged_by(&mut self, dial: &ConnectionId) -> bool {
        self.rivals.remove(dial).is_some()
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::{ConnectedPoint, Endpoint, transport::PortUse};

    use super::*;
    use crate::spec::Multiaddr;

    fn connection(id: usize) -> Arc<Connection> {
        connection_to(PeerId::random(), id)
    }

    fn connection_to(peer: PeerId, id: usize) -> Arc<Connection> {
        let point = ConnectedPoint::Dialer {
            address: Multiaddr::empty(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        Arc::new(Connection::new(ConnectionId::new_unchecked(id), peer, &point))
    }

    #[test]
    fn one_dial_is_enough_for_all_connections_of_a_peer() {
        let (mut suspects, peer, dial) = (Suspects::default(), PeerId::random(), ConnectionId::new_unchecked(9));
        let [first, second] = [1, 2].map(|id| connection_to(peer, id));
        assert!(!suspects.is_challenged(&first));
        suspects.challenge(dial, &first);
        assert!(suspects.is_challenged(&second) && !suspects.is_challenged(&connection(3)));
        assert!(suspects.challenged_by(&dial));
        assert!(!suspects.is_challenged(&first) && !suspects.challenged_by(&dial));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_silent_only_if_it_lives_and_says_nothing() {
        let mut suspects = Suspects::default();
        let (answering, mut asked) = Opener::new();
        let (silent, _kept) = Opener::new();
        let (ended, gone) = Opener::new();
        drop(gone);
        suspects.ask(connection(1), answering);
        suspects.ask(connection(2), silent);
        suspects.ask(connection(3), ended);
        let answer = async {
            let request = asked.queue.recv().await.unwrap();
            assert!(request.reply.send(Err(RequestError::NotSupported)).is_ok());
        };
        let (found, ()) = tokio::join!(suspects.answer(), answer);
        assert_eq!((found.connection.id, found.is_alive), (ConnectionId::new_unchecked(1), true));
        let found = suspects.answer().await;
        assert_eq!((found.connection.id, found.is_alive), (ConnectionId::new_unchecked(2), false));
        assert!(suspects.answer().now_or_never().is_none(), "the one that has ended");
    }
}
