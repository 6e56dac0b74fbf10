//! `ssh -L` to an sshd of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

use super::{Pair, Peer, find};
use crate::place::{Daemon, Place, output};

pub struct Ssh {
    client: PathBuf,
    server: PathBuf,
    keygen: PathBuf,
    cipher: OnceLock<String>,
}

impl Ssh {
    pub fn find() -> Result<Self> {
        let cipher = OnceLock::new();
        Ok(Self { client: find("ssh")?, server: find("sshd")?, keygen: find("ssh-keygen")?, cipher })
    }

    fn key(&self, file: &Path) -> Result<()> {
        output(Command::new(&self.keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file)).map(drop)
    }

    fn client(&self, near: &Place, folder: &Path, server: SocketAddr) -> Result<Command> {
        let user = User::from_uid(geteuid())?.context("who runs this has no name")?.name;
        let mut command = near.command(&self.client, folder);
        command.args(["-F", "none", "-p", &server.port().to_string(), "-l", &user]);
        let identity = format!("IdentityFile={}", folder.join("id").display());
        for option in [
            &identity,
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ExitOnForwardFailure=yes",
        ] {
            command.args(["-o", option]);
        }
        Ok(command)
    }
}

impl Peer for Ssh {
    fn name(&self) -> &str {
        "ssh"
    }

    fn description(&self) -> Result<String> {
        let told = Command::new(&self.client).arg("-V").output()?;
        let version = String::from_utf8_lossy(&told.stderr).trim().to_owned();
        let cipher = self.cipher.get().map_or("not known", String::as_str);
        Ok(format!("{version}: `ssh -L`, its default ciphers; negotiated: {cipher}"))
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let (near_folder, far_folder) = (near.folder()?, far.folder()?);
        self.key(&near_folder.path().join("id"))?;
        self.key(&far_folder.path().join("host"))?;
        let at = far.free_port()?;
        fs::copy(near_folder.path().join("id.pub"), far_folder.path().join("authorized_keys"))?;
        let config = far_folder.path().join("sshd_config");
        let text = format!(
            "Port {}\nListenAddress {}\nHostKey {2}/host\nAuthorizedKeysFile {2}/authorized_keys\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nUseDNS no\n\
             MaxSessions 10000\nMaxStartups 1000\n",
            at.port(),
            at.ip(),
            far_folder.path().display()
        );
        fs::write(&config, text)?;
        // Where sshd of root puts itself before it knows who calls.
        if geteuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        let mut server = far.command(&self.server, far_folder.path());
        server.arg("-D").arg("-e").arg("-f").arg(&config);
        let mut server = Daemon::spawn(server, far_folder)?;
        server.wait_until("sshd listens", |server| server.log().contains("Server listening on"))?;
        if self.cipher.get().is_none() {
            let probe =
                self.client(near, near_folder.path(), at)?.arg("-v").arg(at.ip().to_string()).arg("true").output()?;
            let told = String::from_utf8_lossy(&probe.stderr);
            let word = |after: &str| {
                told.split_once(after).and_then(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned)
            };
            if let Some(cipher) = word("server->client cipher: ") {
                let _ = self.cipher.set(cipher);
            }
        }
        let mut entrances = Vec::new();
        let mut client = self.client(near, near_folder.path(), at)?;
        client.arg("-N");
        for target in targets {
            let entrance = near.free_port()?;
            client.arg("-L").arg(format!("{entrance}:{target}"));
            entrances.push(entrance);
        }
        client.arg(at.ip().to_string());
        Ok(Pair { entrances, daemons: vec![Daemon::spawn(client, near_folder)?, server] })
    }
}
