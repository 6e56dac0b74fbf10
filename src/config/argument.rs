//! A tunnel that the command line declares: the table that a file would hold, read by the same code, and what is wrong
//! with it in the words of the command line.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{
    Reason, Refused,
    diagnostics::{Help, Problem, Wrong},
    load_by, print,
    printable::{printable, toml_key, toml_string},
    sources::{File, FileId},
};
use crate::spec::{Desired, Kind, Peer, PeerName, Tunnel, TunnelName};

/// A tunnel in the making: a table of a file, and which argument each of its keys comes from.
#[derive(Clone, Debug)]
pub struct Declaration {
    kind: Kind,
    name: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: &'static str,
    argument: &'static str,
    /// As it stands in TOML.
    value: String,
}

/// A tunnel that arguments declare without a fault.
#[derive(Clone, Debug)]
pub struct Declared {
    pub tunnel: Tunnel,
    /// What is remarkable about it, a sentence each.
    pub warnings: Vec<String>,
}

impl Declaration {
    /// A table `[kind.name]` without a key.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), entries: Vec::new() }
    }

    /// Adds a key, if there is a value for it.
    #[must_use]
    pub fn text(self, key: &'static str, argument: &'static str, value: Option<&str>) -> Self {
        self.entry(key, argument, value.map(toml_string))
    }

    #[must_use]
    pub fn number(self, key: &'static str, argument: &'static str, value: Option<u32>) -> Self {
        self.entry(key, argument, value.map(|value| value.to_string()))
    }

    /// Adds a key if it is to be true, which no flag is by default.
    #[must_use]
    pub fn flag(self, key: &'static str, argument: &'static str, value: bool) -> Self {
        self.entry(key, argument, value.then(|| "true".to_owned()))
    }

    #[must_use]
    pub fn list(self, key: &'static str, argument: &'static str, values: &[String]) -> Self {
        let items: Vec<_> = values.iter().map(|value| toml_string(value)).collect();
        self.entry(key, argument, Some(format!("[{}]", items.join(", "))))
    }

    fn entry(mut self, key: &'static str, argument: &'static str, value: Option<String>) -> Self {
        self.entries.extend(value.map(|value| Entry { key, argument, value }));
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The table as a file holds it: its header, and a line for each key.
    pub fn table(&self) -> String {
        let mut table = format!("[{}.{}]\n", self.kind, toml_edit::Key::new(&self.name).display_repr());
        for Entry { key, value, .. } in &self.entries {
            // Writing to a string can't fail.
            let _ = writeln!(table, "{key} = {value}");
        }
        table
    }

    /// The table as a value.
    pub(super) fn inline(&self) -> String {
        let entries: Vec<_> = self.entries.iter().map(|entry| format!("{} = {}", entry.key, entry.value)).collect();
        format!("{{ {} }}", entries.join(", "))
    }

    /// Validates the tunnel as if it stood in a file that declares `peers`.
    ///
    /// # Errors
    ///
    /// Every fault, a sentence each.
    pub fn read(&self, peers: &BTreeMap<PeerName, Peer>) -> Result<Declared, Vec<String>> {
        let around = print(&Desired { peers: peers.clone(), ..Desired::default() });
        let text = around.clone() + &self.table();
        let path = Path::new("arguments");
        let read = load_by(path, &|path| Ok((File::from_bytes(path, text.clone().into()), FileId::NONE)));
        let header = around.lines().count() + 1;
        let in_words = |problem: &Problem| self.in_words(problem, header);
        match read {
            Ok(loaded) => {
                let own = |problem: &&Problem| problem.position().1 >= header;
                let warnings = loaded.warnings.iter().filter(own).map(in_words).collect();
                let name = TunnelName::try_from(self.name.as_str()).ok();
                let tunnel = name.and_then(|name| loaded.desired.tunnels.get(&name).cloned());
                Ok(Declared { tunnel: tunnel.ok_or_else(|| vec!["no tunnel".to_owned()])?, warnings })
            }
            Err(Refused { reason: Reason::Invalid(problems), .. }) => {
                Err(problems.iter().filter(|problem| problem.is_error()).map(in_words).collect())
            }
            Err(refused) => Err(vec![refused.to_string()]),
        }
    }

    /// A problem in one sentence. `header` is the line of the table's header; each key has a line of its own.
    fn in_words(&self, problem: &Problem, header: usize) -> String {
        let (_, line, _) = problem.position();
        let entry = line.checked_sub(header + 1).and_then(|index| self.entries.get(index));
        let (key, argument) = entry.map_or(("", "the name"), |entry| (entry.key, entry.argument));
        let title = problem.title();
        let subject = format!("[{}.{}]", self.kind, toml_key(&self.name));
        let message = title.strip_prefix(&subject).unwrap_or(title).trim_start();
        let message = message.strip_prefix(key).unwrap_or(message).trim_start_matches(": ");
        // What a warning advises is another line of the file.
        let helps = if problem.is_error() { &problem.helps[..] } else { &[] };
        let help: Vec<_> = helps.iter().map(|help| help.text.as_str()).collect();
        let instead = helps.iter().find_map(|help: &Help| Some(help.edit.as_ref()?.1.as_str()));
        sentence(argument, message, Some(&help.join("; ")), instead)
    }
}

