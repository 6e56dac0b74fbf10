//! Signals as triggers.

use std::{future, io};

use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Trigger;

/// Whether this process was started to outlive its terminal, as by nohup(1). To be asked before signals are caught.
pub fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored >> (SIGHUP - 1) & 1 == 1
}

pub(super) struct Signals(signal_hook_tokio::Signals);

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(signal_hook_tokio::Signals::new([SIGHUP, SIGINT, SIGTERM])?))
    }

    /// The next signal; equal ones that come at once may count as one.
    pub(super) async fn next(&mut self) -> Trigger {
        match self.0.next().await {
            Some(SIGHUP) => Trigger::Reload,
            Some(_) => Trigger::Stop,
            // The stream ends only when its handle is closed, and nobody has one.
            None => future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    // The only test that raises signals, for all tests of this process would receive them.
    #[tokio::test]
    async fn a_hangup_reloads_and_each_request_to_end_counts() {
        let mut signals = Signals::new().unwrap();
        for (signal, trigger) in [
            (SIGHUP, Trigger::Reload),
            (SIGTERM, Trigger::Stop),
            (SIGTERM, Trigger::Stop),
            (SIGINT, Trigger::Stop),
            (SIGHUP, Trigger::Reload),
        ] {
            raise(signal).unwrap();
            assert_eq!(signals.next().await, trigger);
        }
    }
}
