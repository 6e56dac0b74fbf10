//! The tables that belong into the main file.

use super::{
    Default::{Depends, Is, Means, Required},
    Kind::{Count, Duration, Flag, List, Size, Text, Words},
    Table, key,
};

const DRAIN: super::Kind = Duration { from: "0s", to: "1day" };

pub(super) const TABLES: &[Table] = &[
    Table {
        header: "",
        text: &["These stand before the first table."],
        keys: &[
            key(
                "include",
                &[List("a path or a pattern")],
                Means("no other file"),
                r#"["p2ptun.d/*.toml"]"#,
                &["More files with peers and tunnels. See INCLUDED FILES."],
            ),
            key(
                "watch",
                &[Flag],
                Is("true"),
                "false",
                &[
                    "Whether the service follows changes of the files by itself. If not, only SIGHUP and `p2ptun reload` make \
                     it look.",
                ],
            ),
        ],
        unbuilt: None,
    },
    Table {
        header: "node",
        text: &["Who this node is, and where others reach it."],
        keys: &[
            key(
                "identity",
                &[Text("a path")],
                Means("the default place, see FILES in p2ptun(1)"),
                r#""/var/lib/p2ptun/identity.key""#,
                &[
                    "The file with the node's private key. It is made at the first start, readable by its owner alone. A key \
                     of Kubo can be used as it is.",
                ],
            )
            .waits_for_restart(),
            key(
                "listen_addresses",
                &[List("an address to listen on")],
                Is(concat!(
                    r#"["/ip4/0.0.0.0/tcp/5460", "/ip4/0.0.0.0/udp/5460/quic-v1", "#,
                    r#""/ip6/::/tcp/5460", "/ip6/::/udp/5460/quic-v1"]"#
                )),
                r#"["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]"#,
                &[
                    "Where the node listens for peers: `/ip4/` or `/ip6/` with `/tcp/`*PORT* or `/udp/`*PORT*`/quic-v1`. Port 0 \
                     is any free one. Of the default, an address family that the machine lacks is skipped. One that can't be \
                     bound is tried again.",
                    "With no tunnel the node listens nowhere.",
                ],
            )
            .waits_for_restart(),
            key(
                "announce",
                &[List("an address")],
                Is("[]"),
                r#"["/dns4/home.example.org/tcp/5460"]"#,
                &["If not empty, others are told these addresses in place of those that the node listens on."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "append_announce",
                &[List("an address")],
                Is("[]"),
                r#"["/dns4/home.example.org/tcp/5460"]"#,
                &["Addresses that others are told besides."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "no_announce",
                &[List("a block of IP addresses")],
                Is("[]"),
                r#"["10.0.0.0/8", "fd00::/8"]"#,
                &["Addresses in these blocks are told nobody."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "private_network_key_file",
                &[Text("a path")],
                Means("the public network"),
                r#""/etc/p2ptun.psk""#,
                &[
                    "The key of a private libp2p network, as in Kubo's swarm.key. QUIC addresses and the public DHT are errors \
                     then.",
                ],
            )
            .given("[discovery]\ndht = \"off\"")
            .waits_for_restart()
            .meanwhile("a node with this key stays off the network altogether"),
            key(
                "drain_timeout",
                &[DRAIN],
                Is(r#""30s""#),
                r#""5m""#,
                &["How long the streams of a tunnel that was removed may go on."],
            ),
            key(
                "stop_timeout",
                &[DRAIN],
                Is(r#""10s""#),
                r#""1m""#,
                &["How long streams may go on when the service is told to stop. Told a second time, it ends at once."],
            ),
        ],
        unbuilt: None,
    },
    Table {
        header: "discovery",
        text: &["How peers are found of whom the file knows no address."],
        keys: &[
            key(
                "dht",
                &[Words(&["client", "server", "auto", "off"])],
                Is(r#""client""#),
                r#""off""#,
                &[
                    "The part that the node takes in the DHT, /ipfs/kad/1.0.0: asking only, answering as well, answering where \
                     others can reach it, or none.",
                ],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "bootstrap",
                &[List("an address that ends in `/p2p/`*ID*")],
                Means("the public bootstrappers of IPFS"),
                "[]",
                &["The nodes of the DHT that are asked first; `[]` means none."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "mdns",
                &[Flag],
                Is("true"),
                "false",
                &["Whether to look for peers in the local network, on interfaces with private addresses only."],
            )
            .waits_for_restart()
            .unbuilt(),
        ],
        unbuilt: None,
    },
    Table {
        header: "nat",
        text: &["How the node is reached from outside where a router stands between."],
        keys: &[
            key(
                "upnp",
                &[Flag],
                Is("true"),
                "false",
                &["Whether to ask the router for a port by UPnP, while there is a listen tunnel."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "hole_punching",
                &[Flag],
                Is("true"),
                "false",
                &["Whether relayed connections are to be replaced by direct ones (DCUtR)."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "relays",
                &[Words(&["auto", "off"]), List("an address that ends in `/p2p/`*ID*")],
                Is(r#""auto""#),
                r#""off""#,
                &["The relays by which others reach this node: found by itself, none, or these."],
            )
            .waits_for_restart()
            .unbuilt(),
        ],
        unbuilt: None,
    },
    Table {
        header: "relay_service",
        text: &["Being a relay for others. Without this table the node is none."],
        keys: &[
            key(
                "allow",
                &[List("a peer"), Words(&["anyone"])],
                Required,
                r#"["home", "laptop"]"#,
                &["The peers that may reserve a place. Anyone may connect to those."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "max_bytes",
                &[Size, Words(&["unlimited"])],
                Depends { is: r#""unlimited""#, when: r#"allow = "anyone""#, then: r#""131072""# },
                r#""1GiB""#,
                &["The bytes that one relayed connection may carry."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "max_duration",
                &[Duration { from: "1s", to: "365days" }, Words(&["unlimited"])],
                Depends { is: r#""unlimited""#, when: r#"allow = "anyone""#, then: r#""2m""# },
                r#""1h""#,
                &["How long one relayed connection may last."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "max_reservations",
                &[Count { what: "peers", from: 1, to: 1_000_000 }],
                Means("the default of the relay"),
                "128",
                &["How many peers may have a place at a time."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "max_circuits",
                &[Count { what: "connections", from: 1, to: 1_000_000 }],
                Means("the default of the relay"),
                "256",
                &["How many connections are relayed at a time."],
            )
            .waits_for_restart()
            .unbuilt(),
        ],
        unbuilt: None,
    },
    Table {
        header: "metrics",
        text: &["Metrics in the format of Prometheus, over HTTP. Without this table there are none."],
        keys: &[
            key(
                "bind",
                &[Text("a TCP address of this machine")],
                Required,
                r#""127.0.0.1:9464""#,
                &["Where to listen. `p2ptun check` warns where other machines can reach it."],
            )
            .waits_for_restart()
            .unbuilt(),
            key(
                "page",
                &[Flag],
                Depends { is: "true", when: r#"bind = "0.0.0.0:9464""#, then: "false" },
                "false",
                &["Whether there is a page for people, too. By default there is where only this machine can see it."],
            )
            .waits_for_restart()
            .unbuilt(),
        ],
        unbuilt: None,
    },
    Table {
        header: "log",
        text: &["What goes into the log. P2PTUN_LOG, see p2ptun(1), says how much of it."],
        keys: &[key("streams", &[Flag], Is("false"), "true", &["Whether each stream is an event."])],
        unbuilt: None,
    },
];
