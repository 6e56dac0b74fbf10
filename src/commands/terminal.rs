//! What goes to standard output.

use std::io::{self, Write};

use crate::{
    commands::outcome::{Exit, Failure},
    harmless::{self, is_harmful},
};

/// Prints `text`. That the reader has seen enough (`p2ptun status | head -1`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut output = anstream::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Os, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// `text` in one line, without what a terminal would act on: a remote peer may have had a hand in it.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// [`clean`] line by line, each line but the first behind `indent`.
pub fn clean_lines(text: &str, indent: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean).collect();
    lines.join(&format!("\n{indent}"))
}

/// JSON as it is, but for what a terminal would act on, which is written as JSON's escapes.
pub(super) fn clean_json(json: &str) -> String {
    harmless::in_json(json).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\u{202e}ü✓"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}ü✓");
        assert_eq!(clean_lines("one\ntwo\x07", "  "), "one\n  two\u{fffd}");
    }
}
