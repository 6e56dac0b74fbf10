//! The lines of multistream-select 1.0.0, by which the ends of a stream agree on what it carries.

/// The first line that each end says.
pub const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

/// The line of a far end that doesn't have what was asked for.
pub const NOT_AVAILABLE: &[u8] = b"\x03na\n";

/// A line behind its length.
pub fn line(text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    let mut line = Vec::with_capacity(length + 2);
    // An unsigned varint; names are far shorter than two bytes of it can count.
    if length < 0x80 {
        line.push(length as u8);
    } else {
        line.extend([(length & 0x7f | 0x80) as u8, (length >> 7) as u8]);
    }
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

/// What both ends say where they agree on `protocol`.
pub fn agreement(protocol: &str) -> Vec<u8> {
    [HEADER, &line(protocol)].concat()
}

/// What a dialer asks for first.
#[derive(Debug, PartialEq)]
pub enum Name<'a> {
    Is(&'a str),
    Unfinished,
    /// This is not multistream-select.
    None,
}

/// The first protocol that is named by what a dialer says first.
pub fn first_name(mut said: &[u8]) -> Name<'_> {
    loop {
        match first_line(said) {
            Ok((HEADER_LINE, rest)) => said = rest,
            Ok((line, _)) => return name(line).map_or(Name::None, Name::Is),
            Err(Malformed::Unfinished) => return Name::Unfinished,
            Err(Malformed::Length) => return Name::None,
        }
    }
}

/// The protocol that is named by a dialer that doesn't wait for an answer to its header, and how long its words are.
pub fn bold_name(said: &[u8]) -> Option<(&str, usize)> {
    let (line, rest) = first_line(said.strip_prefix(HEADER)?).ok()?;
    Some((name(line)?, said.len() - rest.len()))
}

/// [`HEADER`] without its length.
const HEADER_LINE: &[u8] = HEADER.split_at(1).1;

enum Malformed {
    Unfinished,
    /// Its length is none that a line has.
    Length,
}

/// The first line, without its length, and what comes behind it.
fn first_line(said: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (length, rest) = match *said {
        [low, ref rest @ ..] if low < 0x80 => (usize::from(low), rest),
        [low, high, ref rest @ ..] if high < 0x80 => (usize::from(low & 0x7f) | usize::from(high) << 7, rest),
        [] | [_] => return Err(Malformed::Unfinished),
        _ => return Err(Malformed::Length),
    };
    rest.split_at_checked(length).ok_or(Malformed::Unfinished)
}

fn name(line: &[u8]) -> Option<&str> {
    let name = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    name.starts_with('/').then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: &[u8] = b"\x13/multistream/1.0.0\n\x07/x/ssh\nSSH-2.0-OpenSSH";

    #[test]
    fn a_line_is_counted_in_as_many_bytes_as_that_takes() {
        assert_eq!(line("/x"), b"\x03/x\n");
        let name = "y".repeat(300);
        assert_eq!((line(&name).len(), &line(&name)[..2]), (303, &[0xad, 2][..]));
    }

    #[test]
    fn the_first_name_is_found_wherever_the_bytes_are_cut() {
        let end = 1 + 19 + 1 + 7;
        for cut in 0..end {
            assert_eq!(first_name(&ASKS[..cut]), Name::Unfinished, "{cut}");
            assert_eq!(bold_name(&ASKS[..cut]), None, "{cut}");
        }
        for cut in end..=ASKS.len() {
            assert_eq!(first_name(&ASKS[..cut]), Name::Is("/x/ssh"), "{cut}");
            assert_eq!(bold_name(&ASKS[..cut]), Some(("/x/ssh", end)), "{cut}");
        }
        let long = format!("/x/{}", "y".repeat(200));
        assert_eq!(first_name(&line(&long)), Name::Is(&long));
        assert_eq!(bold_name(&line(&long)), None, "without a header");
        assert_eq!(bold_name(&agreement(&long)), Some((&*long, agreement(&long).len())));
    }

    #[test]
    fn what_is_not_multistream_select_names_nothing() {
        for other in [&b"\x03ls\n"[..], b"\x00", b"\x02x\n", b"\x03/\xff\n", b"\xff\xff\xff", b"\x03/xy"] {
            assert_eq!(first_name(other), Name::None, "{other:?}");
            assert_eq!(bold_name(&[HEADER, other].concat()), None, "{other:?}");
        }
    }
}
