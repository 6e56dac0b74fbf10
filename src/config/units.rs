//! Durations, sizes, protocols and the other small values that a file writes as strings.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use bytesize::ByteSize;

use super::{
    diagnostics::{Wrong, nearest},
    printable::{is_secret, quoted, toml_string},
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
        let duration = humantime::parse_duration(text).map_err(|_| no_duration(text))?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let (relation, bound) =
            if duration < *bounds.start() { ("less", bounds.start()) } else { ("more", bounds.end()) };
        let wrong = Wrong::new(format!("{} is {relation} than {}", quoted(text), shown(bound)));
        // The unit "M" is a month, to everybody's surprise.
        let minutes = text.replace('M', "m");
        let is_meant = minutes != text && humantime::parse_duration(&minutes).is_ok_and(|d| bounds.contains(&d));
        Err(if is_meant {
            wrong.help("`m` stands for minutes, `M` for months").instead(toml_string(&minutes))
        } else {
            wrong.help(format!("write a duration from {} to {}", shown(bounds.start()), shown(bounds.end())))
        })
    }
}

fn no_duration(text: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is no duration", quoted(text)));
    let lower = text.to_lowercase();
    match text.trim().parse::<u32>() {
        Ok(seconds) => wrong.help("a duration has a unit").instead(format!("\"{seconds}s\"")),
        Err(_) if humantime::parse_duration(&lower).is_ok() => {
            wrong.help("units are written in lower case").instead(toml_string(&lower))
        }
        Err(_) => wrong.help("a duration is a number with a unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\""),
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
        Err(Wrong::new("a size must lie between 1 byte and 1 PiB").help("write `\"unlimited\"` to lift the limit"))
    }
}

/// Reads what `parse` reads, or `"unlimited"`.
pub(super) fn limit<T>(parse: impl Fn(&str) -> Result<T, Wrong>) -> impl Fn(&str) -> Result<Limit<T>, Wrong> {
    move |text| {
        if text == "unlimited" {
            return Ok(Limit::Unlimited);
        }
        parse(text).map(Limit::AtMost).map_err(|wrong| {
            let lifted = ["none", "no", "off", "never", "infinite", "infinity", "inf", "forever"];
            if lifted.contains(&text.to_lowercase().as_str()) || nearest(text, ["unlimited"]).is_some() {
                wrong.help("a limit is lifted by the word `unlimited`").instead("\"unlimited\"")
            } else {
                wrong
            }
        })
    }
}

/// Reads one of a few words.
pub(super) fn choice<T: Clone>(choices: &[(&str, T)]) -> impl Fn(&str) -> Result<T, Wrong> {
    move |text| {
        let words = || choices.iter().map(|(word, _)| *word);
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let wrong = Wrong::new(format!("unknown value {}", quoted(text)));
        let lower = text.to_lowercase();
        let meant = match lower.as_str() {
            "false" | "no" | "none" | "disabled" => words().find(|word| ["off", "never"].contains(word)),
            // The first is the default.
            "true" | "yes" | "on" => words().next().filter(|_| words().any(|word| word == "off")),
            // The version alone, without its letter.
            "1" | "2" => words().find(|word| word.ends_with(&lower)),
            _ => None,
        };
        // "v3" is as near to "v1" as to "v2".
        let near = || {
            let near = nearest(text, words())?;
            let distance = |word| strsim::osa_distance(text, word);
            let rivals = words().filter(|word| distance(word) == distance(near)).count();
            (rivals == 1).then_some(near)
        };
        Err(match meant.or_else(near) {
            Some(word) => wrong.help(format!("did you mean `{word}`?")).instead(toml_string(word)),
            None => wrong.help(format!("it is one of {}", words().map(toml_string).collect::<Vec<_>>().join(", "))),
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
        let name = text.trim_start_matches('/');
        let name = name.strip_prefix("x/").unwrap_or(name).trim_start_matches('/');
        let meant = toml_string(&format!("/x/{}", name.trim().replace(char::is_whitespace, "-")));
        if text.len() > MAX_PROTOCOL_LENGTH {
            return Err(wrong("is longer than the 140 bytes that a protocol may have").help("write a shorter one"));
        }
        if name.trim().is_empty() || text == "/x" {
            return Err(wrong("names no protocol").help("a protocol is a name after /x/, such as \"/x/ssh\""));
        }
        if text.contains(char::is_control) {
            return Err(wrong("holds a control character").help("a protocol is a plain name, such as \"/x/ssh\""));
        }
        if text.contains(char::is_whitespace) {
            return Err(wrong("holds a space").help("no protocol does").instead(meant));
        }
        if !text.starts_with('/') {
            return Err(wrong("does not begin with a slash").help("a protocol begins with /x/").instead(meant));
        }
        if !custom && !text.starts_with("/x/") {
            let help = "begin it with /x/, or set `allow_custom_protocol = true` in this table";
            return Err(wrong("does not begin with /x/").help(help).instead(meant));
        }
        if OWN_PROTOCOLS.iter().any(|own| text.starts_with(own)) {
            let wrong = wrong("is a protocol that the node itself speaks");
            return Err(wrong.help("choose one of your own, such as \"/x/ssh\""));
        }
        StreamProtocol::try_from_owned(text.to_owned()).map_err(|_| wrong("is no protocol"))
    }
}

/// Reads the permission bits of a socket file, in octal.
pub(super) fn file_mode(text: &str) -> Result<u32, Wrong> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| {
        let wrong = Wrong::new(format!("{} is no file mode", quoted(text)))
            .help("write the permission bits in octal, such as \"0600\" or \"0660\"");
        let otherwise =
            text.strip_prefix("0o").and_then(|digits| file_mode(digits).ok()).or_else(|| symbolic_mode(text));
        match otherwise {
            Some(mode) => wrong.instead(format!("\"{mode:04o}\"")),
            None => wrong,
        }
    })
}

