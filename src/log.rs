//! Where events go: to stderr, one line each.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Filters events, in the syntax of `tracing_subscriber`: `debug`, or `p2ptun=debug,libp2p=info`.
const VARIABLE: &str = "P2PTUN_LOG";

/// Writes events of at least the level `default`, unless the environment says otherwise, to stderr from here on. libp2p
/// speaks only of errors, for it has another idea of what an operator wants to know.
pub fn to_stderr(default: &str) {
    let filter = std::env::var(VARIABLE).unwrap_or_else(|_| format!("error,p2ptun={default}"));
    let events = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    // An error says that events are written already.
    let _ = events.try_init();
}
