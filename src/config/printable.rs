//! Text of strangers on its way to a terminal or a log.

use std::borrow::Cow;

use crate::harmless::is_harmful;

/// `text` in one line, every harmful character written as an escape.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    crate::harmless::escaped(text)
}

/// `text` with a stand-in of the same length in bytes for every harmful character, so that offsets stay true.
///
/// ASCII control characters are left alone: annotate-snippets draws those as pictures (`␛`).
pub(super) fn same_length(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| is_harmful(c) && !c.is_ascii()) {
        return text.into();
    }
    let stand_in = |c: char| match c.len_utf8() {
        _ if !is_harmful(c) => c,
        1 => c,
        2 => '\u{bf}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(stand_in).collect()
}

/// `text` between back-ticks, shortened when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let text = printable(text);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// `text` as a TOML string, harmful characters written as TOML's escapes.
pub(super) fn toml_string(text: &str) -> String {
    if !text.contains(is_harmful) {
        return toml::Value::from(text).to_string();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_harmful(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left_in_printable_text() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}c\u{202e}"), "a\\u{1b}[2Jb\\n\\u{9b}c\\u{202e}");
        assert_eq!(printable("straße"), "straße");
    }

    #[test]
    fn stand_ins_keep_every_offset() {
        for harmful in ["\u{9b}", "\u{61c}", "\u{202e}", "\u{feff}", "\u{200b}"] {
            let shown = same_length(harmful);
            assert_eq!(shown.len(), harmful.len());
            assert_ne!(shown, harmful);
        }
    }

    #[test]
    fn a_toml_string_reads_back_as_what_it_was() {
        for text in ["plain", "with \"quotes\"", "back\\slash", "new\nline", "\u{1b}", "\\\"\u{9b}\u{202e}'ä"] {
            assert!(!toml_string(text).contains(is_harmful), "{text:?}");
            let table: toml::Table = format!("x = {}", toml_string(text)).parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
