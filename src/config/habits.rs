//! What keys are called elsewhere: by ssh, rathole, frp, WireGuard and Kubo, whose users come with their habits.

/// What is meant by a key that another program has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    /// The key that says it here; empty where there is none.
    pub(super) key: &'static str,
    /// What to write, where another name for the key would not do.
    pub(super) help: Option<&'static str>,
}

const TUNNELS: &str =
    "a tunnel is a [listen.NAME], which lets peers reach a service, or a [forward.NAME], which reaches that of a peer";
const NO_SERVER: &str = "there is no server to name: each peer is a table [peers.NAME] with its id";
const NO_SECRET: &str =
    "there is no password: peers prove their ids, and `allow` in [listen.NAME] says who may connect";
const OWN_KEY: &str =
    "a key stands in a file of its own, which `p2ptun id --create` makes and `identity` in [node] names";
const NETWORK_KEY: &str =
    "the key stands in a file of its own, which is named by `private_network_key_file = \"/etc/p2ptun.psk\"`";
/// Keys whose values are nobody's business, in lower case and in one word.
const SECRETS: [&str; 7] = ["token", "defaulttoken", "password", "secret", "secretkey", "presharedkey", "psk"];
const IN_NODE: &str = "it stands in the table [node]";
const IN_DISCOVERY: &str = "it stands in the table [discovery]";
const IN_NAT: &str = "it stands in the table [nat]";
const BIND: &str = "a forward listens at its `bind`, host and port in one: `bind = \"127.0.0.1:2222\"`";
const TARGET: &str = "a listen connects to its `target`, host and port in one: `target = \"127.0.0.1:22\"`";
const PROTOCOL: &str = "the peer knows the port; which of its services is meant is said by `protocol = \"/x/ssh\"`";
const PEERS_SIDE: &str = "who may connect is said where the service is: in the [listen.NAME] of the peer";
const ADDRESSES: &str = "it is a list of multiaddrs: `addresses = [\"/dns4/home.example.org/tcp/5460\"]`";
const MAIN_FILE: &str =
    "it stands at the top of the main file: a key that follows a [table] belongs to that table, up to the next one";

/// What is meant by `key` in a table of this `kind`, which is empty for the file itself.
///
/// `is_list` tells whether its value is a list, since the other name alone would not do for a value of another kind.
pub(super) fn meant(kind: &str, key: &str, is_list: bool) -> Option<Meant> {
    let renamed = |key| Some(Meant { key, help: None });
    let otherwise = |key, help| Some(Meant { key, help: Some(help) });
    let word = in_one_word(key);
    match (kind, word.as_str()) {
        (
            "",
            "tunnel" | "tunnels" | "service" | "services" | "proxy" | "proxies" | "client" | "server" | "visitors",
        ) => otherwise("", TUNNELS),
        ("", "serveraddr" | "serverport" | "remoteaddr" | "endpoint") => otherwise("", NO_SERVER),
        ("", "interface") => renamed("node"),
        ("", "logging") => renamed("log"),
        ("", "prometheus") => renamed("metrics"),
        ("", "relay") => renamed("relay_service"),
        (
            "",
            "identity"
            | "listenaddresses"
            | "announce"
            | "appendannounce"
            | "noannounce"
            | "privatenetworkkeyfile"
            | "draintimeout"
            | "stoptimeout",
        ) => otherwise("", IN_NODE),
        ("", "dht" | "bootstrap" | "mdns") => otherwise("", IN_DISCOVERY),
        ("", "upnp" | "holepunching" | "relays") => otherwise("", IN_NAT),
        (table, "include" | "watch") if !table.is_empty() => otherwise("", MAIN_FILE),
        (_, "identitykey" | "privatekey" | "privkey") => otherwise("", OWN_KEY),
        ("node", "privatenetworkkey" | "presharedkey" | "psk" | "swarmkey") => otherwise("", NETWORK_KEY),
        (_, word) if SECRETS.contains(&word) => otherwise("", NO_SECRET),
        (
            "forward" | "gateway" | "socks" | "metrics",
            "listen" | "listenaddress" | "local" | "localaddr" | "localaddress" | "bindaddr" | "bindaddress",
        ) => renamed("bind"),
        ("forward", "target" | "to" | "remote" | "host" | "remotehost" | "destination" | "server" | "peerid") => {
            renamed(if is_list { "peers" } else { "peer" })
        }
        ("forward", "port" | "localport" | "listenport" | "bindport" | "sourceport") => otherwise("bind", BIND),
        ("forward", "remoteport" | "targetport" | "peerport") => otherwise("protocol", PROTOCOL),
        ("forward", "allow") => otherwise("", PEERS_SIDE),
        ("gateway" | "socks", "allow" | "peers") if is_list => renamed("destinations"),
        (
            "listen",
            "bind" | "to" | "forward" | "forwardto" | "connect" | "connectto" | "upstream" | "destination" | "service"
            | "local" | "localaddr" | "localaddress" | "address" | "addr",
        ) => renamed("target"),
        ("listen", "port" | "localport" | "host" | "localip" | "targetport" | "remoteport") => {
            otherwise("target", TARGET)
        }
        ("listen", "peers" | "clients" | "allowed" | "allowedpeers" | "authorized") if is_list => renamed("allow"),
        ("peers", "peerid" | "publickey" | "pubkey" | "key") => renamed("id"),
        ("peers", "address" | "addr" | "addrs" | "endpoint" | "multiaddr" | "multiaddrs" | "host") => {
            if is_list {
                renamed("addresses")
            } else {
                otherwise("addresses", ADDRESSES)
            }
        }
        _ => None,
    }
}

/// Whether the value of `key` is a secret in other programs.
pub(super) fn is_secret(key: &str) -> bool {
    let word = in_one_word(key);
    SECRETS.contains(&word.as_str()) || ["privatekey", "privkey"].contains(&word.as_str())
}

fn in_one_word(key: &str) -> String {
    key.to_lowercase().replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_program_leads_to_ours_however_it_is_written() {
        let key = |kind, key| meant(kind, key, false).map(|meant| meant.key);
        assert_eq!(key("peers", "PublicKey"), Some("id"));
        assert_eq!(key("listen", "local_addr"), Some("target"));
        assert_eq!(key("listen", "localAddr"), Some("target"));
        assert_eq!(key("forward", "local-port"), Some("bind"));
        assert_eq!(key("forward", "colour"), None);
    }

    #[test]
    fn a_list_is_not_taken_for_one_value() {
        assert_eq!(meant("forward", "target", true).unwrap().key, "peers");
        assert_eq!(meant("peers", "address", true).unwrap().help, None);
        assert!(meant("peers", "address", false).unwrap().help.is_some());
        assert_eq!(meant("listen", "peers", false), None);
    }
}
