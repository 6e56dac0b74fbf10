//! Host names, as they may stand in addresses of either notation.

use super::{
    diagnostics::Wrong,
    printable::{quoted, toml_string},
};

/// Reads a host name: labels of letters, digits, `-` and `_`, by dots, the last one not a number.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label_is_fine = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label_is_fine) {
        return Err(
            wrong("is no host name").help("a host name has letters, digits, `-` and `.`, and no scheme, space or `*`")
        );
    }
    // "300.1.1.1" is an address gone wrong, and a resolver may read "127.1" as one.
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        let wrong = wrong("is neither a host name nor an IP address");
        return Err(wrong.help("an IPv4 address has four numbers from 0 to 255, and the name of a host no number last"));
    }
    Ok(text.to_owned())
}

/// Reads the domain of a gateway.
pub(super) fn domain(text: &str) -> Result<String, Wrong> {
    host_name(text).map_err(|wrong| {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let bare = bare.split(['/', ':']).next().unwrap_or_default();
        let bare = bare.strip_prefix("*.p2p.").or_else(|| bare.strip_prefix("*.")).unwrap_or(bare);
        match host_name(bare) {
            Ok(meant) => {
                wrong.help("write the domain alone; <peer>.p2p.<domain> is served with it").instead(toml_string(&meant))
            }
            Err(_) => wrong,
        }
    })
}
