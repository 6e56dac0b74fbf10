//! What `p2ptun listen` and `p2ptun forward` have in common: one tunnel, from arguments.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Write},
    net::IpAddr,
    path::PathBuf,
};

use clap::Args;
use libp2p::multiaddr::Protocol;

use super::{
    logging::Logging,
    run::{raise_file_limit, serve},
    terminal::{clean, clean_lines, print},
};
use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    config::{self, Declaration, Reason, multiaddress},
    foreground::{Foreground, StartError},
    log::{self, Level},
    node::{
        NodeView,
        identity::{self, Identity},
    },
    spec::{Desired, Kind, Multiaddr, NodeSpec, Peer, PeerId, PeerName, Tunnel, TunnelName},
    status::Time,
};

/// The name of a tunnel that stands in no file.
const NAME: &str = "foreground";

/// Strangers whose coming and going is told one by one, where anyone may come.
const MAX_TOLD: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Take a protocol that does not begin with /x/
    #[arg(long)]
    pub(super) allow_custom_protocol: bool,
    /// Write the tunnel to the configuration file as NAME, instead of running it
    #[arg(long, value_name = "NAME")]
    pub(super) save: Option<String>,
    /// Keep the key of the node in FILE, which is made if missing, so that its peer id lasts
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    identity: Option<PathBuf>,
    /// Where other nodes may connect, instead of any free port (listen) or nowhere (forward); may be repeated
    #[arg(long, value_name = "MULTIADDR", conflicts_with = "save")]
    listen_address: Vec<String>,
    #[command(flatten)]
    logging: Logging,
}

/// Peers by the names that the file gives them.
pub(super) type Known = BTreeMap<PeerName, Peer>;

/// What is to run.
pub(super) struct Tunnelling {
    pub(super) tunnel: Tunnel,
    pub(super) known: Known,
    /// Where the node listens if the arguments don't say.
    pub(super) otherwise: Vec<Multiaddr>,
}

impl Common {
    /// The beginning of the table.
    pub(super) fn declaration(&self, kind: Kind) -> Declaration {
        let declaration = Declaration::new(kind, self.save.as_deref().unwrap_or(NAME));
        declaration.flag("allow_custom_protocol", "--allow-custom-protocol", self.allow_custom_protocol)
    }

    /// The peers of the configuration file, which is read only if one of `mentioned` can be a name in it.
    pub(super) fn known_peers(&self, global: &Global, argument: &str, mentioned: &[String]) -> Result<Known, Failure> {
        let can_be_name =
            |text: &String| !text.starts_with('/') && text != "anyone" && multiaddress::peer_id(text).is_err();
        let Some(name) = mentioned.iter().find(|text| can_be_name(text)) else { return Ok(Known::new()) };
        let path = config::default_path(global.config().as_deref());
        match config::load(&path) {
            Ok(loaded) => Ok(loaded.desired.peers),
            Err(refused) => match &refused.reason {
                Reason::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
                    let path = config::printable_path(&path);
                    let what = "is no peer id, and there is no file that could give this name to a peer";
                    Err(self.wrong(format!(
                        "{argument}: `{}` {what} ({path}); give a peer id, or name a file with --config",
                        clean(name)
                    )))
                }
                _ => Err(super::check::failure(&refused)),
            },
        }
    }

    /// What the arguments declare, or what is wrong with them.
    pub(super) fn read(&self, declaration: &Declaration, known: &Known) -> Result<Tunnel, Failure> {
        let declared = declaration.read(known).map_err(|faults| self.wrong(faults.join("\n")))?;
        for warning in &declared.warnings {
            tell(&format!("warning: {warning}"));
        }
        Ok(declared.tunnel)
    }

    /// A fault of the arguments: of what would be saved, or of how the command was called.
    pub(super) fn wrong(&self, what: impl Into<String>) -> Failure {
        Failure::new(if self.save.is_some() { Exit::Config } else { Exit::Usage }, what)
    }

    /// Runs the tunnel until it is told to stop. `introduce` is called when it is up.
    pub(super) fn serve(
        &self,
        tunnelling: Tunnelling,
        mut report: Report,
        introduce: impl FnOnce(&Foreground) -> Result<(), Failure>,
    ) -> Result<Exit, Failure> {
        let desired = self.desired(tunnelling)?;
        let identity = match &self.identity {
            Some(path) => identity::load_or_create(path)?,
            None => Identity::ephemeral(),
        };
        for warning in &identity.warnings {
            tell(&format!("warning: {warning}"));
        }
        raise_file_limit();
        let names = desired.peers.iter().rev().map(|(name, peer)| (peer.id.to_string(), name.to_string()));
        log::name_peers(identity.peer_id(), names);
        let logged = desired.known_peers();
        let start_log = || self.logging.start(Level::Warn);
        // Unless more is asked for, from when the tunnel is up: what fails before ends the command, and is said once.
        let early = if self.logging.is_asked_for() { Some(start_log()?) } else { None };
        serve(async {
            let running = Foreground::start(desired, identity).await?;
            let _log = match early {
                Some(log) => log,
                None => start_log()?,
            };
            if !self.logging.is_asked_for() {
                report.log_begins();
            }
            if tracing::enabled!(target: "p2ptun::node", tracing::Level::INFO) {
                report.logged = logged;
            }
            introduce(&running)?;
            Ok(running.run(|view| report.changed(view)).await?)
        })
    }

    fn desired(&self, Tunnelling { tunnel, known, otherwise }: Tunnelling) -> Result<Desired, Failure> {
        let given = self
            .listen_address
            .iter()
            .map(|text| multiaddress::listen_address(text).map_err(|wrong| self.wrong(wrong.with("--listen-address"))));
        let given = given.collect::<Result<Vec<_>, _>>()?;
        let by_default = given.is_empty();
        let node = NodeSpec {
            listen_addresses: if by_default { otherwise } else { given },
            listen_addresses_are_default: by_default,
            ..NodeSpec::default()
        };
        let name = TunnelName::try_from(NAME).map_err(|error| self.wrong(error.to_string()))?;
        Ok(Desired { node, peers: known, tunnels: [(name, tunnel)].into(), ..Desired::default() })
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match error {
            StartError::Bind(_) => Exit::Unavailable,
            StartError::Os { .. } => Exit::Os,
        };
        Self::new(exit, error.to_string())
    }
}

