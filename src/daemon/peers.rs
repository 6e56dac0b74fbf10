//! Peers as the status shows them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    node::NodeView,
    spec::{Desired, PeerId},
    status::{Counter, Path, PeerStatus},
};

/// The peers to show: those that the file names and those with live streams, not strangers, and not oneself.
pub(super) fn peers(
    declared: &Desired,
    view: &NodeView,
    mut with_streams: BTreeMap<PeerId, Arc<Counter>>,
    own: PeerId,
) -> Vec<PeerStatus> {
    let mut shown = declared.known_peers();
    shown.extend(with_streams.keys());
    shown.remove(&own);
    let mut names = HashMap::new();
    for (name, peer) in &declared.peers {
        // A peer with two names goes by the first.
        names.entry(peer.id).or_insert(name);
    }
    let status = |id: PeerId| {
        let seen = view.peers.get(&id);
        let away = view.away.get(&id);
        PeerStatus {
            id,
            name: names.get(&id).map(ToString::to_string),
            connected: seen.is_some(),
            path: seen.map_or(Path::None, |peer| peer.path),
            address: seen.map(|peer| peer.address.clone()),
            rtt_ms: seen.and_then(|peer| peer.round_trip).map(|time| time.as_secs_f64() * 1000.0),
            streams: with_streams.remove(&id).unwrap_or_default(),
            error: away.and_then(|away| Some(away.failure.as_ref()?.reason.to_string())),
            error_at: away.and_then(|away| Some(away.failure.as_ref()?.at)),
            retry_at: away.and_then(|away| away.retry_at),
        }
    };
    shown.into_iter().map(status).collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::status::streams::LiveStreams;

    #[test]
    fn what_has_not_changed_looks_the_same_and_streams_go_on_being_counted() {
        let (live, peer) = (LiveStreams::default(), PeerId::random());
        let enter = || live.enter("ssh".try_into().unwrap(), peer, Path::Direct, CancellationToken::new());
        let show = || peers(&Desired::default(), &NodeView::default(), live.peers(), PeerId::random());
        let _first = enter();
        let published = show();
        assert_eq!(published, show());
        let _second = enter();
        assert_eq!(published[0].streams.get(), 2);
        assert_eq!(published, show(), "nothing to publish anew");
    }
}
