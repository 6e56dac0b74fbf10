//! One file per subcommand, each thin: ask the part of the house that knows, print, and choose an exit code.

use crate::cli::{Exit, Failure};

pub mod check;
pub mod demo;
pub mod id;
pub mod reload;
pub mod run;
pub mod status;
pub mod terminal;

/// Runs `question`, which is put to the service, to its answer.
fn ask<A, E>(question: impl Future<Output = Result<A, E>>) -> Result<A, Failure>
where
    Failure: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Os, format!("cannot talk to the service: {error}")))?;
    Ok(runtime.block_on(question)?)
}
