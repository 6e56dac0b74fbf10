//! p2ptun.toml(5): the reference of the file, and what no single key can tell.

use super::page::Page;
use crate::config::reference::{Default, Key, Kind, Table, tables};

pub(super) fn page() -> String {
    let mut page = Page::new("p2ptun.toml", "5", "the tunnels that p2ptun keeps up");
    page.section("DESCRIPTION");
    page.paragraphs(DESCRIPTION);
    page.section("EXAMPLES");
    for (what, file) in EXAMPLES {
        page.paragraph(what);
        page.block(file);
    }
    page.section("VALUES");
    page.paragraph(
        "Numbers, `true` and `false`, lists and tables stand as they are; everything else is a string in quotes.",
    );
    items(&mut page, VALUES);
    page.section("KEYS");
    for table in tables() {
        reference(&mut page, table);
    }
    page.section("INCLUDED FILES");
    page.paragraphs(INCLUDES);
    page.section("RELOADING");
    page.paragraphs(RELOADING);
    items(&mut page, CHANGES);
    page.section("FILES");
    items(&mut page, FILES);
    page.section("SEE ALSO");
    page.paragraph("p2ptun(1)");
    page.render()
}

fn items(page: &mut Page, items: &[(&str, &str)]) {
    for (tag, text) in items {
        page.item(tag, text);
    }
}

fn reference(page: &mut Page, table: &Table) {
    page.subsection(&match table.header {
        "" => "Before the first table".to_owned(),
        header => format!("[{header}]"),
    });
    page.paragraphs(table.text);
    if let Some(unbuilt) = table.unbuilt {
        page.paragraph(&format!("Not built yet: {unbuilt}."));
    }
    for key in table.keys {
        describe(page, key);
    }
}

fn describe(page: &mut Page, key: &Key) {
    let (first, rest) = key.text.split_first().unwrap_or((&"", &[]));
    page.item(&format!("`{}`", key.name), first);
    for text in rest {
        page.more(text);
    }
    page.more(&format!("Value: {}.", either(key.kinds)));
    page.line(&default(key));
    page.line(&format!("Example: `{} = {}`", key.name, key.example));
    match key.unbuilt {
        Some(what) => page.line(&format!("Not built yet: {what}.")),
        None if key.waits_for_restart => page.line("A change waits for the next start."),
        None => {}
    }
}

fn either(kinds: &[Kind]) -> String {
    let kinds: Vec<_> = kinds.iter().map(kind).collect();
    kinds.join(", or ")
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Words(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            match words.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => String::new(),
            }
        }
        Kind::Duration { from, to } => format!("a duration from {from} to {to}"),
        Kind::Count { what, from, to } => format!("a whole number of {what} from {from} to {to}"),
        Kind::Size => "a size".to_owned(),
        Kind::Text(what) => (*what).to_owned(),
        Kind::List(what) => format!("a list, each item {what}"),
        Kind::Table(what) => format!("a table of {what}"),
    }
}

fn default(key: &Key) -> String {
    match (key.excludes, &key.default) {
        (Some(other), _) => format!("Default: none; it takes the place of `{other}`."),
        (_, Default::Required) if key.name == "peer" => "Default: none; `peer` or `peers` must be there.".into(),
        (_, Default::Required) => "Default: none; it must be there.".into(),
        (_, Default::Is(value)) => format!("Default: `{value}`"),
        (_, Default::Depends { is, when, then }) => format!("Default: `{is}`; with `{when}` it is `{then}`"),
        (_, Default::Means(what)) => format!("Default: {what}."),
    }
}

const DESCRIPTION: &[&str] = &[
    "One file says which tunnels a node keeps up. It is TOML, and `p2ptun run` follows it while it runs. What stands in it is \
     data alone: no secret, and nothing that is executed.",
    "A tunnel has two ends, each in the file of its node: a `[listen.`*NAME*`]` table at the service, and a \
     `[forward.`*NAME*`]` table where the clients are, with the same protocol. The two nodes know each other by their peer \
     ids. Everything else has a default; a file of zero bytes is a node without tunnels, which opens nothing.",
    "A key or a table that p2ptun doesn't know is an error, not ignored. `p2ptun check` shows every mistake of a file at its \
     place, and `p2ptun check --print` what a file comes to with all defaults.",
];

