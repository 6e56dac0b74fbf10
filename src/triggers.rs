//! What makes the service look again, or stop: signals and changes to watched files.
//!
//! A trigger carries no data. It does not say what changed, for the daemon compares what it reads with what is in
//! force; a trigger too many costs one reading, and looking twice is a no-op.

use std::{future, io, path::PathBuf};

mod hops;
mod settling;
mod signals;
mod watch;

use signals::Signals;
pub use signals::hangup_is_ignored;
use watch::Watcher;

/// Something for the daemon to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Look at the configuration again (SIGHUP, or a watched path changed).
    Reload,
    /// End in good order (SIGTERM, SIGINT). The second one means: at once.
    Stop,
}

/// What the configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSet {
    /// Files that were read, or would have been if they were there.
    pub files: Vec<PathBuf>,
    /// Folders in which a new file would be read.
    pub directories: Vec<PathBuf>,
}

/// All triggers of the service.
///
/// To be kept until the process ends: a signal that was caught once stays caught, and without this value to receive it
/// SIGTERM would do nothing at all.
pub struct Triggers {
    signals: Signals,
    watcher: Option<Watcher>,
}

impl Triggers {
    /// Catches the signals; watches nothing yet.
    ///
    /// Must be called within a tokio runtime, before the service says that it is ready: a SIGHUP that comes earlier
    /// would end the process.
    pub fn new() -> io::Result<Self> {
        Ok(Self { signals: Signals::new()?, watcher: None })
    }

    /// Watches `set` from here on, in place of what was watched before; `None` watches nothing.
    ///
    /// One reload follows a set that differs from the last one, in case something changed after it was read and before
    /// it was watched.
    pub fn watch(&mut self, set: Option<WatchSet>) {
        match (&mut self.watcher, set) {
            (Some(watcher), Some(set)) => watcher.set(set),
            (watcher, set) => *watcher = set.map(Watcher::new),
        }
    }

    /// Waits until the service is to stop, or to stop at once.
    pub async fn stop(&mut self) {
        while self.next().await != Trigger::Stop {}
    }

    /// Waits for the next trigger. No trigger is lost if the returned future is dropped.
    pub async fn next(&mut self) -> Trigger {
        let changed = async {
            match &mut self.watcher {
                Some(watcher) => watcher.changed().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            trigger = self.signals.next() => trigger,
            () = changed => Trigger::Reload,
        }
    }
}
