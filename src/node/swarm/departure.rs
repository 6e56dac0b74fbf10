//! The end of the swarm, in good order: what was said last arrives.

use std::{pin::pin, time::Duration};

use tokio::{sync::oneshot, time::sleep};

use super::{Command, SwarmTask};
use crate::node::NodeConfig;

/// QUIC says goodbye from a task of its own, which nobody can wait for; without this the process may be gone first, and the
/// far end left to find out by its idle timeout.
const FAREWELL: Duration = Duration::from_millis(50);

impl SwarmTask {
    pub(super) fn close(&mut self, done: oneshot::Sender<()>) {
        self.configure(&NodeConfig::default());
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error says that it is not connected, which is what is wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.closing = Some(done);
    }

    /// Waits for what may still be on its way, and goes on giving signs of life.
    pub(super) async fn part(&mut self) {
        let muxers = self.muxers.clone();
        let departed = async {
            // A connection may have told of its end and not be seen off yet.
            sleep(FAREWELL).await;
            muxers.departed().await;
        };
        let mut departed = pin!(departed);
        loop {
            tokio::select! {
                () = &mut departed => return,
                command = self.commands.recv() => match command {
                    Some(Command::GiveSignOfLife(sign)) => {
                        let _ = sign.send(());
                    }
                    // Too late: whoever asked sees that it has been dropped.
                    Some(Command::Configure(..) | Command::Close(_)) => {}
                    None => return,
                },
            }
        }
    }
}
