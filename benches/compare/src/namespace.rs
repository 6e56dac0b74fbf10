//! A network of its own for daemons.

use std::{
    fs::File,
    os::fd::AsRawFd,
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// Of util-linux. Enters a namespace and then becomes the program.
const NSENTER: &str = "/usr/bin/nsenter";

/// A network namespace without a name: the kernel takes it away, with all that is in it, once neither this nor a process
/// within holds it any more. So nothing is left behind, however the run ends, and two runs can't meet.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Needs root. Nothing but a loopback interface is there, and that is down.
    pub fn new() -> Result<Self> {
        let handle = elsewhere(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace could be made, which takes root")?;
            File::open("/proc/thread-self/ns/net").context("/proc/thread-self/ns/net")
        })?;
        Ok(Self { handle })
    }

    /// Has the calling thread, and all that it starts from now on, live here.
    pub fn enter(&self) -> Result<()> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("a network namespace could not be entered")
    }

    /// Does something here: sockets and devices stay where they were made, whichever thread uses them.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        elsewhere(|| {
            self.enter()?;
            act()
        })
    }

    /// What stands before a command line that is to run here, for as long as this process does.
    pub fn prefix(&self) -> [String; 3] {
        let handle = format!("--net=/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd());
        [NSENTER.to_owned(), handle, "--".to_owned()]
    }
}

/// On a thread of its own: only a thread changes its namespace, not a process.
fn elsewhere<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let joined = thread::scope(|scope| ScopedJoinHandle::join(scope.spawn(act)));
    joined.map_err(|_| anyhow!("a thread in another namespace panicked"))?
}
