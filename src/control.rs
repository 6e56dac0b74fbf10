//! The control socket: how a person, a script or systemd talks to the running service on this machine.
//!
//! HTTP and JSON over a unix socket, so that `curl --unix-socket` speaks it too:
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200 and [`Status`](crate::status::Status) |
//! | `POST /v1/reload` | 200 and [`Applied`]; 422 and [`Refusal`] if the file is refused |
//! | `GET /v1/streams` | 200 and a list of [`StreamStatus`](crate::status::streams::StreamStatus) |
//! | `DELETE /v1/streams/ID` | 204; 404 if there is no such stream |
//!
//! Errors are `{"error": "…"}`. Who may connect is who may write to the socket file: its owner and its group.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::status::Applied;

mod client;
mod server;
mod socket;

pub use client::{Client, ClientError};
pub use server::{Handles, Server};
pub use socket::{SocketError, service_path};

/// Somebody asks the service to look at its file again, and waits for what came of it.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes what changed, or why the file was refused. Whoever asked may have left.
    pub reply: oneshot::Sender<Result<Applied, Refusal>>,
}

/// Why a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In one line.
    pub error: String,
    /// Problem by problem, unless the file could not even be read. At most [`Refusal::MOST`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// One problem of a file that was refused, or a warning beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub is_error: bool,
    /// What is wrong, in one line.
    pub message: String,
    pub file: String,
    /// Both count from 1, columns in characters.
    pub line: usize,
    pub column: usize,
    /// As `p2ptun check` shows it, in several lines without colour.
    pub rendered: String,
}

impl Refusal {
    /// So many problems are enough for one answer.
    pub const MOST: usize = 100;
}

impl<S: Into<String>> From<S> for Refusal {
    fn from(error: S) -> Self {
        Self { error: error.into(), problems: Vec::new() }
    }
}

/// How long a reload may take before its asker is told to look at the status instead. Far above what is normal: a
/// reload waits for the names of hosts to be resolved, but not for drains.
const RELOAD_DEADLINE: Duration = Duration::from_secs(300);

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize)]
struct ErrorBody {
    error: String,
}

#[cfg(test)]
mod tests;
