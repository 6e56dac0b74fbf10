//! Durations, sizes, protocols and the other small values that a file writes as strings.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use bytesize::ByteSize;

use super::{
    diagnostics::{Wrong, nearest},
    printable::{quoted, toml_string},
};
use crate::spec::{Limit, StreamProtocol};

/// The most bytes that a limit can be, 1 PiB; what is meant to be more is "unlimited".
const MAX_BYTES: u64 = 1 << 50;
/// Longer protocol ids are refused by some implementations of multistream-select.
const MAX_PROTOCOL_LENGTH: usize = 140;

/// What the node itself speaks begins with one of these; a tunnel in its place would break the node.
const OWN_PROTOCOLS: [&str; 5] = ["/multistream/", "/ipfs/id/", "/ipfs/ping/", "/ipfs/kad/", "/libp2p/"];

/// Reads a duration such as `"30s"` or `"1h 30m"` that lies within `bounds`.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| {
        let duration = humantime::parse_duration(text).map_err(|_| {
            let wrong = Wrong::new(format!("{} is no duration", quoted(text)));
            match text.trim().parse::<u32>() {
                Ok(seconds) => wrong.help("a duration has a unit").instead(format!("\"{seconds}s\"")),
                Err(_) => {
                    wrong.help("a duration is a number with a unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"")
                }
            }
        })?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let wrong = Wrong::new(format!(
            "{} is {}, and must lie between {} and {}",
            quoted(text),
            shown(&duration),
            shown(bounds.start()),
            shown(bounds.end()),
        ));
        // The unit "M" is a month, to everybody's surprise.
        Err(if text.contains('M') { wrong.help("\"m\" are minutes, \"M\" are months") } else { wrong })
    }
}

/// Reads a size such as `"1GiB"`, `"500 kB"` or `"131072"`, in bytes.
pub(super) fn byte_size(text: &str) -> Result<u64, Wrong> {
    let size = text.parse::<ByteSize>().map_err(|_| {
        Wrong::new(format!("{} is no size", quoted(text)))
            .help("a size is a number of bytes with or without a unit, such as \"1GiB\" or \"128 KiB\"")
    })?;
    byte_count(size.as_u64())
}

/// Checks a number of bytes.
pub(super) fn byte_count(bytes: u64) -> Result<u64, Wrong> {
    if (1..=MAX_BYTES).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(Wrong::new("a size must lie between 1 byte and 1 PiB").help("write \"unlimited\" to lift the limit"))
    }
}

/// Reads what `parse` reads, or `"unlimited"`.
pub(super) fn limit<T>(parse: impl Fn(&str) -> Result<T, Wrong>) -> impl Fn(&str) -> Result<Limit<T>, Wrong> {
    move |text| if text == "unlimited" { Ok(Limit::Unlimited) } else { parse(text).map(Limit::AtMost) }
}

/// Reads one of a few words.
pub(super) fn choice<T: Clone>(choices: &[(&str, T)]) -> impl Fn(&str) -> Result<T, Wrong> {
    move |text| {
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| toml_string(word)).collect();
        let wrong = Wrong::new(format!("{} is none of {}", quoted(text), words.join(", ")));
        Err(match nearest(&text.to_lowercase(), choices.iter().map(|(word, _)| *word)) {
            Some(word) => wrong.help(format!("did you mean `{word}`?")).instead(toml_string(word)),
            None => wrong,
        })
    }
}

/// Reads a protocol id. Without `custom` it must begin with `/x/`, which is Kubo's rule for tunnels.
///
/// ```
/// use p2ptun::config::protocol;
/// assert!(protocol(false)("/x/ssh").is_ok());
/// assert!(protocol(false)("/libp2p-http").is_err());
/// assert!(protocol(true)("/libp2p-http").is_ok());
/// ```
pub fn protocol(custom: bool) -> impl Fn(&str) -> Result<StreamProtocol, Wrong> {
    move |text| {
        let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
        let name = text.strip_prefix("/x/").unwrap_or(text).trim_start_matches('/');
        let meant = toml_string(&format!("/x/{name}"));
        if text.len() > MAX_PROTOCOL_LENGTH {
            return Err(wrong("is longer than the 140 bytes that a protocol may have"));
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(wrong("holds a space or a control character, which no protocol may"));
        }
        if name.is_empty() || text == "/x" {
            return Err(wrong("names no protocol").help("a protocol is a name after /x/, such as \"/x/ssh\""));
        }
        if !text.starts_with('/') {
            return Err(wrong("does not begin with a slash").help("a protocol begins with /x/").instead(meant));
        }
        if !custom && !text.starts_with("/x/") {
            let help = "begin it with /x/, or set `allow_custom_protocol = true` in this table";
            return Err(wrong("does not begin with /x/").help(help).instead(meant));
        }
        if OWN_PROTOCOLS.iter().any(|own| text.starts_with(own)) {
            return Err(wrong("is a protocol that the node itself speaks"));
        }
        StreamProtocol::try_from_owned(text.to_owned()).map_err(|_| wrong("is no protocol"))
    }
}

