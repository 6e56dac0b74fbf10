//! `p2ptun check`: validates a configuration without touching the network or the identity.

use std::{
    io::{self, ErrorKind, Write},
    path::PathBuf,
};

use clap::Args;

use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    config::{self, Loaded, Problem, Reason, Refused},
};

#[derive(Debug, Args)]
pub struct Check {
    /// The file to check instead of the configured one
    file: Option<PathBuf>,
    /// Show the effective configuration, defaults included
    #[arg(long)]
    print: bool,
}

impl Check {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let path = config::default_path(self.file.as_deref().or(global.config().as_deref()));
        match config::load(&path) {
            Ok(loaded) => {
                show(&loaded.warnings);
                let answer = if self.print { effective(&loaded) } else { summary(&loaded) + "\n" };
                write(&answer).map_err(|error| Failure::new(Exit::Os, format!("can't write the answer: {error}")))?;
                Ok(Exit::Ok)
            }
            Err(refused) => Err(failure(&refused)),
        }
    }
}

/// Shows every problem, and says what became of it.
pub(super) fn failure(refused: &Refused) -> Failure {
    let exit = Exit::from(refused);
    match &refused.reason {
        Reason::Unreadable(_) => Failure::new(exit, refused.to_string()),
        Reason::Invalid(problems) => {
            show(problems);
            let errors = problems.iter().filter(|problem| problem.is_error()).count();
            let path = config::printable_path(refused.sources.main());
            Failure::new(exit, format!("{path}: {}", count(errors, "error")))
        }
    }
}

/// Shows every problem of a configuration as it would be with a tunnel that somebody wants to add.
pub(super) fn would_fail(refused: &Refused) -> Failure {
    show(refused.problems());
    let errors = refused.problems().iter().filter(|problem| problem.is_error()).count();
    let path = config::printable_path(refused.sources.main());
    let what = format!("{path}: with the new tunnel it would have {}; nothing was written", count(errors, "error"));
    Failure::new(Exit::from(refused), what)
}

/// Prints problems to standard error, in colour where that is a terminal and `NO_COLOR` is not set.
fn show(problems: &[Problem]) {
    let mut out = anstream::stderr().lock();
    for problem in problems {
        // Without standard error there is nobody to tell; the exit code still says it.
        let _ = writeln!(out, "{}", problem.render(true));
    }
}

fn summary(loaded: &Loaded) -> String {
    let path = config::printable_path(loaded.sources.main());
    let tunnels = count(loaded.desired.tunnels.len(), "tunnel");
    let peers = count(loaded.desired.peers.len(), "peer");
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        number => format!(", {}", count(number, "warning")),
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

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A reader that has read enough, such as `head`, is no failure.
fn write(answer: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(answer.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
