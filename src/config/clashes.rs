//! What only one tunnel can have: its name, its bind, its protocol.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
};

use super::{
    diagnostics::{Place, Problem, Report},
    sources::File,
};
use crate::spec::{Endpoint, Host, PeerId, StreamProtocol};

/// What the tunnels of all files claim for themselves, also those that have other faults.
#[derive(Default)]
pub(super) struct Claims {
    names: Vec<Claim<String>>,
    binds: Vec<Claim<Endpoint>>,
    protocols: Vec<Claim<StreamProtocol>>,
}

#[derive(Clone)]
struct Claim<T> {
    what: T,
    /// The table that claims it, `[listen.ssh]`.
    by: String,
    place: Place,
    /// The nodes on which it is claimed; `None`: all.
    on: Option<BTreeSet<PeerId>>,
}

impl Claims {
    pub(super) fn name(&mut self, by: &str, place: Place, name: &str) {
        self.names.push(Claim { what: name.to_owned(), by: by.to_owned(), place, on: None });
    }

    pub(super) fn bind(&mut self, by: &str, place: Place, bind: Endpoint, on: Option<BTreeSet<PeerId>>) {
        self.binds.push(Claim { what: bind, by: by.to_owned(), place, on });
    }

    pub(super) fn protocol(&mut self, by: &str, place: Place, of: StreamProtocol, on: Option<BTreeSet<PeerId>>) {
        self.protocols.push(Claim { what: of, by: by.to_owned(), place, on });
    }

    /// Notes each claim that an earlier one, by the order of `files` and of their text, stands in the way of.
    pub(super) fn note_clashes(self, files: &[Arc<File>], report: &Report) {
        let Claims { names, binds, protocols } = self;
        for (later, earlier) in clashes(names, files, |name| Some(name.clone()), |_, _| true) {
            let title = format!("{}: the name `{}` is taken by {}", later.by, later.what, earlier.by);
            let problem = Problem::error(later.place, title).and(earlier.place, "first used here");
            report.note(problem.help("choose another name: it is unique across all kinds of tunnel and all files"));
        }
        for (later, earlier) in clashes(binds, files, slot, overlap) {
            let title = format!("{} bind: {} is taken by {}", later.by, later.what, earlier.by);
            let help = match (&later.what, is_wildcard(&later.what) != is_wildcard(&earlier.what)) {
                (Endpoint::Unix(_), _) => "choose another path for one of them",
                (_, true) => "choose another port for one of them: 0.0.0.0 and [::] stand for every address",
                (_, false) => "choose another port for one of them",
            };
            let problem = Problem::error(later.place, title);
            report.note(problem.and(earlier.place, format!("{} is bound here", earlier.what)).help(help));
        }
        for (later, earlier) in clashes(protocols, files, |protocol| Some(protocol.to_string()), |_, _| true) {
            // A protocol by default follows the name, and that the name is taken has been said.
            if later.by == earlier.by {
                continue;
            }
            let title = format!("{} protocol: {} is already served by {}", later.by, later.what, earlier.by);
            let implied = |claim: &Claim<_>| !claim.place.text().contains('/');
            let label = if implied(&earlier) { "served here, by its name" } else { "first served here" };
            let problem = Problem::error(later.place, title).and(earlier.place, label);
            report.note(problem.help("give one of the two another `protocol`, which its peers then ask for"));
        }
    }
}

fn is_wildcard(bind: &Endpoint) -> bool {
    match bind {
        Endpoint::Tcp(address) | Endpoint::Udp(address) => ip(&address.host).is_some_and(|ip| ip.is_unspecified()),
        Endpoint::Unix(_) => false,
    }
}

