//! Changes to watched files.
//!
//! Directories are watched, not files: a watch on a file dies with the first editor that saves by renaming. What
//! happens there is only a hint, and some file systems (NFS, `subPath` mounts) give none; so there is a slow poll too.
//! Hints and poll alike end in one "look again".

use std::{
    collections::BTreeSet,
    path::{self, Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{WatchSet, hops, settling::Settling};

/// How often to look where hints may be missing without our knowing.
const SLOW_POLL: Duration = Duration::from_secs(30);

/// How often to look where there are no hints.
const FAST_POLL: Duration = Duration::from_secs(3);

/// Hints that may wait. Those beyond are dropped: the ones that wait say "look" already.
const HINTS: usize = 256;

type Hint = notify::Result<Event>;

/// Makes the source of hints. There are few to be had: a user may have 128 inotify instances, and some have them all.
type MakeNotify = fn(mpsc::Sender<Hint>) -> notify::Result<RecommendedWatcher>;

/// Watches one [`WatchSet`].
///
/// Its few system calls are made on the caller's thread, on the files that the daemon is about to read there anyway.
pub(super) struct Watcher {
    set: WatchSet,
    /// `None` where the machine has none to give.
    notify: Option<RecommendedWatcher>,
    make_notify: MakeNotify,
    hints: mpsc::Receiver<Hint>,
    /// For the handler of `notify`, which may be made again.
    hint_sender: mpsc::Sender<Hint>,
    /// The directories that `notify` was told to watch.
    watched: BTreeSet<PathBuf>,
    /// Where the set's files and directories are once links are followed.
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    settling: Option<Settling>,
    next_poll: Instant,
    /// Whether some path goes without hints. Kept to warn once.
    blind: bool,
}

impl Watcher {
    pub(super) fn new(set: WatchSet) -> Self {
        Self::with(make_notify, set)
    }

    fn with(make_notify: MakeNotify, set: WatchSet) -> Self {
        let (hint_sender, hints) = mpsc::channel(HINTS);
        let mut watcher = Self {
            set: WatchSet::default(),
            notify: None,
            make_notify,
            hints,
            hint_sender,
            watched: BTreeSet::new(),
            files: BTreeSet::new(),
            directories: BTreeSet::new(),
            settling: None,
            next_poll: Instant::now(),
            blind: false,
        };
        watcher.begin(set);
        watcher
    }

    /// Watches `set` instead.
    pub(super) fn set(&mut self, set: WatchSet) {
        if set != self.set {
            self.begin(set);
        }
    }

    fn begin(&mut self, set: WatchSet) {
        self.set = set;
        self.lay();
        // What changed between the load that named this set and now was not seen.
        self.settling.get_or_insert_with(|| Settling::begin(Instant::now()));
    }

    /// Waits until it is time to look again. Nothing is lost if the returned future is dropped.
    pub(super) async fn changed(&mut self) {
        loop {
            let due = self.settling.as_ref().map_or(self.next_poll, Settling::due);
            tokio::select! {
                Some(hint) = self.hints.recv() => self.take(hint),
                () = sleep_until(due) => break,
            }
        }
        self.settling = None;
        // First the watches, then whoever waits for us reads: so what changes after that reading is seen.
        self.lay();
    }

    fn take(&mut self, hint: Hint) {
        let now = Instant::now();
        let settling = self.settling.get_or_insert_with(|| Settling::begin(now));
        settling.changed(now);
        let Ok(event) = hint else { return };
        let is_ours = |path: &PathBuf| {
            self.files.contains(path) || path.parent().is_some_and(|parent| self.directories.contains(parent))
        };
        for path in event.paths.into_iter().filter(is_ours) {
            match event.kind {
                EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                    settling.written(path, now);
                }
                EventKind::Access(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                    settling.closed(&path, now);
                }
                _ => {}
            }
        }
    }

    /// Lays all watches anew.
    ///
    /// Links may lead elsewhere by now, and a watch stays with its directory when that is renamed or removed, not with
    /// the path. To find out costs more than to begin again.
    fn lay(&mut self) {
        let mut failure = None;
        if self.notify.is_none() {
            match (self.make_notify)(self.hint_sender.clone()) {
                Ok(notify) => self.notify = Some(notify),
                Err(error) => failure = Some(error),
            }
        }
        for directory in std::mem::take(&mut self.watched) {
            if let Some(notify) = &mut self.notify {
                // Fails for a directory that is gone, and its watch with it.
                let _ = notify.unwatch(&directory);
            }
        }
        let mut watch = |directory: &Path| {
            if let Some(notify) = &mut self.notify
                && self.watched.insert(directory.to_owned())
                && let Err(error) = notify.watch(directory, RecursiveMode::NonRecursive)
            {
                failure = Some(error);
            }
        };
        self.files = self.set.files.iter().map(|file| hops::follow(&absolute(file), &mut watch)).collect();
        self.directories.clear();
        for directory in &self.set.directories {
            let end = hops::follow(&absolute(directory), &mut watch);
            if end.is_dir() {
                watch(&end);
                self.directories.insert(end);
            }
        }
        if let Some(error) = &failure
            && !self.blind
        {
            let seconds = FAST_POLL.as_secs();
            warn!(%error, seconds, "can't watch the configuration; looking at it again and again instead");
        }
        self.blind = failure.is_some();
        self.next_poll = Instant::now() + if self.blind { FAST_POLL } else { SLOW_POLL };
    }
}

/// Hands events on, except those that reading the configuration raises itself: they would never end.
fn make_notify(hints: mpsc::Sender<Hint>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |hint: Hint| {
        let by_reading = hint.as_ref().is_ok_and(|event| match event.kind {
            EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
            _ => false,
        });
        if !by_reading {
            let _ = hints.try_send(hint);
        }
    })
}

/// Relative paths are relative to where we are now; one that has no absolute form is not found either way.
fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
