//! What only p2ptun does: tell a service manager that it is ready, and follow its file.

use std::{
    fmt::Write,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    peers::p2ptun::{Node, P2ptun},
    place::{Daemon, PATIENCE, Place, output},
};

/// A peer that is never reached; READY does not wait for any.
const STRANGER: &str = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";

/// A running daemon of many tunnels.
pub struct Manager<'a> {
    peer: &'a P2ptun,
    daemon: Daemon,
    socket: PathBuf,
    config: PathBuf,
    file: String,
    /// From the start of the process until READY=1.
    pub took: Duration,
}

impl<'a> Manager<'a> {
    /// Starts a daemon with `number` tunnels: forwards and listens by turns.
    pub fn start(peer: &'a P2ptun, place: &Place, number: usize) -> Result<Self> {
        let node = peer.node(place, Some(place.free_port()?))?;
        let file = node.write(&tunnels(number)?)?;
        let notify = node.folder.path().join("notify.sock");
        let listener = UnixDatagram::bind(&notify)?;
        listener.set_read_timeout(Some(PATIENCE))?;
        let (socket, config) = (node.socket(), node.config());
        let mut command = node.run_command();
        command.env("NOTIFY_SOCKET", &notify);
        let Node { folder, .. } = node;
        let start = Instant::now();
        let daemon = Daemon::spawn(command, folder)?;
        let mut message = [0; 4096];
        loop {
            let length = listener.recv(&mut message).with_context(|| format!("no READY: {}", daemon.log()))?;
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                break;
            }
        }
        let took = start.elapsed();
        Ok(Self { peer, daemon, socket, config, file, took })
    }

    /// Changes the target of one tunnel, and returns how long `p2ptun reload` takes.
    pub fn reload(&mut self, place: &Place) -> Result<Duration> {
        let (head, rest) = self.file.split_once("target = \"").context("no tunnel has a target")?;
        let (target, rest) = rest.split_once('"').context("the target has no end")?;
        let other = if target.ends_with(":1") { "127.0.0.1:2" } else { "127.0.0.1:1" };
        self.file = format!("{head}target = \"{other}\"{rest}");
        std::fs::write(&self.config, &self.file)?;
        let folder = self.config.parent().context("the file is in no folder")?;
        let mut command = place.command(self.peer.program(), folder);
        command.arg("reload").arg("--socket").arg(&self.socket);
        let start = Instant::now();
        let told = output(&mut command)?;
        let took = start.elapsed();
        ensure!(told.starts_with('~'), "the reload changed nothing: {told}");
        self.daemon.check()?;
        Ok(took)
    }
}

fn tunnels(number: usize) -> Result<String> {
    let mut text = String::new();
    for nth in 0..number {
        if nth % 2 == 0 {
            writeln!(
                text,
                "[forward.t{nth}]\nbind = \"127.0.0.1:0\"\nprotocol = \"/x/t{nth}\"\npeer = \"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}\""
            )?;
        } else {
            writeln!(text, "[listen.t{nth}]\ntarget = \"127.0.0.1:1\"\nallow = [\"{STRANGER}\"]")?;
        }
    }
    Ok(text)
}
