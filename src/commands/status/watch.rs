//! `p2ptun status --watch`: the status anew, again and again.
//!
//! On a terminal each replaces the one before, in place. The cursor is never hidden and no mode of the terminal outlives
//! a frame, so there is nothing to put back, however this ends.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use futures::StreamExt;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook_tokio::Signals;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval as ticks, timeout},
};

use super::{
    super::{
        layout::paragraph,
        palette::{BAD, DETAIL, PLAIN, paint},
        quantities::age,
        terminal::{clean_json, clean_lines, size, width},
    },
    understand, view,
};
use crate::{
    commands::outcome::{Exit, Failure},
    control::Client,
    status::Time,
};

/// How long a terminal may take to end its line.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Reads how often to look.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    const BOUNDS: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
    match text.parse() {
        Ok(seconds) if BOUNDS.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a number of seconds, from {} to {}", BOUNDS.start(), BOUNDS.end())),
    }
}

/// Shows the status until a signal ends it, or until nobody listens.
///
/// # Errors
///
/// Where there is no service at the start; one that goes away later is waited for.
pub(super) async fn watch(client: &Client, interval: Duration, json: bool) -> Result<Exit, Failure> {
    let signals = |wanted: &[i32]| {
        Signals::new(wanted).map_err(|error| Failure::new(Exit::Os, format!("can't catch signals: {error}")))
    };
    let mut ends = signals(&[SIGINT, SIGTERM, SIGHUP])?;
    let resized = signals(&[SIGWINCH])?;
    let screen = if json { Screen::Json } else { Screen::of_stdout() };
    tokio::select! {
        signal = ends.next() => {
            if screen.is_redrawn() && signal == Some(SIGINT) {
                // The terminal has put ^C where the cursor is. If it is gone, or takes nothing, so is the need.
                let _ = timeout(LAST_WORD, spawn_blocking(|| io::stdout().write_all(b"\n"))).await;
            }
            Ok(Exit::Ok)
        }
        outcome = frames(client, interval, resized, screen) => outcome,
    }
}

async fn frames(
    client: &Client,
    interval: Duration,
    mut resized: Signals,
    mut screen: Screen,
) -> Result<Exit, Failure> {
    let mut ticks = ticks(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = false;
    let mut gone = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(_) = resized.next() => {}
        }
        let said = client.status_json().await;
        let now = Time::now();
        let frame = match said.map_err(Failure::from).and_then(|status| screen.status(&status, now)) {
            Ok(frame) => {
                (answered, gone) = (true, None);
                frame
            }
            Err(failure) if !answered => return Err(failure),
            Err(failure) => {
                let is_news = gone.is_none();
                match screen.absence(&failure, *gone.get_or_insert(now), now, is_news) {
                    Some(frame) => frame,
                    None => continue,
                }
            }
        };
        // In a thread of its own: a reader that is slow must not keep a signal from ending this.
        let written = spawn_blocking(move || {
            let mut output = io::stdout().lock();
            output.write_all(frame.as_bytes()).and_then(|()| output.flush())
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            Err(error) => return Err(Failure::new(Exit::Os, format!("cannot write to standard output: {error}"))),
        }
    }
}

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Screen {
    /// A terminal that can be written to at any place.
    Terminal {
        is_fresh: bool,
        colour: bool,
    },
    /// Anything else: one frame after another.
    Paper {
        colour: bool,
    },
    Json,
}

impl Screen {
    fn of_stdout() -> Self {
        let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        match io::stdout().is_terminal() && !is_dumb {
            true => Self::Terminal { is_fresh: true, colour },
            false => Self::Paper { colour },
        }
    }

