//! Connections that are dialled beside another to the same peer while that carries several streams at once: what is lost of
//! one holds up only its own streams, and each can use a processor of its own.
//!
//! Whoever has dialled them doesn't hold on to them: a while after their last stream, they end. If the one that they stood
//! beside ends first, one of them takes its place. `streams/connections.rs` knows which they are.

use std::time::Duration;

use tokio::runtime::Handle;

/// On a path that is shorter than this, nothing is gained by what several connections lose separately.
const LONG: Duration = Duration::from_millis(10);

/// Whether several connections can carry more than one, over a path with this round-trip time. With one worker thread, on
/// loopback, eight streams got 9.0 Gbit/s on one connection and 8.6 on four; over 40 ms with 1 % of loss 6 Mbit/s and 14.
/// With two worker threads, on loopback, 5.7 and 6.5 Gbit/s.
pub fn pays(round_trip: Option<Duration>) -> Pays {
    match round_trip {
        _ if Handle::current().metrics().num_workers() > 1 => Pays::Yes,
        Some(round_trip) if round_trip >= LONG => Pays::Yes,
        Some(_) => Pays::No,
        None => Pays::NotKnownYet,
    }
}

/// An answer to [`pays`].
#[derive(Debug, PartialEq)]
pub enum Pays {
    Yes,
    No,
    NotKnownYet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_thread_gains_by_it_on_a_long_path_only() {
        assert_eq!(pays(None), Pays::NotKnownYet);
        assert_eq!(pays(Some(Duration::from_millis(1))), Pays::No);
        assert_eq!(pays(Some(Duration::from_millis(40))), Pays::Yes);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_threads_gain_by_it_on_any_path() {
        assert_eq!(pays(None), Pays::Yes);
    }
}
