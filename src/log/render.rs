//! How an event looks: to a person, to a programme, to the journal.
//!
//! Whatever text there is has been written by somebody, so nothing leaves this file that could steer a terminal or
//! pretend to be a line of its own.

use std::{borrow::Cow, fmt::Write as _};

use anstyle::{AnsiColor, Style};
use humantime::format_rfc3339_millis;
use serde_json::{Map, Value as Json};
use tracing::Level;

use super::record::{Record, Value};
use crate::harmless;

/// One line for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person at a terminal, who knows what day it is.
    Terminal {
        colours: bool,
    },
    /// For a file or a container's log.
    Plain,
    /// For systemd where there is no way to the journal but standard error: its prefix `<N>` keeps the level
    /// (sd-daemon(3)), and the journal knows the time.
    Prefixed,
    /// A datagram for the journal, in its native protocol.
    Journal,
    Json,
}

impl Form {
    /// The bytes to write for an event.
    pub fn line(self, record: &Record) -> Vec<u8> {
        let mut line = match self {
            Form::Terminal { colours } => terminal(record, colours),
            Form::Plain => {
                format!("{} {:5} {}", format_rfc3339_millis(record.time), record.level, said(record, &Paint::OFF))
            }
            Form::Prefixed => format!("<{}>{}", priority(record.level), said(record, &Paint::OFF)),
            Form::Journal => return journal(record),
            Form::Json => json(record),
        };
        line.push('\n');
        line.into_bytes()
    }
}

struct Paint {
    level: Style,
    dim: Style,
}

impl Paint {
    const OFF: Self = Self { level: Style::new(), dim: Style::new() };

    fn of(level: Level) -> Self {
        let colour = match level {
            Level::ERROR => AnsiColor::Red,
            Level::WARN => AnsiColor::Yellow,
            Level::INFO => AnsiColor::Green,
            Level::DEBUG => AnsiColor::Blue,
            Level::TRACE => AnsiColor::Magenta,
        };
        Self { level: colour.on_default().bold(), dim: Style::new().dimmed() }
    }
}

/// The time of the day in UTC, the level, and what is said.
fn terminal(record: &Record, colours: bool) -> String {
    let paint = if colours { Paint::of(record.level) } else { Paint::OFF };
    let time = format_rfc3339_millis(record.time).to_string();
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time);
    let Paint { level, dim } = &paint;
    format!("{dim}{time}{dim:#} {level}{:5}{level:#} {}", record.level, said(record, &paint))
}

/// The message and the fields, `name=value`. A library is named.
fn said(record: &Record, paint: &Paint) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    if !record.is_ours() {
        let _ = write!(text, "{}: ", harmless::escaped(&record.module));
    }
    text.push_str(&harmless::escaped(&record.message));
    let dim = paint.dim;
    for (name, value) in &record.fields {
        let _ = write!(text, " {dim}{name}={dim:#}{}", shown(value));
    }
    text
}

/// A value as a person reads it: between quotes where it would not be clear where it ends.
fn shown(value: &Value) -> Cow<'_, str> {
    let Value::Text(text) = value else { return value.to_string().into() };
    let is_clear = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\') && !harmless::is_harmful(c);
    if !text.is_empty() && text.chars().all(is_clear) {
        return text.as_str().into();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if harmless::is_harmful(c) => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted.into()
}

/// One flat object.
fn json(record: &Record) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| {
        let mut name = name.to_owned();
        // A field of a library that has the name of one of ours.
        while object.contains_key(&name) {
            name.push('_');
        }
        object.insert(name, value);
    };
    put("time", format_rfc3339_millis(record.time).to_string().into());
    put("level", record.level.as_str().to_ascii_lowercase().into());
    put("message", record.message.as_str().into());
    put("module", record.module.as_ref().into());
    for (name, value) in &record.fields {
        let value = match value {
            Value::Text(text) => text.as_str().into(),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Bool(value) => (*value).into(),
        };
        put(name, value);
    }
    harmless::in_json(&Json::Object(object).to_string()).into_owned()
}

/// The severity of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. No value has a line break, so the short form does for all.
///
/// `MESSAGE` is the whole line, fields included, for that is all that journalctl(1) shows unless it is asked for more. The
/// sentence alone is in `P2PTUN_EVENT`.
fn journal(record: &Record) -> Vec<u8> {
    let mut datagram = format!(
        "PRIORITY={}\nMESSAGE={}\nSYSLOG_IDENTIFIER=p2ptun\nP2PTUN_EVENT={}\nP2PTUN_MODULE={}\n",
        priority(record.level),
        said(record, &Paint::OFF),
        harmless::escaped(&record.message),
        harmless::escaped(&record.module),
    );
    for (name, value) in &record.fields {
        // Writing to a string can't fail.
        let _ = writeln!(datagram, "P2PTUN_{}={}", journal_name(name), harmless::escaped(&value.to_string()));
    }
    datagram.into_bytes()
}

