//! `p2ptun check`: validates a configuration without touching the network or the identity.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use nix::errno::Errno;

use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
        quantities::count,
        terminal::{complain, print},
    },
    config::{self, Loaded, Problem, Reason, Refused},
};

/// What a first file may look like, for those who have none.
const FIRST_FILE: &str = "\
An empty file will do. One that lets a peer use the SSH server of this machine:

    [listen.ssh]
    target = \"127.0.0.1:22\"
    allow = [\"12D3KooW…\"]    # the id that `p2ptun id` shows there";

#[derive(Debug, Args)]
pub struct Check {
    /// The file to check instead of the configured one
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Show the effective configuration, defaults included
    #[arg(long)]
    print: bool,
}

impl Check {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        if self.file.as_deref() == Some(Path::new("-")) {
            let why = "standard input can't be checked, since includes are looked for beside a file; \
                       name a file, or ./- for one of that name";
            return Err(Failure::new(Exit::Usage, why));
        }
        let path = config::default_path(self.file.as_deref().or(global.config().as_deref()));
        match config::load(&path) {
            Ok(loaded) => {
                show(&loaded.warnings);
                let answer = if self.print { effective(&loaded) } else { summary(&loaded) + "\n" };
                print(&answer)?;
                Ok(Exit::Ok)
            }
            Err(refused) => Err(failure(&refused)),
        }
    }
}

/// Shows every problem, and says what became of it.
pub(super) fn failure(refused: &Refused) -> Failure {
    let exit = Exit::from(refused);
    let message = match &refused.reason {
        // Nothing stands there, not even a symlink.
        Reason::Unreadable(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
            format!("{refused}\nCreate it, or name another file with -c or P2PTUN_CONFIG. {FIRST_FILE}")
        }
        Reason::Unreadable(_) => refused.to_string(),
        Reason::Invalid(problems) => {
            show(problems);
            format!("{}: {}", config::printable_path(refused.sources.main()), tally(problems))
        }
    };
    Failure::new(exit, message)
}

/// Shows every problem of a configuration as it would be with a tunnel that somebody wants to add.
pub(super) fn would_fail(refused: &Refused) -> Failure {
    show(refused.problems());
    let errors = refused.problems().iter().filter(|problem| problem.is_error()).count();
    let path = config::printable_path(refused.sources.main());
    let what =
        format!("{path}: with the new tunnel it would have {}; nothing was written", count(errors as u64, "error"));
    Failure::new(Exit::from(refused), what)
}

/// Prints problems to standard error, in colour where that is a terminal and `NO_COLOR` is not set.
fn show(problems: &[Problem]) {
    let width = width();
    for problem in problems {
        complain(problem.is_error(), &(problem.render(true, width) + "\n"));
    }
}

/// The columns of standard error.
fn width() -> usize {
    let terminal = io::stderr();
    let size = terminal.is_terminal().then(|| terminal_size::terminal_size_of(&terminal)).flatten();
    // A terminal that does not know its size says 0.
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0).unwrap_or(config::DEFAULT_WIDTH)
}

fn summary(loaded: &Loaded) -> String {
    let path = config::printable_path(loaded.sources.main());
    let tunnels = count(loaded.desired.tunnels.len() as u64, "tunnel");
    let peers = count(loaded.desired.peers.len() as u64, "peer");
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        number => format!(", {}", count(number as u64, "warning")),
    };
    format!("{path}: ok, {tunnels}, {peers}{warnings}")
}

fn effective(loaded: &Loaded) -> String {
    let files: Vec<_> = loaded.sources.files().map(|(path, _)| format!("# {path:?}\n")).collect();
    format!(
        "# The effective configuration, defaults included, from:\n{}\n{}",
        files.concat(),
        config::print(&loaded.desired)
    )
}

/// How many errors and warnings there are.
fn tally(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    match problems.len() - errors {
        0 => count(errors as u64, "error"),
        warnings => format!("{}, {}", count(errors as u64, "error"), count(warnings as u64, "warning")),
    }
}
