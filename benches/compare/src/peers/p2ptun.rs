//! p2ptun: two daemons over TCP and TLS.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Pair, Peer};
use crate::place::{Daemon, Place, output};

/// More connections than any measure opens.
const MAX_CONNECTIONS: u32 = 16_000;

pub struct P2ptun {
    name: String,
    program: PathBuf,
}

impl P2ptun {
    pub fn at(name: &str, program: &Path) -> Result<Self> {
        let program = program.canonicalize().with_context(|| program.display().to_string())?;
        ensure!(program.is_file(), "{} is not a program", program.display());
        Ok(Self { name: name.to_owned(), program })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A node with an identity and a file that has no tunnels yet.
    pub fn node(&self, place: &Place, listen_address: Option<SocketAddr>) -> Result<Node> {
        let folder = place.folder()?;
        let listen_addresses = match listen_address {
            Some(address) => format!("[\"{}\"]", multiaddr(address)),
            None => "[]".to_owned(),
        };
        let head = format!(
            "watch = false\n[node]\nidentity = {:?}\nlisten_addresses = {listen_addresses}\n\
             [discovery]\ndht = \"off\"\nmdns = false\n[nat]\nupnp = false\nhole_punching = false\nrelays = \"off\"\n",
            folder.path().join("identity.key")
        );
        let mut node = Node { program: self.program.clone(), place: place.clone(), id: String::new(), head, folder };
        node.write("")?;
        node.id = output(node.command(&["id", "--create"]).arg("-c").arg(node.config()))?;
        Ok(node)
    }
}

/// One daemon of p2ptun, before it runs.
pub struct Node {
    program: PathBuf,
    place: Place,
    pub id: String,
    head: String,
    pub folder: TempDir,
}

impl Node {
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("p2ptun.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Writes the file, and returns what it says now.
    pub fn write(&self, tunnels: &str) -> Result<String> {
        let text = format!("{}{tunnels}", self.head);
        fs::write(self.config(), &text)?;
        Ok(text)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&self.program, self.folder.path());
        command.args(arguments);
        command
    }

    pub fn run_command(&self) -> Command {
        let mut command = self.command(&["run"]);
        command.arg("-c").arg(self.config()).arg("--socket").arg(self.socket());
        command
    }

    pub fn run(self) -> Result<Daemon> {
        Daemon::spawn(self.run_command(), self.folder)
    }
}

pub fn listen(nth: usize, target: SocketAddr, allow: &str) -> String {
    format!(
        "[listen.t{nth}]\ntarget = \"{target}\"\nallow = [\"{allow}\"]\nmax_connections = {MAX_CONNECTIONS}\n\
         max_connections_per_peer = {MAX_CONNECTIONS}\n"
    )
}

pub fn forward(nth: usize, bind: SocketAddr, peer: &str) -> String {
    format!(
        "[forward.t{nth}]\nprotocol = \"/x/t{nth}\"\nbind = \"{bind}\"\npeer = \"{peer}\"\n\
         max_connections = {MAX_CONNECTIONS}\n"
    )
}

fn multiaddr(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    format!("/{family}/{}/tcp/{}", address.ip(), address.port())
}

impl Peer for P2ptun {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> Result<String> {
        let version = output(Command::new(&self.program).arg("--version"))?;
        Ok(format!("{version}: libp2p over TCP and TLS 1.3, max_connections raised"))
    }

    fn as_p2ptun(&self) -> Option<&P2ptun> {
        Some(self)
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let at = far.free_port()?;
        let (near_node, far_node) = (self.node(near, None)?, self.node(far, Some(at))?);
        let (mut listens, mut forwards, mut entrances) = (String::new(), String::new(), Vec::new());
        let peer = format!("{}/p2p/{}", multiaddr(at), far_node.id);
        for (nth, target) in targets.iter().enumerate() {
            let bind = near.free_port()?;
            write!(listens, "{}", listen(nth, *target, &near_node.id))?;
            write!(forwards, "{}", forward(nth, bind, &peer))?;
            entrances.push(bind);
        }
        far_node.write(&listens)?;
        near_node.write(&forwards)?;
        let far = far_node.run()?;
        Ok(Pair { entrances, daemons: vec![near_node.run()?, far] })
    }
}
