//! Problems: what is wrong with a configuration, where, and what to do about it.

use std::{cell::RefCell, ops::Range, path::Path, sync::Arc};

use super::{printable::printable, sources::File};

/// Something that is wrong, or at least remarkable, at a place in a file.
///
/// A problem holds on to the text of the files that it points into, so it can be shown at any later time.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub severity: Severity,
    pub(super) title: String,
    pub(super) primary: Label,
    pub(super) others: Vec<Label>,
    pub(super) helps: Vec<Help>,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, and perhaps not what was meant.
    Warning,
}

/// A place, and what is said beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) place: Place,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Help {
    pub(super) text: String,
    /// What to write instead, and in place of what. Never over more than one line.
    pub(super) edit: Option<(Place, String)>,
}

impl Problem {
    pub(super) fn error(place: Place, title: impl AsRef<str>) -> Self {
        Self::new(Severity::Error, place, title.as_ref())
    }

    pub(super) fn warning(place: Place, title: impl AsRef<str>) -> Self {
        Self::new(Severity::Warning, place, title.as_ref())
    }

    fn new(severity: Severity, place: Place, title: &str) -> Self {
        let primary = Label { place, text: String::new() };
        Self { severity, title: printable(title).into_owned(), primary, others: Vec::new(), helps: Vec::new() }
    }

    /// Says something beside the place itself.
    pub(super) fn label(mut self, text: impl AsRef<str>) -> Self {
        self.primary.text = printable(text.as_ref()).into_owned();
        self
    }

    /// Adds a further place that has to do with the problem.
    pub(super) fn and(mut self, place: Place, text: impl AsRef<str>) -> Self {
        self.others.push(Label { place, text: printable(text.as_ref()).into_owned() });
        self
    }

    pub(super) fn help(mut self, text: impl AsRef<str>) -> Self {
        self.helps.push(Help { text: printable(text.as_ref()).into_owned(), edit: None });
        self
    }

    /// Help with a replacement for the text at `place`.
    pub(super) fn suggest(mut self, help: impl AsRef<str>, place: Place, instead: impl Into<String>) -> Self {
        let edit = (!place.covers_lines()).then(|| (place, instead.into()));
        self.helps.push(Help { text: printable(help.as_ref()).into_owned(), edit });
        self
    }

    /// The help that comes with what is `wrong` at `place`.
    pub(super) fn advise(self, place: Place, wrong: Wrong) -> Self {
        match (wrong.help, wrong.instead) {
            (help, Some(instead)) => self.suggest(help.unwrap_or_else(|| "did you mean this?".into()), place, instead),
            (Some(help), None) => self.help(help),
            (None, None) => self,
        }
    }

    /// What is wrong, in one line without a place.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The file that the problem is in, the line and the column. Both count from 1, columns in characters.
    pub fn position(&self) -> (&Path, usize, usize) {
        let (line, column) = self.primary.place.line_and_column();
        (&self.primary.place.file.path, line, column)
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Where a replacement is suggested: the file that it is for, and the text of that file once it is made.
    pub fn mended(&self) -> Option<(&Path, String)> {
        let (place, instead) = self.helps.iter().find_map(|help| help.edit.as_ref())?;
        let mut text = place.file.text.clone();
        text.replace_range(place.span.clone(), instead);
        Some((&place.file.path, text))
    }
}

/// A stretch of text in a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: Arc<File>,
    /// Byte offsets within the file's text, on character boundaries.
    span: Range<usize>,
}

/// Two places are the same if they are in one file as it was read once.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.span == other.span && Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Place {
    /// A parser may name bytes past the end or inside a character; the place is then the nearest text.
    pub(super) fn new(file: &Arc<File>, span: Range<usize>) -> Self {
        let text = &file.text;
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        Self { file: file.clone(), span: start..end }
    }

    /// Line and column, both from 1; the column counts characters.
    pub(super) fn line_and_column(&self) -> (usize, usize) {
        let (line, start) = self.file.line_at(self.span.start);
        (line, self.file.text[start..self.span.start].chars().count() + 1)
    }

    /// The line on which the place begins, without its end, and which bytes of that line the place covers.
    pub(super) fn on_its_line(&self) -> (&str, Range<usize>) {
        let start = self.line_start();
        let line = self.file.text[start..].lines().next().unwrap_or_default();
        let within = |offset: usize| (offset - start).min(line.len());
        (line, within(self.span.start)..within(self.span.end))
    }

    /// What sorts places as a reader of `files` comes across them.
    pub(super) fn order(&self, files: &[Arc<File>]) -> (Option<usize>, usize) {
        (files.iter().position(|file| Arc::ptr_eq(file, &self.file)), self.span.start)
    }

    /// Where in its file the place begins and ends, in bytes.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What stands there.
    pub(super) fn text(&self) -> &str {
        &self.file.text[self.span.clone()]
    }

    fn line_start(&self) -> usize {
        self.file.line_at(self.span.start).1
    }

    fn covers_lines(&self) -> bool {
        self.text().contains('\n')
    }
}

/// What is wrong with a piece of text, as said by a parser that knows of no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Wrong {
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The TOML value that was probably meant.
    pub instead: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, instead: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `value` is what was probably meant, as it stands in TOML.
    pub(super) fn instead(mut self, value: impl Into<String>) -> Self {
        self.instead = Some(value.into());
        self
    }
}

/// Everything found so far, by all who read the files.
///
/// A notebook rather than a return value: whoever reads one key notes what is wrong with it and goes on to the next.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
}

impl Report {
    pub(super) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(Problem::is_error)
    }

    /// All problems in the order of `files`, and within a file in the order of the text.
    pub(super) fn sorted(self, files: &[Arc<File>]) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.primary.place.order(files));
        problems
    }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters are wrong.
///
/// All candidates are in lower case, and `-` in place of `_` is not even counted as a slip.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // The distance costs time and memory in the product of the lengths, and no word of ours is long.
    if word.len() > 128 {
        return None;
    }
    let word = &word.to_lowercase().replace('-', "_");
    let tolerance = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, &candidate.replace('-', "_")), candidate))
        // Of one or two letters nothing is left to recognise once one of them is wrong.
        .filter(|(distance, candidate)| {
            *distance <= tolerance && *distance < candidate.chars().count().min(word.chars().count())
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        Place::new(&Arc::new(File::new("p.toml", text)), span)
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(place("ä = 1\nöö = 2", 12..13).line_and_column(), (2, 4));
    }

    #[test]
    fn a_span_past_the_end_or_inside_a_character_is_moved_to_text() {
        assert_eq!(place("ab\ncd", 100..200).line_and_column(), (2, 3));
        assert_eq!(place("aä", 2..2).on_its_line(), ("aä", 1..3));
        assert_eq!(place("", 5..5).line_and_column(), (1, 1));
    }

    #[test]
    fn of_a_place_over_many_lines_the_first_is_shown() {
        assert_eq!(place("a = [\r\n1,\r\n]", 4..12).on_its_line(), ("a = [", 4..5));
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("alow", ["allow", "on"]), Some("allow"));
        assert_eq!(nearest("taregt", ["target", "protocol"]), Some("target"));
        assert_eq!(nearest("address", ["target", "allow"]), None);
        assert_eq!(nearest("no", ["on"]), Some("on"));
        assert_eq!(nearest("Drain-Timeout", ["drain_timeout"]), Some("drain_timeout"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), ["a"]), None);
    }
}
