//! An event as it is written: the one place through which everything passes that is ever said, so what is too long is
//! shortened here, and peers get the names that the file gives them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt::{self, Write as _},
    sync::{PoisonError, RwLock},
    time::SystemTime,
};

use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// Bytes of one value, a few screens of text. A stranger may have had a hand in its length.
const MAX_VALUE: usize = 4 * 1024;

/// Fields of one event, those of its spans included. Only the libraries come near.
pub const MAX_FIELDS: usize = 32;

/// The names that configurations give to peers, by the node whose configuration it is and by peer id.
static PEER_NAMES: RwLock<BTreeMap<String, HashMap<String, String>>> = RwLock::new(BTreeMap::new());

/// From here on, events about a peer with one of these ids have its name as the field `peer_name`. Replaces what the node
/// `own` said before.
pub fn name_peers(own: impl fmt::Display, names: impl IntoIterator<Item = (String, String)>) {
    let mut table = PEER_NAMES.write().unwrap_or_else(PoisonError::into_inner);
    table.insert(own.to_string(), names.into_iter().collect());
}

fn name_of_peer(id: &str) -> Option<String> {
    let table = PEER_NAMES.read().unwrap_or_else(PoisonError::into_inner);
    table.values().find_map(|names| names.get(id).cloned())
}

/// One event.
#[derive(Debug)]
pub struct Record {
    pub time: SystemTime,
    pub level: Level,
    /// Who says it: a module of ours or of a library.
    pub module: Cow<'static, str>,
    /// A sentence that is the same for all events of its sort.
    pub message: String,
    pub fields: Fields,
}

/// Names and values, in the order in which they were said.
pub type Fields = Vec<(&'static str, Value)>;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Number(serde_json::Number),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => number.fmt(f),
            Value::Bool(value) => value.fmt(f),
        }
    }
}

impl Record {
    pub fn new(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut collected = Collected::default();
        event.record(&mut collected);
        let Collected { message, module, fields } = collected;
        let module = module.map_or(Cow::Borrowed(metadata.target()), Cow::Owned);
        Self { time: SystemTime::now(), level: *metadata.level(), module, message, fields }
    }

    /// Whether it is p2ptun that speaks, and not one of the libraries.
    pub fn is_ours(&self) -> bool {
        self.module == "p2ptun" || self.module.starts_with("p2ptun::")
    }
}

/// Takes down what an event or a span says.
#[derive(Default)]
pub struct Collected {
    message: String,
    /// Of an event that comes from the `log` crate, which tells it by a field.
    module: Option<String>,
    pub fields: Fields,
}

impl Collected {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", value) => self.message = value.to_string(),
            ("log.target", Value::Text(module)) => self.module = Some(module),
            // Where in the source of a library it was said.
            (name, _) if name.starts_with("log.") => {}
            (_, _) if self.fields.len() >= MAX_FIELDS => {}
            ("peer", Value::Text(id)) => {
                let name = name_of_peer(&id);
                self.fields.push(("peer", Value::Text(id)));
                self.fields.extend(name.map(|name| ("peer_name", Value::Text(name))));
            }
            (name, value) => match self.fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.fields.push((name, value)),
            },
        }
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Shortened::default();
        // An error says that the rest is left out.
        let _ = write!(text, "{value:?}");
        self.add(field, Value::Text(text.finish()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Shortened::default();
        let _ = text.write_str(value);
        self.add(field, Value::Text(text.finish()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Number(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Number(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let number = serde_json::Number::from_f64(value);
        self.add(field, number.map_or_else(|| Value::Text(value.to_string()), Value::Number));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }
}

/// Text that stops growing at [`MAX_VALUE`] bytes.
#[derive(Default)]
struct Shortened {
    text: String,
    is_full: bool,
}

impl Shortened {
    fn finish(mut self) -> String {
        if self.is_full {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Shortened {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_VALUE - self.text.len();
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        self.is_full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_too_long_is_cut_between_characters() {
        let mut text = Shortened::default();
        text.write_str("x").unwrap();
        assert!(write!(text, "{}", "ä".repeat(MAX_VALUE)).is_err());
        let text = text.finish();
        assert!(text.ends_with("ä…") && text.len() <= MAX_VALUE + "…".len(), "{}", text.len());
    }

    #[test]
    fn a_node_replaces_its_own_names_only() {
        let names = |id: &str, name: &str| [(id.to_owned(), name.to_owned())];
        name_peers("record-test-1", names("id-a", "a"));
        name_peers("record-test-2", names("id-b", "b"));
        name_peers("record-test-1", names("id-c", "c"));
        assert_eq!(name_of_peer("id-a"), None);
        assert_eq!(name_of_peer("id-b").as_deref(), Some("b"));
        assert_eq!(name_of_peer("id-c").as_deref(), Some("c"));
    }
}
