//! `--save`: the tunnel goes into the file.

use std::{fs, path::Path};

use nix::unistd::geteuid;

use super::{
    ask::ask,
    outcome::{Exit, Failure},
    tunnel::{print_block, tell},
};
use crate::{
    commands::global::Global,
    config::{self, Declaration, EditError, Edited},
    control::Client,
};

/// Writes what `declaration` says into the configured file, and tells what becomes of it.
pub(super) fn save(global: &Global, declaration: &Declaration) -> Result<Exit, Failure> {
    let path = config::default_path(global.config().as_deref());
    let edited = config::save(&path, declaration).map_err(|error| {
        let mut failure = Failure::from(error);
        if failure.exit == Exit::CannotCreate && global.config().is_none() && !geteuid().is_root() {
            failure.message.push_str("\n\nOr name a file of your own with --config.");
        }
        failure
    })?;
    let made = if edited.is_new { ", which is new" } else { "" };
    let text = format!("written to {}{made}:\n\n{}", config::printable_path(&edited.file), declaration.table());
    print_block(&text)?;
    conclude(global, &path, &edited)
}

/// Tells what was lost at an edit, and whether a running service follows it.
pub(super) fn conclude(global: &Global, path: &Path, edited: &Edited) -> Result<Exit, Failure> {
    for loss in &edited.losses {
        tell(&format!("warning: {}: {loss}", config::printable_path(&edited.file)));
    }
    print_block(&format!("\n{}", follows(global, path, edited)))?;
    Ok(Exit::Ok)
}

fn follows(global: &Global, path: &Path, edited: &Edited) -> String {
    if !edited.loaded.desired.watch {
        return "The file says `watch = false`: a running service follows after `p2ptun reload`.".to_owned();
    }
    // A service that can't be asked may well be running.
    let status = ask(async { Ok::<_, Failure>(Client::new(global.socket().as_deref()).status().await) });
    let same = |served: &Path| match (fs::canonicalize(served), fs::canonicalize(path)) {
        (Ok(served), Ok(path)) => served == path,
        _ => false,
    };
    match status {
        Ok(Ok(status)) if same(&status.config.path) => {
            "The running service follows by itself; `p2ptun status` shows the result.".to_owned()
        }
        _ => "A service that runs with this file follows by itself; else `p2ptun run` starts one.".to_owned(),
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let exit = match &error {
            EditError::Refused(refused) => return super::check::failure(refused),
            EditError::WouldBreak(refused) => return super::check::would_fail(refused),
            EditError::NameTaken { .. } => Exit::Config,
            EditError::NoSuchTunnel { .. } => Exit::NoInput,
            EditError::CannotWrite { .. } => Exit::CannotCreate,
        };
        Self::new(exit, error.to_string())
    }
}