pub(super) const EXAMPLES: &[(&str, &str)] = &[
    (
        "A service for one peer, here an SSH server:",
        r#"[peers.laptop]
id = "12D3KooWG97QDNz8rkB5vKh3QfS8WRZDocwcrmw2AXyHyCJkU3KD"

[listen.ssh]
target = "127.0.0.1:22"
allow = ["laptop"]
"#,
    ),
    (
        "The other end, on the laptop, for `ssh -p 2222 me@127.0.0.1`:",
        r#"[peers.home]
id = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi"
addresses = ["/dns4/home.example.org/tcp/5460"]

[forward.home-ssh]
protocol = "/x/ssh"
bind = "127.0.0.1:2222"
peer = "home"
"#,
    ),
    (
        "One file for a fleet. Each machine finds its own part: two offer a service, and a third has it on a unix socket, from \
         the first that answers:",
        r#"[peers.gate]
id = "12D3KooWPgHm1gtNAfTGKtUfjzcfDz5CAGKhTpZUn5wJMiE1CHJz"

[peers.app-1]
id = "12D3KooWG97QDNz8rkB5vKh3QfS8WRZDocwcrmw2AXyHyCJkU3KD"
addresses = ["/ip4/192.0.2.11/tcp/5460"]

[peers.app-2]
id = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi"
addresses = ["/ip4/192.0.2.12/tcp/5460"]

[listen.app]
target = "127.0.0.1:8000"
allow = ["gate"]
proxy_protocol = "v2"
on = ["app-1", "app-2"]

[forward.balancer]
protocol = "/x/app"
bind = "unix:/run/p2ptun/app.sock"
bind_mode = "0660"
bind_group = "www-data"
peers = ["app-1", "app-2"]
on = ["gate"]
"#,
    ),
    (
        "Many tunnels, each in a file of its own, on a machine that changes its port and waits longer at its stop:",
        r#"include = ["p2ptun.d/*.toml"]

[node]
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
stop_timeout = "1m"
"#,
    ),
];

const VALUES: &[(&str, &str)] = &[
    (
        "name",
        "1 to 63 characters of a-z, 0-9, `_` and `-`, the first a letter or a digit. The names of tunnels are unique across all \
         kinds of tunnel and all included files, and so are those of peers. `anyone` and peer ids can't be names of peers.",
    ),
    (
        "peer id",
        "What `p2ptun id` prints: `\"12D3KooW...\"`, or `\"Qm...\"`, or the same as a CID, `\"k51...\"` or `\"bafz...\"`.",
    ),
    (
        "peer",
        "The name of a `[peers.`*NAME*`]` table, or a peer id. Where everybody is meant, `\"anyone\"` stands in place of the list.",
    ),
    (
        "address",
        "A multiaddr at which a node is reached: `/ip4/`, `/ip6/`, `/dns/`, `/dns4/` or `/dns6/` with `/tcp/`*PORT* or \
         `/udp/`*PORT*`/quic-v1`, a `/dnsaddr/`*NAME*, or one through a relay, which goes on with \
         `/p2p/`*RELAY*`/p2p-circuit`. The id of the peer may stand at its end, `/p2p/`*ID*.",
    ),
    (
        "address of a service, or of this machine",
        "*HOST*`:`*PORT*, as in `\"127.0.0.1:22\"`, `\"[::1]:22\"` or `\"nas.lan:22\"`; a multiaddr such as \
         `\"/ip4/127.0.0.1/tcp/22\"`; `unix:`*PATH*, absolute and of at most 107 bytes; or `udp:`*HOST*`:`*PORT*, which is not \
         built yet: such a tunnel is shown as failed. Port 0 is any free one to listen on, and no service's. A unix socket \
         that nobody listens on any more is replaced; any other file in its place is an error.",
    ),
    (
        "duration",
        "Numbers with units, as in `\"500ms\"`, `\"1.5s\"`, `\"30s\"`, `\"5m\"`, `\"2h\"` or `\"1h 30m\"`; `d` is a day, and `M`, \
         unlike `m`, a month. A number alone is an error.",
    ),
    (
        "size",
        "Bytes, as a number or a string, from 1 byte to 1 PiB. `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `kB`, `MB`, `GB` \
         and `TB` of 1000.",
    ),
    (
        "protocol",
        "A name after `/x/`, as in `\"/x/ssh\"`: at most 140 bytes without spaces. Kubo has the same rule. A tunnel with \
         `allow_custom_protocol = true` may have any other that begins with a slash, but for those of the node itself.",
    ),
    (
        "path",
        "The path of a file; a relative one begins at the folder of the main file. `~`, `$` and `%` at its beginning stand \
        for nothing, and are errors.",
    ),
    ("block of IP addresses", "`\"10.0.0.0/8\"`, `\"fd00::/8\"` or, as Kubo writes it, `\"/ip4/10.0.0.0/ipcidr/8\"`."),
];

