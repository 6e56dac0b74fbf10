//! What whoever asked for a reload is told that is refused: one line for logs, and every problem at its place.

use std::path::Path;

use crate::{
    config::{self, Refused},
    control::{self, Refusal},
};

pub(super) fn of(refused: &Refused) -> Refusal {
    let problem = |problem: &config::Problem| {
        let (file, line, column) = problem.position();
        control::Problem {
            is_error: problem.is_error(),
            message: problem.title().to_owned(),
            file: config::printable_path(file),
            line,
            column,
            rendered: problem.render(false, config::DEFAULT_WIDTH),
        }
    };
    Refusal {
        problems: refused.problems().iter().take(Refusal::MOST).map(problem).collect(),
        ..refused.to_string().into()
    }
}

/// The file at `path` held something, and holds nothing any more.
pub(super) fn emptied(path: &Path) -> Refusal {
    let reason = format!(
        "{} has zero bytes, which is more likely an accident than a wish; the old set stays \
         (a file with only a comment removes every tunnel)",
        config::printable_path(path)
    );
    reason.into()
}
