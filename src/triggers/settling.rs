//! When a burst of changes has come to rest.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::time::Instant;

/// An editor's save is several changes; this long without another one, and it is done.
const SILENCE: Duration = Duration::from_millis(300);

/// A file that is being written is read once it is closed, or this long after the last write.
const WRITE_SILENCE: Duration = Duration::from_secs(1);

/// In a directory that never comes to rest, this long after the first change is when to look.
const PATIENCE: Duration = Duration::from_secs(2);

/// And this long even if a configuration file is being written all the time.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// A burst of changes.
#[derive(Debug)]
pub(super) struct Settling {
    first: Instant,
    latest: Instant,
    /// Configuration files that somebody writes to, with the time of the last write.
    pub(super) writing: BTreeMap<PathBuf, Instant>,
}

impl Settling {
    /// The burst that begins with a change at `now`.
    pub(super) fn begin(now: Instant) -> Self {
        Self { first: now, latest: now, writing: BTreeMap::new() }
    }

    /// Anything has changed.
    pub(super) fn changed(&mut self, now: Instant) {
        self.latest = now;
    }

    /// A configuration file was written to, and not closed.
    pub(super) fn written(&mut self, file: PathBuf, now: Instant) {
        self.latest = now;
        self.writing.insert(file, now);
    }

    /// A configuration file was closed, or is not there any more.
    pub(super) fn closed(&mut self, file: &PathBuf, now: Instant) {
        self.latest = now;
        self.writing.remove(file);
    }

    /// When to look, if nothing else happens.
    pub(super) fn due(&self) -> Instant {
        let rest = (self.latest + SILENCE).min(self.first + PATIENCE);
        let written = self.writing.values().max().map(|last| *last + WRITE_SILENCE);
        rest.max(written.unwrap_or(rest)).min(self.first + WRITE_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn changes_are_over_after_a_short_silence() {
        let start = Instant::now();
        let mut settling = Settling::begin(start);
        assert_eq!(settling.due(), start + SILENCE);
        settling.changed(start + 200 * MS);
        assert_eq!(settling.due(), start + 200 * MS + SILENCE);
    }

    #[test]
    fn a_busy_directory_does_not_put_off_the_look_for_ever() {
        let start = Instant::now();
        let mut settling = Settling::begin(start);
        for n in 1..100 {
            settling.changed(start + n * 100 * MS);
        }
        assert_eq!(settling.due(), start + PATIENCE);
    }

    #[test]
    fn a_file_that_is_being_written_is_looked_at_when_it_is_closed() {
        let start = Instant::now();
        let mut settling = Settling::begin(start);
        for n in 1..=6 {
            settling.written("f".into(), start + n * 500 * MS);
        }
        assert_eq!(settling.due(), start + 3000 * MS + WRITE_SILENCE);
        settling.closed(&"f".into(), start + 3100 * MS);
        assert!(settling.due() <= start + 3100 * MS + SILENCE);
    }

    #[test]
    fn a_file_that_is_written_without_end_is_looked_at_all_the_same() {
        let start = Instant::now();
        let mut settling = Settling::begin(start);
        for n in 1..1000 {
            settling.written("f".into(), start + n * 500 * MS);
        }
        assert_eq!(settling.due(), start + WRITE_PATIENCE);
    }
}
