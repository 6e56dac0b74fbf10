//! Connections to a peer beside those that there are: in place of one that is silent, to share the load, or because both
//! ends have dialled; and which of them are held on to.

use libp2p::swarm::ConnectionId;

use super::{SwarmTask, dial_options};
use crate::{
    node::{
        company::{self, Pays},
        streams::{Connection, Route},
    },
    spec::PeerId,
};

impl SwarmTask {
    /// Dials the peer of a connection that gives no sign of life: if that works, new streams need not wait for it.
    pub(super) fn challenge(&mut self, silent: &Connection) {
        self.connections.gave_no_sign(silent);
        self.stale = true;
        let Connection { peer, remote, .. } = silent;
        tracing::debug!(%peer, address = %remote, "connection gives no sign of life");
        self.dial_in_place_of(silent);
    }

    /// Dials a peer anew. If that works, new streams take the new connection, and the others end with their streams.
    pub(super) fn dial_in_place_of(&mut self, old: &Connection) {
        let addresses = self.dialer.addresses(&old.peer).to_vec();
        let may_be_replaced = self.connections.may_be_replaced(&old.peer) && !self.suspects.is_challenged(old);
        if addresses.is_empty() || !may_be_replaced {
            return;
        }
        let options = dial_options(old.peer, addresses);
        let id = options.connection_id();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(peer = %old.peer, %error, "dial failed");
            return;
        }
        tracing::debug!(peer = %old.peer, address = %old.remote, "dialling anew in place of a connection");
        self.suspects.challenge(id, old);
    }

    /// Dials another connection beside one that carries several streams, if that helps them.
    pub(super) fn dial_beside(&mut self, crowded: &Connection) {
        let Connection { id, peer, remote, .. } = crowded;
        match company::pays(self.pulses.round_trip(id)) {
            Pays::Yes if self.closing.is_none() => {}
            Pays::NotKnownYet => return self.connections.ask_again_for_company(peer),
            Pays::Yes | Pays::No => return self.connections.no_company(peer),
        }
        let options = dial_options(*peer, vec![remote.clone()]);
        self.connections.dialling_beside(peer, options.connection_id());
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "dial of another connection failed");
            self.connections.no_company(peer);
        }
    }

    /// Says what a new connection is to those that there are.
    pub(super) fn find_its_place(&mut self, peer: PeerId, id: ConnectionId) {
        if self.suspects.challenged_by(&id) {
            tracing::debug!(%peer, "peer answers on a new connection, which new streams take");
            for old in self.connections.replace_others(&peer, id) {
                self.swarm.behaviour_mut().streams.supersede(peer, old);
            }
        }
        if self.connections.is_company(&peer, id) {
            self.swarm.behaviour_mut().streams.supersede(peer, id);
        }
        // What it was to stand beside may have ended meanwhile.
        self.hold_on_to_one(peer);
        self.let_go_of_the_worse(peer);
    }

    /// A connection of ours over QUIC that a direct TCP connection stands beside may end with its streams.
    fn let_go_of_the_worse(&mut self, peer: PeerId) {
        let connections = self.connections.of(&peer);
        if connections.first().is_some_and(|best| best.route == Route::DirectTcp) {
            for worse in connections.iter().filter(|other| other.route == Route::DirectQuic && other.local.is_none()) {
                self.swarm.behaviour_mut().streams.supersede(peer, worse.id);
            }
        }
    }

    /// Holds on to one of a peer's connections, if all that are left were dialled beside another that has ended.
    pub(super) fn hold_on_to_one(&mut self, peer: PeerId) {
        if let Some(heir) = self.connections.heir(&peer) {
            self.swarm.behaviour_mut().streams.hold(peer, heir);
        }
    }
}
