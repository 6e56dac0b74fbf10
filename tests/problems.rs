//! What is wrong with a file, as `p2ptun check` says it: every problem, each at its place. The words are those of
//! `tests/diagnostics`.

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;

use folder::Folder;

/// Checks a file that holds `text` and expects exactly these problems, each by its place and the words in its title.
#[track_caller]
fn assert_problems(text: &str, expected: &[(&str, &str)]) {
    let answer = Folder::with(&[("p2ptun.toml", text)]).check("p2ptun.toml");
    let found = answer.problems();
    assert_eq!(found.len(), expected.len(), "{text}\n{}", answer.err);
    for (found, (place, words)) in found.iter().zip(expected) {
        assert!(found.starts_with(&format!("{place} ")), "expected {place} {words}, found {found} in\n{text}");
        assert!(found.contains(words), "expected {place} {words}, found {found} in\n{text}");
    }
    assert_eq!(answer.exit, Some(78), "{}", answer.err);
    assert_eq!(answer.out, "");
}

/// A forward that is right up to what `line` says of it.
fn forward(line: &str) -> String {
    format!("[forward.a]\nprotocol = '/x/a'\nbind = '127.0.0.1:1'\npeer = '{{home}}'\n{line}\n")
}

fn listen(line: &str) -> String {
    format!("[listen.a]\ntarget = '127.0.0.1:1'\nallow = []\n{line}\n")
}