/// Reads the permission bits of a socket file, in octal.
pub(super) fn file_mode(text: &str) -> Result<u32, Wrong> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| {
        Wrong::new(format!("{} is no file mode", quoted(text)))
            .help("write the permission bits in octal, such as \"0600\" or \"0660\"")
    })
}

/// Reads the name of a group of users.
pub(super) fn group_name(text: &str) -> Result<String, Wrong> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '\\');
    if !text.is_empty() && text.len() <= 256 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(format!("{} is no name of a group", quoted(text))))
    }
}

/// Reads the path of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') || text.ends_with('/') {
        return Err(Wrong::new(format!("{} is no path of a file", quoted(text))));
    }
    if text.starts_with("~/") {
        let help = "`~` means nothing here: write the path in full";
        return Err(Wrong::new(format!("{} begins with a tilde", quoted(text))).help(help));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<Duration, Wrong> {
        duration(Duration::ZERO..=Duration::from_secs(3600))(text)
    }

    #[test]
    fn a_duration_needs_a_unit_and_keeps_its_bounds() {
        assert_eq!(seconds("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(seconds("0s"), Ok(Duration::ZERO));
        assert_eq!(seconds("30").unwrap_err().instead.as_deref(), Some("\"30s\""));
        assert!(seconds("2h").unwrap_err().message.contains("between 0s and 1h"));
        for bad in ["", "s", "-1s", "1x", "99999999999999999999y", "99999999999y"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_month_in_place_of_minutes_is_explained() {
        assert!(seconds("1M").unwrap_err().help.is_some_and(|help| help.contains("months")));
    }

    #[test]
    fn a_size_that_rounds_to_nothing_or_saturates_is_refused() {
        assert_eq!(byte_size("128KiB"), Ok(131_072));
        assert_eq!(byte_size("1 GB"), Ok(1_000_000_000));
        assert_eq!(byte_size("77"), Ok(77));
        for bad in ["0", "0.1B", "17EiB", "2PiB", "1 parsec", "-1", "", "1e400", "99999999999999999999999"] {
            assert!(byte_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_protocol_begins_with_x_unless_custom_ones_are_allowed() {
        for good in ["/x/ssh", "/x/x", "/x/x/x", "/x/a/b"] {
            assert!(protocol(false)(good).is_ok(), "{good}");
        }
        assert_eq!(protocol(false)("ssh").unwrap_err().instead.as_deref(), Some("\"/x/ssh\""));
        assert_eq!(protocol(false)("/ssh").unwrap_err().instead.as_deref(), Some("\"/x/ssh\""));
        assert!(protocol(true)("/ssh").is_ok());
        assert!(protocol(true)("/libp2p-http").is_ok());
    }

    #[test]
    fn no_protocol_breaks_negotiation_or_the_node() {
        let long = format!("/x/{}", "y".repeat(MAX_PROTOCOL_LENGTH));
        for bad in [
            "",
            "/",
            "/x",
            "/x/",
            "x/ssh",
            "/x/a b",
            "/x/a\n",
            "/x/\u{1b}",
            "/ipfs/id/1.0.0",
            "/multistream/1.0.0",
            &long,
        ] {
            assert!(protocol(true)(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_mode_is_octal() {
        assert_eq!(file_mode("0660"), Ok(0o660));
        assert_eq!(file_mode("600"), Ok(0o600));
        for bad in ["", "0888", "1777", "rw-r--r--", "+600", "06000", "60"] {
            assert!(file_mode(bad).is_err(), "{bad}");
        }
    }
}
