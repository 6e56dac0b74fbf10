//! What may stand in a file, told for people: every key with its type, its default, an example and its meaning.
//!
//! p2ptun.toml(5) is made of this. Tests hold it against the validation: the keys are those that are read, the bounds are
//! those that are checked, each example is valid, and each default is what `p2ptun check --print` shows.
//!
//! Texts are as in `commands::man::page`: `` `this` `` stands in a file as it is, `*this*` stands for something else.

mod peers_and_tunnels;
mod settings;
#[cfg(test)]
mod tests;

/// A table that a file may hold.
pub struct Table {
    /// As a file writes it, without brackets: `"listen.NAME"`; empty for what stands before the first table.
    pub header: &'static str,
    /// Paragraphs about the table as a whole.
    pub text: &'static [&'static str],
    pub keys: &'static [Key],
    /// What it does as long as what it asks for is not built.
    pub unbuilt: Option<&'static str>,
}

/// A key of a table.
pub struct Key {
    pub name: &'static str,
    /// What its value can be, one or the other.
    pub kinds: &'static [Kind],
    pub default: Default,
    /// A value, as TOML writes it.
    pub example: &'static str,
    pub text: &'static [&'static str],
    /// More of a file without which the example makes no sense, beside the keys that must be there.
    pub given: &'static str,
    /// The key whose place this one takes.
    pub excludes: Option<&'static str>,
    /// Whether a change waits for the next start.
    pub waits_for_restart: bool,
    /// What it does as long as what it asks for is not built.
    pub unbuilt: Option<&'static str>,
}

/// What the absence of a key means.
pub enum Default {
    /// There is none: the key must be there.
    Required,
    /// The same as this value.
    Is(&'static str),
    /// The same as the first value, or, where the file says `when`, as the second.
    Depends { is: &'static str, when: &'static str, then: &'static str },
    /// What no value, or none that is short, can say.
    Means(&'static str),
}

/// What a value can be.
pub enum Kind {
    Flag,
    /// One of a few words.
    Words(&'static [&'static str]),
    /// A string such as `"30s"`, within these bounds.
    Duration {
        from: &'static str,
        to: &'static str,
    },
    /// A whole number of `what`.
    Count {
        what: &'static str,
        from: u32,
        to: u32,
    },
    /// A number of bytes, with or without a unit.
    Size,
    /// A string that holds this.
    Text(&'static str),
    /// A list of strings that each hold this.
    List(&'static str),
    /// A table of this.
    Table(&'static str),
}

/// Every table, in the order in which a file is best written.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    settings::TABLES.iter().chain(peers_and_tunnels::TABLES)
}

/// A key that can change while the service runs.
const fn key(
    name: &'static str,
    kinds: &'static [Kind],
    default: Default,
    example: &'static str,
    text: &'static [&'static str],
) -> Key {
    Key { name, kinds, default, example, text, given: "", excludes: None, waits_for_restart: false, unbuilt: None }
}

impl Key {
    const fn given(mut self, given: &'static str) -> Self {
        self.given = given;
        self
    }

    const fn in_place_of(mut self, other: &'static str) -> Self {
        self.excludes = Some(other);
        self
    }

    const fn waits_for_restart(mut self) -> Self {
        self.waits_for_restart = true;
        self
    }

    const fn unbuilt(self) -> Self {
        self.meanwhile("it is read, and has no effect")
    }

    const fn meanwhile(mut self, what: &'static str) -> Self {
        self.unbuilt = Some(what);
        self
    }
}
