//! `p2ptun forward`: one forward in the foreground, or into the file.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    outcome::{Exit, Failure},
    tunnel::{Common, Report, Tunnelling, print_block, shell_word, tell},
};
use crate::{
    commands::global::Global,
    config::{Declaration, multiaddress},
    foreground::Foreground,
    spec::{ForwardPeer, Kind, Multiaddr, PeerId, PeerRef, Tunnel},
};

#[derive(Debug, Args)]
pub struct Forward {
    /// The protocol that the peer offers, such as /x/ssh
    #[arg(value_name = "PROTO")]
    protocol: String,
    /// Where to listen: host:port, /ip4/.../tcp/..., or unix:/path; port 0 is any free one
    #[arg(value_name = "BIND")]
    bind: String,
    /// Whom to connect to: a name in the configuration file, a peer id, or a multiaddr that ends in /p2p/<id>; of
    /// several, the first that answers
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<String>,
    /// An address to try for PEER; ends in /p2p/<id> where there is more than one PEER
    #[arg(long, value_name = "MULTIADDR")]
    peer_address: Vec<String>,
    /// How long a connection waits for the peer [default: 30s]
    #[arg(long, value_name = "DURATION")]
    open_timeout: Option<String>,
    /// Connections at a time [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u32>,
    /// Which relayed connections may be used: trusted, any, or never [default: trusted]
    #[arg(long, value_name = "WHICH")]
    relay: Option<String>,
    /// The permissions of a unix socket, in octal [default: 0600]
    #[arg(long, value_name = "MODE")]
    bind_mode: Option<String>,
    /// The group of a unix socket
    #[arg(long, value_name = "GROUP")]
    bind_group: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Addresses to try, by the peer that they are of.
type Hints = BTreeMap<PeerId, Vec<Multiaddr>>;

impl Forward {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let known = self.common.known_peers(global, "PEER", &self.peers)?;
        let declared = self.common.read(&self.declaration(&self.peers), &known)?;
        let peers = match &declared {
            Tunnel::Forward(forward) => forward.peer.all().to_vec(),
            _ => Vec::new(),
        };
        let hints = self.hints(&peers)?;
        if self.common.save.is_some() {
            let written = peers.iter().map(|peer| to_save(peer, &hints)).collect::<Result<Vec<_>, _>>()?;
            return super::save::save(global, &self.declaration(&written));
        }
        for peer in &peers {
            let in_file = known.values().any(|known| known.id == peer.id && !known.addresses.is_empty());
            if peer.addresses.is_empty() && !hints.contains_key(&peer.id) && !in_file {
                tell(&format!("no address of {} is known; give one with --peer-address", peer.written));
            }
        }
        let ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
        let report = Report::of(&known, move |peer| ids.contains(peer));
        let tunnelling = Tunnelling { tunnel: with_hints(declared, &hints), known, otherwise: Vec::new() };
        self.common.serve(tunnelling, report, |running| self.introduce(running))
    }

    fn declaration(&self, peers: &[String]) -> Declaration {
        let declaration = self.common.declaration(Kind::Forward).text("protocol", "PROTO", Some(&self.protocol)).text(
            "bind",
            "BIND",
            Some(&self.bind),
        );
        let declaration = match peers {
            [peer] => declaration.text("peer", "PEER", Some(peer)),
            peers => declaration.list("peers", "PEER", peers),
        };
        declaration
            .text("open_timeout", "--open-timeout", self.open_timeout.as_deref())
            .number("max_connections", "--max-connections", self.max_connections)
            .text("relay", "--relay", self.relay.as_deref())
            .text("bind_mode", "--bind-mode", self.bind_mode.as_deref())
            .text("bind_group", "--bind-group", self.bind_group.as_deref())
    }

    fn hints(&self, peers: &[PeerRef]) -> Result<Hints, Failure> {
        let mut hints = Hints::new();
        for text in &self.peer_address {
            let wrong = |what: &str| self.common.wrong(format!("--peer-address: `{text}` {what}"));
            let (address, id) =
                multiaddress::peer_address(text).map_err(|wrong| self.common.wrong(wrong.with("--peer-address")))?;
            let id = match (id, peers) {
                (Some(id), _) if peers.iter().any(|peer| peer.id == id) => id,
                (Some(_), _) => return Err(wrong("is an address of another peer than PEER")),
                (None, [peer]) => peer.id,
                (None, _) => return Err(wrong("does not say of which PEER it is; end it in /p2p/<peer id>")),
            };
            if address.is_empty() {
                return Err(wrong("has no address in it"));
            }
            hints.entry(id).or_default().push(address);
        }
        Ok(hints)
    }

    /// Says who this node is, what is bound, and what to run at the other end.
    fn introduce(&self, running: &Foreground) -> Result<(), Failure> {
        let id = running.peer_id();
        let bound = running.bound().unwrap_or_else(|| self.bind.clone());
        let protocol = shell_word(&self.protocol);
        let custom = if self.common.allow_custom_protocol { " --allow-custom-protocol" } else { "" };
        print_block(&format!(
            "peer id {id}\nforwarding {bound} to {} of {}\n\n\
             At the other end, unless it lets this node in already, run\n\n    \
             p2ptun listen {protocol} HOST:PORT --allow {id}{custom}\n\nCtrl-C ends it.",
            self.protocol,
            self.peers.join(", "),
        ))
    }
}

/// What the file says of a peer and the addresses that were given for it: the address itself, which names the peer.
fn to_save(peer: &PeerRef, hints: &Hints) -> Result<String, Failure> {
    match hints.get(&peer.id).map(Vec::as_slice) {
        None => Ok(peer.written.clone()),
        Some([address]) if multiaddress::peer_id(&peer.written).is_ok() => Ok(format!("{address}/p2p/{}", peer.id)),
        Some(_) => Err(Failure::new(
            Exit::Usage,
            format!(
                "--peer-address: a saved tunnel has room for one address of {}; write its addresses into a table \
                 [peers.NAME] of the file, and give NAME as PEER",
                peer.written
            ),
        )),
    }
}

/// `tunnel`, which also knows the addresses that were given.
fn with_hints(mut tunnel: Tunnel, hints: &Hints) -> Tunnel {
    if let Tunnel::Forward(forward) = &mut tunnel {
        let peers = match &mut forward.peer {
            ForwardPeer::One(peer) => std::slice::from_mut(peer),
            ForwardPeer::FirstOf(peers) => peers,
        };
        for peer in peers {
            peer.addresses.extend(hints.get(&peer.id).into_iter().flatten().cloned());
        }
    }
    tunnel
}
