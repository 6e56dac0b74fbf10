//! Growing pauses between attempts, jittered so that nodes that failed together don't return together.
//!
//! Fifteen lines of our own: the crates at hand either end after a number of attempts or let jitter exceed the longest
//! pause, which here is part of the contract.

use std::time::Duration;

/// The pauses of one thing that keeps failing.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses that begin at `first` and double up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The pause after one more failure: between half of and the whole of what it has grown to.
    pub fn pause(&mut self) -> Duration {
        let grown = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures += 1;
        grown.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// It works again: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_never_exceed_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let pauses: Vec<_> = (0..100).map(|_| backoff.pause()).collect();
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&pauses[0]));
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&pauses[2]));
        assert!(pauses[50..].iter().all(|p| (Duration::from_secs(15)..=Duration::from_secs(30)).contains(p)));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_secs(1));
    }
}