#[test]
fn a_wrong_value_is_found_at_its_line_and_column() {
    let cases: &[(&str, &str, &str)] = &[
        // Types.
        ("watch = 'yes'", "1:9", "expected true or false, found a string"),
        ("include = 'x.toml'", "1:11", "expected a list, found a string"),
        ("node = 5", "1:8", "node: expected a table"),
        ("[[listen]]\n", "1:1", "listen: expected tables with names"),
        ("listen.a = 5", "1:8", "[listen] holds tables only, and `a` is a whole number"),
        // [node]
        ("[node]\ndrain_timeout = 30", "2:17", "[node] drain_timeout: expected a string, found a whole number"),
        ("[node]\ndrain_timeout = '30'", "2:17", "`30` is no duration"),
        ("[node]\nstop_timeout = '25h'", "2:16", "`25h` is more than 1day"),
        ("[node]\nidentity = ''", "2:12", "the path is empty"),
        ("[node]\nlisten_addresses = ['/ip4/0.0.0.0/tcp/1', '0.0.0.0:2']", "2:43", "is no multiaddr"),
        ("[node]\nlisten_addresses = ['/dns/a.example/tcp/1']", "2:21", "is no address to listen on"),
        ("[node]\nannounce = ['/ip4/192.0.2.1/tcp/0']", "2:13", "has port 0"),
        ("[node]\nappend_announce = ['/ip4/192.0.2.1/tcp/1/p2p/{home}']", "2:20", "names a peer"),
        ("[node]\nno_announce = ['10.0.0.0/33']", "2:16", "is no block of IP addresses"),
        // [discovery], [nat], [relay_service], [metrics], [log]
        ("[discovery]\ndht = 'clint'", "2:7", "unknown value `clint`"),
        ("[discovery]\nbootstrap = ['/ip4/192.0.2.1/tcp/1']", "2:14", "does not say whose address it is"),
        ("[nat]\nrelays = 'of'", "2:10", "unknown value `of`"),
        ("[nat]\nrelays = ['/ip4/192.0.2.1/tcp/1']", "2:11", "does not say whose address it is"),
        ("[relay_service]\nmax_bytes = '1GiB'", "1:2", "[relay_service]: `allow` is missing"),
        ("[relay_service]\nallow = []\nmax_bytes = '17EiB'", "3:13", "between 1 byte and 1 PiB"),
        ("[relay_service]\nallow = []\nmax_bytes = 0", "3:13", "between 1 byte and 1 PiB"),
        ("[relay_service]\nallow = []\nmax_duration = '0s'", "3:16", "`0s` is less than 1s"),
        ("[relay_service]\nallow = []\nmax_circuits = 0", "3:16", "must lie between 1 and 1000000"),
        ("[metrics]\npage = true", "1:2", "[metrics]: `bind` is missing"),
        ("[metrics]\nbind = 'unix:/run/m'", "2:8", "is no TCP address"),
        ("[log]\nstreams = 1", "2:11", "expected true or false"),
        // [peers.*]
        ("[peers.home]\naddresses = []", "1:8", "[peers.home]: `id` is missing"),
        ("[peers.home]\nid = '12D3KooW'", "2:6", "is no peer id"),
        ("[peers.Home]\nid = '{home}'", "1:8", "[peers.Home]: `Home` is no name"),
        ("[peers.anyone]\nid = '{home}'", "1:8", "stands for every peer"),
        (
            "[peers.a]\nid = '{home}'\naddresses = ['/ip4/192.0.2.1/tcp/1/p2p/{laptop}']",
            "3:14",
            "an address of another peer",
        ),
        ("[peers.a]\nid = '{home}'\naddresses = ['/ip4/192.0.2.1/udp/1']", "3:14", "transport that is not spoken"),
        // [listen.*]
        ("[listen.a]\nallow = []", "1:9", "[listen.a]: `target` is missing"),
        ("[listen.a]\ntarget = '127.0.0.1:1'", "1:9", "[listen.a]: `allow` is missing"),
        ("[listen.a]\nallow = []\ntarget = '127.0.0.1:0'", "3:10", "port 0"),
        ("[listen.a]\nallow = []\ntarget = 22", "3:10", "expected a string, found a whole number"),
        ("[listen.a]\nallow = []\ntarget = 'localhost'", "3:10", "has no port"),
        ("[listen.a]\nallow = []\ntarget = 'unix:a.sock'", "3:10", "is not absolute"),
        ("[listen.a]\nallow = 'laptop'\ntarget = '127.0.0.1:1'", "2:9", "expected a list of peers or \"anyone\""),
        ("[listen.a]\nallow = ['anyone']\ntarget = '127.0.0.1:1'", "2:9", "stands for every peer"),
        ("[listen.a]\nallow = ['laptop']\ntarget = '127.0.0.1:1'", "2:10", "[listen.a] allow: unknown peer `laptop`"),
        ("[listen.A]\nallow = []\ntarget = '127.0.0.1:1'", "1:9", "[listen.A]: `A` is no name"),
        // [gateway.*], [socks.*]
        ("[gateway.a]\nbind = '127.0.0.1:1'", "1:10", "[gateway.a]: `destinations` is missing"),
        ("[gateway.a]\nbind = 'udp:127.0.0.1:1'\ndestinations = []", "2:8", "is no TCP address"),
        ("[gateway.a]\nbind = '127.0.0.1:1'\ndestinations = []\ndomain = 'a b'", "4:10", "is no host name"),
        ("[socks.a]\ndestinations = 'anyone'", "1:8", "[socks.a]: `bind` is missing"),
        ("[socks.a]\nbind = '127.0.0.1:1'\ndestinations = []\nports = { 0 = '/x/a' }", "4:11", "`0` is no port"),
        (
            "[socks.a]\nbind = '127.0.0.1:1'\ndestinations = []\nports = { 22 = '/ssh' }",
            "4:16",
            "does not begin with /x/",
        ),
    ];
    for (text, place, words) in cases {
        assert_problems(text, &[(place, words)]);
    }
}