/// Pairs each claim that clashes with the first one that it clashes with.
///
/// Only claims with the same key are compared, and those without a key never clash.
fn clashes<T: Clone, K: Eq + Hash>(
    mut claims: Vec<Claim<T>>,
    files: &[Arc<File>],
    key: impl Fn(&T) -> Option<K>,
    exclude_each_other: impl Fn(&T, &T) -> bool,
) -> Vec<(Claim<T>, Claim<T>)> {
    claims.sort_by_key(|claim| claim.place.order(files));
    let mut earlier: HashMap<K, Vec<Claim<T>>> = HashMap::new();
    let mut found = Vec::new();
    for claim in claims {
        let Some(key) = key(&claim.what) else { continue };
        let same = earlier.entry(key).or_default();
        let clash =
            same.iter().find(|first| share_a_node(first, &claim) && exclude_each_other(&first.what, &claim.what));
        if let Some(first) = clash {
            found.push((claim.clone(), first.clone()));
        }
        same.push(claim);
    }
    found
}

fn share_a_node<T>(a: &Claim<T>, b: &Claim<T>) -> bool {
    match (&a.on, &b.on) {
        (Some(a), Some(b)) => !a.is_disjoint(b),
        // A tunnel for no node at all is in nobody's way.
        (Some(some), None) | (None, Some(some)) => !some.is_empty(),
        (None, None) => true,
    }
}

/// Binds in different slots never clash. Port 0 is a different free port each time.
#[derive(PartialEq, Eq, Hash)]
enum Slot {
    Tcp(u16),
    Udp(u16),
    Unix(PathBuf),
}

fn slot(bind: &Endpoint) -> Option<Slot> {
    match bind {
        Endpoint::Tcp(address) => (address.port != 0).then_some(Slot::Tcp(address.port)),
        Endpoint::Udp(address) => (address.port != 0).then_some(Slot::Udp(address.port)),
        Endpoint::Unix(path) => Some(Slot::Unix(path.clone())),
    }
}

/// Whether two binds of one slot take the same address.
fn overlap(a: &Endpoint, b: &Endpoint) -> bool {
    match (a, b) {
        (Endpoint::Tcp(a), Endpoint::Tcp(b)) | (Endpoint::Udp(a), Endpoint::Udp(b)) => match (ip(&a.host), ip(&b.host))
        {
            (Some(a), Some(b)) => a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()),
            (None, None) => same_name(&a.host, &b.host),
            // What a name will resolve to is not known here.
            _ => false,
        },
        (Endpoint::Unix(a), Endpoint::Unix(b)) => a == b,
        _ => false,
    }
}

fn ip(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ip(ip) => Some(ip.to_canonical()),
        Host::Name(name) => name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into()),
    }
}

fn same_name(a: &Host, b: &Host) -> bool {
    matches!((a, b), (Host::Name(a), Host::Name(b)) if a.eq_ignore_ascii_case(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::address::bind;

    fn clash(a: &str, b: &str) -> bool {
        let claim = |text: &str| Claim {
            what: bind(text).unwrap(),
            by: String::new(),
            place: Place::new(&Arc::new(File::new("", "")), 0..0),
            on: None,
        };
        !clashes(vec![claim(a), claim(b)], &[], slot, overlap).is_empty()
    }

    #[test]
    fn binds_clash_exactly_where_the_kernel_would_refuse_the_second() {
        for (a, b) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("LOCALHOST:80", "localhost:80"),
            ("0.0.0.0:80", "10.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("0.0.0.0:80", "localhost:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("host.example:80", "HOST.example:80"),
            ("udp:0.0.0.0:53", "udp:127.0.0.1:53"),
            ("unix:/run//a", "unix:/run/a"),
        ] {
            assert!(clash(a, b) && clash(b, a), "{a} and {b}");
        }
        for (a, b) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("udp:127.0.0.1:0", "udp:127.0.0.1:0"),
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("0.0.0.0:80", "[::]:80"),
            ("127.0.0.1:80", "udp:127.0.0.1:80"),
            ("unix:/run/a", "unix:/run/b"),
        ] {
            assert!(!clash(a, b) && !clash(b, a), "{a} and {b}");
        }
    }
}
