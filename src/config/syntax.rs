//! From the text of a file to its tables.

use std::sync::Arc;

use toml::de::DeTable;

mod explain;
mod line;

use super::{
    diagnostics::{Place, Problem, Report},
    section::Section,
    sources::File,
};

/// Of how many syntax errors in one file each is explained; it is no TOML file then.
const EXPLAINED: usize = 50;

/// Parses `file`. What is no TOML is noted in `syntax`; what is wrong with the rest will be noted in `report`.
///
/// After a syntax error the tables hold what the parser guessed, so that nothing in them is worth a complaint.
pub(super) fn parse<'s>(file: &'s Arc<File>, syntax: &Report, report: &'s Report) -> Section<'s> {
    if let Some(at) = file.broken_at {
        syntax.note(explain::encoding(file, at));
        return Section::open(report, file, DeTable::new());
    }
    let (root, mut errors) = DeTable::parse_recoverable(&file.text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    explain::explain(file, &errors[..errors.len().min(EXPLAINED)]).into_iter().for_each(|problem| syntax.note(problem));
    if let Some(next) = errors.get(EXPLAINED) {
        let place = Place::new(file, next.span().unwrap_or_default());
        let problem = Problem::error(place, format!("from here on {} more syntax errors", errors.len() - EXPLAINED));
        syntax.note(problem.help("is this the right file?"));
    }
    Section::open(report, file, root.into_inner())
}

/// Where the key or the table at `again` was first written.
///
/// The parser names the second place only, so the first is looked for in the text: a table by its whole header, a key
/// in the lines since the last header. Where that finds nothing the problem is shown without it.
fn first_of_two(again: &Place) -> Option<Place> {
    let (line, within) = again.on_its_line();
    let key = line.get(within.clone())?;
    let before = again.file.text.get(..again.span().start - within.start)?;
    let mut end = before.len();
    for earlier in before.split_inclusive('\n').rev() {
        let start = end - earlier.len();
        end = start;
        let column = if line.trim_start().starts_with('[') {
            let name = without_brackets(earlier).filter(|name| Some(*name) == without_brackets(line));
            name.and_then(|_| earlier.find(key))
        } else if earlier.trim_start().starts_with('[') {
            return None;
        } else {
            let indent = earlier.len() - earlier.trim_start().len();
            let rest = earlier.trim_start().strip_prefix(key);
            rest.is_some_and(|rest| rest.trim_start().starts_with('=')).then_some(indent)
        };
        if let Some(column) = column {
            return Some(Place::new(&again.file, start + column..start + column + key.len()));
        }
    }
    None
}

/// The name in the header of a table, whether it has one pair of brackets or two.
fn without_brackets(header: &str) -> Option<&str> {
    let header = header.split('#').next()?.trim();
    Some(header.strip_prefix('[')?.trim_matches(['[', ']']).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let file = Arc::new(File::new("p.toml", text));
        let (syntax, report) = (Report::default(), Report::default());
        parse(&file, &syntax, &report);
        syntax.sorted(std::slice::from_ref(&file)).iter().map(Problem::short).collect()
    }

    #[test]
    fn every_line_with_a_syntax_error_is_found_in_one_pass_and_in_order() {
        let found = problems("a = \nb = 1\nc = = 2\n[x\n");
        let lines: Vec<_> = found.iter().filter_map(|short| short.split(':').nth(1)).collect();
        assert_eq!(lines, ["1", "3", "4"], "{found:#?}");
    }

    #[test]
    fn of_a_file_that_is_something_else_not_every_line_is_explained() {
        let found = problems(&"no toml\n".repeat(1000));
        assert_eq!(found.len(), EXPLAINED + 1);
        assert!(found[EXPLAINED].ends_with("from here on 950 more syntax errors"), "{}", found[EXPLAINED]);
    }

    #[test]
    fn both_places_of_a_repeated_key_are_shown() {
        assert_eq!(
            problems("[t]\nx = 1\n  key = 1\nkey = 2\n"),
            ["p.toml:4:1: error: `key` is written twice (p.toml:3:3)"]
        );
    }

    #[test]
    fn both_places_of_a_repeated_table_are_shown() {
        let text = "[listen.ssh] # one\na = 1\n[other]\n[listen.ssh]\na = 1\n";
        assert_eq!(problems(text)[0], "p.toml:4:9: error: [listen.ssh] stands there twice (p.toml:1:9)");
    }
}
