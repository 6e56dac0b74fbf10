//! The live streams of all tunnels: who, by which path, how much, and the means to cut one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Counter, Path, Time, as_text};
use crate::spec::{PeerId, TunnelName};

/// One live stream, as `GET /v1/streams` tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Unique for the life of the service.
    pub id: u64,
    pub tunnel: TunnelName,
    #[serde(with = "as_text")]
    pub peer: PeerId,
    pub path: Path,
    pub opened_at: Time,
    #[serde(flatten)]
    pub bytes: Arc<Bytes>,
}

/// Payload of one stream so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Bytes {
    /// From the remote peer.
    #[serde(rename = "bytes_in")]
    pub inbound: Counter,
    /// To the remote peer.
    #[serde(rename = "bytes_out")]
    pub outbound: Counter,
}

/// The table of live streams. Clones share it.
#[derive(Clone, Default)]
pub struct LiveStreams(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    entries: BTreeMap<u64, (StreamStatus, CancellationToken)>,
    /// How many each peer has; those without any are not listed.
    of_peer: BTreeMap<PeerId, Arc<Counter>>,
}

impl LiveStreams {
    /// Lists a stream for as long as the returned value lives. `cut` is cancelled when somebody wants it cut.
    pub fn enter(&self, tunnel: TunnelName, peer: PeerId, path: Path, cut: CancellationToken) -> LiveStream {
        let bytes = Arc::new(Bytes::default());
        let mut table = self.lock();
        table.last_id += 1;
        let id = table.last_id;
        table.of_peer.entry(peer).or_default().add(1);
        let status = StreamStatus { id, tunnel, peer, path, opened_at: Time::now(), bytes: bytes.clone() };
        table.entries.insert(id, (status, cut));
        drop(table);
        self.0.changed.notify_one();
        LiveStream { id, bytes, table: self.clone() }
    }

    /// All live streams, oldest first.
    pub fn list(&self) -> Vec<StreamStatus> {
        let table = self.lock();
        table.entries.values().map(|(status, _)| status.clone()).collect()
    }

    /// Cuts the stream `id`; `false` if there is none.
    pub fn cut(&self, id: u64) -> bool {
        let table = self.lock();
        table.entries.get(&id).inspect(|(_, cut)| cut.cancel()).is_some()
    }

    /// The peers that have live streams, and how many: numbers that go on counting.
    pub fn peers(&self) -> BTreeMap<PeerId, Arc<Counter>> {
        self.lock().of_peer.clone()
    }

    /// Waits until a stream has begun or ended. Several changes may count as one.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's place in the table; leaves it when dropped.
pub struct LiveStream {
    pub id: u64,
    pub bytes: Arc<Bytes>,
    table: LiveStreams,
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if let Some((status, _)) = table.entries.remove(&self.id)
            && let Some(count) = table.of_peer.get(&status.peer)
        {
            count.subtract(1);
            if count.get() == 0 {
                table.of_peer.remove(&status.peer);
            }
        }
        drop(table);
        self.table.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_listed_while_it_lives_and_can_be_cut_by_its_id() {
        let streams = LiveStreams::default();
        let cut = CancellationToken::new();
        let stream = streams.enter("ssh".try_into().unwrap(), PeerId::random(), Path::Direct, cut.clone());
        stream.bytes.inbound.add(3);
        assert_eq!(serde_json::to_value(streams.list()).unwrap()[0]["bytes_in"], 3);
        assert!(streams.cut(stream.id));
        assert!(cut.is_cancelled());
        let id = stream.id;
        drop(stream);
        assert!(streams.list().is_empty());
        assert!(!streams.cut(id));
    }

    #[test]
    fn the_streams_of_each_peer_are_counted_and_a_peer_without_any_is_forgotten() {
        let streams = LiveStreams::default();
        let peer = PeerId::random();
        let enter = || streams.enter("ssh".try_into().unwrap(), peer, Path::Direct, CancellationToken::new());
        let first = enter();
        let count = streams.peers()[&peer].clone();
        let second = enter();
        assert_eq!(count.get(), 2);
        drop(first);
        assert_eq!(count.get(), 1);
        drop(second);
        assert_eq!(count.get(), 0);
        assert!(streams.peers().is_empty());
    }
}
