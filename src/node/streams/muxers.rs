//! What becomes of our own muxers beside the swarm: each is made known to its connection's handler, and seen off when the
//! swarm has dropped it.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{self, Id, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::reception::Reception;
use crate::yamux;

/// How long nothing may leave or come once a connection is to end. Towards a peer that takes nothing any more, a frozen
/// one or one behind a dead link, that would be for ever, and for as long its streams would hang.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same where nobody waits for it: as long as a silent connection is not taken for dead.
const DEPARTURE_TIMEOUT: Duration = Duration::from_secs(25);

/// How long it counts that something comes after the last has left: the kernel may still hold much, which a far end answers
/// while it takes it. By itself, what comes is no sign that the connection will ever end.
const MAX_HEARING: Duration = Duration::from_secs(10);

/// How long an end may take in all. A slow line takes a while for what has been written.
pub const MAX_CLOSE: Duration = Duration::from_secs(60);

/// Connections that may be leaving. What comes beyond is cut off.
const MAX_DEPARTURES: usize = 1_024;

/// The muxers of connections. Shared.
#[derive(Default)]
pub struct Muxers {
    /// By the task that polls them. The swarm gives each connection a task, which polls both its muxer and its handler,
    /// and never tells the one of the other.
    introductions: Mutex<HashMap<Id, Introduction>>,
    departures: Mutex<JoinSet<()>>,
    /// Nobody has time for connections that don't get on.
    hurry: CancellationToken,
}

/// What a connection's handler is to know of its muxer, and the muxer of the handler.
pub struct Introduction {
    pub opener: yamux::Opener,
    /// Where the handler puts who is to receive the peer's streams.
    pub reception: Arc<OnceLock<Arc<Reception>>>,
}

impl Muxers {
    /// Says by what muxer the connection of this task is carried; for as long as the returned value lives, or until it
    /// has been taken.
    pub fn introduce(self: &Arc<Self>, opener: yamux::Opener) -> Option<Introduced> {
        let task = task::try_id()?;
        let reception = Arc::<OnceLock<Arc<Reception>>>::default();
        self.introductions().insert(task, Introduction { opener, reception: reception.clone() });
        Some(Introduced { muxers: self.clone(), task, reception })
    }

    /// The muxer of this task's connection.
    pub fn take(&self) -> Option<Introduction> {
        self.introductions().remove(&task::try_id()?)
    }

    /// Keeps the driver of a connection that nobody has need for any more, until the far end has heard what is left to say
    /// and has gone as well.
    pub fn see_off(&self, connection: yamux::Opener, mut driver: JoinSet<yamux::Error>) {
        let mut departures = self.departures();
        while departures.try_join_next().is_some() {}
        // A runtime that is ending takes no tasks.
        if departures.len() >= MAX_DEPARTURES || Handle::try_current().is_err() {
            return;
        }
        let hurry = self.hurry.clone();
        departures.spawn(async move {
            let hurried = async {
                hurry.cancelled().await;
                stuck(connection.clone(), CLOSE_TIMEOUT, MAX_CLOSE).await;
            };
            tokio::select! {
                // How it went is nobody's concern any more.
                _ = driver.join_next() => {}
                () = stuck(connection.clone(), DEPARTURE_TIMEOUT, MAX_CLOSE) => {}
                () = hurried => {}
            }
        });
    }

    /// Resolves when all connections that were seen off have left, or don't get on.
    pub async fn departed(&self) {
        self.hurry.cancel();
        loop {
            let departures = mem::take(&mut *self.departures());
            if departures.is_empty() {
                return;
            }
            departures.join_all().await;
        }
    }

    fn departures(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn introductions(&self) -> MutexGuard<'_, HashMap<Id, Introduction>> {
        self.introductions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when a connection that is to end from now on has not got on for `patience`; at the latest after `most`.
pub async fn stuck(connection: yamux::Opener, patience: Duration, most: Duration) {
    let begun = Instant::now();
    let mut due = begun + patience;
    while Instant::now() < due {
        sleep_until(due).await;
        let since_begun = |time: Option<Instant>| time.map_or(begun, |time| time.max(begun));
        let (departure, arrival) = (since_begun(connection.last_departure()), since_begun(connection.last_arrival()));
        let hearing = (arrival + patience).min(departure + MAX_HEARING);
        due = hearing.max(departure + patience).min(begun + most);
    }
}

/// A muxer that can be taken by its connection's handler.
pub struct Introduced {
    muxers: Arc<Muxers>,
    task: Id,
    reception: Arc<OnceLock<Arc<Reception>>>,
}

impl Introduced {
    /// Who receives the peer's streams, once the handler has said so.
    pub fn reception(&self) -> Option<&Arc<Reception>> {
        self.reception.get()
    }
}

impl Drop for Introduced {
    fn drop(&mut self) {
        self.muxers.introductions().remove(&self.task);
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncWriteExt as _, io::BufReader};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::yamux::{Budget, Config, Role};

    /// A connection that has been dropped with something to say, to a far end that takes only what it reads.
    async fn leaving(muxers: &Muxers, words: usize) -> (yamux::Opener, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1_024);
        let config = Config { max_inbound_streams: Box::new(|| 0), budget: Budget::new(0) };
        let (mut connection, driver) = yamux::new(BufReader::new(near.compat()), Role::Dialer, config);
        let opener = connection.opener();
        let mut stream = opener.open().await.unwrap();
        stream.write_all(&vec![7; words]).await.unwrap();
        stream.close().await.unwrap();
        connection.close_when_dropped();
        muxers.see_off(opener.clone(), JoinSet::from_iter([driver]));
        (opener, far)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_seen_off_may_say_all_however_slowly_the_far_end_takes_it() {
        let muxers = Muxers::default();
        // The muxer by itself takes a far end that says nothing for dead after 25 seconds.
        let (_opener, mut far) = leaving(&muxers, 20_000).await;
        let hearing = async {
            let (mut heard, mut piece) = (0, [0; 1_000]);
            while let Ok(n @ 1..) = far.read(&mut piece).await {
                heard += n;
                tokio::time::sleep(CLOSE_TIMEOUT * 9 / 10).await;
            }
            heard
        };
        let (heard, ()) = tokio::join!(hearing, muxers.departed());
        assert!(heard > 20_000, "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_seen_off_and_does_not_get_on_is_waited_for_while_there_is_time() {
        let muxers = Muxers::default();
        let begun = Instant::now();
        let (_opener, mut far) = leaving(&muxers, 50_000).await;
        // It lives: a window update for a stream that nobody knows.
        while far.write_all(&[0, 1, 0, 0, 0, 0, 0, 99, 0, 0, 0, 0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = begun.elapsed();
        assert!(took >= DEPARTURE_TIMEOUT && took < DEPARTURE_TIMEOUT + MAX_HEARING, "{took:?}");
        let begun = Instant::now();
        let (_opener, _far) = leaving(&muxers, 50_000).await;
        muxers.departed().await;
        assert!(begun.elapsed() < 2 * CLOSE_TIMEOUT, "{:?}", begun.elapsed());
    }
}
