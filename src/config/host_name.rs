//! Host names, as they may stand in addresses of either notation.

use super::{diagnostics::Wrong, printable::quoted};

/// Reads a host name: labels of letters, digits, `-` and `_`, by dots, the last one not a number.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label_is_fine = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label_is_fine) {
        return Err(wrong("is no host name"));
    }
    // "300.1.1.1" is an address gone wrong, and a resolver may read "127.1" as one.
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(wrong("is neither a host name nor an IP address"));
    }
    Ok(text.to_owned())
}
