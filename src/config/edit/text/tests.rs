use proptest::prelude::*;

use super::*;
use crate::spec::Kind;

fn ssh() -> Declaration {
    named("ssh")
}

fn named(name: &str) -> Declaration {
    Declaration::new(Kind::Listen, name).text("target", "", Some("127.0.0.1:22")).list("allow", "", &[])
}

const TABLE: &str = "[listen.ssh]\ntarget = \"127.0.0.1:22\"\nallow = []\n";

#[track_caller]
fn assert_removed(text: &str, expected: &str) {
    assert_eq!(remove(text, "listen", "ssh").unwrap().as_deref(), Some(expected), "{text}");
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let with_crlf = remove(&crlf(text), "listen", "ssh").unwrap();
    assert_eq!(with_crlf, Some(crlf(expected)), "with CRLF: {text}");
}

#[test]
fn a_tunnel_is_added_at_the_end_in_the_manner_of_the_file() {
    let added = |text: &str| add(text, &ssh()).unwrap();
    assert_eq!(added(""), TABLE);
    assert_eq!(added("watch = true\n"), format!("watch = true\n\n{TABLE}"));
    assert_eq!(added("# only a word"), format!("# only a word\n\n{}", TABLE.trim_end()));
    assert_eq!(added("\u{feff}"), format!("\u{feff}{TABLE}"));
    let crlf = TABLE.replace('\n', "\r\n");
    assert_eq!(added("\u{feff}watch = true\r\n"), format!("\u{feff}watch = true\r\n\r\n{crlf}"));
}

#[test]
fn among_inline_tables_a_tunnel_is_one() {
    let text = "listen = { web = { target = '127.0.0.1:80', allow = [] } } # all\nwatch = true\n";
    let both = add(text, &ssh()).unwrap();
    assert_eq!(
        both,
        "listen = { web = { target = '127.0.0.1:80', allow = [] }, \
         ssh = { target = \"127.0.0.1:22\", allow = [] } } # all\nwatch = true\n"
    );
    assert_eq!(remove(&both, "listen", "ssh").unwrap().as_deref(), Some(text));
    assert_eq!(add("listen = {}\n", &ssh()).unwrap(), "listen = { ssh = { target = \"127.0.0.1:22\", allow = [] } }\n");
    let dotted = "listen = { ssh.target = 'a', web.target = 'b', ssh.allow = [] }\n";
    assert_eq!(remove(dotted, "listen", "ssh").unwrap().as_deref(), Some("listen = { web.target = 'b'}\n"));
}

#[test]
fn inline_tables_on_lines_of_their_own_go_with_their_comments_alone() {
    let web = "  # web server\n  web = { target = 'b', allow = [] }, # on web\n";
    let ssh = "  # on ssh\n  ssh = { target = 'a', allow = [\n  ] }, # ssh too\n";
    let rest = "  # nothing more\n}\nwatch = true\n";
    assert_removed(&format!("listen = {{\n{web}{ssh}{rest}"), &format!("listen = {{\n{web}{rest}"));
    assert_removed(&format!("listen = {{ # all\n{ssh}{web}{rest}"), &format!("listen = {{ # all\n{web}{rest}"));
    assert_removed(&format!("listen = {{\n{web}\n{ssh}\n{rest}"), &format!("listen = {{\n{web}\n{rest}"));
    let last = "  ssh = { target = 'a' } # last\n}\n";
    assert_removed(&format!("listen = {{\n{web}{last}"), &format!("listen = {{\n{web}}}\n"));
    let lines = lines_of(&format!("listen = {{\n{web}{ssh}{rest}"), "listen", "ssh").unwrap();
    assert_eq!((lines.first, lines.all), (5, vec![4..=6]));
    // Two on one line.
    let both = "listen = { ssh = { target = 'a' }, web = { target = 'b' } }\n";
    assert_eq!(remove(both, "listen", "ssh").unwrap().as_deref(), Some("listen = { web = { target = 'b' } }\n"));
}

