//! rathole over Noise. Its server is where clients go in.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Pair, Peer};
use crate::place::{Daemon, Place, output};

pub struct Rathole {
    program: PathBuf,
}

impl Rathole {
    pub fn at(program: &Path) -> Result<Self> {
        Ok(Self { program: program.canonicalize().with_context(|| program.display().to_string())? })
    }
}

impl Peer for Rathole {
    fn name(&self) -> &str {
        "rathole"
    }

    fn description(&self) -> Result<String> {
        let told = output(std::process::Command::new(&self.program).arg("--version"))?;
        let version =
            told.lines().find_map(|line| line.strip_prefix("Build Version:")).unwrap_or(&told).trim().to_owned();
        Ok(format!("rathole {version}: Noise (ChaCha20-Poly1305), nodelay"))
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let (near_folder, far_folder) = (near.folder()?, far.folder()?);
        let keys = near.output(&self.program, near_folder.path(), &["--genkey"])?;
        let mut keys = keys.lines().filter(|line| line.ends_with('='));
        let (private, public) = (keys.next().context("no private key")?, keys.next().context("no public key")?);
        let meeting = near.free_port()?;
        let mut server = format!(
            "[server]\nbind_addr = \"{meeting}\"\ndefault_token = \"t\"\n[server.transport]\ntype = \"noise\"\n\
             [server.transport.tcp]\nnodelay = true\n[server.transport.noise]\nlocal_private_key = \"{private}\"\n"
        );
        let mut client = format!(
            "[client]\nremote_addr = \"{meeting}\"\ndefault_token = \"t\"\n[client.transport]\ntype = \"noise\"\n\
             [client.transport.tcp]\nnodelay = true\n[client.transport.noise]\nremote_public_key = \"{public}\"\n"
        );
        let mut entrances = Vec::new();
        for (nth, target) in targets.iter().enumerate() {
            let entrance = near.free_port()?;
            writeln!(server, "[server.services.t{nth}]\nbind_addr = \"{entrance}\"")?;
            writeln!(client, "[client.services.t{nth}]\nlocal_addr = \"{target}\"")?;
            entrances.push(entrance);
        }
        let (near_file, far_file) = (near_folder.path().join("rathole.toml"), far_folder.path().join("rathole.toml"));
        fs::write(&near_file, server)?;
        fs::write(&far_file, client)?;
        let (mut as_server, mut as_client) =
            (near.command(&self.program, near_folder.path()), far.command(&self.program, far_folder.path()));
        as_server.arg("--server").arg(&near_file).env("RUST_LOG", "warn");
        as_client.arg("--client").arg(&far_file).env("RUST_LOG", "warn");
        let near = Daemon::spawn(as_server, near_folder)?;
        Ok(Pair { entrances, daemons: vec![near, Daemon::spawn(as_client, far_folder)?] })
    }
}
