//! Mistakes in values: quotes, brackets, escapes.

use std::ops::Range;

use super::{Fault, is_toml};
use crate::config::{
    diagnostics::{Place, Problem},
    habits,
    printable::{quoted, toml_string},
    syntax::line::{Line, begins_anew, end_of_text, key_of},
};

impl<'f> Fault<'f> {
    pub(super) fn no_value(&self) -> Problem {
        let Some(key) = key_of(self.line) else {
            return self.error(self.at.clone(), "a value is missing").help("write it here, or remove the comma");
        };
        let at = self.line.find(key).unwrap_or_default();
        let next = self.file.text[self.start + self.line.len()..].lines().nth(1).unwrap_or_default();
        let help = if next.starts_with([' ', '\t']) && !next.trim().is_empty() && !begins_anew(next) {
            "a value begins on the line of its key: write it, or the bracket of a list, after the `=`"
        } else {
            "write a value after the `=`, or remove the line"
        };
        self.error(at..at + key.len(), format!("{} has no value", quoted(key))).help(help)
    }

    /// The whole of a value without quotes that the parser points into.
    pub(super) fn token(&self) -> Range<usize> {
        let end = Line::read(self.line).end;
        let before = self.part(..self.at.start);
        let start = before.rfind(['=', '[', ',', '{']).map_or(0, |at| at + 1);
        let start = start + self.part(start..).len() - self.part(start..).trim_start().len();
        let is_item = before.matches(['[', '{']).count() > before.matches([']', '}']).count();
        let delimiters: &[char] = if is_item { &[',', ']', '}'] } else { &[] };
        let text = self.part(start..end.max(start));
        let text = text.split(delimiters).next().unwrap_or_default().trim_end();
        start..start + text.len()
    }

    pub(super) fn bare_value(&self, token: Range<usize>) -> Problem {
        const ODD: [char; 11] = ['“', '”', '„', '‟', '«', '»', '‘', '’', '‚', '`', '´'];
        let text = self.part(token.clone());
        let key = self.key();
        let suggest = |title: String, help: &str, instead: String| {
            self.error(token.clone(), title).suggest(help, self.place(token.clone()), instead)
        };
        if text.starts_with('>') {
            let sign = token.start..token.start + 1;
            let problem = self.error(sign.clone(), "a `=>` stands where TOML has a `=`");
            return problem.suggest("remove it", self.place(sign), "");
        }
        if text.starts_with(ODD) {
            let inner = text.trim_matches(ODD);
            let title = format!("{} has quotes that TOML does not know", quoted(text));
            return suggest(title, "quotes are straight", toml_string(inner));
        }
        if let Some(value) = text.strip_suffix([';', ',']).filter(|value| is_toml(value)) {
            let title = format!("{} ends in a `{}`", quoted(text), &text[value.len()..]);
            return suggest(title, "in TOML nothing stands after a value", value.to_owned());
        }
        let lower = text.to_lowercase();
        if lower != text && ["true", "false"].contains(&lower.as_str()) {
            return suggest(format!("{} is no value", quoted(text)), "write it in lower case", lower);
        }
        // Keys of words, where `off` is a word.
        let has_words = ["dht", "relays"].contains(&key);
        if let Some(flag) = flag_for(&lower).filter(|_| !has_words) {
            let title = format!("{} is no value", quoted(text));
            return suggest(title, "the values are `true` and `false`", flag.to_owned());
        }
        let digits = text.replace('_', "");
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && key != "bind_mode" {
            let number = match digits.trim_start_matches('0') {
                "" => "0",
                number => number,
            };
            return suggest(format!("{} is no number of TOML", quoted(text)), "write it plainly", number.to_owned());
        }
        let shown = if habits::is_secret(key) { "a secret".to_owned() } else { quoted(text) };
        suggest(format!("{shown} lacks quotes"), "text stands in quotes", toml_string(text))
    }

    /// A string that its line ends in.
    pub(super) fn open_string(&self) -> Problem {
        let read = Line::read(self.line);
        let Some(open) = read.strings.iter().find(|string| !string.is_closed) else {
            return self.error(self.at.clone(), "no TOML: this string is broken").help("write it anew");
        };
        let title = format!("the quote {} is never closed", open.quote);
        let problem = self.error(open.range.clone(), title);
        let inner = self.part(open.range.start + 1..).trim_end();
        let end = open.range.start + 1 + inner.len();
        let before = self.part(..open.range.start).trim_end();
        // Where more stands on the line, nobody knows where the string was to end.
        if !before.ends_with(['=', '[']) || inner.contains(['#', ',']) {
            return problem.help("close it with the same quote on the same line");
        }
        match inner.strip_suffix(['"', '\'', '“', '”']) {
            Some(rest) => {
                let last = open.range.start + 1 + rest.len()..end;
                problem.suggest("close it with the quote that it begins with", self.place(last), open.quote)
            }
            None => {
                let end =
                    if before.ends_with('[') { open.range.start + 1 + inner.trim_end_matches(']').len() } else { end };
                problem.suggest("close it with the same quote", self.place(end..end), open.quote)
            }
        }
    }

