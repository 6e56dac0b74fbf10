//! The one model of what the service is doing, from which every view is rendered: the table of `p2ptun status`, its
//! JSON, systemd's STATUS=, metrics.
//!
//! The same types are written by the service and read by the command line. Numbers that change with every byte are
//! atomics shared with the streams that count them, so a published [`Status`] never goes stale.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spec::{Kind, Multiaddr, PeerId, TunnelName};

pub mod streams;

/// `GET /v1/status`. Readers must accept keys, kinds and states that they don't know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of this format.
    pub version: u32,
    #[serde(with = "as_text")]
    pub peer_id: PeerId,
    /// Where this node can be reached, each ending in `/p2p/<own id>`.
    pub addresses: Vec<Multiaddr>,
    pub listeners: Vec<ListenerStatus>,
    pub config: ConfigStatus,
    pub tunnels: Vec<TunnelStatus>,
    pub peers: Vec<PeerStatus>,
}

impl Status {
    pub const VERSION: u32 = 1;

    /// A node that has done nothing yet.
    pub fn new(peer_id: PeerId, config: PathBuf) -> Self {
        Self {
            version: Self::VERSION,
            peer_id,
            addresses: Vec::new(),
            listeners: Vec::new(),
            config: ConfigStatus { path: config, loaded_at: None, error: None, restart_required: Vec::new() },
            tunnels: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// A network listener of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// As configured.
    pub address: Multiaddr,
    pub state: State,
    pub error: Option<String>,
}

/// The configuration that is in force, and what is wrong with the file if it could not be applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    pub path: PathBuf,
    /// When the set in force was read (RFC 3339, UTC).
    pub loaded_at: Option<String>,
    /// Why the file as it is now was refused; the set in force is older.
    pub error: Option<String>,
    /// Keys whose new values wait for a restart.
    pub restart_required: Vec<String>,
}

/// One declared tunnel, or one that is no longer declared and still drains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    pub name: TunnelName,
    pub kind: Kind,
    pub state: State,
    /// `None` where each stream has its own (gateway, socks).
    pub protocol: Option<String>,
    pub target: Option<String>,
    /// The bound address, port 0 resolved.
    pub bind: Option<String>,
    /// As written in the file; `None` where `peers` is set.
    pub peer: Option<String>,
    pub peers: Option<Vec<String>>,
    #[serde(flatten)]
    pub counters: Arc<Counters>,
    pub error: LastError,
}

/// What one tunnel's streams have done since the service started. Shared with the streams.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Live now, without those that drain.
    pub streams: Counter,
    /// Live now, of an earlier declaration of this name.
    pub draining_streams: Counter,
    pub streams_total: Counter,
    /// Turned away by a limit or by `allow`, or their target or peer failed.
    pub refused: Counter,
    /// Payload from the remote peer.
    pub bytes_in: Counter,
    /// Payload to the remote peer.
    pub bytes_out: Counter,
}

impl PartialEq for Counters {
    fn eq(&self, other: &Self) -> bool {
        let values = |c: &Counters| {
            [&c.streams, &c.draining_streams, &c.streams_total, &c.refused, &c.bytes_in, &c.bytes_out].map(Counter::get)
        };
        values(self) == values(other)
    }
}

/// What went wrong last, until something goes well again. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether that is news.
    pub fn set(&self, error: Option<String>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *last != error;
        *last = error;
        news
    }
}

impl PartialEq for LastError {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Serialize for LastError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(to)
    }
}

impl<'de> Deserialize<'de> for LastError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(|error| Self(Arc::new(Mutex::new(error))))
    }
}

/// A number that many tasks change and any view may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(|n| Counter(AtomicU64::new(n)))
    }
}

/// Of a tunnel or a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Starting,
    Ready,
    Failed,
    Draining,
    /// A state that a newer service knows and this reader doesn't.
    #[serde(other)]
    Unknown,
}

/// A peer that the file names or that has live streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    #[serde(with = "as_text")]
    pub id: PeerId,
    pub name: Option<String>,
    pub connected: bool,
    pub path: Path,
    /// The remote address of the connection that new streams would take.
    pub address: Option<Multiaddr>,
    pub rtt_ms: Option<f64>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    Direct,
    Relayed,
    None,
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Path::Direct => "direct",
            Path::Relayed => "relayed",
            Path::None => "none",
            Path::Unknown => "unknown",
        })
    }
}

/// What a reload did: the answer of `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub added: Vec<TunnelName>,
    pub removed: Vec<TunnelName>,
    pub changed: Vec<TunnelName>,
    pub failed: Vec<Failed>,
}

/// A declared tunnel that is not up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub name: TunnelName,
    pub error: String,
}

/// Serialises what has a canonical text form, such as a peer id.
mod as_text {
    use super::*;
    use std::{fmt::Display, str::FromStr};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
