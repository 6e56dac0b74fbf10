//! Colours for a terminal. Elsewhere, and with NO_COLOR, `anstream` takes them out again; so words must say it too.

use anstyle::{AnsiColor, Style};

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const CAUTION: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const DETAIL: Style = Style::new().dimmed();
pub const NAME: Style = Style::new().bold();
pub const PLAIN: Style = Style::new();

/// For a number that is shown as `text`: nothing is there to be looked at.
pub fn of_number(number: u64) -> Style {
    if number == 0 { DETAIL } else { PLAIN }
}

/// `text` in a style.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