#[test]
fn a_wrong_key_of_a_listen_or_forward_is_found_at_its_line_and_column() {
    let listens = [
        ("protocol = '/ssh'", "4:12", "does not begin with /x/"),
        ("protocol = '/ipfs/id/1.0.0'\nallow_custom_protocol = true", "4:12", "the node itself speaks"),
        ("proxy_protocol = 'v3'", "4:18", "unknown value `v3`"),
        ("report_peer_id = 'true'", "4:18", "expected true or false"),
        ("max_connections = 0", "4:19", "must lie between 1 and 1000000"),
        ("max_connections = 1_000_001", "4:19", "must lie between 1 and 1000000"),
        ("max_connections = -1", "4:19", "must lie between 1 and 1000000"),
        ("max_connections_per_peer = 'many'", "4:28", "expected a whole number"),
        ("connect_timeout = '1ms'", "4:19", "`1ms` is less than 100ms"),
        ("on = ['{home}', 'nowhere']", "4:63", "unknown peer `nowhere`"),
        ("bind = '127.0.0.1:1'", "4:1", "unknown key `bind`"),
    ];
    for (line, place, words) in listens {
        assert_problems(&listen(line), &[(place, words)]);
    }
    let forwards = [
        ("open_timeout = '1M'", "5:16", "`1M` is more than 1h"),
        ("relay = 'always'", "5:9", "unknown value `always`"),
        ("bind_mode = '0600'", "5:13", "only the socket file of a unix bind"),
        ("bind_group = 'adm'", "5:14", "only the socket file of a unix bind"),
        ("peers = ['{laptop}']", "5:9", "`peer` and `peers` exclude each other"),
        ("max_connections = 1.5", "5:19", "expected a whole number, found a number"),
        ("target = '127.0.0.1:1'", "5:1", "unknown key `target`"),
    ];
    for (line, place, words) in forwards {
        assert_problems(&forward(line), &[(place, words)]);
    }
    let head = "[forward.a]\nprotocol = '/x/a'\n";
    let binds = [
        ("bind = '127.0.0.1:1'", "1:10", "[forward.a]: `peer` is missing"),
        ("bind = '127.0.0.1:1'\npeers = []", "4:9", "no peer is named"),
        ("bind = '127.0.0.1:1'\npeer = '/ip4/192.0.2.1/tcp/1'", "4:8", "does not say which peer"),
        ("bind = 'unix:/run/a'\npeer = '{home}'\nbind_mode = '0999'", "5:13", "is no file mode"),
        ("bind = 'unix:/run/a'\npeer = '{home}'\nbind_mode = 0x180", "5:13", "expected a string"),
        ("bind = '8080'\npeer = '{home}'", "3:8", "has no host"),
        ("peer = '{home}'", "1:10", "[forward.a]: `bind` is missing"),
    ];
    for (lines, place, words) in binds {
        assert_problems(&format!("{head}{lines}\n"), &[(place, words)]);
    }
}

/// Two tunnels and whether they get in each other's way.
#[track_caller]
fn assert_clash(first: &str, second: &str, clash: Option<(&str, &str)>) {
    let text = format!("{first}\n{second}\n");
    let answer = Folder::with(&[("p2ptun.toml", &text)]).check("p2ptun.toml");
    match clash {
        None => assert_eq!(answer.exit, Some(0), "{text}\n{}", answer.err),
        Some((one, other)) => {
            assert_eq!(answer.exit, Some(78), "{text}");
            for place in [one, other] {
                assert!(answer.err.contains(&format!("p2ptun.toml:{place}\n")), "{place} in\n{text}\n{}", answer.err);
            }
        }
    }
}

#[test]
fn two_binds_on_one_address_clash_and_both_places_are_shown() {
    let forward =
        |name: &str, bind: &str| format!("[forward.{name}]\nprotocol = '/x/a'\npeer = '{{home}}'\nbind = '{bind}'");
    assert_clash(&forward("a", "127.0.0.1:80"), &forward("b", "localhost:80"), Some(("8:8", "4:8")));
    assert_clash(&forward("a", "0.0.0.0:80"), &forward("b", "127.0.0.1:80"), Some(("8:8", "4:8")));
    assert_clash(&forward("a", "127.0.0.1:80"), &forward("b", "127.0.0.1:81"), None);
    assert_clash(&forward("a", "127.0.0.1:0"), &forward("b", "127.0.0.1:0"), None);
    let others = [
        "[gateway.b]\ndestinations = []\nbind = '127.0.0.1:80'",
        "[socks.b]\ndestinations = []\nbind = '127.0.0.1:80'",
        "[metrics]\npage = true\nbind = '127.0.0.1:80'",
    ];
    for other in others {
        assert_clash(&forward("a", "127.0.0.1:80"), other, Some(("7:8", "4:8")));
    }
}

#[test]
fn tunnels_for_different_nodes_do_not_clash() {
    let forward = |name: &str, on: &str| {
        format!("[forward.{name}]\nprotocol = '/x/a'\npeer = '{{home}}'\nbind = '127.0.0.1:80'\non = {on}")
    };
    assert_clash(&forward("a", "['{home}']"), &forward("b", "['{laptop}']"), None);
    assert_clash(&forward("a", "['{home}', '{laptop}']"), &forward("b", "['{laptop}']"), Some(("9:8", "4:8")));
    let listen = |name: &str, on: &str| {
        format!("[listen.{name}]\nprotocol = '/x/a'\ntarget = '127.0.0.1:1'\nallow = []\non = {on}")
    };
    assert_clash(&listen("a", "['{home}']"), &listen("b", "['{laptop}']"), None);
    assert_clash(&listen("a", "['{home}']"), &listen("b", "['{home}']"), Some(("7:12", "2:12")));
}

