//! Text of strangers on its way to a terminal, a log or a journal.

use std::borrow::Cow;

/// Whether a character could move the cursor, change the direction of text, hide, or begin an escape sequence.
pub fn is_harmful(c: char) -> bool {
    // C0, DEL and C1, then the marks that break lines, turn text around or can't be seen.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `text` in one line, every harmful character written as an escape.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean.into()
}

/// JSON with the same meaning: harmful characters are written as JSON's escapes. Only strings hold any, but for line
/// breaks, which are left alone.
pub fn in_json(json: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c != '\n' && is_harmful(c);
    if !json.contains(is_harmful) {
        return json.into();
    }
    let mut clean = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_harmful(c) { clean.push_str(&format!("\\u{:04x}", u32::from(c))) } else { clean.push(c) }
    }
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning() {
        let json = serde_json::json!({ "path": "a\u{9b}\u{202e}\x1b\nü" });
        let text = format!("{json:#}");
        let shown = in_json(&text);
        assert!(!shown.contains(|c| c != '\n' && is_harmful(c)), "{shown:?}");
        assert_eq!(shown.parse::<serde_json::Value>().unwrap(), json);
    }

    #[test]
    fn nothing_harmful_is_left_in_escaped_text() {
        assert_eq!(escaped("a\u{1b}[2Jb\n\u{9b}c\u{202e}\u{2060}"), "a\\u{1b}[2Jb\\n\\u{9b}c\\u{202e}\\u{2060}");
        assert!(matches!(escaped("straße ✓"), Cow::Borrowed("straße ✓")));
    }
}
