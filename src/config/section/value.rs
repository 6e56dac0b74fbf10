//! Reading one value: as text, a flag, a number, a list or a table.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{Name, Section};
use crate::config::{
    diagnostics::{Place, Problem, Report, Wrong},
    printable::{titled, toml_string},
    sources::File,
};
use crate::harmless::is_harmful;

/// A value that is being read, and the key that it belongs to.
pub(in crate::config) struct Value<'s> {
    report: &'s Report,
    file: &'s Arc<File>,
    /// For messages: `[listen.ssh] target`.
    subject: String,
    key: Range<usize>,
    value: Spanned<DeValue<'s>>,
}

impl<'s> Value<'s> {
    pub(super) fn new(section: &Section<'s>, key: Spanned<impl AsRef<str>>, value: Spanned<DeValue<'s>>) -> Self {
        let name = key.get_ref().as_ref();
        let subject = if section.title.is_empty() { name.to_owned() } else { format!("{} {name}", section.title) };
        Self { report: section.report, file: section.file, subject, key: key.span(), value }
    }

    pub(in crate::config) fn place(&self) -> Place {
        Place::new(self.file, self.value.span())
    }

    /// The value if it is a string.
    pub(in crate::config) fn as_str(&self) -> Option<&str> {
        self.value.get_ref().as_str()
    }

    pub(in crate::config) fn text<T>(&self, mut parse: impl FnMut(&str) -> Result<T, Wrong>) -> Option<T> {
        if let Some(text) = self.as_str() {
            let wrong = match parse(text) {
                Ok(value) => return Some(value),
                Err(wrong) => wrong,
            };
            let visible = text.replace(is_harmful, "");
            let visible = visible.trim();
            if visible == text || parse(visible).is_err() {
                return self.fail(wrong);
            }
            let help = "a space or an invisible character stands in it";
            return self
                .fail(Wrong { message: wrong.message, ..Wrong::new("").help(help).instead(toml_string(visible)) });
        }
        let mistyped = self.mistyped("a string");
        if self.is_list() {
            let wrong = mistyped.help("write one alone, without brackets");
            return self.fail(match self.only_item() {
                Some(one) => wrong.instead(toml_string(one)),
                None => wrong,
            });
        }
        // A number may lack no more than its quotes, or it lacks what the parser would have said of it in quotes.
        self.fail(match self.as_written() {
            None => mistyped,
            Some(bare) => match parse(bare) {
                Ok(_) => mistyped.help("it needs quotes").instead(toml_string(bare)),
                Err(wrong) => Wrong { message: mistyped.message, ..wrong },
            },
        })
    }