    /// A string over many lines that the file ends in.
    pub(super) fn open_text(&self) -> Problem {
        let quotes = if self.message.contains("literal") { "'''" } else { "\"\"\"" };
        let before = &self.file.text[..self.start + self.at.start];
        let Some(at) = before.rfind(quotes) else {
            return self.error(self.at.clone(), format!("{quotes} is never closed"));
        };
        let problem = Problem::error(Place::new(self.file, at..at + 3), format!("{quotes} is never closed"));
        let after = self.file.text[at + 3..].lines().next().unwrap_or_default().trim_end();
        if after.is_empty() {
            return problem.help(format!("close it with {quotes}"));
        }
        let end = at + 3 + after.len();
        let place = Place::new(self.file, end..end);
        problem.suggest(format!("close it with {quotes}"), place, quotes)
    }

    pub(super) fn escape(&self) -> Problem {
        let backslash = self.part(..self.at.start).rfind('\\').unwrap_or(self.at.start);
        let escaped = self.part(backslash..);
        // What follows in `"C:\Users"` is no digit.
        let is_unicode = ["\\u", "\\U", "\\x"].iter().any(|sign| {
            escaped
                .strip_prefix(sign)
                .is_some_and(|code| !code.starts_with(|c: char| c.is_alphabetic() && !c.is_ascii_hexdigit()))
        });
        let length = match escaped.char_indices().nth(2) {
            Some((length, _)) if !is_unicode => length,
            _ => escaped.find(|c: char| !c.is_ascii_alphanumeric() && c != '\\').unwrap_or(escaped.len()),
        };
        let range = backslash..backslash + length;
        let problem = self.error(range.clone(), format!("`{}` stands for no character", self.part(range)));
        if is_unicode {
            let digits =
                "after \\x stand two hexadecimal digits, after \\u four and after \\U eight: those of a character";
            return problem.help(digits);
        }
        let read = Line::read(self.line);
        let string = read.string_at(backslash).filter(|string| string.is_closed);
        let inner = string.map(|string| self.part(string.range.start + 1..string.range.end - 1));
        match (string, inner) {
            // `"C:\new"` and the like: no backslash in it was meant as an escape.
            (Some(string), Some(inner))
                if !inner.contains('\'') && !inner.contains("\\\\") && !inner.contains("\\\"") =>
            {
                let help = "between single quotes a backslash is a backslash; between double ones it is written twice";
                problem.suggest(help, self.place(string.range.clone()), format!("'{inner}'"))
            }
            _ => {
                let place = self.place(backslash..backslash + 1);
                problem.suggest("a backslash is written twice between double quotes", place, "\\\\")
            }
        }
    }

    pub(super) fn no_comma(&self) -> Problem {
        let at = end_of_text(&self.file.text, self.start + self.at.start);
        let place = Place::new(self.file, at..at);
        Problem::error(place.clone(), "a comma is missing here").suggest("write one between two values", place, ",")
    }

    /// A list or an inline table that begins with `bracket`.
    pub(super) fn never_closed(&self, bracket: char) -> Problem {
        if Line::read(self.line).strings.iter().any(|string| !string.is_closed) {
            // The bracket that closes it stands within the string.
            return self.open_string();
        }
        let (noun, closing) = if bracket == '[' { ("list", "]") } else { ("table", "}") };
        let here = if self.says(&["unclosed"]) { self.start + self.at.start } else { self.start };
        let end = end_of_text(&self.file.text, here);
        let mut start = end;
        let open = self.file.text[..end].split_inclusive('\n').rev().find_map(|line| {
            start -= line.len();
            let key = key_of(line)?;
            let value = line.split_once('=')?.1.trim_start();
            value.starts_with(bracket).then(|| (key, start + line.len() - value.len()))
        });
        let close = Place::new(self.file, end..end);
        let (place, title) = match open {
            Some((key, at)) => {
                (Place::new(self.file, at..at + 1), format!("the {noun} {} is never closed", quoted(key)))
            }
            None => (close.clone(), format!("a {noun} is never closed")),
        };
        Problem::error(place, title).suggest(format!("close it with {closing}"), close, closing)
    }
}

fn flag_for(word: &str) -> Option<&'static str> {
    match word {
        "yes" | "on" | "enabled" => Some("true"),
        "no" | "off" | "disabled" => Some("false"),
        _ => None,
    }
}
