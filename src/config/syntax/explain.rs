//! What is wrong with text that is no TOML, in the words of those who write configurations.
//!
//! The parser says what it expected, and goes on as well as it can. Here it is said what was probably meant, once for
//! each mistake: of what follows from it on the same line nothing more is said.

use std::{ops::Range, slice::SliceIndex, sync::Arc};

use toml::de::Error;

use super::{
    EXPLAINED, first_of_two,
    line::{Line, begins_anew, key_of},
};
use crate::config::{
    diagnostics::{Place, Problem},
    printable::{quoted, toml_key},
    sources::File,
};
use crate::harmless::is_harmful;

mod value;

const UTF_16: &str = "it looks like UTF-16, which editors on Windows may write: save it as UTF-8";

/// A mistake at a place in a line.
struct Fault<'f> {
    file: &'f Arc<File>,
    /// Where the line begins in the file.
    start: usize,
    line: &'f str,
    /// Which bytes of the line the parser points at.
    at: Range<usize>,
    message: &'f str,
}

/// The problems behind `errors`, which are those of `file` in the order of its text.
pub(super) fn explain(file: &Arc<File>, errors: &[Error]) -> Vec<Problem> {
    if let Some(problem) = unfinished_merge(file).filter(|_| !errors.is_empty()).or_else(|| another_format(file)) {
        return vec![problem];
    }
    // Every other byte of text in UTF-16 is a zero.
    if file.text.matches('\0').count() > file.text.len() / 3 {
        return vec![Problem::error(Place::new(file, 0..0), "the file is not UTF-8").help(UTF_16)];
    }
    // One line has one problem, but for values, of which each can lack its quotes.
    let (mut said, mut problems): (Vec<(usize, bool)>, Vec<Problem>) =
        control_characters(file).into_iter().map(|(line, problem)| ((line, false), problem)).unzip();
    for error in errors {
        let fault = Fault::new(file, error);
        let is_value = !fault.at.is_empty() && fault.is_value();
        if said.iter().any(|(line, value)| *line == fault.start && !(is_value && *value)) {
            continue;
        }
        let open = fault.open_bracket();
        let problem = match open {
            Some(bracket) => fault.never_closed(bracket),
            None => fault.explain(),
        };
        // A value is pointed at once, however many of its letters are wrong.
        if problems.iter().any(|said| said.primary.place == problem.primary.place) {
            continue;
        }
        said.push((fault.start, is_value));
        problems.push(problem);
        if open.is_some() {
            // All that follows was read as a part of what is open.
            break;
        }
    }
    problems
}

/// What is to be said where `git merge` left both versions: neither is wrong by itself.
fn unfinished_merge(file: &Arc<File>) -> Option<Problem> {
    let mut start = 0;
    let mut marks = file.text.split_inclusive('\n').filter_map(|line| {
        let at = start..start + line.trim_end().len();
        start += line.len();
        ["<<<<<<< ", "=======", ">>>>>>> "].iter().any(|mark| line.starts_with(mark)).then(|| Place::new(file, at))
    });
    let first = marks.next().filter(|first| first.text().starts_with('<'))?;
    let help =
        "keep what is meant of the two versions, and remove the lines that begin with <<<<<<<, ======= and >>>>>>>";
    let problem = Problem::error(first, "a merge is not finished here");
    Some(marks.take(2).fold(problem, |problem, mark| problem.and(mark, "")).help(help))
}

/// What is to be said of a file that is something else as a whole.
fn another_format(file: &Arc<File>) -> Option<Problem> {
    let at = file.text.find(|c: char| !c.is_whitespace())?;
    let format = match file.text[at..].chars().next()? {
        '{' => "JSON",
        '<' => "XML",
        _ => return None,
    };
    let problem =
        Problem::error(Place::new(file, at..at + 1), format!("this is {format}, and the configuration is TOML"));
    Some(problem.help("begin with a line such as `[listen.ssh]`, and write `key = value` lines below it"))
}

