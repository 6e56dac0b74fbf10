//! `p2ptun reload`: has the service look at its configuration again.

use clap::Args;

use super::{
    ask::ask,
    palette::{BAD, CAUTION, GOOD, paint},
    terminal::{clean, clean_lines, complain, print},
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
        complain(false, &troubles(&applied));
        Ok(Exit::Ok)
    }
}

/// Shows every problem as `p2ptun check` does.
fn refused(refusal: &Refusal) -> Failure {
    for problem in &refusal.problems {
        complain(problem.is_error, &(clean_lines(&problem.rendered, "") + "\n\n"));
    }
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

/// One line per tunnel: `+ added`, `- removed`, `~ changed`.
fn changes(applied: &Applied) -> String {
    let signs = [(GOOD, '+', &applied.added), (BAD, '-', &applied.removed), (CAUTION, '~', &applied.changed)];
    let lines = signs
        .into_iter()
        .flat_map(|(style, sign, names)| names.iter().map(move |name| paint(style, format!("{sign} {name}")) + "\n"));
    let text: String = lines.collect();
    if text.is_empty() { "no changes\n".into() } else { text }
}

/// What did not come up, `! failed: why`, and what has to wait.
fn troubles(applied: &Applied) -> String {
    let failed = applied
        .failed
        .iter()
        .map(|failed| format!("{}: {}\n", paint(BAD, format!("! {}", failed.name)), clean_lines(&failed.error, "  ")));
    let mut text: String = failed.collect();
    if !applied.restart_required.is_empty() {
        let keys = clean(&applied.restart_required.join(", "));
        text += &paint(CAUTION, format!("a restart is needed for {keys}"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::TunnelName, status::Failed};

    fn names(names: &[&str]) -> Vec<TunnelName> {
        names.iter().map(|&name| name.try_into().unwrap()).collect()
    }

    #[test]
    fn what_changed_is_listed_with_signs_and_colours() {
        let failed = Failed { name: "ssh".try_into().unwrap(), error: "cannot bind:\n\x1b[31min use".into() };
        let applied = Applied {
            added: names(&["a", "ssh"]),
            removed: names(&["b"]),
            changed: names(&["c"]),
            failed: vec![failed],
            restart_required: vec!["node.identity".into()],
        };
        let said = changes(&applied);
        assert_eq!(anstream::adapter::strip_str(&said).to_string(), "+ a\n+ ssh\n- b\n~ c\n");
        assert_eq!(said.replace('\x1b', "^"), "^[32m+ a^[0m\n^[32m+ ssh^[0m\n^[31m- b^[0m\n^[33m~ c^[0m\n");
        let said = troubles(&applied);
        assert_eq!(
            anstream::adapter::strip_str(&said).to_string(),
            "! ssh: cannot bind:\n  \u{fffd}[31min use\na restart is needed for node.identity\n"
        );
        assert_eq!(changes(&Applied::default()), "no changes\n");
        assert_eq!(troubles(&Applied::default()), "");
    }
}
