//! A tunnel into the text of a file, and out of it. Every byte that has nothing to do with it stays what it was.
//!
//! `toml_edit` parses and says where everything stands; the text itself is cut and pasted here. To have the library
//! write a whole file anew would lose its byte order mark and its line endings, regroup dotted keys, and take the
//! comment at the head of a file for that of its first table.

use std::ops::{Range, RangeInclusive};

use toml_edit::{Decor, Document, InlineTable, Item, Key, Table, TomlError, Value};

use super::super::argument::Declaration;

/// `text` with the tunnel at its end; only where all tunnels of its kind stand in one inline table, among them.
pub(super) fn add(text: &str, tunnel: &Declaration) -> Result<String, TomlError> {
    let (mark, body) = split_mark(text);
    let file = Document::parse(body)?;
    let kind = tunnel.kind().to_string();
    if let Some(mut all) = inline_table(&file, &kind)? {
        add_inline(&mut all, tunnel)?;
        return Ok(mark.to_owned() + &with_value(&file, &kind, &all));
    }
    let newline = newline(body);
    let table = with_newlines(&tunnel.table(), newline);
    let table = table.trim_end_matches(['\r', '\n']);
    // What has no newline at its end stays so, and is found again when the tunnel is removed.
    Ok(match body {
        "" => format!("{mark}{table}{newline}"),
        _ if body.ends_with('\n') => format!("{text}{newline}{table}{newline}"),
        _ => format!("{text}{newline}{newline}{table}"),
    })
}

/// `text` without the tunnel; `None` where it does not hold it.
///
/// The comment directly above a tunnel goes with it, unless it is the one that the file begins with; so do comments
/// between its keys, and those directly below them that a blank line ends. All other comments stay.
pub(super) fn remove(text: &str, kind: &str, name: &str) -> Result<Option<String>, TomlError> {
    let (mark, body) = split_mark(text);
    let file = Document::parse(body)?;
    let cuts = match inline_table(&file, kind)? {
        None => cuts(&file, kind, name),
        Some(mut all) => match inline_cuts(&file, kind, name) {
            Some(cuts) => cuts,
            None => return Ok(remove_inline(&mut all, name).then(|| mark.to_owned() + &with_value(&file, kind, &all))),
        },
    };
    if cuts.is_empty() {
        return Ok(None);
    }
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for cut in cuts {
        rest.push_str(&body[at..cut.start.max(at)]);
        at = cut.end;
    }
    rest.push_str(&body[at..]);
    if !body.ends_with('\n') {
        let kept = rest.strip_suffix('\n').map_or(rest.as_str(), |kept| kept.strip_suffix('\r').unwrap_or(kept));
        rest.truncate(kept.len());
    }
    // A file that loses its last byte looks like an accident, and a running service refuses it.
    if rest.is_empty() {
        rest.push_str(newline(body));
    }
    Ok(Some(mark.to_owned() + &rest))
}

/// Where a tunnel stands in a file, in lines counted from 1.
pub(super) struct Lines {
    /// Of its header, or of its first key.
    pub(super) first: usize,
    /// What a person would take out to remove it.
    pub(super) all: Vec<RangeInclusive<usize>>,
}

/// Where the tunnel stands; `None` where `text` does not hold it.
pub(super) fn lines_of(text: &str, kind: &str, name: &str) -> Option<Lines> {
    let (_, body) = split_mark(text);
    let file = Document::parse(body).ok()?;
    let line = |offset: usize| body[..offset].matches('\n').count() + 1;
    let lines = |cut: Range<usize>| {
        let text = &body[cut.clone()];
        line(cut.start + text.len() - text.trim_start().len())..=line(cut.start + text.trim_end().len())
    };
    if let Some(all) = file.get(kind).and_then(Item::as_inline_table) {
        let first = line(all.key(name).and_then(Key::span)?.start);
        let cuts = inline_cuts(&file, kind, name).unwrap_or_default();
        let all = if cuts.is_empty() { vec![first..=first] } else { cuts.into_iter().map(lines).collect() };
        return Some(Lines { first, all });
    }
    let first = statements(&file).iter().find(|statement| statement.is_of(kind, name))?.lines.start;
    Some(Lines { first: line(first), all: cuts(&file, kind, name).into_iter().map(lines).collect() })
}

fn split_mark(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len())
}

/// How the lines of `text` end.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(end) if text[..end].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

fn with_newlines(text: &str, newline: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', newline)
}