#[test]
fn beside_every_way_to_write_tunnels_one_can_be_added() {
    for text in [
        "[listen]\n",
        "[listen]\nweb = { target = 'a' }\n",
        "listen.web.target = 'a'\n",
        "listen.web = { target = 'a' }\n",
        "[listen]\nweb.target = 'a'\n",
        "[listen.web]\n[forward.x]\n[listen.y]\n",
        "listen = {}\n",
        "listen = {\n  web = { target = 'a' }, # one\n}\n",
    ] {
        let added = add(text, &ssh()).unwrap();
        let table = value(&added);
        assert_eq!(table["listen"]["ssh"]["target"].as_str(), Some("127.0.0.1:22"), "{added}");
        assert_eq!(remove(&added, "listen", "ssh").unwrap().as_deref(), Some(text));
    }
}

#[test]
fn what_is_not_there_is_not_removed() {
    for text in ["", "[listen.web]\n", "[forward.ssh]\n", "# [listen.ssh]\n", "listen = {}\n", "[peers.ssh]\n"] {
        assert_eq!(remove(text, "listen", "ssh").unwrap(), None, "{text}");
    }
}

#[test]
fn a_table_goes_with_one_of_the_blank_lines_around_it() {
    assert_removed("[listen.ssh]\na = 1\n", "\n");
    assert_removed("[listen.ssh]\na = 1\n\n[listen.web]\n", "[listen.web]\n");
    assert_removed("[listen.web]\n\n[listen.ssh]\na = 1\n", "[listen.web]\n");
    assert_removed("[a]\n\n[listen.ssh]\na = 1\n\n[b]\n", "[a]\n\n[b]\n");
    assert_removed("[a]\n\n[listen.ssh]\na = 1\n[b]\n", "[a]\n\n[b]\n");
    assert_removed("[a]\n[listen.ssh]\na = 1\n\n[b]\n", "[a]\n\n[b]\n");
    assert_removed("[a]\n[listen.ssh]\na = 1\n[b]", "[a]\n[b]");
    assert_removed("[a]\n\n[listen.ssh]\na = 1", "[a]");
}

#[test]
fn the_comment_directly_above_goes_and_every_other_stays() {
    assert_removed(
        "[a]\n\n# on a\n\n# on ssh\n# more\n[listen.ssh]\na = 1\n\n# on b\n[b]\n",
        "[a]\n\n# on a\n\n# on b\n[b]\n",
    );
    assert_removed(
        "[a]\n\n# general\n\n[listen.ssh] # here\na = 1 # there\n\n# the end\n",
        "[a]\n\n# general\n\n# the end\n",
    );
    assert_removed("[a]\nx = 1 # on x\n[listen.ssh]\na = 1\n", "[a]\nx = 1 # on x\n");
}

#[test]
fn the_comment_that_the_file_begins_with_stays() {
    assert_removed("# my file\n[listen.ssh]\na = 1\n", "# my file\n");
    assert_removed("# my file\n# by me\n[listen.ssh]\na = 1\n\n[b]\n", "# my file\n# by me\n\n[b]\n");
    assert_removed("# my file\n\n# on ssh\n[listen.ssh]\na = 1\n\n[b]\n", "# my file\n\n[b]\n");
}

#[test]
fn comments_within_the_table_go_and_those_after_it_stay() {
    let text = "[a]\n\n[listen.ssh]\n# how\n\n# why\na = 1\n# b = 2\n\n# other\n\n[b]\n";
    assert_removed(text, "[a]\n\n# other\n\n[b]\n");
    // They stand above the next as much as below this one.
    assert_removed("[a]\n\n[listen.ssh]\na = 1\n# on b\n[b]\n", "[a]\n\n# on b\n[b]\n");
    assert_removed("[listen.ssh]\na = 1\n# vim: set tw=80\n", "# vim: set tw=80\n");
}

