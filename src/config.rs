//! The TOML as written → [`Desired`], or every problem with its place.
//!
//! [`load`] reads the main file and its includes, parses them, and validates what they say into the types of
//! [`spec`](crate::spec). Nothing in here touches the network, the identity, or any file that a value names.
//!
//! ```text
//! sources, include   which files there are, and their text
//!     syntax         text → tables, or every syntax error and what was probably meant
//!     section        tables → values, key by key; what nobody asks for is unknown
//!     habits         what keys are called by other programs
//!     settings, peers, tunnels, members         what each table may hold
//!     units, address, multiaddress              what each value may be; know of no file
//!     clashes        what only all tables together can get wrong
//! diagnostics, render, printable                problems and how they are shown
//! print              the way back: `Desired` → TOML
//! reference          every key, told for people; tests hold it against the rest
//! argument           the same table from the command line, and problems in its words
//! edit               a tunnel into a file, and out of it
//! ```

use std::{fmt, io, path::Path, sync::Arc};

pub mod address;
mod argument;
mod clashes;
mod default_path;
mod diagnostics;
mod edit;
mod habits;
mod host_name;
mod identity_path;
mod include;
mod members;
pub mod multiaddress;
mod peers;
mod print;
mod printable;
pub mod reference;
mod render;
mod section;
mod settings;
mod sources;
mod syntax;
mod tunnels;
mod units;

pub use argument::{Declaration, Declared};
pub use default_path::default_path;
pub use diagnostics::{Problem, Severity, Wrong};
pub use edit::{ByHand, EditError, Edited, remove, save};
pub use identity_path::identity_path;
pub use print::print;
pub use render::DEFAULT_WIDTH;
pub use sources::{MAX_FILE_SIZE, Sources, Wildcard};
pub use units::protocol;

use diagnostics::Report;
use section::Section;
use sources::ReadFile;

use crate::spec::Desired;

/// A configuration without an error in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub desired: Desired,
    /// What is remarkable, sorted by file and line.
    pub warnings: Vec<Problem>,
    pub sources: Sources,
}

/// A configuration that can't be used.
#[derive(Debug)]
pub struct Refused {
    pub reason: Reason,
    /// What was read all the same; what is broken must be watched until it is mended.
    pub sources: Sources,
}

/// Why a configuration can't be used.
#[derive(Debug)]
pub enum Reason {
    /// The main file is missing, may not be read, is no regular file, or has more than [`MAX_FILE_SIZE`] bytes.
    Unreadable(io::Error),
    /// At least one of these is an error. Sorted by file and line.
    Invalid(Vec<Problem>),
}

/// Reads, parses and validates the configuration at `path`.
///
/// All errors are found in one pass, except that syntax errors hide all others, since of broken text nothing else can
/// be said. A file of zero bytes is a valid one, in which everything has its default.
///
/// # Errors
///
/// [`Refused`] says why, and keeps the sources.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    load_by(path, &sources::read)
}

fn load_by(path: &Path, read: ReadFile<'_>) -> Result<Loaded, Refused> {
    let mut sources = Sources::new(path);
    let (main, id) = match read(path) {
        Ok((file, id)) => (Arc::new(file), id),
        Err(error) => {
            sources.unreadable.push((path.to_owned(), error.to_string()));
            return Err(Refused { reason: Reason::Unreadable(error), sources });
        }
    };
    sources.files.push(main.clone());

    let (syntax, report) = (Report::default(), Report::default());
    let mut main = syntax::parse(&main, &syntax, &report);
    // Includes of a broken main file are followed as far as they can be made out: whoever mends it may touch them too.
    let complete = main.value("include").is_none_or(|include| include::follow(include, id, read, &mut sources));
    let files = sources.files.clone();
    let mut included: Vec<_> = files.iter().skip(1).map(|file| syntax::parse(file, &syntax, &report)).collect();
    if syntax.has_errors() {
        return Err(Refused { reason: Reason::Invalid(syntax.sorted(&files)), sources });
    }

    let desired = validate(&mut main, &mut included, path, complete, &files);
    main.close();
    included.into_iter().for_each(Section::close);
    if report.has_errors() {
        return Err(Refused { reason: Reason::Invalid(report.sorted(&files)), sources });
    }
    Ok(Loaded { desired, warnings: report.sorted(&files), sources })
}

/// Reads all tables. What comes back is right only if no error was noted.
fn validate(
    main: &mut Section<'_>,
    included: &mut [Section<'_>],
    path: &Path,
    complete: bool,
    files: &[Arc<sources::File>],
) -> Desired {
    let watch = main.flag("watch").unwrap_or(true);
    let node = settings::node(main, path.parent().unwrap_or(Path::new("")));

    let mut peers = peers::PeerBook::new(complete);
    peers.read(main, node.network);
    for file in included.iter_mut() {
        peers.read(file, node.network);
    }

    let mut tunnels = tunnels::Reader::new(&peers, node.network);
    tunnels.read(main);
    for file in included.iter_mut() {
        tunnels.read(file);
        include::refuse_settings(file);
    }

    let discovery = settings::discovery(main, &node);
    let nat = settings::nat(main, node.network);
    let relay_service = settings::relay_service(main, &peers);
    let metrics = settings::metrics(main, &mut tunnels.claims);
    let log = settings::log(main);
    let tunnels = tunnels.finish(files, main.report());
    Desired { watch, node: node.spec, discovery, nat, relay_service, metrics, log, peers: peers.into_peers(), tunnels }
}

/// `path` in one line that is safe to print.
pub fn printable_path(path: &Path) -> String {
    printable::printable(&path.to_string_lossy()).into_owned()
}

/// Why a file can't be read, in words: without the number of the error, which helps nobody.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

impl Refused {
    /// The problems, none if the main file could not even be read.
    pub fn problems(&self) -> &[Problem] {
        match &self.reason {
            Reason::Unreadable(_) => &[],
            Reason::Invalid(problems) => problems,
        }
    }
}

/// One line, fit for a log or systemd's `STATUS=`: the first error, and how many there are.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Unreadable(error) => {
                write!(f, "{} can't be read: {}", printable_path(self.sources.main()), reason(error))
            }
            Reason::Invalid(problems) => {
                let mut errors = problems.iter().filter(|problem| problem.is_error());
                let first = errors.next().map(Problem::short).unwrap_or_default();
                match errors.count() {
                    0 => f.write_str(&first),
                    more => {
                        // Whoever reads this stands in another folder than the service.
                        let main = std::path::absolute(self.sources.main());
                        let path = printable_path(main.as_deref().unwrap_or(self.sources.main()));
                        write!(f, "{first} (and {more} more; `p2ptun check {path}` shows all)")
                    }
                }
            }
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(error) => Some(error),
            Reason::Invalid(_) => None,
        }
    }
}