/// The journal takes names of at most 64 characters, A to Z, 0 to 9 and the underscore.
fn journal_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(plain).take(64 - "P2PTUN_".len()).collect()
}

/// A line of [`Form::Prefixed`] that says what a datagram of [`Form::Journal`] says.
pub fn prefixed(datagram: &[u8]) -> Vec<u8> {
    let mut lines = datagram.split_inclusive(|byte| *byte == b'\n');
    let mut value = |name: &[u8]| lines.next().and_then(|line| line.strip_prefix(name)).unwrap_or_default();
    let priority = value(b"PRIORITY=").trim_ascii_end();
    [b"<", priority, b">", value(b"MESSAGE=")].concat()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn record(level: Level, message: &str, fields: &[(&'static str, &str)]) -> Record {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(1_763_733_723_045),
            level,
            module: "p2ptun::tunnel".into(),
            message: message.to_owned(),
            fields: fields.iter().map(|(name, value)| (*name, Value::Text((*value).to_owned()))).collect(),
        }
    }

    fn line(form: Form, record: &Record) -> String {
        String::from_utf8(form.line(record)).unwrap()
    }

    #[test]
    fn a_line_for_people_has_time_level_message_and_fields() {
        let mut record = record(Level::WARN, "connection failed", &[("tunnel", "ssh"), ("error", "it is \"off\"")]);
        record.fields.push(("repeated", Value::Number(999.into())));
        let said = "WARN  connection failed tunnel=ssh error=\"it is \\\"off\\\"\" repeated=999\n";
        assert_eq!(line(Form::Plain, &record), format!("2025-11-21T14:02:03.045Z {said}"));
        assert_eq!(line(Form::Terminal { colours: false }, &record), format!("14:02:03.045Z {said}"));
        let coloured = line(Form::Terminal { colours: true }, &record);
        assert!(coloured.contains("\x1b[1m\x1b[33mWARN \x1b[0m connection failed"), "{coloured:?}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), format!("14:02:03.045Z {said}"));
    }

    #[test]
    fn a_library_is_named_and_we_are_not() {
        let mut record = record(Level::DEBUG, "dialing", &[]);
        record.module = "libp2p_swarm".into();
        assert!(line(Form::Plain, &record).ends_with("DEBUG libp2p_swarm: dialing\n"));
    }

    #[test]
    fn nothing_harmful_leaves_in_any_form() {
        const EVIL: &str = "a\x1b[2J\nb\r\u{9b}c\u{202e}d\u{2028}\0";
        let mut evil = record(Level::INFO, EVIL, &[("error", EVIL), ("file", "ü ✓")]);
        evil.module = EVIL.into();
        let forms = [Form::Terminal { colours: false }, Form::Plain, Form::Prefixed, Form::Json, Form::Journal];
        for form in forms {
            let text = line(form, &evil);
            let lines = text.strip_suffix('\n').unwrap().split('\n');
            for (number, line) in lines.enumerate() {
                assert!(!line.contains(harmless::is_harmful), "{form:?}: {line:?}");
                assert!(number == 0 || form == Form::Journal, "{form:?}: {text:?}");
            }
        }
        let object: Json = serde_json::from_slice(&Form::Json.line(&evil)).unwrap();
        assert_eq!((&object["error"], &object["file"]), (&EVIL.into(), &"ü ✓".into()));
    }

    #[test]
    fn json_is_flat_and_keeps_numbers_and_every_field() {
        let mut record = record(Level::INFO, "stream ended", &[("tunnel", "ssh"), ("level", "theirs")]);
        record.fields.push(("stream", Value::Number(7.into())));
        assert_eq!(
            line(Form::Json, &record),
            "{\"time\":\"2025-11-21T14:02:03.045Z\",\"level\":\"info\",\"message\":\"stream ended\",\
             \"module\":\"p2ptun::tunnel\",\"tunnel\":\"ssh\",\"level_\":\"theirs\",\"stream\":7}\n"
        );
    }

    #[test]
    fn the_journal_gets_the_whole_line_and_each_field() {
        let record = record(Level::ERROR, "it is off", &[("tunnel", "ssh"), ("log.odd-name", "a b")]);
        let datagram = Form::Journal.line(&record);
        assert_eq!(
            String::from_utf8(datagram.clone()).unwrap(),
            "PRIORITY=3\nMESSAGE=it is off tunnel=ssh log.odd-name=\"a b\"\nSYSLOG_IDENTIFIER=p2ptun\n\
             P2PTUN_EVENT=it is off\nP2PTUN_MODULE=p2ptun::tunnel\nP2PTUN_TUNNEL=ssh\nP2PTUN_LOG_ODD_NAME=a b\n"
        );
        assert_eq!(prefixed(&datagram), Form::Prefixed.line(&record));
        assert_eq!(journal_name(&"x".repeat(100)).len(), 57);
    }
}
