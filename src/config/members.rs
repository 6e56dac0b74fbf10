//! Who may: lists of peers, and "anyone". And from where: addresses that others can reach.

use std::collections::BTreeSet;

use super::{
    address::is_loopback,
    diagnostics::{Place, Problem, Wrong},
    peers::{PeerBook, means_anyone},
    printable::quoted,
    section::{Section, Value},
};
use crate::spec::{Allow, Destinations, Endpoint, PeerId};

/// Reads a list of peers or `"anyone"`. The place is that of the whole value.
pub(super) fn read(value: Value<'_>, peers: &PeerBook) -> Option<(Destinations, Place)> {
    let place = value.place();
    match value.as_str() {
        Some("anyone") => return Some((Destinations::Anyone, place)),
        Some(one) => {
            let wrong = Wrong::new("expected a list of peers or \"anyone\", found a string");
            return value.fail(match peers.list_for(one) {
                Some(meant) => wrong.help("did you mean this?").instead(meant),
                None => wrong.help("peers stand in brackets, by name or id: `[\"laptop\", \"home\"]`"),
            });
        }
        None if !value.is_list() => {
            let wrong = value.mistyped("a list of peers or \"anyone\"");
            return value.fail(wrong.help("peers stand in brackets, by name or id: `[\"laptop\", \"home\"]`"));
        }
        None => {}
    }
    if let Some(anyone) =
        value.only_item().filter(|one| *one == "anyone" || peers.resolve(one).is_err() && means_anyone(one))
    {
        let wrong = Wrong::new(format!("{} stands for every peer, and is no list of some", quoted(anyone)));
        return value.fail(wrong.help("write \"anyone\" without brackets").instead("\"anyone\""));
    }
    let named = |text: &str| match text {
        "anyone" => Err(Wrong::new("\"anyone\" can't stand among peers")
            .help("leave the others out and write `\"anyone\"` without brackets, or leave \"anyone\" out")),
        _ => peers.named(text),
    };
    let items = value.items()?;
    Some((Destinations::Peers(items.into_iter().filter_map(|item| item.text(named)?).collect()), place))
}

/// Reads `on`: the nodes that a tunnel is meant for.
pub(super) fn on(section: &mut Section<'_>, peers: &PeerBook) -> Option<BTreeSet<PeerId>> {
    let nodes = section.list("on", |text| match text {
        "anyone" => Err(Wrong::new("\"anyone\" is no node").help("leave `on` out: the tunnel is then on every node")),
        _ => peers.resolve(text),
    })?;
    Some(nodes.into_iter().flatten().collect())
}

/// Notes that others than this machine's users can connect to `bind`.
pub(super) fn warn_if_open(section: &Section<'_>, place: Place, bind: &Endpoint) {
    let (Endpoint::Tcp(address) | Endpoint::Udp(address)) = bind else { return };
    if !is_loopback(address) {
        let title = format!("{} bind: {bind} is not loopback, so other machines may reach it", section.title());
        let problem = Problem::warning(place, title);
        section.report().note(problem.help("bind to 127.0.0.1 or [::1] unless they are meant to"));
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
