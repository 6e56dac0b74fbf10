//! Reading the tables of a parsed file, key by key.
//!
//! Whoever reads a table asks for every key that it may hold; what nobody asked for is unknown. So the keys that are
//! read, the keys that are accepted and the keys that a "did you mean" knows are one and the same list.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    diagnostics::{Place, Problem, Report, Wrong, nearest},
    habits,
    printable::{quoted, titled},
    sources::File,
};

mod value;

pub(super) use value::Value;

#[cfg(test)]
thread_local! {
    /// The keys that were asked for in this thread, by the titles of their tables.
    pub(super) static ASKED: std::cell::RefCell<std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>> =
        const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
}

/// A table that is being read.
pub(super) struct Section<'s> {
    report: &'s Report,
    file: &'s Arc<File>,
    /// What kind of table it is, `listen`; empty for the file itself.
    kind: &'static str,
    /// As the file writes it, `[listen.ssh]`; empty for the file itself.
    title: String,
    header: Range<usize>,
    entries: DeTable<'s>,
    asked: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

impl<'s> Section<'s> {
    /// The top level of a file. Whoever opens it reads it, then closes it.
    pub(super) fn open(report: &'s Report, file: &'s Arc<File>, entries: DeTable<'s>) -> Self {
        let (kind, title) = ("", String::new());
        Section { report, file, kind, title, header: 0..0, entries, asked: Vec::new(), missing: Vec::new() }
    }

    /// Ends the reading: notes every key that nobody asked for, and every required one that was not there.
    pub(super) fn close(mut self) {
        #[cfg(test)]
        ASKED.with_borrow_mut(|all| all.entry(self.title.clone()).or_default().extend(&self.asked));
        self.asked.sort_unstable();
        for (key, value) in std::mem::take(&mut self.entries) {
            let problem = self.unknown(&key, value.get_ref());
            self.report.note(problem);
        }
        let Some((first, others)) = self.missing.split_first() else { return };
        let verb = if others.is_empty() { "is" } else { "are" };
        let keys: Vec<_> = self.missing.iter().map(|(key, _)| *key).collect();
        let title = self.say(format!("{} {verb} missing", list_of(&keys, " and ")));
        let problem = Problem::error(self.place(), title).help(&first.1);
        self.report.note(others.iter().fold(problem, |problem, (_, help)| problem.help(help)));
    }

    /// What is to be said of a key that nobody asked for.
    fn unknown(&mut self, key: &Spanned<DeString<'_>>, value: &DeValue<'_>) -> Problem {
        let place = Place::new(self.file, key.span());
        let name: &str = key.get_ref();
        let is_table = matches!(value, DeValue::Table(_));
        let what = if is_table { "table" } else { "key" };
        let problem = Problem::error(place.clone(), self.say(format!("unknown {what} {}", quoted(name))));
        if is_table && self.is_named() {
            // Everything that is asked for stands in there.
            self.missing.clear();
            return self.with_dot(problem, key);
        }
        let habit = habits::meant(self.kind, name, matches!(value, DeValue::Array(_)));
        // What a habit leads to must be read here: an included file has no settings.
        let habit = habit.filter(|meant| meant.key.is_empty() || self.asked.contains(&meant.key));
        let near = || nearest(name, self.asked.iter().copied());
        let (meant, help) = match habit {
            Some(habits::Meant { key, help }) => (Some(key), help),
            None => (near(), None),
        };
        // A required key that only has another name is one problem, not two.
        self.missing.retain(|(missing, _)| Some(*missing) != meant);
        match (meant, help) {
            (_, Some(help)) => problem.help(help),
            (Some(meant), None) => problem.suggest(format!("did you mean `{meant}`?"), place, meant),
            (None, None) => problem.help(format!("known here are {}", list_of(&self.asked, " and "))),
        }
    }

    /// A table within a tunnel, which no tunnel has: the dot was meant as a part of the name.
    fn with_dot(&self, problem: Problem, key: &Spanned<DeString<'_>>) -> Problem {
        let help = "a name holds no dot";
        let between = self.header.end..key.span().start;
        if self.file.text.get(between).is_some_and(|text| text.trim() == ".") {
            let name = Place::new(self.file, self.header.start..key.span().end);
            let meant = name.text().replace(['.', ' ', '\t'], "-");
            return problem.suggest(help, name, meant);
        }
        problem.help(help)
    }

