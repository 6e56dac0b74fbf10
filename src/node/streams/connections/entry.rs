//! What is known of one peer: its connections, which of them take new streams, and who waits for one.

use std::{sync::Arc, time::Duration};

use libp2p::swarm::ConnectionId;
use tokio::{sync::Notify, time::Instant};

use crate::node::streams::{
    connection::{Connection, Route},
    live::Live,
    request::Opener,
};

/// Connections to one peer that share its streams. Each has its own TCP beneath it, so that what one of them loses holds up
/// only its own streams, and its own task, so that they can use more than one processor.
pub const MAX_ABREAST: usize = 4;

/// How long after its last stream a connection that nobody holds on to takes new ones. It ends two seconds later, and a
/// stream that is opened at that moment would be lost.
pub const WARM_FOR: Duration = Duration::from_secs(8);

/// Connections to one peer, those that were replaced included, beside which another is dialled in place of one that is
/// silent. Go's implementation takes eight from one peer.
const MAX_STANDING: usize = 7;

/// How long after connections of a peer were replaced they may be replaced again. What was dead has ended by then, and
/// the others are slow: it doesn't help them to be more.
pub const REPLACEMENT_PAUSE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Entry {
    /// Those that another has replaced come last. Of the others, direct ones before relayed ones, then those that have
    /// given a sign of life when they were asked, then the best route; of equals, the oldest first.
    pub connections: Vec<Held>,
    pub replaced: Vec<ConnectionId>,
    pub replaced_at: Option<Instant>,
    /// What had taken the place of all that are left has ended.
    pub orphaned: bool,
    pub company: Company,
    /// The dial that is to bring it.
    pub dialled_beside: Option<ConnectionId>,
    /// Local clients that wait for a connection.
    pub waiting: usize,
    pub failed_rounds: u64,
    pub last_failure: Option<Arc<str>>,
    pub changed: Arc<Notify>,
}

pub struct Held {
    pub connection: Arc<Connection>,
    pub opener: Opener,
    /// When it was last known to be alive, or asked whether it is.
    pub last_sign: Instant,
    /// It was asked, and has not answered since.
    pub silent: bool,
    pub standing: Standing,
}

pub enum Standing {
    /// It is held on to, if the configuration or an offer gives a reason.
    Lasting,
    /// It was dialled beside another, and ends when it has not been used for a while.
    Company {
        since: Instant,
        /// The far end has let it in.
        answered: bool,
    },
}

/// Whether another connection beside those that there are may be asked for.
#[derive(Default)]
pub enum Company {
    #[default]
    Welcome,
    /// It has been asked for, and the far end has yet to answer on it.
    Coming,
    /// The last one came to nothing.
    NotBefore(Instant),
}

impl Held {
    pub fn new(connection: Arc<Connection>, opener: Opener, standing: Standing) -> Self {
        Self { connection, opener, last_sign: Instant::now(), silent: false, standing }
    }

    /// Its streams, also those that are being agreed on.
    pub fn streams(&self) -> usize {
        self.opener.live().map_or(0, Live::streams)
    }

    /// Its streams that a tunnel has.
    fn load(&self) -> usize {
        self.opener.live().map_or(0, Live::load)
    }

    pub fn is_company(&self) -> bool {
        matches!(self.standing, Standing::Company { .. })
    }

    /// Whether it may take a new stream: nobody is about to let go of it. Which of the connections that the
    /// far end has dialled it holds on to is not known; it is the oldest, if nothing has happened to that.
    fn takes_streams(&self, is_oldest: bool) -> bool {
        let is_warm = || self.opener.live().is_some_and(|live| live.idle_for() < WARM_FOR);
        match self.standing {
            Standing::Lasting if self.connection.local.is_none() => true,
            Standing::Lasting => is_oldest || is_warm(),
            Standing::Company { answered, .. } => answered && is_warm(),
        }
    }
}

impl Entry {
    pub fn rank(&mut self) {
        self.connections.sort_by_key(|Held { connection, silent, .. }| {
            let Connection { id, route, .. } = **connection;
            (self.replaced.contains(&id), route == Route::Relayed, *silent, route, id)
        });
    }

    pub fn held(&mut self, id: ConnectionId) -> Option<&mut Held> {
        self.connections.iter_mut().find(|held| held.connection.id == id)
    }

    /// The connections that share the peer's streams; the first is the oldest of those that answer.
    pub fn abreast(&self) -> impl Iterator<Item = &Held> {
        let is_one =
            |held: &&Held| held.connection.route == Route::DirectTcp && !self.replaced.contains(&held.connection.id);
        self.connections.iter().filter(is_one)
    }

    /// Those of them that may take a new stream, silent ones among them.
    fn usable(&self) -> impl Iterator<Item = &Held> {
        let oldest = self.abreast().map(|held| &held.connection).min_by_key(|connection| connection.id);
        let oldest = oldest.map(|connection| connection.id);
        self.abreast().filter(move |held| held.takes_streams(oldest == Some(held.connection.id)))
    }

    /// The connection that a new stream takes, of those that `may_do`: of several abreast the one with the fewest streams,
    /// the oldest of equals. What is silent only where nothing else is direct.
    pub fn best(&self, may_do: impl Fn(&Connection) -> bool) -> Option<&Held> {
        let usable = |silent| {
            let usable =
                self.usable().filter(move |held| held.silent == silent).filter(|held| may_do(&held.connection));
            usable.min_by_key(|held| held.streams())
        };
        let by_rank = self.connections.iter().find(|held| may_do(&held.connection));
        usable(false).or_else(|| by_rank.filter(|held| !held.silent)).or_else(|| usable(true)).or(by_rank)
    }

    /// The connection that can be dialled again to have another beside it, if that is wanted now.
    pub fn wants_company(&self, now: Instant) -> Option<&Arc<Connection>> {
        match self.company {
            Company::Welcome => {}
            Company::NotBefore(time) if time <= now => {}
            Company::Coming | Company::NotBefore(_) => return None,
        }
        let load = self.abreast().map(Held::load).sum::<usize>();
        let dialled = self.abreast().map(|held| &held.connection).find(|connection| connection.local.is_none());
        // Those that were replaced stay as long as their streams.
        let standing = self.connections.iter().filter(|held| held.connection.route == Route::DirectTcp).count();
        dialled.filter(|_| standing < MAX_ABREAST && load > self.usable().count().max(1))
    }

    /// Whether another connection may be dialled in place of what is silent.
    pub fn may_be_replaced(&self, now: Instant) -> bool {
        let just_now = self.replaced_at.is_some_and(|at| now < at + REPLACEMENT_PAUSE) && !self.replaced.is_empty();
        !just_now && self.connections.len() < MAX_STANDING
    }

    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.waiting == 0 && self.dialled_beside.is_none()
    }
}
