//! p2ptun keeps libp2p tunnels exactly as a TOML file declares them.

pub mod backoff;
pub mod cli;
mod commands;
pub mod config;
pub mod control;
pub mod daemon;
pub mod foreground;
mod harmless;
pub mod log;
pub mod node;
pub mod plan;
pub mod reconcile;
pub mod spec;
pub mod status;
pub mod systemd;
pub mod triggers;
pub mod tunnel;
pub mod yamux;