#[test]
fn two_listens_on_one_protocol_clash_also_where_one_has_it_by_default() {
    let first = "[listen.ssh]\ntarget = '127.0.0.1:22'\nallow = []";
    let second = "[listen.b]\nprotocol = '/x/ssh'\ntarget = '127.0.0.1:22'\nallow = []";
    assert_clash(first, second, Some(("5:12", "1:9")));
}

#[test]
fn a_tunnel_of_the_same_kind_and_name_in_two_files_is_one_problem() {
    let main = "include = ['more.toml']\n".to_owned() + &listen("");
    let folder = Folder::with(&[("p2ptun.toml", &main), ("more.toml", &listen(""))]);
    assert_eq!(folder.check("p2ptun.toml").problems(), ["1:9 [listen.a]: the name `a` is taken by [listen.a]"]);
}

#[test]
fn a_bind_that_clashes_is_compared_with_the_next_one_all_the_same() {
    let forward = |name: &str, on: &str| {
        format!("[forward.{name}]\nprotocol = '/x/a'\npeer = '{{home}}'\nbind = '127.0.0.1:80'\non = {on}\n")
    };
    let text = forward("a", "['{home}']") + &forward("b", "['{home}', '{laptop}']") + &forward("c", "['{laptop}']");
    assert_problems(&text, &[("9:8", "taken by [forward.a]"), ("14:8", "taken by [forward.b]")]);
}

#[test]
fn a_private_network_has_neither_quic_nor_the_public_dht() {
    let key = "[node]\nprivate_network_key_file = '/etc/psk'\n";
    assert_problems(key, &[("2:28", "a private network can't use the public DHT")]);
    assert_problems(&format!("{key}[discovery]\ndht = 'client'"), &[("4:7", "can't use the public DHT")]);
    let off = "[discovery]\ndht = 'off'\n";
    assert_problems(
        &format!("{key}listen_addresses = ['/ip4/0.0.0.0/tcp/1', '/ip4/0.0.0.0/udp/1/quic-v1']\n{off}"),
        &[("3:43", "is a QUIC address")],
    );
    assert_problems(
        &format!("{key}{off}[peers.a]\nid = '{{home}}'\naddresses = ['/ip4/192.0.2.1/udp/1/quic-v1']"),
        &[("7:14", "is a QUIC address")],
    );
    let folder = Folder::with(&[("p2ptun.toml", &format!("{key}{off}"))]);
    assert_eq!(folder.check("p2ptun.toml").exit, Some(0));
    let own = format!("{key}[discovery]\nbootstrap = ['/ip4/192.0.2.1/tcp/1/p2p/{{home}}']");
    assert_eq!(Folder::with(&[("p2ptun.toml", &own)]).check("p2ptun.toml").exit, Some(0));
}

#[test]
fn what_is_dangerous_is_warned_of_and_taken() {
    let text = "\
[peers.a]
id = '{home}'
[peers.b]
id = '{home}'
[listen.l]
target = '127.0.0.1:1'
allow = 'anyone'
[gateway.g]
bind = '0.0.0.0:1'
destinations = 'anyone'
[forward.f]
protocol = '/x/f'
bind = 'udp:192.0.2.1:53'
peer = 'a'
[metrics]
bind = 'host.example:9464'
";
    let answer = Folder::with(&[("p2ptun.toml", text)]).check("p2ptun.toml");
    let places = answer.places();
    assert_eq!(places, ["3:8", "7:9", "9:8", "13:8", "16:8"], "{}", answer.err);
    assert_eq!(answer.exit, Some(0));
    assert!(answer.out.ends_with("p2ptun.toml: ok, 3 tunnels, 2 peers, 5 warnings\n"), "{}", answer.out);
}

#[test]
fn a_missing_include_is_one_problem_and_not_one_for_each_name_in_it() {
    let text = "include = ['peers.toml']\n".to_owned() + &forward("").replace("{home}", "home");
    assert_problems(&text, &[("1:12", "can't be read: No such file")]);
}
