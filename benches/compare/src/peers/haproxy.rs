//! Two plain hops that splice: the limit of what a pair of user processes can do without encryption.

use std::{fmt::Write, fs, net::SocketAddr, path::PathBuf};

use anyhow::Result;

use super::{Pair, Peer, find};
use crate::place::{Daemon, Place, output};

pub struct Haproxy {
    program: PathBuf,
}

impl Haproxy {
    pub fn find() -> Result<Self> {
        Ok(Self { program: find("haproxy")? })
    }

    fn hop(&self, place: &Place, targets: &[SocketAddr]) -> Result<(Daemon, Vec<SocketAddr>)> {
        let folder = place.folder()?;
        let mut entrances = Vec::new();
        // Each connection takes two sockets, and a pipe each way while it splices; 20,000 files are a common hard limit.
        let mut text = "global\n  maxconn 4500\ndefaults\n  mode tcp\n  option splice-auto\n  timeout connect 10s\n  \
                        timeout client 1h\n  timeout server 1h\n"
            .to_owned();
        for (nth, target) in targets.iter().enumerate() {
            let entrance = place.free_port()?;
            writeln!(text, "listen t{nth}\n  bind {entrance}\n  server s {target}")?;
            entrances.push(entrance);
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text)?;
        let mut command = place.command(&self.program, folder.path());
        command.arg("-db").arg("-f").arg(&file);
        Ok((Daemon::spawn(command, folder)?, entrances))
    }
}

impl Peer for Haproxy {
    fn name(&self) -> &str {
        "haproxy"
    }

    fn description(&self) -> Result<String> {
        let version = output(std::process::Command::new(&self.program).arg("-v"))?;
        let version = version.split_whitespace().nth(2).unwrap_or_default();
        Ok(format!("HAProxy {version}: two hops in mode tcp with splice-auto, not encrypted"))
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let (far, between) = self.hop(far, targets)?;
        let (near, entrances) = self.hop(near, &between)?;
        Ok(Pair { entrances, daemons: vec![near, far] })
    }
}