impl Wrong {
    /// What is wrong with `argument`, in one sentence.
    pub fn with(&self, argument: &str) -> String {
        sentence(argument, &printable(&self.message), self.help.as_deref(), self.instead.as_deref())
    }
}

/// `instead` is a TOML value; on the command line it stands without its quotes.
fn sentence(argument: &str, message: &str, help: Option<&str>, instead: Option<&str>) -> String {
    let mut sentence = format!("{argument}: {message}");
    let in_a_table = "set `allow_custom_protocol = true` in this table";
    let help = help.unwrap_or_default().replace(in_a_table, "give --allow-custom-protocol");
    if !help.is_empty() {
        sentence.push_str("; ");
        sentence.push_str(&help);
    }
    let bare = instead.and_then(|value| value.parse::<toml_edit::Value>().ok()?.as_str().map(str::to_owned));
    if let Some(bare) = bare.filter(|bare| !help.contains(bare)) {
        // Writing to a string can't fail.
        let _ = write!(sentence, " (`{}`)", printable(&bare));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(protocol: &str, bind: &str, peer: &str) -> Declaration {
        Declaration::new(Kind::Forward, "x")
            .text("protocol", "PROTO", Some(protocol))
            .text("bind", "BIND", Some(bind))
            .text("peer", "PEER", Some(peer))
    }

    const HOME: &str = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";

    fn wrong(declaration: &Declaration) -> Vec<String> {
        declaration.read(&BTreeMap::new()).unwrap_err()
    }

    #[test]
    fn a_fault_is_told_of_the_argument_and_never_of_a_table() {
        assert_eq!(
            wrong(&forward("/x/ssh", "2222", HOME)),
            ["BIND: `2222` has no host; a port alone is no address: name the host as well (`127.0.0.1:2222`)"]
        );
        let both = wrong(&forward("/ssh", "127.0.0.1:1", "home"));
        assert_eq!(
            both[0],
            "PROTO: `/ssh` does not begin with /x/; begin it with /x/, or give --allow-custom-protocol (`/x/ssh`)"
        );
        assert!(both[1].starts_with("PEER: unknown peer `home`; "), "{both:?}");
        let name = Declaration { name: "Bad \"Name\"".into(), ..forward("/x/ssh", "127.0.0.1:1", HOME) };
        assert!(
            wrong(&name)[0].starts_with("the name: `Bad \"Name\"` is no name; a name is 1 to 63 "),
            "{:?}",
            wrong(&name)
        );
    }

    #[test]
    fn peers_of_a_file_may_be_named_and_a_slip_is_recognised() {
        let peers =
            BTreeMap::from([("home".try_into().unwrap(), Peer { id: HOME.parse().unwrap(), addresses: vec![] })]);
        assert!(forward("/x/ssh", "127.0.0.1:1", "home").read(&peers).is_ok());
        let slip = forward("/x/ssh", "127.0.0.1:1", "hoem").read(&peers).unwrap_err();
        assert_eq!(slip, ["PEER: unknown peer `hoem`; did you mean `home`?"]);
    }

    #[test]
    fn what_is_remarkable_is_told_and_what_surrounds_the_tunnel_is_not() {
        let id: crate::spec::PeerId = HOME.parse().unwrap();
        let twice = ["a", "b"].map(|name| (name.try_into().unwrap(), Peer { id, addresses: vec![] }));
        let declared = forward("/x/ssh", "0.0.0.0:1", HOME).read(&twice.into()).unwrap();
        assert_eq!(declared.warnings, ["BIND: 0.0.0.0:1 is not loopback, so other machines may reach it"]);
    }

    #[test]
    fn no_argument_can_write_keys_of_its_own() {
        let sly = forward("/x/ssh", "127.0.0.1:1\"\nmax_connections = 1\nrelay = \"any", HOME);
        assert_eq!(sly.table().lines().count(), 4);
        assert_eq!(wrong(&sly).len(), 1);
    }

    #[test]
    fn the_table_is_the_same_in_line() {
        let declaration =
            forward("/x/ssh", "127.0.0.1:1", HOME).number("max_connections", "", Some(3)).list("on", "", &[]);
        let table: toml::Table = declaration.table().parse().unwrap();
        let value: toml::Table = format!("v = {}", declaration.inline()).parse().unwrap();
        assert_eq!(table["forward"]["x"], value["v"]);
    }
}
