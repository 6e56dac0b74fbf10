//! One line of text that is not quite TOML: its strings, and where its comment begins.

use std::ops::Range;

/// What can be told of a line without its neighbours.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) strings: Vec<Quoted>,
    /// Where the comment begins, or the line ends.
    pub(super) end: usize,
}

/// A string with its quotes; without the last one where it is not closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    pub(super) range: Range<usize>,
    pub(super) quote: char,
    pub(super) is_closed: bool,
}

impl Line {
    pub(super) fn read(line: &str) -> Self {
        let mut read = Self { strings: Vec::new(), end: line.len() };
        let mut chars = line.char_indices();
        while let Some((start, c)) = chars.next() {
            match c {
                '#' => {
                    read.end = start;
                    break;
                }
                '"' | '\'' => {
                    let mut string = Quoted { range: start..line.len(), quote: c, is_closed: false };
                    while let Some((offset, within)) = chars.next() {
                        if within == '\\' && c == '"' {
                            chars.next();
                        } else if within == c {
                            string.range.end = offset + 1;
                            string.is_closed = true;
                            break;
                        }
                    }
                    read.strings.push(string);
                }
                _ => {}
            }
        }
        read
    }

    /// The string that covers `offset`, or ends there.
    pub(super) fn string_at(&self, offset: usize) -> Option<&Quoted> {
        self.strings.iter().find(|string| string.range.start <= offset && offset <= string.range.end)
    }
}

/// Where the text before `offset` ends, blanks and comments left out.
pub(super) fn end_of_text(text: &str, offset: usize) -> usize {
    let mut end = offset;
    for line in text[..offset].split_inclusive('\n').rev() {
        let start = end - line.len();
        let content = line[..Line::read(line).end].trim_end();
        if !content.is_empty() {
            return start + content.len();
        }
        end = start;
    }
    0
}

/// Whether a line begins like one that stands by itself: with a key and `=`, or with the header of a table.
pub(super) fn begins_anew(line: &str) -> bool {
    let line = line.trim();
    match line.trim_start_matches('[') {
        name if name.len() < line.len() => name.starts_with(|c: char| c.is_ascii_alphabetic()),
        _ => key_of(line).is_some(),
    }
}

/// The key at the beginning of `line`, if a `=` follows it.
pub(super) fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_told_apart() {
        let line = Line::read(r#"a = ["x#\"", 'y\'] # "z""#);
        let ranges: Vec<_> = line.strings.iter().map(|string| (string.range.clone(), string.is_closed)).collect();
        assert_eq!(ranges, [(5..11, true), (13..17, true)]);
        assert_eq!(line.end, 19);
        let open = Line::read("a = \"x");
        assert!(!open.strings[0].is_closed);
        assert_eq!(open.string_at(6).unwrap().range, 4..6);
    }

    #[test]
    fn the_end_of_the_text_before_a_place_is_found() {
        let text = "a = [1 # one\n\n  # two\n]";
        assert_eq!(end_of_text(text, text.len() - 1), 6);
        assert_eq!(end_of_text("\n\n", 2), 0);
    }

    #[test]
    fn a_line_that_begins_anew_is_recognised() {
        for line in ["[listen.ssh]", "  [[peers]]", "allow = []", "node.identity = 1"] {
            assert!(begins_anew(line), "{line}");
        }
        for line in ["[\"home\"]", "\"home\",", "]", "", "80"] {
            assert!(!begins_anew(line), "{line}");
        }
    }
}