/// Characters that TOML has nowhere, the first of each line, with where the line begins.
fn control_characters(file: &Arc<File>) -> Vec<(usize, Problem)> {
    let mut problems = Vec::new();
    let mut start = 0;
    for line in file.text.split_inclusive('\n') {
        let content = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line);
        if let Some((at, c)) = content.char_indices().find(|(_, c)| c.is_ascii_control() && *c != '\t') {
            let place = Place::new(file, start + at..start + at + 1);
            let problem = if c == '\r' {
                Problem::error(place, "a line ends in a carriage return alone")
                    .help("save the file with the line ends of Unix (LF) or Windows (CRLF)")
            } else {
                let code = u32::from(c);
                let problem = Problem::error(place.clone(), format!("a control character (U+{code:04X}) stands here"));
                let in_string = Line::read(content).string_at(at).is_some_and(|string| string.quote == '"');
                if in_string {
                    problem.suggest("remove it, or write it as an escape", place, format!("\\u{code:04X}"))
                } else {
                    problem.suggest("remove it", place, "")
                }
            };
            problems.push((start, problem));
            if problems.len() == EXPLAINED {
                break;
            }
        }
        start += line.len();
    }
    problems
}

impl<'f> Fault<'f> {
    fn new(file: &'f Arc<File>, error: &'f Error) -> Self {
        let span = Place::new(file, error.span().unwrap_or_default()).span();
        let start = file.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = file.text[start..].lines().next().unwrap_or_default();
        let within = |offset: usize| (offset - start).min(line.len());
        Self { file, start, line, at: within(span.start)..within(span.end), message: error.message() }
    }

    fn place(&self, range: Range<usize>) -> Place {
        Place::new(self.file, self.start + range.start..self.start + range.end)
    }

    fn error(&self, range: Range<usize>, title: impl AsRef<str>) -> Problem {
        Problem::error(self.place(range), title)
    }