    pub(in crate::config) fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            let wrong = self.mistyped("true or false");
            let meant = self.as_str().or(self.as_written()).and_then(flag_for);
            self.note(match meant {
                Some(meant) => wrong.help(format!("write it as `{meant}`")).instead(meant.to_string()),
                None => wrong.help("write `true` or `false`"),
            });
        }
        flag
    }

    pub(in crate::config) fn number(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = (bounds.start(), bounds.end());
        let Some(integer) = self.value.get_ref().as_integer() else {
            let wrong = self.mistyped("a whole number");
            let number = self.as_str().and_then(|text| text.trim().parse::<u32>().ok());
            return self.fail(match number.filter(|number| bounds.contains(number)) {
                Some(number) => wrong.help("write it without quotes").instead(number.to_string()),
                None => wrong.help(format!("write a whole number from {least} to {most}, without quotes")),
            });
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.filter(|number| bounds.contains(number)) {
            Some(number) => Some(number),
            None => self.fail(Wrong::new(format!("must lie between {least} and {most}"))),
        }
    }

    /// A whole number that is not negative, whatever its size.
    pub(in crate::config) fn as_u64(&self) -> Option<u64> {
        let integer = self.value.get_ref().as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The items, if the value is a list.
    pub(in crate::config) fn items(self) -> Option<Vec<Value<'s>>> {
        if !matches!(self.value.get_ref(), DeValue::Array(_)) {
            let wrong = self.mistyped("a list");
            return self.fail(match self.as_written().filter(|_| self.as_str().is_some()) {
                Some(one) => wrong.help("write it in brackets").instead(format!("[{one}]")),
                None => wrong,
            });
        }
        let Value { report, file, subject, key, value } = self;
        let DeValue::Array(array) = value.into_inner() else { return None };
        let item = |value| Value { report, file, subject: subject.clone(), key: key.clone(), value };
        Some(array.into_iter().map(item).collect())
    }

    pub(in crate::config) fn table<T>(
        self,
        kind: &'static str,
        title: String,
        read: impl FnOnce(&mut Section<'s>) -> T,
    ) -> Option<T> {
        let (report, file, header) = (self.report, self.file, self.key.clone());
        let mut section = Section { kind, title, header, ..Section::open(report, file, self.into_table()?) };
        let outcome = read(&mut section);
        section.close();
        Some(outcome)
    }

    /// The entries of a table whose keys are not known beforehand, in the order of the file.
    pub(in crate::config) fn entries(self) -> Option<Vec<(Name, Value<'s>)>> {
        let (report, file, subject) = (self.report, self.file, self.subject.clone());
        let entry = |(key, value): (Spanned<DeString<'s>>, _)| {
            let place = Place::new(file, key.span());
            let name = Name { text: key.get_ref().to_string(), place, subject: subject.clone() };
            let subject = format!("{subject}.{}", titled(&name.text));
            (name, Value { report, file, subject, key: key.span(), value })
        };
        let mut entries: Vec<_> = self.into_table()?.into_iter().map(entry).collect();
        entries.sort_by_key(|(name, _)| name.place.span().start);
        Some(entries)
    }

    pub(in crate::config) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// The one string of a list that has no more.
    pub(in crate::config) fn only_item(&self) -> Option<&str> {
        match self.value.get_ref().as_array().map(|items| items.iter().collect::<Vec<_>>())?.as_slice() {
            [one] => one.get_ref().as_str(),
            _ => None,
        }
    }

    pub(in crate::config) fn is_list(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Array(_))
    }

    fn into_table(self) -> Option<DeTable<'s>> {
        if !self.is_table() {
            let header = match self.subject.split_once("] ") {
                Some((table, key)) => format!("{table}.{key}]"),
                None => format!("[{}]", self.subject),
            };
            let help = format!("write {header} on a line of its own, and the keys of the table below it");
            return self.fail(self.mistyped("a table").help(help));
        }
        let DeValue::Table(table) = self.value.into_inner() else { return None };
        Some(table)
    }

    /// Notes what is wrong with the value.
    pub(in crate::config) fn note(&self, wrong: Wrong) {
        self.note_at(self.place(), wrong);
    }

    /// Notes what is wrong with the key being there at all.
    pub(in crate::config) fn note_key(&self, wrong: Wrong) {
        self.note_at(Place::new(self.file, self.key.clone()), wrong);
    }

    fn note_at(&self, place: Place, wrong: Wrong) {
        let problem = Problem::error(place.clone(), format!("{}: {}", self.subject, wrong.message));
        self.report.note(problem.advise(place, wrong));
    }

    /// Notes what is wrong with the value, of which nothing is left then.
    pub(in crate::config) fn fail<T>(&self, wrong: Wrong) -> Option<T> {
        self.note(wrong);
        None
    }

    pub(in crate::config) fn mistyped(&self, expected: &str) -> Wrong {
        Wrong::new(format!("expected {expected}, found {}", self.found()))
    }

    pub(super) fn found(&self) -> &'static str {
        match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    /// The text of a plain value, as it stands in the file.
    fn as_written(&self) -> Option<&str> {
        match self.value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => None,
            _ => self.file.text.get(self.value.span()),
        }
    }
}

/// What someone means who writes `text` where only `true` and `false` can stand.
fn flag_for(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enabled" => Some(true),
        "false" | "no" | "off" | "0" | "disabled" => Some(false),
        _ => None,
    }
}
