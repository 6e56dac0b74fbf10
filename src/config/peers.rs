//! `[peers.*]`, and what names of peers stand for.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    diagnostics::{Place, Problem, Wrong, nearest},
    multiaddress::{self, Network},
    printable::{quoted, toml_string},
    section::{Name, Section},
};
use crate::spec::{InvalidName, Multiaddr, Peer, PeerId, PeerName, PeerRef};

/// With how many names an unknown one is compared: if none of thousands is known, that takes minutes and helps nobody.
const COMPARED: usize = 500;

/// Every peer that the files declare.
pub(super) struct PeerBook {
    declared: BTreeMap<String, Declared>,
    /// Where each id was first declared.
    ids: HashMap<PeerId, Place>,
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
        Self { declared: BTreeMap::new(), ids: HashMap::new(), incomplete: !complete }
    }

    /// Adds the peers of one file.
    pub(super) fn read(&mut self, top: &mut Section<'_>, network: Network) {
        let report = top.report();
        top.tables("peers", |name, section| {
            let peer = self.peer(&name, section, network);
            if let Some(first) = self.declared.get(&name.text) {
                let title = format!("peer {} is declared twice", quoted(&name.text));
                let problem = Problem::error(name.place, title).and(first.place.clone(), "first declared here");
                report.note(problem.help("remove one of the two, or give it another name"));
            } else {
                if let Some((_, peer)) = &peer {
                    self.add_id(&name, peer.id, section);
                }
                self.declared.insert(name.text, Declared { place: name.place, peer });
            }
        });
    }

    fn peer(&self, name: &Name, section: &mut Section<'_>, network: Network) -> Option<(PeerName, Peer)> {
        let help = "write `id = \"12D3KooW…\"`; the peer shows its own with `p2ptun id` or `ipfs id`";
        let id = section.required("id", help);
        let id = id.and_then(|id| id.text(multiaddress::peer_id));
        let addresses = section.list("addresses", |text| {
            let address = address_of(text, id)?;
            network.permits(&address)?;
            Ok(address)
        });
        let name = name.check(section, |text| match text {
            "anyone" => Err(Wrong::new("`anyone` stands for every peer, and can't be the name of one")
                .help("give the peer another name")),
            _ if multiaddress::peer_id(text).is_ok() => Err(Wrong::new("a peer id can't be the name of a peer")
                .help("give the peer a name of your own, as in [peers.home]; the id stands below it")),
            _ => PeerName::try_from(text).map_err(|_| no_name(text)),
        });
        Some((name?, Peer { id: id?, addresses: addresses.unwrap_or_default() }))
    }

    fn add_id(&mut self, name: &Name, id: PeerId, section: &Section<'_>) {
        let first = match self.ids.entry(id) {
            Entry::Occupied(first) => first.get().clone(),
            Entry::Vacant(free) => {
                free.insert(name.place.clone());
                return;
            }
        };
        let title = format!("{}: this id has another name already", section.title());
        section.report().note(
            Problem::warning(name.place.clone(), title)
                .and(first, "the same peer")
                .help("keep one of the two: status can show only one"),
        );
    }

    /// The peer that a name or an id stands for. `Ok(None)`: one that has been complained about already.
    pub(super) fn resolve(&self, text: &str) -> Result<Option<PeerId>, Wrong> {
        if let Some(declared) = self.declared.get(text) {
            return Ok(declared.peer.as_ref().map(|(_, peer)| peer.id));
        }
        if let Ok(id) = multiaddress::peer_id(text) {
            return Ok(Some(id));
        }
        if text.is_empty() {
            return Err(Wrong::new("the name is empty").help("write the name of a peer, or its id"));
        }
        if text == "anyone" {
            return Err(
                Wrong::new("\"anyone\" is no peer, and can't stand here").help("write the name of a peer, or its id")
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
        if self.declared.len() <= COMPARED
            && let Some(name) = nearest(text, self.declared.keys().map(String::as_str))
        {
            return Err(wrong.help(format!("did you mean `{name}`?")).instead(toml_string(name)));
        }
        Err(match PeerName::try_from(text) {
            // What is wrong with it as an id.
            _ if text.len() > 40 => multiaddress::peer_id(text).err().unwrap_or(wrong),
            Ok(name) => {
                wrong.help(format!("declare it, in a table [peers.{name}] that has its id, or write the id here"))
            }
            Err(_) if text.contains(['.', ':']) => {
                wrong.help("a peer is known by its id, and its host belongs in `addresses` of its table [peers.NAME]")
            }
            Err(_) => wrong.help("write the name of a [peers.NAME] table, or a peer id"),
        })
    }

    /// What was probably meant by one word in place of a list of peers, as a TOML value.
    pub(super) fn list_for(&self, text: &str) -> Option<String> {
        if means_anyone(text) {
            return Some("\"anyone\"".into());
        }
        let several: Vec<_> = text.split([',', ' ', ';']).filter(|one| !one.is_empty()).collect();
        if several.len() > 1 && several.iter().all(|one| self.resolve(one).is_ok()) {
            return Some(format!("[{}]", several.into_iter().map(toml_string).collect::<Vec<_>>().join(", ")));
        }
        match self.resolve(text) {
            Ok(_) => Some(format!("[{}]", toml_string(text))),
            Err(Wrong { instead, .. }) => instead.map(|meant| format!("[{meant}]")),
        }
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
            Wrong::new(format!("{} does not say which peer it leads to", quoted(text)))
                .help("end it in /p2p/<peer id>: a tunnel leads to a peer, wherever that is")
        })?;
        let addresses = if address.is_empty() { Vec::new() } else { vec![address] };
        Ok(Some(PeerRef { written: text.to_owned(), id, addresses }))
    }

    pub(super) fn into_peers(self) -> BTreeMap<PeerName, Peer> {
        self.declared.into_values().filter_map(|declared| declared.peer).collect()
    }
}

/// Whether `text`, which is no name, was written for `anyone`.
pub(super) fn means_anyone(text: &str) -> bool {
    let word = text.to_lowercase();
    ["*", "all", "any", "everyone", "everybody", "anybody"].contains(&word.as_str())
        || nearest(&word, ["anyone"]).is_some()
}

/// What is wrong with a name, and what it could be instead.
pub(super) fn no_name(text: &str) -> Wrong {
    let wrong = Wrong::new(match text.chars().count() {
        0 => "the name is empty".to_owned(),
        1..=63 => format!("{} is no name", quoted(text)),
        length => format!("the name has {length} characters"),
    });
    let meant = text.trim().to_lowercase().replace([' ', '.', '/'], "-");
    let wrong = wrong.help(InvalidName.to_string());
    // In a header a name that is one needs no quotes.
    if PeerName::try_from(meant.as_str()).is_ok() { wrong.instead(meant) } else { wrong }
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
            let meant = toml_string(&address.to_string());
            Err(Wrong::new(format!("{} is an address of another peer", quoted(text))).help(help).instead(meant))
        }
        _ => Ok(address),
    }
}
