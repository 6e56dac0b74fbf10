//! Showing problems to people.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use super::{
    diagnostics::{Help, Label, Place, Problem, Severity},
    printable::{same_length, veiled},
    printable_path,
};

/// The columns that a rendered problem may take where nobody says how many there are.
pub const DEFAULT_WIDTH: usize = 140;

/// Less leaves no room for what a problem is about.
const MIN_WIDTH: usize = 40;

/// Stands at the end of a line that goes on.
const CUT: &str = "...";

impl Problem {
    /// The problem with its line of text and the help that there is; several lines, the last one ended.
    ///
    /// With `colour` the text holds ANSI escapes of our own. Those in the file are shown, never passed on. A line of
    /// the file that has no room within `width` columns is cut around what is wrong in it.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let snippets = std::iter::once((AnnotationKind::Primary, &self.primary))
            .chain(self.others.iter().map(|label| (AnnotationKind::Context, label)))
            .map(|(kind, label)| annotated(kind, label));
        let mut report = vec![level.primary_title(&self.title).elements(snippets)];
        let width = width.max(MIN_WIDTH);
        report.extend(self.helps.iter().map(|help| helpful(help, width)));
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(width).render(&report) + "\n"
    }

    /// One line, `file:line:column: error: what`, fit for a log or systemd's `STATUS=`.
    ///
    /// Where the problem lies between two places, the other one follows in parentheses.
    pub fn short(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut line = format!("{}: {severity}: {}", position(&self.primary.place), self.title);
        for label in &self.others {
            line.push_str(&format!(" ({})", position(&label.place)));
        }
        line
    }
}

fn position(place: &Place) -> String {
    let (line, column) = place.line_and_column();
    format!("{}:{line}:{column}", file_name(place))
}

fn file_name(place: &Place) -> String {
    printable_path(&place.file.path)
}

/// One line of text with a label under it.
///
/// Each place is shown by itself: a value over many lines, or two places far apart, are no clearer in full.
fn annotated(kind: AnnotationKind, label: &Label) -> Snippet<'static, Annotation<'static>> {
    let (line, span) = label.place.on_its_line();
    let text = (!label.text.is_empty()).then(|| label.text.clone());
    snippet(&label.place, line).annotation(kind.span(span).label(text))
}

fn helpful(help: &Help, width: usize) -> Group<'static> {
    let title = Level::HELP.secondary_title(help.text.clone());
    match &help.edit {
        None => Group::with_title(title),
        Some((place, instead)) => {
            let (line, span) = place.on_its_line();
            let (line, span) = cut(line, span, width.saturating_sub(instead.len()));
            title.element(snippet(place, &line).patch(Patch::new(span, same_length(&veiled(instead)).into_owned())))
        }
    }
}

/// As much of `line` as has room in `width` columns, with `span` in it; the renderer cuts no line with an edit.
fn cut(line: &str, span: Range<usize>, width: usize) -> (String, Range<usize>) {
    // The number of the line and its sign stand to the left.
    let room = width.saturating_sub(10);
    if line.len() <= room {
        return (line.to_owned(), span);
    }
    let margin = room.saturating_sub(span.len()) / 2;
    let start = line.floor_char_boundary(span.start.saturating_sub(margin));
    let end = line.ceil_char_boundary((span.end + margin).min(line.len()));
    let before = if start == 0 { "" } else { CUT };
    let after = if end == line.len() { "" } else { CUT };
    let moved = |offset: usize| offset - start + before.len();
    (format!("{before}{}{after}", &line[start..end]), moved(span.start)..moved(span.end))
}

fn snippet<M: Clone>(place: &Place, line: &str) -> Snippet<'static, M> {
    Snippet::source(same_length(&veiled(line)).into_owned())
        .path(file_name(place))
        .line_start(place.line_and_column().0)
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::Arc};

    use super::*;
    use crate::config::sources::File;

    fn place(text: &str, span: Range<usize>) -> Place {
        Place::new(&Arc::new(File::new("p.toml", text)), span)
    }

    #[test]
    fn a_problem_shows_its_line_its_place_and_its_edit() {
        let at = || place("# a comment\nalow = []\n", 12..16);
        let problem = Problem::error(at(), "unknown key `alow`").suggest("did you mean `allow`?", at(), "allow");
        let shown = [
            "error: unknown key `alow`",
            " --> p.toml:2:1",
            "  |",
            "2 | alow = []",
            "  | ^^^^",
            "  |",
            "help: did you mean `allow`?",
            "  |",
            "2 | allow = []",
            "  |   +",
            "",
        ];
        assert_eq!(problem.render(false, DEFAULT_WIDTH), shown.join("\n"));
        assert_eq!(problem.short(), "p.toml:2:1: error: unknown key `alow`");
    }

    #[test]
    fn both_places_of_a_clash_are_shown() {
        let text = "one = 1\n\n\n\n\n\ntwo = 1\n";
        let problem = Problem::error(place(text, 13..16), "taken twice").and(place(text, 0..3), "first here");
        let shown = [
            "error: taken twice",
            " --> p.toml:7:1",
            "  |",
            "7 | two = 1",
            "  | ^^^",
            "  |",
            " ::: p.toml:1:1",
            "  |",
            "1 | one = 1",
            "  | --- first here",
            "",
        ];
        assert_eq!(problem.render(false, DEFAULT_WIDTH), shown.join("\n"));
        assert_eq!(problem.short(), "p.toml:7:1: error: taken twice (p.toml:1:1)");
    }

    #[test]
    fn no_control_character_of_the_file_reaches_the_terminal() {
        let text = "key = \"\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2028}\"";
        let problem =
            Problem::error(place(text, 6..text.len()), text).label(text).help(text).and(place(text, 0..1), text);
        let shown = problem.render(false, DEFAULT_WIDTH) + &problem.short();
        let harmful: Vec<char> = shown.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(harmful.is_empty(), "{harmful:?} in {shown}");
        assert!(!shown.contains(['\u{202e}', '\u{2028}']), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_its_edit() {
        let text = format!("allow = [{}\"hoem\", {}]", "\"öffice\", ".repeat(50), "\"office\", ".repeat(50));
        let at = text.find("\"hoem").unwrap();
        let at = || place(&text, at..at + 6);
        let shown = Problem::error(at(), "unknown").suggest("did you mean this?", at(), "\"home\"").render(false, 80);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert_eq!(shown.matches("\"hoem\"").count(), 2, "{shown}");
        assert_eq!(shown.matches("\"home\"").count(), 1, "{shown}");
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let problem = Problem::error(place("a", 0..1), "b");
        assert!(problem.render(true, DEFAULT_WIDTH).contains('\u{1b}'));
        assert!(!problem.render(false, DEFAULT_WIDTH).contains('\u{1b}'));
    }
}
