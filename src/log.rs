//! What the service says: which events, in what form, and where to.
//!
//! ```text
//!   tracing ──filter──▶ record ──render──▶ queue ══▶ its thread: standard error, or the journal
//!   repeats: which of many events are worth a line
//! ```
//!
//! One convention throughout. A message is a sentence in lower case that is the same for all events of its sort; what
//! differs stands in fields, of which these mean the same everywhere:
//!
//! | field | what it holds |
//! |---|---|
//! | `tunnel` | the name of a tunnel |
//! | `peer` | a peer id, in full; `peer_name`, the name that the file gives it, is added by itself |
//! | `stream` | the number of a stream, as `p2ptun streams` shows it |
//! | `error` | why, in words for a person |
//! | `address`, `bind`, `target` | of the far end (a multiaddr); where a tunnel listens; where it leads |
//! | `path` | `direct` or `relayed` |
//! | `protocol` | of a stream |
//! | `file` | a path in the file system |
//! | `warning` | what is remarkable, and no error |
//! | `repeated` | how many events this line stands for; absent where it is one |
//!
//! | level | what for |
//! |---|---|
//! | error | the service or a tunnel needs a person |
//! | warn | something failed and is tried again, or was refused |
//! | info | life cycle: configurations, tunnels that are up, named peers that come and go |
//! | debug | each stream, each dial, strangers |
//!
//! Values may be anybody's words: the form in which they are written makes them harmless, so callers need not.

mod filter;
mod layer;
mod queue;
mod record;
mod render;
mod repeats;
mod sink;

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use clap::ValueEnum;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

pub use self::{
    filter::{FilterError, Level},
    record::name_peers,
    repeats::{Limits, Repeats, Told},
};
use self::{
    layer::Records,
    queue::{Queue, Writer},
    render::Form,
    sink::{JOURNAL, Journal, Sink},
};

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `journald` where systemd reads standard error, else `human`
    #[default]
    Auto,
    /// Lines for people
    Human,
    /// One JSON object a line
    Json,
    /// Fields for the journal
    Journald,
}

/// What to write, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the command line asks for.
    pub level: Option<Level>,
    /// What the environment asks for, in the syntax of [`tracing_subscriber::EnvFilter`].
    pub filter: Option<String>,
    /// Where neither asks for anything.
    pub default_level: Level,
    pub format: Format,
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("can't start the log: {0}")]
    Thread(#[source] io::Error),
}

/// Writes events for as long as this value lives; what waits then is written first, unless nobody reads it.
pub struct Logging {
    _writer: Writer,
}

/// Writes events from here on.
///
/// # Errors
///
/// Where the filter is malformed, or there is no thread to be had.
pub fn start(settings: &Settings) -> Result<Logging, LogError> {
    let filter = filter::filter(settings.level, settings.filter.as_deref(), settings.default_level)?;
    let (form, sink) = destination(settings.format);
    let queue = Queue::default();
    let writer = Writer::start(queue.clone(), sink).map_err(LogError::Thread)?;
    let events = tracing_subscriber::registry().with(filter).with(Records::new(queue, form));
    // An error says that events are written already.
    let _ = events.try_init();
    Ok(Logging { _writer: writer })
}

/// Whether what is written to standard error goes to the journal, line by line.
pub fn stderr_is_journal() -> bool {
    sink::leads_to_journal(std::env::var("JOURNAL_STREAM").ok().as_deref())
}

fn destination(format: Format) -> (Form, Sink) {
    let form = match format {
        Format::Json => Form::Json,
        Format::Auto if stderr_is_journal() => Form::Journal,
        Format::Journald => Form::Journal,
        Format::Auto | Format::Human if io::stderr().is_terminal() => {
            let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
            Form::Terminal { colours }
        }
        Format::Auto | Format::Human => Form::Plain,
    };
    if form != Form::Journal {
        return (form, Sink::stderr(form));
    }
    match Journal::at(Path::new(JOURNAL)) {
        Ok(journal) => (form, Sink::journal(journal)),
        // A container has the stream and not the socket.
        Err(_) => (Form::Prefixed, Sink::stderr(Form::Prefixed)),
    }
}