/// The value of `key` if it is an inline table, ready to be edited.
fn inline_table(file: &Document<&str>, key: &str) -> Result<Option<InlineTable>, TomlError> {
    let span = file.get(key).and_then(Item::as_inline_table).and_then(InlineTable::span);
    Ok(match span.and_then(|span| file.raw().get(span)).map(str::parse).transpose()? {
        Some(Value::InlineTable(table)) => Some(table),
        _ => None,
    })
}

/// The text of `file` with another value at `key`.
fn with_value(file: &Document<&str>, key: &str, value: &InlineTable) -> String {
    let body = file.raw();
    let Some(span) = file.get(key).and_then(Item::span) else { return body.to_owned() };
    let value = with_newlines(&value.to_string(), newline(body));
    format!("{}{value}{}", &body[..span.start], &body[span.end..])
}

fn add_inline(all: &mut InlineTable, tunnel: &Declaration) -> Result<(), TomlError> {
    // The space before the closing brace belongs to the last value, which is no longer the last.
    let last = all.iter_mut().last().map(|(_, value)| value);
    let space = last.map(|last| std::mem::take(last.decor_mut())).and_then(|decor| suffix(&decor));
    let mut value: Value = tunnel.inline().parse()?;
    value.decor_mut().set_prefix(" ");
    value.decor_mut().set_suffix(space.unwrap_or_else(|| " ".to_owned()));
    all.insert(tunnel.name(), value);
    Ok(())
}

fn suffix(decor: &Decor) -> Option<String> {
    Some(decor.suffix()?.as_str()?.to_owned())
}

fn remove_inline(all: &mut InlineTable, name: &str) -> bool {
    let was_last = all.iter().last().is_some_and(|(last, _)| last == name);
    let Some(removed) = all.remove(name) else { return false };
    if let (true, Some(space), Some((_, last))) = (was_last, suffix(removed.decor()), all.iter_mut().last()) {
        last.decor_mut().set_suffix(space);
    }
    true
}

/// A header or a key with its value: whole lines of a file, and the comments and blank lines above them.
struct Statement {
    path: Vec<String>,
    is_header: bool,
    above: Range<usize>,
    lines: Range<usize>,
}

impl Statement {
    fn new(body: &str, path: Vec<String>, is_header: bool, above: Option<usize>, span: Range<usize>) -> Self {
        let start = body[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = body[span.end..].find('\n').map_or(body.len(), |newline| span.end + newline + 1);
        Self { path, is_header, above: above.unwrap_or(start).min(start)..start, lines: start..end }
    }

    fn is_of(&self, kind: &str, name: &str) -> bool {
        matches!(self.path.as_slice(), [k, n, ..] if k == kind && n == name)
    }
}

/// Every statement of a file, in the order of the text.
fn statements(file: &Document<&str>) -> Vec<Statement> {
    let mut found = Vec::new();
    walk(file.raw(), file.as_table(), &mut Vec::new(), &mut found);
    found.sort_by_key(|statement| statement.lines.start);
    found
}

fn walk(body: &str, table: &Table, path: &mut Vec<String>, found: &mut Vec<Statement>) {
    let above = |decor: &Decor| decor.prefix()?.span().map(|span| span.start);
    let header = |table: &Table, path: &mut Vec<String>, found: &mut Vec<Statement>| {
        if let Some(span) = table.span().filter(|_| !table.is_implicit()) {
            found.push(Statement::new(body, path.clone(), true, above(table.decor()), span));
        }
        walk(body, table, path, found);
    };
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        match item {
            Item::Value(value) => {
                if let (Some(key), Some(start), Some(span)) =
                    (table.key(name), table.key(name).and_then(Key::span), value.span())
                {
                    let above = above(key.leaf_decor());
                    found.push(Statement::new(body, path.clone(), false, above, start.start..span.end));
                }
            }
            Item::Table(table) => header(table, path, found),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|table| header(table, path, found)),
            Item::None => {}
        }
        path.pop();
    }
}