    fn is_redrawn(self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    fn status(&mut self, status: &Value, now: Time) -> Result<String, Failure> {
        match self {
            Self::Json => Ok(clean_json(&format!("{status}\n"))),
            _ => Ok(self.frame(&view::render(&understand(status)?, now, width()), now)),
        }
    }

    /// What to show while the service does not answer: only once, where it would stand there again and again.
    fn absence(&mut self, failure: &Failure, since: Time, now: Time, is_news: bool) -> Option<String> {
        let message = clean_lines(&failure.message, "");
        match self {
            Self::Json | Self::Paper { .. } if !is_news => None,
            Self::Json => {
                // It has no place between the lines of JSON. Where nobody listens, there is nothing to be said.
                let _ = writeln!(anstream::stderr(), "p2ptun: {message}");
                None
            }
            Self::Paper { .. } | Self::Terminal { .. } => {
                let passed = age(since, now);
                let first = format!("{} no answer from the service for {passed}; waiting for it\n", paint(BAD, "×"));
                Some(self.frame(&(first + &paragraph(&message, "  ", "  ", PLAIN, width())), now))
            }
        }
    }

    /// What to write, so that `text` is seen.
    fn frame(&mut self, text: &str, now: Time) -> String {
        match self {
            Self::Terminal { is_fresh, colour } => {
                let rows = usize::from(size().map_or(24, |(_, rows)| rows));
                let lines =
                    if *colour { fit(text, rows) } else { anstream::adapter::strip_str(&fit(text, rows)).to_string() };
                // What is on the screen now scrolls up, to be found there later.
                let scroll = if std::mem::take(is_fresh) { "\n".repeat(rows - 1) } else { String::new() };
                scroll + &redraw(&lines)
            }
            Self::Paper { colour: true } => format!("--- {now}\n{text}\n"),
            Self::Paper { .. } | Self::Json => format!("--- {now}\n{}\n", anstream::adapter::strip_str(text)),
        }
    }
}

/// What of `text` a screen of so many rows has room for.
fn fit(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // The cursor ends on the row below.
    let room = rows.saturating_sub(1).max(1);
    if lines.len() <= room {
        return text.to_owned();
    }
    let shown: String = lines[..room - 1].iter().map(|line| format!("{line}\n")).collect();
    let hidden = lines.len() - (room - 1);
    shown + &paint(DETAIL, format!("… {hidden} more lines, in a taller window")) + "\n"
}

/// Draws over what is on a screen: from its top, each line to its end, and what is left is erased. Lines that are too long
/// end at the edge, for each must be one row.
fn redraw(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[?7l\x1b[H{lines}\x1b[J\x1b[?7h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_of_seconds_within_reason() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "1e99", "soon", "", "5s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_frame_is_drawn_over_the_one_before_and_fits_the_screen() {
        assert_eq!(redraw("a\nb\n"), "\x1b[?7l\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        let shown = fit(&"x\n".repeat(30), 10);
        assert_eq!(shown.lines().count(), 9, "one row is left to the cursor");
        assert!(shown.contains("… 22 more lines"), "{shown}");
        assert_eq!(fit(&"x\n".repeat(9), 10), "x\n".repeat(9));
    }

    #[test]
    fn on_paper_each_frame_has_its_time_and_colour_only_where_it_is_wanted() {
        let now: Time = "2026-11-20T10:00:00Z".parse().unwrap();
        let frame = |colour| Screen::Paper { colour }.frame("\x1b[32m●\x1b[0m well\n", now);
        assert_eq!(frame(false), "--- 2026-11-20T10:00:00Z\n● well\n\n");
        assert_eq!(frame(true), "--- 2026-11-20T10:00:00Z\n\x1b[32m●\x1b[0m well\n\n");
    }

    #[test]
    fn a_terminal_without_colour_gets_none_not_even_where_the_window_is_too_small() {
        let mut screen = Screen::Terminal { is_fresh: false, colour: false };
        let drawn = screen.frame(&"\x1b[32m●\x1b[0m well\n".repeat(1000), Time::now());
        assert!(
            drawn.contains("more lines") && !drawn.contains(&DETAIL.to_string()) && !drawn.contains("\x1b[32m"),
            "{drawn:?}"
        );
    }

    #[test]
    fn a_terminal_keeps_what_was_on_it_in_its_scrollback() {
        let now = Time::now();
        let mut screen = Screen::Terminal { is_fresh: true, colour: false };
        let first = screen.frame("\x1b[32m●\x1b[0m well\n", now);
        assert!(first.starts_with("\n\n") && first.contains("\x1b[H● well"), "{first:?}");
        assert!(screen.frame("again\n", now).starts_with("\x1b[?7l\x1b[H"));
    }
}