    /// Whether it is one of many of its kind, `[listen.ssh]` and not `[node]`.
    fn is_named(&self) -> bool {
        !self.title.is_empty() && self.title.len() > self.kind.len() + 2
    }

    /// The value of `key`, if the table has it.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'s>> {
        self.asked.push(key);
        let (name, value) = self.entries.remove_entry(key)?;
        Some(Value::new(self, name, value))
    }

    /// The value of `key`, which the table must have; `help` says what to write when it has not.
    pub(super) fn required(&mut self, key: &'static str, help: impl Into<String>) -> Option<Value<'s>> {
        let value = self.value(key);
        if value.is_none() {
            self.missing.push((key, help.into()));
        }
        value
    }

    /// What `parse` makes of the string at `key`. `None` where there is none, and where it is wrong, which is noted.
    pub(super) fn text<T>(&mut self, key: &'static str, parse: impl FnMut(&str) -> Result<T, Wrong>) -> Option<T> {
        self.value(key)?.text(parse)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key)?.flag()
    }

    pub(super) fn number(&mut self, key: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        self.value(key)?.number(bounds)
    }

    /// The items of a list of strings; those that are wrong are noted and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let items = self.value(key)?.items()?;
        Some(items.into_iter().filter_map(|item| item.text(&mut parse)).collect())
    }

    /// Reads the table at `key`, if there is one.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'s>) -> T) -> Option<T> {
        self.value(key)?.table(key, format!("[{key}]"), read)
    }

    /// Takes `key` out, though it can't stand in a table of this kind.
    pub(super) fn misplaced(&mut self, key: &str) -> Option<Value<'s>> {
        let (name, value) = self.entries.remove_entry(key)?;
        Some(Value::new(self, name, value))
    }

    /// Reads each of the tables `[key.NAME]`; `read` is handed the name with its place.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(Name, &mut Section<'s>)) {
        let Some(value) = self.value(key) else { return };
        if value.is_list() {
            let help = format!("each of them has a name, and single brackets: [{key}.NAME]");
            return value.note(Wrong::new("expected tables with names, found a list").help(help));
        }
        let mut nameless = false;
        for (mut name, table) in value.entries().unwrap_or_default() {
            let title = format!("[{key}.{}]", titled(&name.text));
            if table.is_table() {
                name.subject.clone_from(&title);
                table.table(key, title, |section| read(name, section));
            } else if !std::mem::replace(&mut nameless, true) {
                // Where one key stands outside of a tunnel, so do those beside it, and for the same reason.
                let message = format!("[{key}] holds tables only, and `{}` is {}", name.text, table.found());
                let help = format!("each of them has a name: begin it with the line [{key}.NAME]");
                self.report.note(Problem::error(name.place, message).help(help));
            }
        }
    }

    pub(super) fn report(&self) -> &'s Report {
        self.report
    }

    /// The title of the table, such as `[listen.ssh]`.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Where the table's name stands.
    pub(super) fn place(&self) -> Place {
        Place::new(self.file, self.header.clone())
    }

    fn say(&self, what: String) -> String {
        if self.title.is_empty() { what } else { format!("{}: {what}", self.title) }
    }
}

/// Keys in words: `a`, `b` and `c`.
fn list_of(keys: &[&str], last: &str) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    match keys.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{}{last}{end}", rest.join(", ")),
        _ => keys.concat(),
    }
}

/// The name of a `[kind.NAME]` table, or another key that the file chooses.
pub(super) struct Name {
    pub(super) text: String,
    pub(super) place: Place,
    /// For messages: `[listen.ssh]`.
    subject: String,
}

impl Name {
    /// What `parse` makes of the name. `None` where it is wrong, which is noted.
    pub(super) fn check<T>(&self, section: &Section<'_>, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let wrong = match parse(&self.text) {
            Ok(name) => return Some(name),
            Err(wrong) => wrong,
        };
        let problem = Problem::error(self.place.clone(), format!("{}: {}", self.subject, wrong.message));
        section.report.note(problem.advise(self.place.clone(), wrong));
        None
    }
}