const INCLUDES: &[&str] = &[
    "`include` names more files. They hold `[peers.`*NAME*`]` and tunnels only; everything else, `include` among it, belongs \
     into the main file. All files together are one configuration: names are unique across them, and a tunnel may name peers \
     of another file.",
    "A path or a pattern is relative to the folder of the main file as it is given to p2ptun, symlinks unresolved. In a pattern \
     `*`, `?` and `[`...`]` match within one name of the path; `**` is not known. What it finds is read in sorted order, but for \
     names that begin with a dot and folders. A file that is found twice counts once, and the main file never.",
    "A pattern may find nothing. A path without a wildcard that leads nowhere is an error.",
];

const RELOADING: &[&str] = &[
    "The service looks again when a file changes (unless `watch = false`; symlinks, included files and files that come and go in \
     the folder of a pattern are followed too), at SIGHUP, and at `p2ptun reload`. If anything is wrong, nothing changes: the \
     set in force stays, and the log, `p2ptun status` and `p2ptun reload` say why. That goes for a file that is gone, or \
     emptied to zero bytes, as well. A file with only a comment removes every tunnel. An included file that a pattern found \
     and that is gone takes its tunnels along.",
    "Else the new set is applied, and open streams notice as little as can be:",
];

const CHANGES: &[(&str, &str)] = &[
    ("A tunnel that did not change", "Its streams notice nothing."),
    ("A tunnel that is new", "It is up when the reload returns."),
    (
        "A tunnel that is removed, renamed, or of another kind or protocol",
        "No new streams at once; those that are open may end within `drain_timeout`.",
    ),
    (
        "Another bind, target, limit, timeout or proxy header",
        "New streams use the new value; open ones go on. A bind that moves from one tunnel to another is handed over open.",
    ),
    ("A peer that is no longer allowed, or has another id", "Its streams are cut at once."),
    ("Another peer of a forward", "New streams go to the new peer; open ones go on."),
    (
        "A tunnel that can't start",
        "It alone is shown as failed, and tried again, at most 30 seconds apart. The reload succeeds and names it.",
    ),
    (
        "A key of which it says here that a change waits for the next start",
        "`p2ptun status` lists it until then; all else in the file is applied.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("`/etc/p2ptun.toml`", "The main file, unless --config or P2PTUN_CONFIG names another."),
    (
        "`$XDG_CONFIG_HOME/p2ptun.toml`, `~/.config/p2ptun.toml`",
        "The main file of users other than root, if it exists.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_of_a_whole_file_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p2ptun.toml");
        for (what, file) in EXAMPLES {
            std::fs::write(&path, file).unwrap();
            let loaded = crate::config::load(&path).map_err(|refused| format!("{what} {refused}")).unwrap();
            assert!(loaded.warnings.is_empty(), "{what} {:?}", loaded.warnings);
        }
    }
}
