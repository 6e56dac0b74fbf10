//! Reading the tables of a parsed file, key by key.
//!
//! Whoever reads a table asks for every key that it may hold; what nobody asked for is unknown. So the keys that are
//! read, the keys that are accepted and the keys that a "did you mean" knows are one and the same list.

use std::{ops::Range, ops::RangeInclusive, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostics::{Place, Problem, Report, Wrong, nearest},
    printable::{quoted, toml_string},
    sources::File,
};

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
        Section { report, file, title: String::new(), header: 0..0, entries, asked: Vec::new(), missing: Vec::new() }
    }

    /// Ends the reading: notes every key that nobody asked for, and every required one that was not there.
    pub(super) fn close(mut self) {
        #[cfg(test)]
        ASKED.with_borrow_mut(|all| all.entry(self.title.clone()).or_default().extend(&self.asked));
        for (key, _) in std::mem::take(&mut self.entries) {
            let place = Place::new(self.file, key.span());
            let name = key.get_ref();
            let problem = Problem::error(place.clone(), self.say(format!("unknown key {}", quoted(name))));
            let meant = nearest(name, self.asked.iter().copied());
            // A required key that is only misspelt is one problem, not two.
            self.missing.retain(|(missing, _)| Some(*missing) != meant);
            self.report.note(match meant {
                Some(meant) => problem.suggest(format!("did you mean `{meant}`?"), place, meant),
                None => problem.help(format!("the keys here are {}", list_of(&self.asked))),
            });
        }
        for (key, help) in &self.missing {
            let title = self.say(format!("`{key}` is missing"));
            self.report.note(Problem::error(self.place(), title).help(help));
        }
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
    pub(super) fn text<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
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
        self.value(key)?.table(format!("[{key}]"), read)
    }

    /// Reads each of the tables `[key.NAME]`; `read` is handed the name with its place.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(Name, &mut Section<'s>)) {
        let Some(value) = self.value(key) else { return };
        for (name, table) in value.entries().unwrap_or_default() {
            let title = format!("[{key}.{}]", name.text);
            table.table(title, |section| read(name, section));
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

fn list_of(keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}

/// The name of a `[kind.NAME]` table.
pub(super) struct Name {
    pub(super) text: String,
    pub(super) place: Place,
}

impl Name {
    /// What `parse` makes of the name of `section`. `None` where it is wrong, which is noted.
    pub(super) fn check<T>(&self, section: &Section<'_>, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let wrong = match parse(&self.text) {
            Ok(name) => return Some(name),
            Err(wrong) => wrong,
        };
        let problem = Problem::error(self.place.clone(), section.say(wrong.message));
        section.report.note(match wrong.help {
            Some(help) => problem.help(help),
            None => problem,
        });
        None
    }
}

/// A value that is being read, and the key that it belongs to.
pub(super) struct Value<'s> {
    report: &'s Report,
    file: &'s Arc<File>,
    /// For messages: `[listen.ssh] target`.
    subject: String,
    key: Range<usize>,
    value: Spanned<DeValue<'s>>,
}

impl<'s> Value<'s> {
    fn new(section: &Section<'s>, key: Spanned<impl AsRef<str>>, value: Spanned<DeValue<'s>>) -> Self {
        let name = key.get_ref().as_ref();
        let subject = if section.title.is_empty() { name.to_owned() } else { format!("{} {name}", section.title) };
        Self { report: section.report, file: section.file, subject, key: key.span(), value }
    }

    pub(super) fn place(&self) -> Place {
        Place::new(self.file, self.value.span())
    }

