//! Kubo's `ipfs p2p`: two isolated repositories.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Pair, Peer};
use crate::place::{Daemon, Place, output};

pub struct Kubo {
    program: PathBuf,
}

impl Kubo {
    pub fn at(program: &Path) -> Result<Self> {
        Ok(Self { program: program.canonicalize().with_context(|| program.display().to_string())? })
    }

    /// A repository whose node knows nobody and looks for nobody.
    fn repository<'a>(&self, place: &'a Place) -> Result<Node<'a>> {
        let folder = place.folder()?;
        let at = place.free_port()?;
        place.output(&self.program, folder.path(), &["init", "--profile=test"])?;
        let file = folder.path().join(".ipfs/config");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let swarm = format!("/ip4/{}/tcp/{}", at.ip(), at.port());
        for (place, value) in [
            ("/Addresses/Swarm", json!([swarm])),
            ("/AutoConf/Enabled", json!(false)),
            ("/AutoNAT/ServiceMode", json!("disabled")),
            ("/AutoTLS/Enabled", json!(false)),
            ("/Bootstrap", json!([])),
            ("/Discovery/MDNS/Enabled", json!(false)),
            ("/Experimental/Libp2pStreamMounting", json!(true)),
            ("/Provide/Enabled", json!(false)),
            ("/Routing/Type", json!("none")),
            ("/Swarm/AddrFilters", json!(null)),
            ("/Swarm/DisableNatPortMap", json!(true)),
            ("/Swarm/EnableHolePunching", json!(false)),
            ("/Swarm/RelayClient/Enabled", json!(false)),
            ("/Version/SwarmCheckEnabled", json!(false)),
        ] {
            set(&mut config, place, value);
        }
        let id = config["Identity"]["PeerID"].as_str().context("Kubo made no peer id")?.to_owned();
        fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        let mut command = place.command(&self.program, folder.path());
        command.arg("daemon").env("IPFS_TELEMETRY", "off");
        // The folder stays with the node until it runs; the commands need it meanwhile.
        let commands = folder.path().to_owned();
        let mut daemon = Daemon::spawn(command, folder)?;
        daemon.wait_until("Kubo is ready", |daemon| daemon.log().contains("Daemon is ready"))?;
        Ok(Node {
            program: self.program.clone(),
            place,
            folder: commands,
            address: format!("{swarm}/p2p/{id}"),
            id,
            daemon,
        })
    }
}

fn set(config: &mut Value, place: &str, value: Value) {
    let mut slot = config;
    for key in place.split('/').skip(1) {
        slot = &mut slot[key];
    }
    *slot = value;
}

struct Node<'a> {
    program: PathBuf,
    place: &'a Place,
    folder: PathBuf,
    id: String,
    address: String,
    daemon: Daemon,
}

impl Node<'_> {
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        self.place.output(&self.program, &self.folder, arguments)
    }
}

impl Peer for Kubo {
    fn name(&self) -> &str {
        "kubo"
    }

    fn description(&self) -> Result<String> {
        let home = TempDir::new()?;
        let told = output(std::process::Command::new(&self.program).arg("version").env("HOME", home.path()))?;
        let version = told.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(format!("Kubo {version}: `ipfs p2p` over TCP and TLS 1.3, its default limits"))
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let (far, near_node) = (self.repository(far)?, self.repository(near)?);
        near_node.ask(&["swarm", "connect", &far.address])?;
        let mut entrances = Vec::new();
        for (nth, target) in targets.iter().enumerate() {
            let protocol = format!("/x/t{nth}");
            far.ask(&["p2p", "listen", &protocol, &format!("/ip4/{}/tcp/{}", target.ip(), target.port())])?;
            let entrance = near.free_port()?;
            let at = format!("/ip4/{}/tcp/{}", entrance.ip(), entrance.port());
            near_node.ask(&["p2p", "forward", &protocol, &at, &format!("/p2p/{}", far.id)])?;
            entrances.push(entrance);
        }
        Ok(Pair { entrances, daemons: vec![near_node.daemon, far.daemon] })
    }
}
