//! `p2ptun status`: what the service is doing.

use clap::Args;
use serde::Deserialize;

use super::{
    ask::ask,
    terminal::{clean_json, print, width},
};
use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    control::Client,
    status::{self, State, Time},
};

mod view;
mod watch;

#[derive(Debug, Args)]
pub struct Status {
    /// Print what the service says, as JSON; with --watch, in one line each
    #[arg(long)]
    json: bool,
    /// Exit with 3 if a declared tunnel is not ready or the configuration was refused
    #[arg(long)]
    check: bool,
    /// Show it anew every second, or as often as is said, until Ctrl-C
    #[arg(
        long, value_name = "SECONDS", conflicts_with = "check", value_parser = watch::interval,
        num_args = 0..=1, require_equals = true, default_missing_value = "1"
    )]
    watch: Option<std::time::Duration>,
}

impl Status {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let client = Client::new(global.socket().as_deref());
        if let Some(interval) = self.watch {
            return ask(watch::watch(&client, interval, self.json));
        }
        let json = ask(client.status_json())?;
        if self.json {
            print(&clean_json(&format!("{json:#}\n")))?;
        } else {
            print(&view::render(&understand(&json)?, Time::now(), width()))?;
        }
        let is_bad = self.check && !is_well(&understand(&json)?);
        Ok(if is_bad { Exit::NotReady } else { Exit::Ok })
    }
}

fn understand(json: &serde_json::Value) -> Result<status::Status, Failure> {
    status::Status::deserialize(json).map_err(|error| not_understood(&error))
}

/// What to say of an answer that makes no sense to this version.
pub(super) fn not_understood(error: &serde_json::Error) -> Failure {
    let message = format!("the service is of another version than this command ({error}); --json shows what it says");
    Failure::new(Exit::Unavailable, message)
}

/// Whether everything that the file declares is up. A tunnel that drains is not declared any more.
fn is_well(status: &status::Status) -> bool {
    let up = |tunnel: &status::TunnelStatus| matches!(tunnel.state, State::Ready | State::Draining);
    status.config.error.is_none() && status.tunnels.iter().all(up)
}

#[cfg(test)]
mod tests;