    /// The value if it is a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        self.value.get_ref().as_str()
    }

    pub(super) fn text<T>(&self, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        if let Some(text) = self.as_str() {
            return match parse(text) {
                Ok(value) => Some(value),
                Err(wrong) => self.fail(wrong),
            };
        }
        let mistyped = self.mistyped("a string");
        // A number may lack no more than its quotes, or it lacks what the parser would have said of it in quotes.
        self.fail(match self.as_written().filter(|_| self.value.get_ref().as_bool().is_none()) {
            None => mistyped,
            Some(bare) => match parse(bare) {
                Ok(_) => mistyped.help("it needs quotes").instead(toml_string(bare)),
                Err(wrong) => Wrong { message: mistyped.message, ..wrong },
            },
        })
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            let wrong = self.mistyped("true or false");
            self.note(match self.as_str() {
                Some(text @ ("true" | "false")) => wrong.help("without quotes").instead(text),
                _ => wrong,
            });
        }
        flag
    }

    pub(super) fn number(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            let wrong = self.mistyped("a whole number");
            let quoted = self.as_str().filter(|text| text.parse::<u32>().is_ok());
            return self.fail(match quoted {
                Some(text) => wrong.help("without quotes").instead(text),
                None => wrong,
            });
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.filter(|number| bounds.contains(number)) {
            Some(number) => Some(number),
            None => self.fail(Wrong::new(format!("must lie between {} and {}", bounds.start(), bounds.end()))),
        }
    }

    /// A whole number that is not negative, whatever its size.
    pub(super) fn as_u64(&self) -> Option<u64> {
        let integer = self.value.get_ref().as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The items, if the value is a list.
    pub(super) fn items(self) -> Option<Vec<Value<'s>>> {
        if !matches!(self.value.get_ref(), DeValue::Array(_)) {
            let wrong = self.mistyped("a list");
            return self.fail(match self.as_written().filter(|_| self.as_str().is_some()) {
                Some(one) => wrong.help("a list stands in brackets").instead(format!("[{one}]")),
                None => wrong,
            });
        }
        let Value { report, file, subject, key, value } = self;
        let DeValue::Array(array) = value.into_inner() else { return None };
        let item = |value| Value { report, file, subject: subject.clone(), key: key.clone(), value };
        Some(array.into_iter().map(item).collect())
    }

    pub(super) fn table<T>(self, title: String, read: impl FnOnce(&mut Section<'s>) -> T) -> Option<T> {
        let (report, file, header) = (self.report, self.file, self.key.clone());
        let mut section = Section { title, header, ..Section::open(report, file, self.into_table()?) };
        let outcome = read(&mut section);
        section.close();
        Some(outcome)
    }

    /// The entries of a table whose keys are not known beforehand.
    pub(super) fn entries(self) -> Option<Vec<(Name, Value<'s>)>> {
        let (report, file, subject) = (self.report, self.file, self.subject.clone());
        let entry = |(key, value): (Spanned<toml::de::DeString<'s>>, _)| {
            let name = Name { text: key.get_ref().to_string(), place: Place::new(file, key.span()) };
            let subject = format!("{subject}.{}", name.text);
            (name, Value { report, file, subject, key: key.span(), value })
        };
        Some(self.into_table()?.into_iter().map(entry).collect())
    }

    fn into_table(self) -> Option<DeTable<'s>> {
        if !matches!(self.value.get_ref(), DeValue::Table(_)) {
            return self.fail(self.mistyped("a table"));
        }
        let DeValue::Table(table) = self.value.into_inner() else { return None };
        Some(table)
    }

    /// Notes what is wrong with the value.
    pub(super) fn note(&self, wrong: Wrong) {
        self.note_at(self.place(), wrong);
    }

    /// Notes what is wrong with the key being there at all.
    pub(super) fn note_key(&self, wrong: Wrong) {
        self.note_at(Place::new(self.file, self.key.clone()), wrong);
    }

    fn note_at(&self, place: Place, wrong: Wrong) {
        let problem = Problem::error(place.clone(), format!("{}: {}", self.subject, wrong.message));
        self.report.note(match (wrong.help, wrong.instead) {
            (help, Some(instead)) => {
                problem.suggest(help.unwrap_or_else(|| "did you mean this?".into()), place, instead)
            }
            (Some(help), None) => problem.help(help),
            (None, None) => problem,
        });
    }

    /// Notes what is wrong with the value, of which nothing is left then.
    pub(super) fn fail<T>(&self, wrong: Wrong) -> Option<T> {
        self.note(wrong);
        None
    }

    fn mistyped(&self, expected: &str) -> Wrong {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Wrong::new(format!("expected {expected}, found {found}"))
    }

    /// The text of a plain value, as it stands in the file.
    fn as_written(&self) -> Option<&str> {
        match self.value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => None,
            _ => self.file.text.get(self.value.span()),
        }
    }
}
