//! `p2ptun reload`: has the service look at its configuration again.

use std::{fmt::Write as _, io::Write as _};

use clap::Args;

use super::{
    ask::ask,
    terminal::{clean_lines, print},
};
use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    control::{Client, ClientError, Refusal},
    status::Applied,
};

#[derive(Debug, Args)]
pub struct Reload {}

impl Reload {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let client = Client::new(global.socket().as_deref());
        let applied = match ask(async { Ok::<_, Failure>(client.reload().await) })? {
            Err(ClientError::Refused(refusal)) => return Err(refused(&refusal)),
            outcome => outcome?,
        };
        print(&changes(&applied))?;
        // The exit code is that of the reload, which succeeded, whether or not anyone reads this.
        let _ = anstream::stderr().write_all(failures(&applied).as_bytes());
        Ok(Exit::Ok)
    }
}

/// Shows every problem as `p2ptun check` does.
fn refused(refusal: &Refusal) -> Failure {
    let shown: String = refusal.problems.iter().map(|problem| clean_lines(&problem.rendered, "") + "\n\n").collect();
    // Where nobody listens, the exit code still tells.
    let _ = anstream::stderr().write_all(shown.as_bytes());
    let message = if refusal.problems.is_empty() {
        format!("the configuration was refused, and the set in force stays: {}", refusal.error)
    } else {
        let errors = refusal.problems.iter().filter(|problem| problem.is_error).count();
        let more = if refusal.problems.len() < Refusal::MOST { "" } else { " or more" };
        let noun = if errors == 1 { "error" } else { "errors" };
        format!("the configuration was refused for {errors}{more} {noun}, and the set in force stays")
    };
    Failure::new(Exit::Config, message)
}

/// One line per tunnel: `+added`, `-removed`, `~changed`.
fn changes(applied: &Applied) -> String {
    let mut text = String::new();
    for (sign, names) in [('+', &applied.added), ('-', &applied.removed), ('~', &applied.changed)] {
        for name in names {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign}{name}");
        }
    }
    if text.is_empty() { "no changes\n".into() } else { text }
}

/// One line per tunnel that is not up: `!failed: why`.
fn failures(applied: &Applied) -> String {
    applied.failed.iter().map(|failed| format!("!{}: {}\n", failed.name, clean_lines(&failed.error, "  "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::TunnelName, status::Failed};

    fn names(names: &[&str]) -> Vec<TunnelName> {
        names.iter().map(|&name| name.try_into().unwrap()).collect()
    }

    #[test]
    fn what_changed_is_listed_with_signs() {
        let failed = Failed { name: "ssh".try_into().unwrap(), error: "cannot bind:\n\x1b[31min use".into() };
        let applied = Applied {
            added: names(&["a", "ssh"]),
            removed: names(&["b"]),
            changed: names(&["c"]),
            failed: vec![failed],
        };
        assert_eq!(changes(&applied), "+a\n+ssh\n-b\n~c\n");
        assert_eq!(failures(&applied), "!ssh: cannot bind:\n  \u{fffd}[31min use\n");
        assert_eq!(changes(&Applied::default()), "no changes\n");
    }
}
