//! What is compared: each is a pair of daemons with tunnels between them.

mod direct;
mod haproxy;
mod kubo;
pub mod p2ptun;
mod rathole;
mod ssh;
mod stunnel;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

pub use self::{
    direct::Direct, haproxy::Haproxy, kubo::Kubo, p2ptun::P2ptun, rathole::Rathole, ssh::Ssh, stunnel::Stunnel,
};
use crate::{
    load::latency,
    place::{Daemon, PATIENCE, Place},
    procfs,
};

/// A kind of tunnel.
pub trait Peer: Send + Sync {
    /// The word for it in tables and on the command line.
    fn name(&self) -> &str;

    /// What is measured: version, cipher, and what else somebody must know who reads the figures.
    fn description(&self) -> Result<String>;

    /// Starts a daemon at each place and leads tunnels from `near` to `targets`, which `far` can reach.
    ///
    /// The tunnels need not work yet. Each of `targets` has an entrance of its own, in the same order.
    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair>;

    /// For what only p2ptun has.
    fn as_p2ptun(&self) -> Option<&P2ptun> {
        None
    }
}

/// Two daemons with tunnels between them.
pub struct Pair {
    /// Where clients go in.
    pub entrances: Vec<SocketAddr>,
    /// The clients' daemon first. Empty where there is no tunnel.
    pub daemons: Vec<Daemon>,
}

impl Pair {
    /// Waits until a byte comes back through the tunnel with an echo at its end.
    pub fn wait_until_it_echoes(&mut self, nth: usize) -> Result<()> {
        let entrance = self.entrances[nth];
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            match latency::fresh(entrance) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let logs: Vec<_> = self.daemons.iter().map(Daemon::log).collect();
                    return Err(error).with_context(|| format!("nothing comes back: {}", logs.join("---\n")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The CPU time that both daemons have taken.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.daemons.iter().map(|daemon| procfs::cpu_time(daemon.pid())).sum()
    }

    /// Whether both run still.
    pub fn check(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Waits until what earlier clients left behind is done with. A pair that never comes to rest would be measured
    /// together with every other.
    pub fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let before = self.cpu_time()?;
            std::thread::sleep(Duration::from_millis(50));
            if self.cpu_time()?.saturating_sub(before) <= Duration::from_millis(10) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "its daemons are busy 5 s after their clients have left");
        }
    }

    /// What is resident for the daemon that takes more.
    pub fn resident(&self) -> u64 {
        self.daemons.iter().map(|daemon| procfs::resident(daemon.pid())).max().unwrap_or(0)
    }
}

/// Where a program lies: as it was given, or in the folders of PATH and those that only root's has.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file()).with_context(|| format!("no {program} here"))
}
