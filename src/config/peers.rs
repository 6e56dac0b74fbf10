//! `[peers.*]`, and what names of peers stand for.

use std::collections::BTreeMap;

use super::{
    diagnostics::{Place, Problem, Wrong, nearest},
    multiaddress::{self, Network},
    printable::{quoted, toml_string},
    section::{Name, Section},
};
use crate::spec::{Multiaddr, Peer, PeerId, PeerName, PeerRef};

/// Every peer that the files declare.
pub(super) struct PeerBook {
    declared: BTreeMap<String, Declared>,
    /// Whether a file is missing, in which any unknown name may be declared.
    incomplete: bool,
}

struct Declared {
    place: Place,
    /// `None`: declared wrongly, which has been noted.
    peer: Option<(PeerName, Peer)>,
}

impl PeerBook {
    /// `complete`: every file that is included could be read.
    pub(super) fn new(complete: bool) -> Self {
        Self { declared: BTreeMap::new(), incomplete: !complete }
    }

    /// Adds the peers of one file.
    pub(super) fn read(&mut self, top: &mut Section<'_>, network: Network) {
        let report = top.report();
        top.tables("peers", |name, section| {
            let peer = self.peer(&name, section, network);
            if let Some(first) = self.declared.get(&name.text) {
                let title = format!("peer {} is declared twice", quoted(&name.text));
                report.note(Problem::error(name.place, title).and(first.place.clone(), "first declared here"));
            } else {
                self.warn_of_second_name(&name, &peer, section);
                self.declared.insert(name.text, Declared { place: name.place, peer });
            }
        });
    }

    fn peer(&self, name: &Name, section: &mut Section<'_>, network: Network) -> Option<(PeerName, Peer)> {
        let id = section.required("id", "the peer shows its id with `p2ptun id` or `ipfs id`");
        let id = id.and_then(|id| id.text(multiaddress::peer_id));
        let addresses = section.list("addresses", |text| {
            let address = address_of(text, id)?;
            network.permits(&address)?;
            Ok(address)
        });
        let name = name.check(section, |text| match text {
            "anyone" => Err(Wrong::new("`anyone` stands for every peer, and can't be the name of one")),
            _ if multiaddress::peer_id(text).is_ok() => Err(Wrong::new("a peer id can't be the name of a peer")),
            _ => PeerName::try_from(text).map_err(|error| Wrong::new(error.to_string())),
        });
        Some((name?, Peer { id: id?, addresses: addresses.unwrap_or_default() }))
    }

    fn warn_of_second_name(&self, name: &Name, peer: &Option<(PeerName, Peer)>, section: &Section<'_>) {
        let Some((_, peer)) = peer else { return };
        let same = |first: &&Declared| first.peer.as_ref().is_some_and(|(_, first)| first.id == peer.id);
        if let Some(first) = self.declared.values().find(same) {
            let title = format!("{}: this id has another name already", section.title());
            section.report().note(
                Problem::warning(name.place.clone(), title)
                    .and(first.place.clone(), "the same peer")
                    .help("status shows one of the two names"),
            );
        }
    }

    /// The peer that a name or an id stands for. `Ok(None)`: one that has been complained about already.
    pub(super) fn resolve(&self, text: &str) -> Result<Option<PeerId>, Wrong> {
        if let Some(declared) = self.declared.get(text) {
            return Ok(declared.peer.as_ref().map(|(_, peer)| peer.id));
        }
        if let Ok(id) = multiaddress::peer_id(text) {
            return Ok(Some(id));
        }
        if text == "anyone" {
            return Err(
                Wrong::new("\"anyone\" stands by itself, not among peers").help("write \"anyone\" without brackets")
            );
        }
        if let (true, Ok((_, Some(id)))) = (text.starts_with('/'), multiaddress::peer_address(text)) {
            let wrong = Wrong::new(format!("{} is an address", quoted(text)));
            return Err(wrong.help("a peer is named here by its name or its id").instead(toml_string(&id.to_base58())));
        }
        if self.incomplete {
            return Ok(None);
        }
        let wrong = Wrong::new(format!("unknown peer {}", quoted(text)));
        Err(match nearest(text, self.declared.keys().map(String::as_str)) {
            Some(name) => wrong.help(format!("did you mean `{name}`?")).instead(toml_string(name)),
            None if text.len() > 40 => wrong.help("it is neither the name of a [peers.*] table nor a whole peer id"),
            None => wrong.help("declare it in a table [peers.NAME], or write its id"),
        })
    }

    /// The peer that a list names, by name or id.
    pub(super) fn named(&self, text: &str) -> Result<Option<PeerRef>, Wrong> {
        let id = self.resolve(text)?;
        Ok(id.map(|id| PeerRef { written: text.to_owned(), id, addresses: Vec::new() }))
    }

    /// The peer that a forward names, by name, id, or an address that ends in `/p2p/<id>`.
    pub(super) fn reference(&self, text: &str, network: Network) -> Result<Option<PeerRef>, Wrong> {
        if !text.starts_with('/') {
            return self.named(text);
        }
        let (address, id) = multiaddress::peer_address(text)?;
        network.permits(&address)?;
        let id = id.ok_or_else(|| {
            Wrong::new(format!("{} does not say which peer it leads to", quoted(text))).help("end it in /p2p/<peer id>")
        })?;
        let addresses = if address.is_empty() { Vec::new() } else { vec![address] };
        Ok(Some(PeerRef { written: text.to_owned(), id, addresses }))
    }

    pub(super) fn into_peers(self) -> BTreeMap<PeerName, Peer> {
        self.declared.into_values().filter_map(|declared| declared.peer).collect()
    }
}

/// Reads an address of the peer `id`, which may name it once more at its end.
fn address_of(text: &str, id: Option<PeerId>) -> Result<Multiaddr, Wrong> {
    let (address, at_end) = multiaddress::peer_address(text)?;
    match (at_end, id) {
        _ if address.is_empty() => {
            Err(Wrong::new(format!("{} has no address in it", quoted(text))).help("leave it out: `id` says as much"))
        }
        (Some(other), Some(id)) if other != id => {
            let help = "remove /p2p/… from its end if the address is right";
            Err(Wrong::new(format!("{} is an address of another peer", quoted(text))).help(help))
        }
        _ => Ok(address),
    }
}