/// What `ls -l` shows, `rw-rw----` with or without the letter of the file's type.
fn symbolic_mode(text: &str) -> Option<u32> {
    let bits = match text.len() {
        9 => text,
        10 => text.strip_prefix(['-', 's'])?,
        _ => return None,
    };
    let bit = |mode: u32, (index, c): (usize, char)| match (c, b"rwx"[index % 3]) {
        ('-', _) => Some(mode << 1),
        (c, set) if c == char::from(set) => Some(mode << 1 | 1),
        _ => None,
    };
    bits.chars().enumerate().try_fold(0, bit)
}

/// Reads the name of a group of users.
pub(super) fn group_name(text: &str) -> Result<String, Wrong> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '\\');
    if !text.is_empty() && text.len() <= 256 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        let wrong = Wrong::new(format!("{} is no name of a group", quoted(text)));
        Err(wrong.help("write the name of one group of users, as `getent group` lists it"))
    }
}

/// Reads the path of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    let wrong = |what: &str| Wrong::new(format!("{} {what}", quoted(text)));
    if text.is_empty() {
        return Err(Wrong::new("the path is empty").help("write the path of a file, or leave it out"));
    }
    if text.contains('\0') {
        return Err(wrong("holds a zero byte, which no path can").help("write the path of a file"));
    }
    if text.ends_with('/') {
        return Err(wrong("ends in a slash, and so names a folder").help("write the path of a file"));
    }
    if is_secret(text) || text.contains('\n') || text.starts_with("/key/swarm/") {
        let wrong = Wrong::new("this is no path, but perhaps what stands in the file");
        return Err(wrong.help("no secret stands in the configuration: save it as a file, and write the path of that"));
    }
    if let Some(sign) = ['~', '$', '%'].into_iter().find(|sign| text.starts_with(*sign)) {
        let wrong = wrong(&format!("begins with a `{sign}`"));
        return Err(wrong.help(format!("`{sign}` stands for nothing here: write the path in full")));
    }
    if let [drive, b':', b'\\' | b'/', ..] = text.as_bytes()
        && drive.is_ascii_alphabetic()
    {
        return Err(
            wrong("is a path of Windows").help("write the path as this system has it, such as \"/etc/p2ptun.key\"")
        );
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
        let wrong = seconds("2h").unwrap_err();
        assert!(wrong.message.contains("more than 1h") && wrong.help.is_some_and(|help| help.contains("0s to 1h")));
        assert_eq!(seconds("30S").unwrap_err().instead.as_deref(), Some("\"30s\""));
        for bad in ["", "s", "-1s", "1x", "99999999999999999999y", "99999999999y"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_month_in_place_of_minutes_is_explained() {
        let wrong = seconds("1M").unwrap_err();
        assert!(wrong.help.is_some_and(|help| help.contains("months")));
        assert_eq!(wrong.instead.as_deref(), Some("\"1m\""));
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
        assert_eq!(protocol(false)("x/ssh").unwrap_err().instead.as_deref(), Some("\"/x/ssh\""));
        assert_eq!(protocol(false)("/x/my ssh").unwrap_err().instead.as_deref(), Some("\"/x/my-ssh\""));
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
        for written in ["rw-rw----", "srw-rw----", "0o660"] {
            assert_eq!(file_mode(written).unwrap_err().instead.as_deref(), Some("\"0660\""), "{written}");
        }
        assert_eq!(file_mode("rwrwrwrwr").unwrap_err().instead, None);
    }

    #[test]
    fn a_word_that_was_meant_is_found_whatever_it_was_written_as() {
        let meant = |text| choice(&[("auto", 1), ("off", 2)])(text).unwrap_err().instead;
        assert_eq!(meant("false").as_deref(), Some("\"off\""));
        assert_eq!(meant("on").as_deref(), Some("\"auto\""));
        assert_eq!(meant("sometimes"), None);
        assert_eq!(choice(&[("v1", 1), ("v2", 2)])("2").unwrap_err().instead.as_deref(), Some("\"v2\""));
        assert_eq!(limit(byte_size)("Unlimted").unwrap_err().instead.as_deref(), Some("\"unlimited\""));
    }
}
