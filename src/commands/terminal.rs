//! What goes to standard output, and what to standard error.

use std::{
    env,
    io::{self, Write},
};

use crate::{
    commands::outcome::{Exit, Failure},
    harmless::{self, is_harmful},
    log::stderr_is_journal,
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

/// Says `text`, one or more whole lines, on standard error; in the journal, as an error or a warning. Where nobody
/// listens, the exit code still tells.
pub fn complain(is_error: bool, text: &str) {
    let level = if is_error { 3 } else { 4 };
    let prefixed = || text.lines().filter(|line| !line.is_empty()).map(|line| format!("<{level}>{line}\n")).collect();
    let said = if stderr_is_journal() { prefixed() } else { text.to_owned() };
    let _ = anstream::stderr().write_all(said.as_bytes());
}

/// How many columns there are for what is printed: those of the terminal, or what `COLUMNS` says, or 80.
pub(super) fn width() -> usize {
    const NARROWEST: usize = 60;
    let said = || env::var("COLUMNS").ok()?.parse().ok();
    let columns = size().map(|(columns, _)| columns).or_else(said);
    usize::from(columns.unwrap_or(80)).max(NARROWEST)
}

/// The columns and rows of the terminal that standard output is, if it is one.
pub(super) fn size() -> Option<(u16, u16)> {
    let (terminal_size::Width(columns), terminal_size::Height(rows)) = terminal_size::terminal_size_of(io::stdout())?;
    Some((columns, rows))
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
