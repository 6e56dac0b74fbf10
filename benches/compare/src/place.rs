//! Where a daemon runs and how it is started: on this machine as it is, or within a network namespace.

use std::{
    ffi::OsStr,
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{namespace::Namespace, procfs};

/// How long anything that should happen may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Of util-linux. Has the kernel tell a program that its parent has ended, and then becomes the program.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A machine, or what stands for one.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where its sockets are. None stands for the network that the harness was started in.
    pub namespace: Option<Arc<Namespace>>,
    /// Where daemons of this place listen.
    pub address: IpAddr,
}

impl Place {
    pub fn loopback() -> Self {
        Self { namespace: None, address: Ipv4Addr::LOCALHOST.into() }
    }

    /// Does something with the sockets of this place.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.namespace {
            Some(namespace) => namespace.within(act),
            None => act(),
        }
    }

    /// Has the calling thread, and what it starts, be here.
    pub fn enter(&self) -> Result<()> {
        self.namespace.as_ref().map_or(Ok(()), |namespace| namespace.enter())
    }

    /// A port that nobody listens at. Below the range that the kernel picks ports of clients from, so that none of
    /// those takes it before the daemon does.
    pub fn free_port(&self) -> Result<SocketAddr> {
        const RANGE: std::ops::Range<u16> = 12_000..32_000;
        static NEXT: AtomicU16 = AtomicU16::new(0);
        for _ in RANGE {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() as u16);
            let address = SocketAddr::new(self.address, RANGE.start + nth % (RANGE.end - RANGE.start));
            if self.within(|| Ok(TcpListener::bind(address)?)).is_ok() {
                return Ok(address);
            }
        }
        bail!("no port of {} is free", self.address)
    }

    /// A program with an environment that leads nowhere out of `folder`.
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        // So that no daemon outlives a harness that is killed.
        let watch: &[&str] = if Path::new(SETPRIV).exists() { &[SETPRIV, "--pdeathsig", "TERM", "--"] } else { &[] };
        let prefix = self.namespace.as_ref().map(|namespace| namespace.prefix());
        let prefix = prefix.iter().flatten().map(String::as_str).chain(watch.iter().copied());
        let mut words = prefix.map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", folder).env("NO_COLOR", "1").current_dir(folder).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end, and returns what it printed.
    pub fn output(&self, program: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
        output(self.command(program, folder).args(arguments))
    }

    /// An empty folder for a daemon.
    pub fn folder(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("p2ptun-compare-").tempdir()?)
    }
}

/// Runs a command to its end, and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{command:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    Ok(printed)
}

/// A running program with a folder of its own. Ended when dropped, with all that came of it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Daemon {
    /// Starts `command`, which writes its log into `folder`.
    pub fn spawn(mut command: Command, folder: TempDir) -> Result<Self> {
        let log = folder.path().join("log");
        let file = File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks until `ask` says yes. An end of the daemon is an error, with its log.
    pub fn wait_until(&mut self, what: &str, mut ask: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status} before {what}: {}", self.log());
            }
            if ask(self) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it runs still.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a daemon ended with {status}: {}", self.log()),
            None => Ok(()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let family = procfs::family(self.pid());
        let signal = |signal| {
            for member in &family {
                // One that is gone already needs no signal.
                let _ = kill(Pid::from_raw(*member as i32), signal);
            }
        };
        signal(Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