/// Tells on standard error which peers come and go.
pub(super) struct Report {
    names: BTreeMap<PeerId, PeerName>,
    matters: Box<dyn Fn(&PeerId) -> bool + Send>,
    connected: BTreeSet<PeerId>,
    /// Those whose coming and going the log tells.
    logged: BTreeSet<PeerId>,
    /// When the log began, where that was late. That a peer could not be reached before stands nowhere else.
    log_begun: Option<Time>,
    told_failed: BTreeSet<PeerId>,
    strangers: usize,
}

impl Report {
    /// Of the peers that matter.
    pub(super) fn of(known: &Known, matters: impl Fn(&PeerId) -> bool + Send + 'static) -> Self {
        let names = known.iter().map(|(name, peer)| (peer.id, name.clone())).collect();
        Self {
            names,
            matters: Box::new(matters),
            connected: BTreeSet::new(),
            logged: BTreeSet::new(),
            log_begun: None,
            told_failed: BTreeSet::new(),
            strangers: 0,
        }
    }

    fn log_begins(&mut self) {
        self.log_begun = Some(Time::now());
    }

    fn changed(&mut self, view: &NodeView) {
        self.tell_early_failures(view);
        let matters = |peer: &&PeerId| (self.matters)(peer) && !self.logged.contains(peer);
        let now: BTreeSet<_> = view.peers.keys().filter(matters).copied().collect();
        for peer in now.difference(&self.connected).copied().collect::<Vec<_>>() {
            if let (true, Some(seen)) = (self.is_worth_telling(&peer), view.peers.get(&peer)) {
                tell(&format!("connected to {} at {}", self.name(&peer), seen.address));
            }
        }
        for peer in self.connected.difference(&now).copied().collect::<Vec<_>>() {
            if self.strangers < MAX_TOLD || self.names.contains_key(&peer) {
                tell(&format!("no longer connected to {}", self.name(&peer)));
            }
        }
        self.connected = now;
    }

    fn tell_early_failures(&mut self, view: &NodeView) {
        let Some(begun) = self.log_begun else { return };
        for (peer, away) in view.away.iter().filter(|(peer, _)| (self.matters)(peer)) {
            if let Some(failure) = away.failure.as_ref().filter(|failure| failure.at < begun)
                && self.told_failed.insert(*peer)
            {
                tell(&format!("can't reach {}: {}; trying again", self.name(peer), failure.reason));
            }
        }
    }

    /// Anyone can make up any number of identities.
    fn is_worth_telling(&mut self, peer: &PeerId) -> bool {
        if self.names.contains_key(peer) {
            return true;
        }
        self.strangers += 1;
        if self.strangers == MAX_TOLD {
            tell("more peers come and go; no longer telling");
        }
        self.strangers < MAX_TOLD
    }

    fn name(&self, peer: &PeerId) -> String {
        self.names.get(peer).map_or_else(|| peer.to_string(), |name| format!("{name} ({peer})"))
    }
}

/// Says something to whoever watches; where nobody does, nothing is lost.
pub(super) fn tell(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", clean_lines(text, "  "));
}

/// Prints some lines, of which arguments may be a part.
pub(super) fn print_block(text: &str) -> Result<(), Failure> {
    print(&(clean_lines(text, "") + "\n"))
}

/// Addresses in the order in which another machine would want to try them: TCP first, and this machine's own last.
pub(super) fn farthest_first(mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let ip = |address: &Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::from(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::from(ip)),
        _ => None,
    };
    let reach = |ip: IpAddr| match ip {
        ip if ip.is_loopback() => 0,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 1,
        IpAddr::V4(ip) if ip.is_link_local() => 1,
        IpAddr::V4(ip) if ip.is_private() => 2,
        IpAddr::V6(ip) if ip.is_unique_local() => 2,
        _ => 3,
    };
    addresses.sort_by_key(|address| {
        let ip = ip(address);
        let is_tcp = address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
        (Reverse(ip.map(reach)), !is_tcp, ip.is_none_or(|ip| ip.is_ipv6()))
    });
    addresses
}

/// `text` as one word of a shell's command line.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:.,_-@%+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_told_the_address_that_it_can_reach_best() {
        let order = |addresses: &[&str]| -> Vec<String> {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            farthest_first(addresses).iter().map(Multiaddr::to_string).collect()
        };
        let sorted = [
            "/ip4/192.0.2.7/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip4/192.0.2.7/udp/1/quic-v1",
            "/ip4/192.168.1.2/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
        ];
        let mut mixed = sorted;
        mixed.reverse();
        assert_eq!(order(&mixed), sorted);
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_make_something_of_it() {
        assert_eq!(shell_word("/x/ssh"), "/x/ssh");
        assert_eq!(shell_word("/x/$(id)'s"), r"'/x/$(id)'\''s'");
    }
}