    /// A part of the line; nothing where the line does not go so far. What the parser points at may lie on another
    /// line than what it belongs to.
    fn part(&self, range: impl SliceIndex<str, Output = str>) -> &'f str {
        self.line.get(range).unwrap_or_default()
    }

    /// What the parser points at, or the character before which it stopped.
    fn pointed_at(&self) -> Range<usize> {
        match self.part(self.at.start..).chars().next() {
            Some(c) if self.at.is_empty() => self.at.start..self.at.start + c.len_utf8(),
            _ => self.at.clone(),
        }
    }

    /// The line from where the parser points.
    fn rest(&self) -> &'f str {
        self.part(self.at.start..)
    }

    fn says(&self, messages: &[&str]) -> bool {
        messages.iter().any(|message| self.message.starts_with(message))
    }

    fn is_value(&self) -> bool {
        self.says(&[
            "string values must be quoted",
            "invalid boolean",
            "invalid float",
            "invalid integer",
            "invalid date-time",
            "invalid mantissa",
            "invalid fraction",
            "invalid exponent",
            "invalid hexadecimal",
            "invalid octal",
            "invalid binary",
            "unexpected leading zero",
            "unexpected sign",
            "redundant",
            "integers with a radix",
            "radix must be lowercase",
            "`_` may only go between digits",
        ])
    }

    /// The bracket that was opened before the parser came here, and is closed nowhere.
    fn open_bracket(&self) -> Option<char> {
        let indent = self.line.len() - self.line.trim_start().len();
        let is_new = self.at.start <= indent && begins_anew(self.line);
        if self.says(&["unclosed array, ", "unexpected `=` in array"])
            || self.says(&["missing comma between array elements"]) && is_new
        {
            Some('[')
        } else if self.says(&["unclosed inline table"])
            || self.says(&["missing comma between key-value", "missing key for inline table"])
                && is_new
                && self.line.trim_start().starts_with('[')
        {
            Some('{')
        } else {
            None
        }
    }

    /// Something between words that looks like a space, or like nothing.
    fn invisible(&self) -> Option<Problem> {
        let is_invisible = |c: char| !c.is_ascii() && (c.is_whitespace() || is_harmful(c));
        let length = self.rest().find(|c| !is_invisible(c)).unwrap_or(self.rest().len());
        let first = self.part(self.at.start..self.at.start + length).chars().next()?;
        let range = self.at.start..self.at.start + length;
        let title = format!("an invisible character (U+{:04X}) stands here, which is no plain space", u32::from(first));
        let (help, instead) =
            if first.is_whitespace() { ("write a plain space in its place", " ") } else { ("remove it", "") };
        Some(self.error(range.clone(), title).suggest(help, self.place(range), instead))
    }

    fn explain(&self) -> Problem {
        if let Some(problem) = self.invisible() {
            problem
        } else if self.says(&["duplicate key"]) {
            self.written_twice()
        } else if self.says(&["cannot extend value"]) {
            self.extended()
        } else if self.says(&["missing value"]) || self.is_value() && self.at.is_empty() {
            self.no_value()
        } else if self.is_value() {
            self.bare_value(self.token())
        } else if self.says(&["missing escaped value", "invalid value, expected unicode", "too few unicode"]) {
            self.escape()
        } else if self.says(&["invalid multi-line"]) {
            self.open_text()
        } else if self.says(&["invalid basic string", "invalid literal string"]) {
            self.open_string()
        } else if self.says(&["unclosed table", "unclosed array table"]) {
            self.open_header()
        } else if self.says(&["invalid unquoted key", "key with no value", "missing assignment between"]) {
            self.odd_key()
        } else if self.says(&["unexpected key or value"]) {
            self.after_value()
        } else if self.says(&["missing comma"]) {
            self.no_comma()
        } else if self.says(&["extra comma", "extra `=`", "extra assignment"]) {
            let extra = self.pointed_at();
            let title = format!("{} stands there twice", quoted(self.part(extra.clone())));
            self.error(extra.clone(), title).suggest("remove one", self.place(extra), "")
        } else if self.says(&["invalid key-value pair"]) {
            self.odd_line()
        } else if self.says(&["unquoted keys cannot be empty"]) {
            self.error(self.at.clone(), "a name is missing here")
                .help("write it, or remove the sign that it would belong to")
        } else {
            let what = self.message.split(", expected").next().unwrap_or_default();
            self.error(self.at.clone(), format!("no TOML: {what}")).help("https://toml.io/en/v1.0.0 says what TOML is")
        }
    }

    fn written_twice(&self) -> Problem {
        let place = self.place(self.at.clone());
        let trimmed = self.line.trim();
        let (title, help) = if trimmed.starts_with('[') {
            let header = trimmed[..Line::read(trimmed).end].trim_end();
            (format!("{header} stands there twice"), "a table has one header, with all of its keys below it")
        } else {
            (format!("`{}` is written twice", place.text()), "keep one of the two")
        };
        let problem = self.error(self.at.clone(), title).label("written again here");
        match first_of_two(&place) {
            Some(first) => problem.and(first, "first written here").help(help),
            None => problem.help(help),
        }
    }

    fn extended(&self) -> Problem {
        let place = self.place(self.at.clone());
        let title = format!("`{}` has its value already, and nothing can be added to it", place.text());
        let problem = self.error(self.at.clone(), title);
        let first = first_of_two(&place);
        let problem = first.into_iter().fold(problem, |problem, first| problem.and(first, "it has its value here"));
        problem.help("write all of it in one place")
    }

    /// The key of this line, without the tables that may stand before it.
    fn key(&self) -> &'f str {
        let key = key_of(self.line).unwrap_or_default();
        key.rsplit('.').next().unwrap_or_default()
    }

    fn open_header(&self) -> Problem {
        let open = if self.message.starts_with("unclosed array table") { "[[" } else { "[" };
        let close = if open == "[[" { "]]" } else { "]" };
        let end = self.part(..Line::read(self.line).end).trim_end().len();
        let begin = self.line.find('[').unwrap_or_default();
        let inner = self.part(begin + open.len()..end.max(begin + open.len())).trim_end_matches(']');
        let title = format!("{} is not closed", quoted(self.part(begin..end)));
        if self.at.start >= end {
            let last = begin + open.len() + inner.len();
            return self.error(begin..end, title).suggest(
                format!("close it with {close}"),
                self.place(last..end),
                close,
            );
        }
        // A space or some other sign within the name. `[listen "ssh"]` is how git writes `[listen.ssh]`.
        let title = format!("{} is no name of a table", quoted(inner));
        let range = begin + open.len()..begin + open.len() + inner.len();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let words: Vec<_> = inner.split(|c| !plain(c)).filter(|word| !word.is_empty()).collect();
        let meant = match words.as_slice() {
            [kind, name @ ..] if !inner.contains('.') && !name.is_empty() => format!("{kind}.{}", name.join("-")),
            words => words.join("-"),
        };
        self.error(range.clone(), title).suggest("names have no spaces", self.place(range), meant)
    }

    /// Something stands where a key and a `=` should.
    fn odd_key(&self) -> Problem {
        let indent = self.line.len() - self.line.trim_start().len();
        let trimmed = self.line.trim();
        if let Some(problem) = self.comment(indent) {
            return problem;
        }
        let before = self.part(..self.at.start).trim_end();
        if self.rest().starts_with(':') || before.ends_with(':') {
            let colon = if self.rest().starts_with(':') { self.at.start } else { before.len() - 1 };
            return self.colon(colon);
        }
        if trimmed.starts_with('[') {
            let problem = self.error(
                self.at.clone(),
                format!("{} can't stand in the name of a table", quoted(self.part(self.at.clone()))),
            );
            return problem.help("names are of a-z, 0-9, `_` and `-`");
        }
        if self.says(&["invalid unquoted key"]) {
            let range = self.pointed_at();
            let title = format!("{} can't stand in a key", quoted(self.part(range.clone())));
            return self.error(range, title).help("keys are of letters, digits, `_` and `-`");
        }
        let rest = self.rest().trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            let key = before.len() - before.trim_start().len()..before.len();
            let name = self.part(key.clone());
            let problem = self.error(key, format!("{} has no value", quoted(name)));
            return problem.help(format!("write `{} = ` and the value after it", toml_key(name)));
        }
        if rest.starts_with(['"', '\'', '[', '{', '-'])
            || rest.starts_with(|c: char| c.is_ascii_digit())
            || is_toml(rest)
        {
            let at = self.line.len() - rest.len();
            let problem = self.error(at..at, "a `=` is missing between the key and its value");
            return problem.suggest("write it here", self.place(at..at), "= ");
        }
        if rest.starts_with("+=") {
            let problem = self.error(indent..indent + trimmed.len(), "nothing can be added to a value");
            return problem.help("write all of it in one place, after a `=`");
        }
        self.odd_line()
    }

    fn odd_line(&self) -> Problem {
        let indent = self.line.len() - self.line.trim_start().len();
        let end = indent + self.line.trim().len();
        let problem = self.error(indent..end, "this line is neither a [table] nor a `key = value`");
        problem.help("a comment begins with `#`")
    }

    /// A comment that begins as in another language.
    fn comment(&self, at: usize) -> Option<Problem> {
        let sign = [";", "//"].into_iter().find(|sign| self.part(at..).starts_with(sign))?;
        let range = at..at + sign.len();
        let problem = self.error(range.clone(), format!("`{sign}` begins no comment here"));
        Some(problem.suggest("a comment begins with `#`", self.place(range), "#"))
    }

    fn colon(&self, at: usize) -> Problem {
        let problem = self.error(at..at + 1, "a `:` stands where TOML has a `=`");
        if self.part(at + 1..).trim().is_empty() {
            return problem.help("a table is a line such as `[listen.ssh]`, and has its keys below it");
        }
        if self.part(at + 1..).starts_with('=') {
            return problem.suggest("remove the `:`", self.place(at..at + 1), "");
        }
        let spaced = self.part(..at).ends_with(' ');
        problem.suggest("write a `=`", self.place(at..at + 1), if spaced { "=" } else { " =" })
    }

    /// Something stands behind a value.
    fn after_value(&self) -> Problem {
        let rest = self.rest();
        let end = Line::read(self.line).end.max(self.at.start);
        let range = self.at.start..self.part(..end).trim_end().len().max(self.at.start);
        if rest.trim_end() == ";" || rest.trim_end() == "," {
            let problem =
                self.error(range.clone(), format!("nothing stands after a value, and no {}", quoted(rest.trim())));
            return problem.suggest("remove it", self.place(range), "");
        }
        if let Some(problem) = self.comment(self.at.start) {
            return problem;
        }
        if let Some(second) = key_of(rest) {
            let problem = self.error(range, format!("a second key, {}, stands on this line", quoted(second)));
            return problem.help("begin a new line before it");
        }
        let value = self.line.find('=').map_or(0, |equals| equals + 1);
        let value = value + self.part(value..).len() - self.part(value..).trim_start().len();
        if !self.part(value..).starts_with(['"', '\'', '[', '{']) && !self.part(value..end).contains(['"', '\'']) {
            return self.bare_value(value..self.part(..end).trim_end().len());
        }
        let title = format!("{} stands behind the value", quoted(self.part(range.clone())));
        self.error(range, title).help("one line holds one value; a comment begins with `#`")
    }
}

/// What is wrong with a file that is not UTF-8, where `at` is its first odd byte.
pub(super) fn encoding(file: &Arc<File>, at: usize) -> Problem {
    let place = Place::new(file, at..at + char::REPLACEMENT_CHARACTER.len_utf8());
    let problem = Problem::error(place, "the file is not UTF-8").label("this byte is no text");
    problem.help(if file.text.contains('\0') {
        UTF_16
    } else {
        "save it as UTF-8 in your editor, or convert it with iconv"
    })
}

/// Whether `text` can stand as a value.
fn is_toml(text: &str) -> bool {
    !text.contains('\n') && format!("x = {text}").parse::<toml::Table>().is_ok()
}
