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
mod time;

pub use self::time::{Due, Time};

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
            config: ConfigStatus {
                path: config,
                loaded_at: None,
                error: None,
                error_at: None,
                restart_required: Vec::new(),
            },
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
    #[serde(default)]
    pub error_at: Option<Time>,
    /// When the next attempt is due; `None` if none is.
    #[serde(default)]
    pub retry_at: Option<Time>,
}

/// The configuration that is in force, and what is wrong with the file if it could not be applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    pub path: PathBuf,
    /// When the set in force was read.
    pub loaded_at: Option<Time>,
    /// Why the file as it is now was refused; the set in force is older.
    pub error: Option<String>,
    #[serde(default)]
    pub error_at: Option<Time>,
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
    #[serde(flatten)]
    pub error: LastError,
    /// When the next attempt to bring it up is due; `None` if none is.
    #[serde(default)]
    pub retry_at: Option<Time>,
}

/// What one tunnel's streams have done since the service started. Shared with the streams.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// What went wrong last and when, until something goes well again: the keys `error` and `error_at`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LastError(Arc<Mutex<Option<Happened>>>);

/// What, and when; a service of an older version tells no time.
type Happened = (String, Option<Time>);

impl LastError {
    /// Something that went wrong at a time that is known.
    pub fn since(error: String, at: Time) -> Self {
        Self(Arc::new(Mutex::new(Some((error, Some(at))))))
    }

    pub fn get(&self) -> Option<String> {
        self.both().map(|(error, _)| error)
    }

    /// When that happened last.
    pub fn at(&self) -> Option<Time> {
        self.both().and_then(|(_, at)| at)
    }

    /// Returns whether that is news: the same again is not.
    pub fn set(&self, error: Option<String>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.as_ref().map(|(last, _)| last) != error.as_ref();
        *last = error.map(|error| (error, Some(Time::now())));
        news
    }

    fn both(&self) -> Option<Happened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PartialEq for LastError {
    fn eq(&self, other: &Self) -> bool {
        self.both() == other.both()
    }
}

/// How [`LastError`] is written.
#[derive(Serialize, Deserialize)]
struct ErrorKeys {
    error: Option<String>,
    #[serde(default)]
    error_at: Option<Time>,
}

impl Serialize for LastError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (error, error_at) = self.both().unzip();
        ErrorKeys { error, error_at: error_at.flatten() }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for LastError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ErrorKeys { error, error_at } = ErrorKeys::deserialize(from)?;
        Ok(Self(Arc::new(Mutex::new(error.map(|error| (error, error_at))))))
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

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
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
    /// Live now, of all tunnels. Shared with the table of streams.
    #[serde(default)]
    pub streams: Arc<Counter>,
    /// Why it is not connected, as far as it is known; `None` while it is.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub error_at: Option<Time>,
    /// When it is dialled next, or since when it has been; `None` if nobody is about to.
    #[serde(default)]
    pub retry_at: Option<Time>,
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
    /// Keys whose new values wait for a restart. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_required: Vec<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_news_once_and_its_time_is_that_of_the_last_time() {
        let error = LastError::default();
        assert_eq!((error.get(), error.at()), (None, None));
        assert!(error.set(Some("in use".into())));
        let earlier: Time = "2026-11-20T10:00:00Z".parse().unwrap();
        let repeated = LastError::since("in use".into(), earlier);
        assert!(!repeated.set(Some("in use".into())), "the same again");
        assert!(repeated.at() > Some(earlier));
        assert!(error.set(None));
        assert_eq!(error.at(), None);
    }

    #[test]
    fn what_an_older_service_does_not_tell_may_be_missing() {
        let json = r#"{
            "version": 1, "peer_id": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "addresses": [],
            "listeners": [{ "address": "/ip4/127.0.0.1/tcp/1", "state": "failed", "error": "in use" }],
            "config": { "path": "/etc/p2ptun.toml", "loaded_at": null, "error": "refused", "restart_required": [] },
            "tunnels": [{
                "name": "ssh", "kind": "listen", "state": "ready", "protocol": "/x/ssh", "target": "127.0.0.1:22",
                "bind": null, "peer": null, "peers": null, "streams": 1, "draining_streams": 0, "streams_total": 17,
                "refused": 0, "bytes_in": 1, "bytes_out": 2, "error": "refused"
            }],
            "peers": [{
                "id": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "name": "home", "connected": false,
                "path": "none", "address": null, "rtt_ms": null
            }]
        }"#;
        let status: Status = serde_json::from_str(json).unwrap();
        let tunnel = &status.tunnels[0];
        assert_eq!((tunnel.error.get().as_deref(), tunnel.error.at(), tunnel.retry_at), (Some("refused"), None, None));
        assert_eq!((status.peers[0].streams.get(), &status.peers[0].error), (0, &None));
        let applied: Applied = serde_json::from_str(r#"{"added":[],"removed":[],"changed":[],"failed":[]}"#).unwrap();
        assert_eq!(applied, Applied::default());
    }

    #[test]
    fn the_time_of_an_error_stands_beside_it() {
        let error = LastError::since("in use".into(), "2026-11-20T10:00:00Z".parse().unwrap());
        let told = serde_json::json!({ "error": "in use", "error_at": "2026-11-20T10:00:00Z" });
        assert_eq!(serde_json::to_value(&error).unwrap(), told);
        assert_eq!(serde_json::from_value::<LastError>(told).unwrap(), error);
        let none = serde_json::json!({ "error": null, "error_at": null });
        assert_eq!(serde_json::to_value(LastError::default()).unwrap(), none);
    }
}
