//! Text of strangers on its way to a terminal or a log.

use std::borrow::Cow;

use crate::harmless::is_harmful;

/// `text` in one line, every harmful character written as an escape.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    crate::harmless::escaped(text)
}

/// `text` with a stand-in of the same length in bytes for every harmful character, so that offsets stay true.
///
/// ASCII control characters are left alone: annotate-snippets draws those as pictures (`␛`).
pub(super) fn same_length(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| is_harmful(c) && !c.is_ascii()) {
        return text.into();
    }
    let stand_in = |c: char| match c.len_utf8() {
        _ if !is_harmful(c) => c,
        1 => c,
        2 => '\u{bf}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(stand_in).collect()
}

/// `text` between back-ticks, its middle left out when it is long: addresses and ids differ at their ends.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    const AT_THE_END: usize = 20;
    if text.is_empty() {
        return "the empty text".into();
    }
    let text = veiled(text);
    let text = printable(&text);
    let length = text.chars().count();
    if length <= SHOWN {
        return format!("`{text}`");
    }
    let offset = |number: usize| text.char_indices().nth(number).map_or(text.len(), |(offset, _)| offset);
    format!("`{}…{}`", &text[..offset(SHOWN - AT_THE_END)], &text[offset(length - AT_THE_END)..])
}

/// `text` with asterisks over what looks like a secret key, byte for byte.
///
/// Such a key was pasted where its file, or a peer id, belongs. What is said of it goes to logs, `status` and bug
/// reports. A key of WireGuard may be a public one; nobody can tell.
pub(super) fn veiled(text: &str) -> Cow<'_, str> {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    // How the private keys of libp2p begin, by their kind; what is shorter is a public one. The letter of an escape,
    // such as `\n`, may stand before a key.
    let of_libp2p = |run: &&str| {
        let begins = |kind| run.find(kind).is_some_and(|at| at <= 1);
        run.len() >= 60 && ["CAES", "CAAS", "CAIS", "CAMS"].into_iter().any(begins)
    };
    let of_wireguard = |run: &str| run.strip_suffix('=').filter(|run| (43..=44).contains(&run.len())).map(str::len);
    let of_a_network = |run: &&str| {
        run.len() == 64 && run.contains(|c: char| c.is_ascii_digit()) && run.contains(|c: char| c.is_ascii_alphabetic())
    };
    let runs = || text.split_inclusive(|c| !is_base64(c));
    let wireguard = runs().filter_map(|run| run.get(..of_wireguard(run)?));
    let libp2p = runs().map(|run| run.trim_end_matches(|c| !is_base64(c))).filter(of_libp2p);
    let networks = text.split(|c: char| !c.is_ascii_hexdigit()).filter(of_a_network);
    let mut veiled = Cow::from(text);
    for secret in wireguard.chain(libp2p).chain(networks) {
        veiled = veiled.replace(secret, &"*".repeat(secret.len())).into();
    }
    veiled
}

/// Whether `text` is a key and nothing else.
pub(super) fn is_secret(text: &str) -> bool {
    veiled(text) != text && veiled(text).bytes().all(|b| matches!(b, b'*' | b'='))
}

/// `name` as it stands in the title of its table, not in full where it is far too long for a name.
pub(super) fn titled(name: &str) -> String {
    if name.len() <= 64 && veiled(name) == name { toml_key(name) } else { quoted(name).replace('`', "") }
}

/// `name` as a key of a TOML table.
pub(super) fn toml_key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { toml_string(name) }
}

/// `text` as a TOML string, harmful characters written as TOML's escapes.
pub(super) fn toml_string(text: &str) -> String {
    if !text.contains(is_harmful) {
        return toml::Value::from(text).to_string();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_harmful(c) && u32::from(c) < 0x1_0000 => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if is_harmful(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left_in_printable_text() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}c\u{202e}"), "a\\u{1b}[2Jb\\n\\u{9b}c\\u{202e}");
        assert_eq!(printable("straße"), "straße");
    }

    #[test]
    fn of_long_text_the_ends_are_shown() {
        let long = format!("begin{}end", "ä".repeat(1000));
        let shown = quoted(&long);
        assert!(shown.starts_with("`begin") && shown.ends_with("end`") && shown.chars().count() == 67, "{shown}");
        assert_eq!(quoted(&"x".repeat(64)).len(), 66);
    }

    #[test]
    fn what_looks_like_a_secret_key_is_not_shown_and_an_id_is() {
        let (hex, base64) = ("0123456789abcdef".repeat(4), "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=");
        let libp2p = format!("CAESQ{}==", "b2A/".repeat(23));
        for secret in [&hex, base64, &libp2p] {
            for text in [secret.to_owned(), format!("k={secret}"), format!("\"\\n{secret}\"")] {
                assert!(!veiled(&text).contains(&secret[5..]), "{text}");
                assert_eq!(veiled(&text).len(), text.len());
                assert!(!quoted(&text).contains(&secret[5..12]), "{text}");
            }
            assert!(is_secret(secret) && !is_secret(&format!("/srv/{secret}.key")));
        }
        for shown in [
            "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi",
            "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
            "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8",
            "/dns4/home.example.org/tcp/5460/p2p/12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi",
        ] {
            assert_eq!(veiled(shown), shown);
        }
    }

    #[test]
    fn stand_ins_keep_every_offset() {
        for harmful in ["\u{9b}", "\u{61c}", "\u{202e}", "\u{feff}", "\u{200b}"] {
            let shown = same_length(harmful);
            assert_eq!(shown.len(), harmful.len());
            assert_ne!(shown, harmful);
        }
    }

    #[test]
    fn a_toml_string_reads_back_as_what_it_was() {
        for text in ["plain", "with \"quotes\"", "back\\slash", "new\nline", "\u{1b}", "\\\"\u{9b}\u{202e}'ä"] {
            assert!(!toml_string(text).contains(is_harmful), "{text:?}");
            let table: toml::Table = format!("x = {}", toml_string(text)).parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