/// What to cut to remove a tunnel from among inline tables that stand on lines of their own; `None` where it doesn't.
fn inline_cuts(file: &Document<&str>, kind: &str, name: &str) -> Option<Vec<Range<usize>>> {
    let body = file.raw();
    let all = file.get(kind)?.as_inline_table()?;
    let mut cuts = Vec::new();
    let mut above = body[all.span()?.start..].find('\n')? + all.span()?.start + 1;
    for (key, value) in all {
        // A dotted one may be in several places.
        let (Some(start), Some(value)) = (all.key(key)?.span(), value.span()) else { return None };
        let entry = Statement::new(body, Vec::new(), false, Some(above), start.start..value.end);
        if key == name {
            let after = body[value.end..entry.lines.end].trim();
            let after = after.strip_prefix(',').unwrap_or(after).trim_start();
            let is_alone = body[entry.lines.start..start.start].trim().is_empty()
                && (after.is_empty() || after.starts_with('#'))
                && above <= entry.lines.start;
            if !is_alone {
                return None;
            }
            let comment = Between::new(body, entry.above.clone()).of_next();
            cuts.push(with_blank_line(body, comment.start..entry.lines.end));
        }
        above = entry.lines.end;
    }
    Some(cuts)
}

/// What to cut out of a file to remove a tunnel: whole lines, in order and apart from each other.
fn cuts(file: &Document<&str>, kind: &str, name: &str) -> Vec<Range<usize>> {
    let body = file.raw();
    let statements = statements(file);
    let is_own = |statement: &Statement| statement.is_of(kind, name);
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let mut cut = |range: Range<usize>| match cuts.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => cuts.push(range),
    };
    // Whether the keys that follow stand under a header of the tunnel.
    let mut under_own_header = false;
    let mut before_is_own = false;
    for (index, statement) in statements.iter().enumerate() {
        if statement.is_header {
            under_own_header = is_own(statement);
        }
        if !is_own(statement) {
            before_is_own = false;
            continue;
        }
        let above = Between::new(body, statement.above.clone());
        if before_is_own && (under_own_header && !statement.is_header || above.is_only_attached(under_own_header)) {
            cut(statement.above.clone());
        } else {
            cut(above.of_next());
        }
        cut(statement.lines.clone());
        let next = statements.get(index + 1);
        let below = statement.lines.end..next.map_or(body.len(), |next| next.above.end);
        let below = Between::new(body, below);
        before_is_own = next.is_some_and(is_own);
        if !before_is_own && under_own_header {
            cut(below.of_previous());
        }
    }
    cuts.into_iter().map(|cut| with_blank_line(body, cut)).collect()
}

/// The lines between two statements: comments and blank ones.
struct Between<'b> {
    body: &'b str,
    range: Range<usize>,
}

impl<'b> Between<'b> {
    fn new(body: &'b str, range: Range<usize>) -> Self {
        Self { body, range }
    }

    /// The comment directly above what follows, unless the file begins with it.
    fn of_next(&self) -> Range<usize> {
        let lines: Vec<_> = lines(self.body, self.range.clone()).collect();
        let comments = lines.iter().rev().take_while(|line| !is_blank(self.body, line)).count();
        let start = lines[lines.len() - comments..].first().map_or(self.range.end, |line| line.start);
        if start == 0 { self.range.end..self.range.end } else { start..self.range.end }
    }

    /// The comment directly below what went before, if a blank line parts it from what follows.
    fn of_previous(&self) -> Range<usize> {
        let start = self.range.start;
        let blank = lines(self.body, self.range.clone()).find(|line| is_blank(self.body, line));
        start..blank.map_or(start, |blank| blank.start)
    }

    /// Whether there is no comment but such as belongs to what follows or, where `previous` says so, to what went before.
    fn is_only_attached(&self, previous: bool) -> bool {
        let start = if previous { self.of_previous().end } else { self.range.start };
        let end = self.of_next().start.max(start);
        lines(self.body, start..end).all(|line| is_blank(self.body, &line))
    }
}

fn lines(body: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    body[range].split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        start..at
    })
}

fn is_blank(body: &str, line: &Range<usize>) -> bool {
    body[line.clone()].trim().is_empty()
}

/// Of two blank lines that would come together at a cut, and of one at either end of the file, one goes as well.
fn with_blank_line(body: &str, cut: Range<usize>) -> Range<usize> {
    let before = lines(body, 0..cut.start).last().filter(|line| is_blank(body, line));
    let after = lines(body, cut.end..body.len()).next();
    let parted = after.as_ref().is_none_or(|line| is_blank(body, line));
    match (before, after) {
        (Some(before), _) if parted => before.start..cut.end,
        (None, Some(after)) if parted && cut.start == 0 => cut.start..after.end,
        _ => cut,
    }
}

#[cfg(test)]
mod tests;