#[test]
fn every_part_of_a_tunnel_goes_wherever_it_stands() {
    assert_removed("[listen.ssh]\na = 1\n\n[listen.ssh.b]\nc = 1\n\n[d]\n", "[d]\n");
    assert_removed("[x]\n\n[listen.ssh]\na = 1\n\n[d]\ne = 1\n\n[listen.ssh.b]\nc = 1\n", "[x]\n\n[d]\ne = 1\n");
    assert_removed("[x]\n\n[listen.ssh.b]\nc = 1\n\n# ssh\n[listen.ssh]\na = 1\nb2.c = 1\n\n[d]\n", "[x]\n\n[d]\n");
    assert_removed("[listen.ssh]\na = 1\n\n# of nobody\n\n[listen.ssh.b]\nc = 1\n", "# of nobody\n");
}

#[test]
fn dotted_keys_and_inline_tables_go_line_by_line() {
    assert_removed("listen.ssh.a = 1\nx = 1\nlisten.ssh.b = 2\n\n[y]\n", "x = 1\n\n[y]\n");
    assert_removed(
        "[listen]\nssh.a = 1\n# kept, for web\nweb.a = 1\nssh.b = [\n 1,\n]\n",
        "[listen]\n# kept, for web\nweb.a = 1\n",
    );
    assert_removed("[listen]\n# on ssh\nssh = { a = 1 } # here\nweb = { a = 1 }\n", "[listen]\nweb = { a = 1 }\n");
    assert_removed("listen.ssh = { a = 1 }\n", "\n");
    assert_removed("[listen]\n  'ssh'.\"a\" = 1\n", "[listen]\n");
    assert_removed("[ listen . \"ssh\" ]\na = 1\n\n[x]\n", "[x]\n");
}

#[test]
fn text_that_only_looks_like_a_comment_is_left_alone() {
    let text = "[a]\nx = \"\"\"\n# no comment\n\n# nor this\"\"\"\n[listen.ssh]\nb = '''\n# at all\n'''\n";
    assert_removed(text, "[a]\nx = \"\"\"\n# no comment\n\n# nor this\"\"\"\n");
}

#[test]
fn the_lines_to_take_out_by_hand_are_told() {
    let text = "\u{feff}[a]\r\n\r\n# on ssh\r\n[listen.ssh]\r\na = 1\r\n\r\n[b]\r\n[listen.ssh.c]\r\nd = 1";
    let lines = |text: &str| lines_of(text, "listen", "ssh").map(|lines| (lines.first, lines.all));
    assert_eq!(lines(text), Some((4, vec![3..=5, 8..=9])));
    assert_eq!(lines("x = 1\nlisten = { a = 1,\n ssh = {} }\n"), Some((3, vec![3..=3])));
    assert_eq!(lines("[listen.web]\n"), None);
}

/// What may stand in a file, as its author writes it.
fn statement() -> impl Strategy<Value = String> {
    let comment = prop_oneof![Just(String::new()), "# [a-z\\[\\]=' ]{0,12}".prop_map(|c| format!(" {c}"))];
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("'# no comment'".to_owned()),
        Just("\"\"\"\n# no comment\n\n\"\"\"".to_owned()),
        Just("[\n  1, # one\n\n]".to_owned()),
        Just("{ a = 1, b = [] }".to_owned()),
    ];
    (0..4usize, value, comment)
        .prop_map(|(indent, value, comment)| format!("{}KEY = {value}{comment}", " ".repeat(indent)))
}

fn block() -> impl Strategy<Value = Vec<String>> {
    let gap =
        prop::collection::vec(prop_oneof![Just(String::new()), Just("  ".to_owned()), Just("# word".to_owned())], 0..4);
    let body = prop::collection::vec((gap.clone(), statement()), 0..4);
    (gap, any::<bool>(), body).prop_map(|(gap, has_header, body)| {
        let mut lines = gap;
        lines.extend(has_header.then(|| "[HEADER]".to_owned()));
        for (gap, statement) in body {
            lines.extend(gap);
            lines.push(statement);
        }
        lines
    })
}

