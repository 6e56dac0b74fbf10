//! The tables that any file may hold.

use super::{
    Default::{Depends, Is, Means, Required},
    Key,
    Kind::{Count, Duration, Flag, List, Table as Pairs, Text, Words},
    Table, key,
};

const CONNECTIONS: super::Kind = Count { what: "connections", from: 1, to: 1_000_000 };
const TIMEOUT: super::Kind = Duration { from: "100ms", to: "1h" };

const ALLOW_CUSTOM_PROTOCOL: Key = key(
    "allow_custom_protocol",
    &[Flag],
    Means("`false`"),
    "true",
    &["Whether a protocol may begin otherwise than with `/x/`. Those of the node itself are refused all the same."],
);

const ON: Key = key(
    "on",
    &[List("a peer")],
    Means("every node that reads the file"),
    r#"["home"]"#,
    &[
        "The nodes that have this tunnel, so that one file can be copied to many machines. Tunnels for different nodes may \
         have the same bind or the same protocol.",
    ],
);

const DESTINATIONS: Key = key(
    "destinations",
    &[List("a peer"), Words(&["anyone"])],
    Required,
    r#"["home"]"#,
    &["The peers that may be reached."],
);

pub(super) const TABLES: &[Table] = &[
    Table {
        header: "peers.NAME",
        text: &["A name for a peer, to be used in this file and its includes."],
        keys: &[
            key(
                "id",
                &[Text("a peer id")],
                Required,
                r#""12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi""#,
                &["The peer shows it with `p2ptun id` or `ipfs id`."],
            ),
            key(
                "addresses",
                &[List("an address")],
                Is("[]"),
                r#"["/dns4/home.example.org/tcp/5460"]"#,
                &[
                    "Where the peer can be dialled. As long as discovery is not built, a peer without addresses is reached \
                     only if it connects to this node.",
                ],
            ),
        ],
        unbuilt: None,
    },
    Table {
        header: "listen.NAME",
        text: &["Streams of peers that are allowed go to a local service. It is what Kubo calls `ipfs p2p listen`."],
        keys: &[
            key(
                "protocol",
                &[Text("a protocol")],
                Is(r#""/x/NAME""#),
                r#""/x/ssh""#,
                &["What peers call the service. Each protocol has one listen tunnel."],
            ),
            ALLOW_CUSTOM_PROTOCOL,
            key(
                "target",
                &[Text("an address of a service")],
                Required,
                r#""127.0.0.1:22""#,
                &["What each stream is connected to. A host name is resolved each time."],
            ),
            key(
                "allow",
                &[List("a peer"), Words(&["anyone"])],
                Required,
                r#"["laptop"]"#,
                &[
                    "Who may connect. Other peers are not even told that the protocol exists. `[]` is nobody; this node's own \
                     forwards may always. `p2ptun check` warns of `\"anyone\"`. A peer that is taken out loses its streams at once.",
                ],
            ),
            key(
                "report_peer_id",
                &[Flag],
                Is("false"),
                "true",
                &["Whether the target is sent the peer's id and a newline first, as with Kubo's `-r`."],
            ),
            key(
                "proxy_protocol",
                &[Words(&["v1", "v2"])],
                Means("none"),
                r#""v2""#,
                &[
                    "The version of the PROXY protocol header that the target is sent first. Source and destination are the \
                     ends of the libp2p connection; v2 has the peer's id as well, as text in a TLV of type 0xE0.",
                ],
            ),
            key(
                "max_connections",
                &[CONNECTIONS],
                Is("1024"),
                "100",
                &[
                    "How many streams there may be at a time. Those beyond are reset and counted. Also how much memory the \
                     tunnel may take: up to 256 KiB for each stream while its target doesn't read, and twice that for a peer \
                     that is bent on it.",
                ],
            ),
            key(
                "max_connections_per_peer",
                &[CONNECTIONS, Words(&["unlimited"])],
                Depends { is: r#""unlimited""#, when: r#"allow = "anyone""#, then: "256" },
                "16",
                &["The same for each peer by itself. Without it only `max_connections` counts."],
            ),
            key(
                "connect_timeout",
                &[TIMEOUT],
                Is(r#""10s""#),
                r#""3s""#,
                &["How long the target may take to accept. After that the stream is reset."],
            ),
            ON,
        ],
        unbuilt: None,
    },
    Table {
        header: "forward.NAME",
        text: &["Local connections go to a peer's service. It is what Kubo calls `ipfs p2p forward`."],
        keys: &[
            key(
                "protocol",
                &[Text("a protocol")],
                Required,
                r#""/x/ssh""#,
                &["What the peer calls the service: the `protocol` of its listen tunnel."],
            ),
            ALLOW_CUSTOM_PROTOCOL,
            key(
                "bind",
                &[Text("an address of this machine")],
                Required,
                r#""127.0.0.1:2222""#,
                &[
                    "Where local clients connect. Port 0 is any free one, which `p2ptun status` shows. `p2ptun check` warns where \
                     other machines can connect.",
                ],
            ),
            key(
                "bind_mode",
                &[Text("permission bits in octal")],
                Is(r#""0600""#),
                r#""0660""#,
                &["Who may connect to a unix socket; clients need to write."],
            )
            .given("[forward.NAME]\nbind = \"unix:/run/p2ptun/ssh.sock\""),
            key(
                "bind_group",
                &[Text("the name of a group")],
                Means("the group of the service"),
                r#""postgres""#,
                &["The group that is to own a unix socket. The service must be a member of it."],
            )
            .given("[forward.NAME]\nbind = \"unix:/run/p2ptun/ssh.sock\""),
            key(
                "peer",
                &[Text("a peer, or an address that ends in `/p2p/`*ID*")],
                Required,
                r#""home""#,
                &["Who is connected to. The node keeps a connection to this peer."],
            ),
            key(
                "peers",
                &[List("a peer, or an address that ends in `/p2p/`*ID*")],
                Means("`peer` alone"),
                r#"["home", "laptop"]"#,
                &[
                    "Several that offer the same service. They are tried in this order: the next joins in after 2 seconds, or \
                     as soon as one fails, and the first that answers has the connection.",
                ],
            )
            .in_place_of("peer"),
            key(
                "open_timeout",
                &[TIMEOUT],
                Is(r#""30s""#),
                r#""5s""#,
                &[
                    "How long a client waits for a stream to open, with several peers for all of them together. After that its \
                     connection is reset.",
                ],
            ),
            key(
                "max_connections",
                &[CONNECTIONS],
                Is("1024"),
                "5000",
                &[
                    "How many connections there may be at a time. Those beyond are reset and counted. Also how much memory the \
                     tunnel may take: up to 256 KiB for each connection while its client doesn't read, and twice that for a \
                     peer that is bent on it.",
                ],
            ),
            key(
                "relay",
                &[Words(&["trusted", "any", "never"])],
                Is(r#""trusted""#),
                r#""never""#,
                &[
                    "Which relayed connections its streams may take: those over relays that the file names or that state no \
                     limit, all, or none. Direct ones are preferred in any case.",
                ],
            ),
            ON,
        ],
        unbuilt: None,
    },
    Table {
        header: "gateway.NAME",
        text: &["An HTTP proxy to peers, like that of Kubo: `/p2p/`*ID*`/http/`*PATH*."],
        keys: &[
            key(
                "bind",
                &[Text("a TCP address of this machine")],
                Required,
                r#""127.0.0.1:8080""#,
                &["Where it listens."],
            ),
            DESTINATIONS,
            key(
                "domain",
                &[Text("a host name")],
                Means("none"),
                r#""example.com""#,
                &["If set, *ID*`.p2p.`*DOMAIN* leads to the peer as well."],
            ),
            ON,
        ],
        unbuilt: Some("such a tunnel is shown as failed"),
    },
    Table {
        header: "socks.NAME",
        text: &["A SOCKS5 proxy to peers, as `ssh -D` is one."],
        keys: &[
            key(
                "bind",
                &[Text("a TCP address of this machine")],
                Required,
                r#""127.0.0.1:1080""#,
                &["Where it listens."],
            ),
            DESTINATIONS,
            key(
                "ports",
                &[Pairs("ports and the protocols they stand for")],
                Is("{}"),
                r#"{ 22 = "/x/ssh" }"#,
                &["A port that is not listed stands for `/x/`*PORT*."],
            ),
            ALLOW_CUSTOM_PROTOCOL,
            ON,
        ],
        unbuilt: Some("such a tunnel is shown as failed"),
    },
];
