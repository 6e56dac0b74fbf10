//! What a configuration may ask for and this version does not do.

use std::sync::Arc;

use crate::spec::{Desired, Dht, Relays};

/// The keys that have no effect.
pub(super) fn keys(desired: &Desired) -> impl Iterator<Item = &'static str> {
    let Desired { discovery, nat, node, .. } = desired;
    let needs_network = !desired.tunnels.is_empty();
    let keys = [
        ("node.announce", !node.announce.is_empty()),
        ("node.append_announce", !node.append_announce.is_empty()),
        ("node.no_announce", !node.no_announce.is_empty()),
        ("discovery.dht", needs_network && discovery.dht != Dht::Off),
        ("discovery.bootstrap", discovery.bootstrap.is_some()),
        ("discovery.mdns", needs_network && discovery.mdns),
        ("nat.upnp", needs_network && nat.upnp),
        ("nat.hole_punching", needs_network && nat.hole_punching),
        ("nat.relays", needs_network && nat.relays != Relays::Off),
        ("relay_service", desired.relay_service.is_some()),
        ("metrics", desired.metrics.is_some()),
    ];
    keys.into_iter().filter_map(|(key, is_asked_for)| is_asked_for.then_some(key))
}

/// Why the node must stay off the network, if it must. A private network that is asked for and not kept would be a
/// public one.
pub(super) fn offline(desired: &Desired) -> Option<Arc<str>> {
    desired.node.private_network_key_file.as_ref()?;
    Some("not built yet: private networks (node.private_network_key_file), so this node stays off the network".into())
}
