//! Asking the service.

use super::outcome::{Exit, Failure};

/// Runs `question`, which is put to the service, to its answer.
pub(super) fn ask<A, E>(question: impl Future<Output = Result<A, E>>) -> Result<A, Failure>
where
    Failure: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Os, format!("cannot talk to the service: {error}")))?;
    let answer = runtime.block_on(question);
    // Not to wait for what is still being written to somebody who does not read it.
    runtime.shutdown_background();
    Ok(answer?)
}