/// A valid file: no name in it comes twice.
fn file() -> impl Strategy<Value = String> {
    let blocks = prop::collection::vec(block(), 0..5);
    (blocks, prop::sample::select(vec!["\n", "\r\n"]), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(blocks, newline, mark, ends, mixed)| {
            let mut number = 0;
            let mut lines = Vec::new();
            for line in blocks.into_iter().flatten() {
                number += 1;
                let header = match number % 4 {
                    0 => format!("[listen.l{number}]"),
                    1 => format!("[forward.f{number}]"),
                    2 => format!("[listen.l{number}.sub]"),
                    _ => format!("[other{number}]"),
                };
                let key = if number % 3 == 0 { format!("k{number}.x") } else { format!("k{number}") };
                lines.push(line.replace("[HEADER]", &header).replace("KEY", &key));
            }
            let mut text = lines.join("\n");
            if ends && !text.is_empty() {
                text.push('\n');
            }
            let mut text = if newline == "\r\n" { text.replace('\n', "\r\n") } else { text };
            if mixed {
                text = text.replacen("\r\n", "\n", 1);
            }
            if mark { format!("\u{feff}{text}") } else { text }
        },
    )
}

fn value(text: &str) -> toml::Table {
    text.trim_start_matches('\u{feff}').parse().map_err(|error: toml::de::Error| format!("{error}\n{text:?}")).unwrap()
}

proptest! {
    #[test]
    fn what_was_added_is_removed_without_a_trace(text in file()) {
        let added = add(&text, &ssh()).unwrap();
        prop_assert!(added.starts_with(&text), "{added:?}");
        prop_assert!(value(&added)["listen"]["ssh"]["target"].as_str() == Some("127.0.0.1:22"), "{added:?}");
        let removed = remove(&added, "listen", "ssh").unwrap().unwrap();
        // Of nothing a line is left, for a file that loses its last byte is taken for an accident.
        let expected = if text.trim_start_matches('\u{feff}').is_empty() { format!("{text}\n") } else { text.clone() };
        prop_assert_eq!(removed, expected);
    }

    #[test]
    fn tunnels_are_removed_in_any_order_and_leave_what_was_there(text in file(), first in any::<bool>()) {
        let added = add(&add(&text, &ssh()).unwrap(), &named("web")).unwrap();
        let (one, other) = if first { ("ssh", "web") } else { ("web", "ssh") };
        let left = remove(&added, "listen", one).unwrap().unwrap();
        prop_assert_eq!(value(&left)["listen"].as_table().unwrap().contains_key(one), false);
        let left = remove(&left, "listen", other).unwrap().unwrap();
        let expected = if text.trim_start_matches('\u{feff}').is_empty() { format!("{text}\n") } else { text.clone() };
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn what_is_removed_is_the_tunnel_alone_and_whole_lines(text in file()) {
        let before = value(&text);
        let names: Vec<_> = before.get("listen").and_then(|all| all.as_table()).into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for name in names {
            let left = remove(&text, "listen", &name).unwrap().unwrap();
            let mut expected = before.clone();
            let all = expected["listen"].as_table_mut().unwrap();
            all.remove(&name);
            let mut found = value(&left);
            found.entry("listen").or_insert_with(|| toml::Table::new().into());
            prop_assert_eq!(&found, &expected, "{:?}", left);
            // Nothing is written anew: what is left is lines of the file, in their order.
            let mut lines = text.split_inclusive('\n');
            for line in left.split_inclusive('\n').filter(|line| !line.trim().is_empty()) {
                prop_assert!(lines.any(|old| old.trim_end() == line.trim_end()), "{line:?} in {left:?}");
            }
        }
    }
}
