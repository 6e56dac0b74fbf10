//! Who may: lists of peers, and "anyone". And from where: addresses that others can reach.

use std::collections::BTreeSet;

use super::{
    address::is_loopback,
    diagnostics::{Place, Problem, Wrong},
    peers::PeerBook,
    printable::toml_string,
    section::{Section, Value},
};
use crate::spec::{Allow, Destinations, Endpoint, PeerId};

/// Reads a list of peers or `"anyone"`. The place is that of the whole value.
pub(super) fn read(value: Value<'_>, peers: &PeerBook) -> Option<(Destinations, Place)> {
    let place = value.place();
    match value.as_str() {
        Some("anyone") => return Some((Destinations::Anyone, place)),
        Some(one) => {
            let wrong = Wrong::new("expected a list of peers or \"anyone\"");
            return value.fail(wrong.help("a list stands in brackets").instead(format!("[{}]", toml_string(one))));
        }
        None => {}
    }
    let named = |text: &str| peers.named(text);
    let items = value.items()?;
    Some((Destinations::Peers(items.into_iter().filter_map(|item| item.text(named)?).collect()), place))
}

/// Reads `on`: the nodes that a tunnel is meant for.
pub(super) fn on(section: &mut Section<'_>, peers: &PeerBook) -> Option<BTreeSet<PeerId>> {
    let nodes = section.list("on", |text| peers.resolve(text))?;
    Some(nodes.into_iter().flatten().collect())
}

/// Notes that others than this machine's users can connect to `bind`.
pub(super) fn warn_if_open(section: &Section<'_>, place: Place, bind: &Endpoint) {
    let (Endpoint::Tcp(address) | Endpoint::Udp(address)) = bind else { return };
    if !is_loopback(address) {
        let title = format!("{} bind: {bind} is not loopback, so other machines may reach it", section.title());
        section.report().note(Problem::warning(place, title));
    }
}

impl From<Destinations> for Allow {
    fn from(members: Destinations) -> Self {
        match members {
            Destinations::Anyone => Allow::Anyone,
            Destinations::Peers(peers) => Allow::Peers(peers.into_iter().map(|peer| peer.id).collect()),
        }
    }
}
